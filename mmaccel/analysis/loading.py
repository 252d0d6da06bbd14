"""Measuring what a config's data pipeline delivers, on loader workers and device."""

import itertools
import resource
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, FUNCTIONS, MODELS, init_default_scope
from mmengine.runner import set_random_seed
from torch.utils.data import DataLoader

from mmaccel import host
from mmaccel.engine.config import prepare_config
from mmaccel.engine.config_reader import (
    image_loader,
    pipeline,
    training_set,
    type_name,
)
from mmaccel.errors import ConfigError

from .device import device_name, synchronize
from .measure import MedianRange
from .step import StepRunner


class Delivery(NamedTuple):
    """What one round over some batches took.

    Attributes:
        views (int): Views delivered.
        wall (float): Seconds until the last one was there.
        cpu (float): Seconds of processor time, of this process and its workers.
        augment (float): Seconds that the data preprocessor takes for them: of one
            core's time on the CPU, until it is done on other devices.
        steady (float): Seconds per batch once each worker has delivered one; of all
            batches where there are too few to tell.
    """

    views: int
    wall: float
    cpu: float
    augment: float
    steady: float

    @property
    def all_in(self) -> float:
        """Views per second of one core that also augments and normalises."""
        return self.views / (self.cpu + self.augment)


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
        init_default_scope(host.default_scope(cfg))
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
        preprocessor.setdefault('type', 'AccelDataPreprocessor')
        self.preprocessor = MODELS.build(preprocessor).to(self.device)
        self.batches = batches
        self._epochs = itertools.count()

    def loader(self) -> DataLoader:
        """Return a loader over the batches of one round, of an epoch of its own."""
        epoch, size = next(self._epochs), len(self.dataset)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(epoch))
        wanted = itertools.cycle(order.tolist())
        stamps = [
            self.dataset.stamp(epoch + i // size, next(wanted))
            for i in range(self.batches * self.batch_size)
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
        views, arrived = 0, [start]
        for batch in loader:
            views += sum(len(view) for view in batch['inputs'])
            first = batch if first is None else first
            arrived.append(time.perf_counter())
        wall = time.perf_counter() - start
        own = time.process_time() - own
        # the iterator is gone, its workers have been waited for
        cpu = own + _processor_time(resource.RUSAGE_CHILDREN) - children
        begin = self.workers if self.workers < self.batches else 0
        steady = (arrived[-1] - arrived[begin]) / (self.batches - begin)
        return Delivery(views, wall, cpu, self._augment(first) * self.batches, steady)

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


def loading_report(
    path: str,
    read: Callable[[], Config],
    pipelines: dict[str, bool | None],
    rounds: int = 5,
    step_ms: float | None = None,
    **settings: Any,
) -> dict:
    """Measure pipelines in turn: what ``mmaccel data`` prints.

    Args:
        path (str): The config's name in the report.
        read (Callable): Reads the config anew, for each pipeline.
        pipelines (dict[str, bool | None]): ``fast_views`` of each, ``'pipeline'``
            first; with ``'baseline'`` it is compared.
        rounds (int): Timed rounds, after one that only reads the files. Defaults to 5.
        step_ms (float, optional): Milliseconds of a step; 0 leaves the wait out. By
            default the config's own step is run.
        **settings: Of :class:`LoadingRunner`.

    Note:
        This process uses one thread from now on, as loader workers do.
    """
    _use_one_thread()
    runners = {
        name: LoadingRunner(read(), fast, **settings)
        for name, fast in pipelines.items()
    }
    delivered: dict[str, list[Delivery]] = {name: [] for name in runners}
    for number in range(rounds + 1):
        for name, runner in runners.items():
            delivery = runner.deliver()
            if number:
                delivered[name].append(delivery)
    first = runners['pipeline']
    on_cpu = first.device.type == 'cpu'

    def figures(name: str) -> dict:
        waits = _wait_shares(runners[name], rounds, step_ms)
        every = delivered[name]
        return dict(
            views_per_second=MedianRange([d.views / d.wall for d in every]),
            views_per_second_per_core=MedianRange([d.views / d.cpu for d in every]),
            wait_share=MedianRange(waits) if waits else None,
            augment_ms_per_view=MedianRange([1e3 * d.augment / d.views for d in every]),
            all_in_views_per_second_per_core=(
                MedianRange([d.all_in for d in every]) if on_cpu else None
            ),
        )

    report = dict(
        device=device_name(first.device),
        torch=torch.__version__,
        config=path,
        fast_views=bool(first.cfg.get('fast_views')),
        images=len(first.dataset),
        batch_size=first.batch_size,
        workers=first.workers,
        batches=first.batches,
        n=rounds,
        **figures('pipeline'),
    )
    if 'baseline' in runners:
        pairs = list(zip(delivered['pipeline'], delivered['baseline']))
        per_core = [(a.views / a.cpu) / (b.views / b.cpu) for a, b in pairs]
        all_in = [a.all_in / b.all_in for a, b in pairs]
        report['baseline'] = figures('baseline')
        report['ratio'] = MedianRange(per_core)
        report['ratio_all_in'] = MedianRange(all_in) if on_cpu else None
    return report


def _wait_shares(
    runner: LoadingRunner, rounds: int, step_ms: float | None
) -> list[float]:
    """Share of waiting in each round; none without a step."""
    if step_ms == 0:
        return []
    if step_ms is not None:
        seconds = step_ms / 1000
        return [runner.wait_share(lambda: time.sleep(seconds)) for _ in range(rounds)]
    trained = StepRunner(runner.cfg, runner.batch_size, device=str(runner.device))
    plans = [variant.plan for variant in trained.variants.values()]
    for plan in plans:
        trained.step(plan)  # warm up
    turn = itertools.cycle(plans)
    return [runner.wait_share(lambda: trained.step(next(turn))) for _ in range(rounds)]


def _use_one_thread() -> None:
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
