"""Measuring what a config's data pipeline delivers, on loader workers and device."""

from __future__ import annotations

import itertools
import resource
import time
from typing import Callable, NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import FUNCTIONS, init_default_scope
from mmengine.runner import set_random_seed
from mmselfsup.registry import DATASETS, MODELS
from torch.utils.data import DataLoader

from mmaccel.engine.config import prepare_config
from mmaccel.engine.config_reader import (
    image_loader,
    pipeline,
    training_set,
    type_name,
)
from mmaccel.errors import ConfigError

from .device import synchronize


class Delivery(NamedTuple):
    """What one round over some batches took.

    Attributes:
        views (int): Views delivered.
        wall (float): Seconds until the last one was there.
        cpu (float): Seconds of processor time, of this process and its workers.
        augment (float): Seconds that the data preprocessor takes for them: of one
            core's time on the CPU, until it is done on other devices.
    """

    views: int
    wall: float
    cpu: float
    augment: float


class LoadingRunner:
    """A config's training data and data preprocessor, as training builds them.

    Args:
        cfg (Config): A pretraining config, as read.
        fast (bool, optional): ``fast_views``; the config's own by default.
        images (str, optional): Folder of images in place of the config's data set.
        batch_size (int, optional): The config's by default.
        batches (int): Batches a round. Defaults to 8.
        workers (int): Loader workers; 0 loads in this process. Defaults to 0.
        device (str): Where the preprocessor computes. Defaults to ``'cpu'``.

    Raises:
        ConfigError: If there is no image to load.

    Attributes:
        cfg (Config): The config, prepared.
    """

    def __init__(
        self,
        cfg: Config,
        fast: bool | None = None,
        images: str | None = None,
        batch_size: int | None = None,
        batches: int = 8,
        workers: int = 0,
        device: str = 'cpu',
    ) -> None:
        init_default_scope('mmselfsup')
        self.cfg = cfg
        if fast is not None:
            cfg.fast_views = fast
        if images is not None:
            cfg.train_dataloader.dataset = ConfigDict(
                type='UnlabelledFolder',
                data_root=images,
                pipeline=_pipeline(cfg),
            )
        cfg.train_dataloader.num_workers = workers
        prepare_config(cfg)
        loader = cfg.train_dataloader
        self.batch_size = batch_size or loader.batch_size
        self.workers = workers
        self.device = torch.device(device)
        self.dataset = DATASETS.build(loader.dataset)
        if len(self.dataset) == 0:
            raise ConfigError('the data set is empty; name a folder with --images')
        self._collate = FUNCTIONS.get(loader.collate_fn.type)
        self._pin = bool(loader.get('pin_memory')) and self.device.type == 'cuda'
        preprocessor = dict(cfg.model.get('data_preprocessor') or {})
        preprocessor.setdefault('type', 'SelfSupDataPreprocessor')
        self.preprocessor = MODELS.build(preprocessor).to(self.device)
        self._batches = batches
        self._epochs = itertools.count()

    def loader(self) -> DataLoader:
        """Return a loader over the batches of one round, of an epoch of its own."""
        epoch, size = next(self._epochs), len(self.dataset)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(epoch))
        wanted = itertools.cycle(order.tolist())
        stamps = [
            self.dataset.stamp(epoch + i // size, next(wanted))
            for i in range(self._batches * self.batch_size)
        ]
        chunks = [
            stamps[i : i + self.batch_size]
            for i in range(0, len(stamps), self.batch_size)
        ]
        return DataLoader(
            self.dataset,
            batch_sampler=chunks,  # type: ignore[arg-type]
            num_workers=self.workers,
            collate_fn=self._collate,
            pin_memory=self._pin,
        )

    def deliver(self) -> Delivery:
        """Load one round's batches and augment the first of them."""
        loader = self.loader()
        first = None
        children = _processor_time(resource.RUSAGE_CHILDREN)
        own, start = time.process_time(), time.perf_counter()
        views = 0
        for batch in loader:
            views += sum(len(view) for view in batch['inputs'])
            first = batch if first is None else first
        wall = time.perf_counter() - start
        own = time.process_time() - own
        # the iterator is gone, its workers have been waited for
        cpu = own + _processor_time(resource.RUSAGE_CHILDREN) - children
        return Delivery(views, wall, cpu, self._augment(first) * self._batches)

    def _augment(self, batch: dict | None, repeats: int = 3) -> float:
        """Seconds a batch; on the CPU of processor time, as others may want it too."""
        clock = time.process_time if self.device.type == 'cpu' else time.perf_counter
        synchronize(self.device)
        start = clock()
        for _ in range(repeats):
            self.preprocessor(batch, True)
        synchronize(self.device)
        return (clock() - start) / repeats

    def wait_share(self, step: Callable[[], object]) -> float:
        """Share of the time that a training spends waiting for its data.

        Args:
            step (Callable): Runs a training step and waits for the device; it stands
                for all that a step does with a batch, augmentation included.
        """
        batches = iter(self.loader())
        next(batches)  # the workers start once a run
        waited = worked = 0.0
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            loaded = time.perf_counter()
            if batch is None:
                return waited / (waited + worked)
            step()
            waited += loaded - start
            worked += time.perf_counter() - loaded


def use_one_thread() -> None:
    """Let a process stand for a core, as loader workers do."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    set_random_seed(0)


def _processor_time(whose: int) -> float:
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def _pipeline(cfg: Config) -> list[dict]:
    """The training's pipeline, which may begin with arrays, for a folder of files."""
    transforms = pipeline(training_set(cfg))
    if type_name(transforms[0]) == 'MultiView':
        transforms.insert(0, image_loader(cfg))
    return transforms
