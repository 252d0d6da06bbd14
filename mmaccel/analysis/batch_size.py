"""Finding the largest batch that a device's memory holds."""

import gc
import multiprocessing
import platform
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmaccel.engine.config_reader import argument, class_of
from mmaccel.errors import ConfigError

from .device import device_name
from .memory import limit_memory, whole_peak_mb
from .numerics import Numerics
from .step import StepRunner

STEP = 8  # of batch sizes; matrix units like such multiples
_KILLED = (-9, 137)  # by the system, when memory ran out

Peaks = dict  # exit to MiB


def batch_report(
    path: str,
    cfg: Config,
    numerics: Numerics,
    device: str,
    gpus: int = 1,
    limit_mb: float | None = None,
    most: int = 4096,
    size: int | None = None,
    tell: Callable[[str], object] = print,
) -> dict:
    """Find a config's largest batch: what ``mmaccel batch-size`` prints.

    Args:
        path (str): The config's name in the report.
        cfg (Config): A pretraining config.
        numerics (Numerics): Precision and layout of its step.
        device (str): Torch device.
        gpus (int): GPUs of the training. Defaults to 1.
        limit_mb (float, optional): MiB that may be used; needed except on CUDA, where
            it defaults to all.
        most (int): Largest batch to try. Defaults to 4096.
        size (int, optional): Side of the views. Defaults to the pipeline's.
        tell (Callable): Gets a line per batch that was tried. Defaults to ``print``.

    Raises:
        ConfigError: If not even the smallest batch fits.
    """
    numerics = numerics.resolve(cfg, torch.device(device))
    on_cuda = device.startswith('cuda')
    if on_cuda and limit_mb is not None:
        limit_memory(device, limit_mb)
    peaks: dict[int, Peaks] = {}

    def fits(batch_size: int) -> bool:
        try_batch = peaks_on_cuda if on_cuda else peaks_in_child
        found = try_batch(cfg, batch_size, size, device, numerics)
        peaks[batch_size] = found or {}
        fit = found is not None
        if found is not None and not on_cuda and limit_mb is not None:
            fit = max(found.values()) <= limit_mb
        needs = f'{max(found.values()):.0f} MiB' if found else 'out of memory'
        tell(f'batch {batch_size}: {needs}{"" if fit else ", does not fit"}')
        return fit

    queue = argument(class_of(cfg.model, MODELS), 'queue_len')
    queue_len = cfg.model.get('queue_len', queue and queue.default)
    candidates = batch_candidates(queue_len, gpus, most)
    best = largest_fitting(fits, candidates)
    if best is None:
        raise ConfigError(
            f'not even a batch of {candidates[0]} fits in memory; use smaller images '
            '(--size), --precision bf16 or more memory (--limit-mb)'
        )
    base, rate = cfg.get('auto_scale_lr', {}).get('base_batch_size'), None
    if base is not None:
        rate = float(f'{cfg.optim_wrapper.optimizer.lr * best * gpus / base:.6g}')
    return dict(
        device=device_name(device),
        torch=torch.__version__,
        python=platform.python_version(),
        config=path,
        batch_size=best,
        largest_tried=best == candidates[-1],
        gpus=gpus,
        learning_rate=rate,
        base_batch_size=base,
        peak_memory_mb=peaks[best],
        limit_mb=limit_mb,
        precision=numerics.precision,
        layout=numerics.layout,
        n=len(peaks),
    )


def largest_fitting(
    fits: Callable[[int], bool], candidates: Sequence[int]
) -> int | None:
    """Find the largest candidate that fits, by doubling and then by bisection.

    Args:
        fits (Callable[[int], bool]): Whether a batch fits. What is smaller than one
            that fits is taken to fit, too. A batch is tried once.
        candidates (Sequence[int]): Batch sizes, ascending.

    Returns:
        int, optional: None if not even the smallest fits.
    """
    good, bad = -1, len(candidates)
    probe = 0
    while probe < bad:
        if not fits(candidates[probe]):
            bad = probe
            break
        good = probe
        twice = bisect_left(candidates, 2 * candidates[probe])
        probe = max(probe + 1, min(twice, len(candidates) - 1))
    while bad - good > 1:
        middle = (good + bad) // 2
        if fits(candidates[middle]):
            good = middle
        else:
            bad = middle
    return None if good < 0 else candidates[good]


def batch_candidates(queue_len: int | None, gpus: int, most: int) -> list[int]:
    """Multiples of 8 that fill a queue evenly, where there is one.

    Args:
        queue_len (int, optional): Keys in MoCo's queue, which the batches of all GPUs
            together have to divide.
        gpus (int): Number of GPUs.
        most (int): Largest batch to consider.

    Raises:
        ConfigError: If there is none, with a queue length that has some.
    """
    every = range(STEP, most + 1, STEP)
    chosen = [n for n in every if queue_len is None or queue_len % (n * gpus) == 0]
    if not chosen:
        unit = STEP * gpus
        works = max((queue_len or 0) // unit, 1) * unit
        raise ConfigError(
            f'no multiple of {STEP} images up to {most} a GPU on {gpus} GPU(s) divides '
            f'model.queue_len={queue_len}; use --cfg-options model.queue_len={works}'
        )
    return chosen


def step_peaks(
    cfg: Config, batch_size: int, size: int | None, device: str, numerics: Numerics
) -> Peaks | None:
    """Peak memory of real steps of everything an update may do.

    A first round fills the optimizer's state, so that the second meets all of it.

    Returns:
        dict, optional: MiB by exit; None if the device's memory ran out. CUDA: what
        torch's allocator reserved. CPU: what the whole process had resident.
    """
    try:
        runner = StepRunner(cfg, batch_size, size, device, numerics)
        for _, plan in runner.variants.values():
            runner.step(plan)
        return {
            name: whole_peak_mb(runner, plan)
            for name, (_, plan) in runner.variants.items()
        }
    except (RuntimeError, MemoryError) as error:
        if not _ran_out(error):
            raise
        return None


def peaks_on_cuda(
    cfg: Config, batch_size: int, size: int | None, device: str, numerics: Numerics
) -> Peaks | None:
    """Try a batch in this process and leave the device's memory as it was."""
    peaks = step_peaks(cfg, batch_size, size, device, numerics)
    gc.collect()  # frames of an error hold each other
    torch.cuda.empty_cache()
    return peaks


def peaks_in_child(
    cfg: Config, batch_size: int, size: int | None, device: str, numerics: Numerics
) -> Peaks | None:
    """Try a batch in a process of its own, whose memory it alone explains.

    The system may kill the child where memory runs out, and the search goes on.

    Raises:
        RuntimeError: If the child fails in any other way.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])  # imports once, not a try
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(
        target=_send_peaks,
        args=(
            sender,
            torch.get_num_threads(),
            cfg.to_dict(),
            (batch_size, size, device, numerics),
        ),
    )
    child.start()
    sender.close()
    with suppress(EOFError):  # it died without a word
        result = receiver.recv()
        child.join()
        if isinstance(result, Exception):
            raise result
        return result
    child.join()
    if child.exitcode in _KILLED:
        return None
    raise RuntimeError(
        f'a step with {batch_size} images ended with exit code {child.exitcode}'
    )


def _send_peaks(sender: Any, threads: int, cfg: dict, rest: tuple) -> None:
    import mmaccel  # noqa: F401, registers what the config names

    torch.set_num_threads(threads)
    try:
        sender.send(step_peaks(Config(cfg), *rest))
    except Exception as error:
        sender.send(error)


def _ran_out(error: Exception) -> bool:
    """Whether memory ran out; libraries under torch say so in their own ways."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    signs = ("can't allocate memory", 'out of memory', 'STATUS_ALLOC_FAILED')
    return any(sign in str(error) for sign in signs)
