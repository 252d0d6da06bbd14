"""Online kNN accuracy during pretraining."""

import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import cast

import torch
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.dist import all_gather, broadcast, get_world_size
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Subset

from mmaccel import host
from mmaccel.errors import ConfigError
from mmaccel.models.unwrapped import unwrapped
from mmaccel.seeding import keep_random_state

from ..features import check_labels, extract_features, spread
from ..knn import knn_classify


@HOOKS.register_module()
class KNNHook(Hook):
    """Log the kNN accuracy of the backbone against the training time.

    A contrastive loss does not measure how good the features are, and losses of
    different methods cannot be compared. The accuracy of a nearest-neighbour vote needs
    no training, so it is logged during pretraining; with the seconds that
    :class:`ThroughputHook` counts, it gives figure 3 of the paper.

    Every ``interval`` epochs, and after the last, it logs ``knn_top1`` (percent) and
    ``train_seconds`` to the console and to every visualizer backend, with the number of
    finished iterations as the step, the axis all other curves have.

    Args:
        train_dataloader (dict): The labelled images that vote: ``dataset``, and
            optionally ``batch_size`` (default 256) and ``num_workers`` (default 0). The
            pipeline must be free of augmentation and end with
            ``dict(type='PackSelfSupInputs', algorithm_keys=['gt_label'])``.
        test_dataloader (dict): The labelled images to classify, likewise.
        interval (int): Epochs between two evaluations; 0 turns the monitor off.
            Defaults to 1.
        k (int): Neighbours that vote, clipped to the size of the bank. Defaults to 200.
        temperature (float): Temperature of the votes, above 0. Defaults to 0.07.
        max_train (int, optional): Use this many voting images, spread evenly over the
            dataset. By default all.
        max_test (int, optional): Likewise for the images to classify.
        initial (bool): Whether to evaluate the untrained network first, as epoch 0;
            unreadable images are then found at once. Defaults to True.

    Raises:
        ConfigError: Before training, if a labelled set is unreadable or unlabelled.

    Note:
        Training is bit-identical with and without this hook: the model runs in
        evaluation mode under ``no_grad``, every module's mode is restored, and no
        global random number is drawn. With several ranks each extracts and classifies
        its share, so that none waits at a collective until a timeout; features and hits
        are gathered, and the accuracy is that of a single process with the first rank's
        batch-norm statistics, which are the ones that are saved.
    """

    # before the checkpoint hook, after the logger
    priority = 'LOW'

    def __init__(
        self,
        train_dataloader: dict,
        test_dataloader: dict,
        interval: int = 1,
        k: int = 200,
        temperature: float = 0.07,
        max_train: int | None = None,
        max_test: int | None = None,
        initial: bool = True,
    ) -> None:
        if k < 1 or temperature <= 0:
            raise ValueError(
                f'KNNHook: k must be at least 1 and temperature above 0, got {k} and '
                f'{temperature}.'
            )
        self.train_dataloader = train_dataloader
        self.test_dataloader = test_dataloader
        self.interval = interval
        self.k = k
        self.temperature = temperature
        self.max_train = max_train
        self.max_test = max_test
        self.initial = initial

    def before_train(self, runner: Runner) -> None:
        """Open both labelled sets, and measure the untrained network."""
        if self.interval < 1:
            return
        with keep_random_state():
            self._bank = _build_loader('train', self.train_dataloader, self.max_train)
            self._test = _build_loader('test', self.test_dataloader, self.max_test)
            check_labels(
                *(cast(Subset, x.dataset).dataset for x in (self._bank, self._test))
            )
        if self.initial and runner.iter == 0:
            self._measure(runner, epoch=0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Measure every ``interval`` epochs and after the last."""
        due = self.every_n_epochs(runner, self.interval)
        if self.interval >= 1 and (due or self.is_last_train_epoch(runner)):
            self._measure(runner, epoch=runner.epoch + 1)

    def _measure(self, runner: Runner, epoch: int) -> None:
        start = time.perf_counter()
        with keep_random_state():
            top1 = self._top1(unwrapped(runner.model))
        record = dict(knn_top1=top1)
        seconds = runner.message_hub.get_info('train_seconds')
        if seconds is not None:  # absent without ThroughputHook
            record['train_seconds'] = seconds
        runner.logger.info(
            f'Epoch(knn) [{epoch}]  '
            + '  '.join(f'{name}: {value:.2f}' for name, value in record.items())
            + f'  (measured in {time.perf_counter() - start:.1f} s, not counted)'
        )
        runner.visualizer.add_scalars(
            dict(record, epoch=epoch),
            step=runner.iter,
            file_path=f'{runner.timestamp}.json',
        )

    @torch.no_grad()
    def _top1(self, model: BaseModel) -> float:
        with _buffers_of_first_rank(model.get_submodule('backbone')):
            bank, bank_labels = extract_features(model, self._bank)
            features, labels = extract_features(model, self._test)
        bank, bank_labels = (_gather(x, _size(self._bank)) for x in (bank, bank_labels))
        predictions = knn_classify(
            bank, bank_labels, features, self.k, self.temperature
        )
        hits = _gather((predictions == labels).float(), _size(self._test))
        return 100.0 * hits.mean().item()


@contextmanager
def _buffers_of_first_rank(network: torch.nn.Module) -> Iterator[None]:
    """Use rank 0's buffers: ranks have batch-norm statistics of their own."""
    if get_world_size() == 1:
        yield
        return
    own = [buffer.clone() for buffer in network.buffers()]
    for buffer in network.buffers():
        broadcast(buffer, src=0)
    try:
        yield
    finally:
        for buffer, value in zip(network.buffers(), own):
            buffer.copy_(value)


def _build_loader(name: str, cfg: dict, limit: int | None) -> DataLoader:
    """A loader over this rank's share of an evenly spread subset, in order."""
    cfg = dict(cfg)
    try:
        dataset = spread(host.build(DATASETS, cfg.pop('dataset')), limit)
    except Exception as error:
        reason = str(error).rstrip('.')
        raise ConfigError(
            f"KNNHook cannot use the labelled {name} set: {reason}. Correct the hook's "
            f'{name}_dataloader.dataset, or turn the monitor off with --cfg-options '
            'default_hooks.knn.interval=0'
        ) from error
    defaults = dict(batch_size=256, num_workers=0, collate_fn=default_collate)
    sampler = DefaultSampler(dataset, shuffle=False, seed=0, round_up=True)
    # a generator of its own, or starting the loader would draw from the global one
    return DataLoader(
        dataset, sampler=sampler, generator=torch.Generator(), **{**defaults, **cfg}
    )


def _size(loader: DataLoader) -> int:
    return len(cast(Sized, loader.dataset))


def _gather(share: torch.Tensor, size: int) -> torch.Tensor:
    """All ranks' shares in the dataset's order, without the sampler's padding."""
    return torch.stack(all_gather(share), dim=1).flatten(0, 1)[:size]
