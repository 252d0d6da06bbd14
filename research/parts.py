"""What the study's configs name and the package does not have: a dataset, hooks."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from mmcls.datasets import CustomDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmselfsup.registry import DATASETS, HOOKS, TRANSFORMS
from mmselfsup.utils import get_model
from torch import Tensor, nn

from mmaccel.datasets.checked_image import LoadCheckedImage, UnreadableImageError
from mmaccel.errors import ConfigError

PARTS = ('all', 'train', 'held_out')


@DATASETS.register_module()
class FolderInMemory(CustomDataset):
    """A folder with one sub-folder per class, for images that fit into memory.

    Samples have their pixels as ``img``, so pipelines need no loading transform. A part
    can be held out: of each class every ``every``-th file, in the order of names, so
    that choices are not made on the test split.

    Args:
        data_root (str): The folder.
        part (str): ``'all'`` images, ``'held_out'``, or ``'train'``, the others.
            Defaults to ``'all'``.
        every (int): One in this many images of a class is held out, at least 2.
            Defaults to 10.
        pipeline (Sequence): Transforms or their configs. Defaults to none.
        **kwargs: As for :class:`mmcls.datasets.CustomDataset`.

    Raises:
        ConfigError: If an argument is out of range, the folder or the part has no
            image, or an image cannot be decoded or is cut short.
    """

    def __init__(
        self,
        data_root: str,
        part: str = 'all',
        every: int = 10,
        pipeline: Sequence = (),
        **kwargs: Any,
    ) -> None:
        if part not in PARTS:
            raise ConfigError(f'part={part!r} is unknown; use one of {PARTS}')
        if every < 2:
            raise ConfigError(f'every={every} holds out all images; use 2 or more')
        self.part = part
        self.every = every
        transforms = [
            TRANSFORMS.build(t) if isinstance(t, dict) else t for t in pipeline
        ]
        super().__init__(data_prefix=data_root, pipeline=transforms, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the images of the part and decode them."""
        seen: Counter[int] = Counter()
        kept = []
        for info in self._all():
            held_out = seen[info['gt_label']] % self.every == self.every - 1
            seen[info['gt_label']] += 1
            if self.part == 'all' or held_out == (self.part == 'held_out'):
                kept.append(info)
        if not kept:
            raise ConfigError(
                f'no class in {self.img_prefix} has {self.every} images, so none is '
                'held out; lower every'
            )
        load = LoadCheckedImage()
        for info in kept:
            try:
                info['img'] = load(dict(info))['img']
            except UnreadableImageError as error:
                raise ConfigError(f'{error}; replace or remove it') from error
        return kept

    def _all(self) -> list[dict]:
        try:
            return super().load_data_list()
        except (FileNotFoundError, RuntimeError) as error:
            raise ConfigError(
                f'{self.img_prefix} has no images in <class>/; set data_root to a '
                'folder with one sub-folder per class'
            ) from error


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep a model's weights, and thereby its feature maps, in ``channels_last``.

    A convolution's output has the layout of its weights, so upstream's own algorithms
    train in it unchanged, with the same result up to rounding. The Accel algorithms
    have an argument ``channels_last``. A fair comparison of training times uses the
    same layout for both.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Convert the weights."""
        get_model(runner.model).to(memory_format=torch.channels_last)


@HOOKS.register_module()
class DetachedExitsHook(Hook):
    """Train every exit's projector, and the backbone by the last loss alone.

    With losses summed and the last exit, the backbone's updates are those of the plain
    training, while the projectors of earlier exits learn from maps that carry no
    gradient: what ``research/gradients.py`` measures of exits is then not that of
    random projectors.

    Note:
        Replaces the model's ``project`` for the training.
    """

    def before_train(self, runner: Runner) -> None:
        """Detach the maps that projectors of exits before the last see."""
        model = get_model(runner.model)
        project = model.project

        def detached(neck: nn.Module, x: Tensor, stage: int) -> Tensor:
            last = stage == model.num_exits
            return project(neck, x if last else x.detach(), stage)

        model.project = detached
