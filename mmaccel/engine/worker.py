"""How a loader worker begins, and how it ends."""

import multiprocessing
import random
import signal
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch
from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def init_loader_worker(worker_id: int) -> None:
    """Seed a worker's generators, and let it outlive the first signal.

    Schedulers send a signal to every process of a job. The training ends its step and
    saves a checkpoint, for which it needs its workers; a second SIGTERM ends them.

    Args:
        worker_id (int): Number of the worker. Torch has given it a seed of its own.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'SIGUSR1'):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _only_once)


def end_workers_with_process() -> None:
    """Kill loader workers that are left when this process ends, by an error mostly.

    Multiprocessing sends them SIGTERM and waits, which they outlive.
    """
    Finalize(None, _kill_workers, exitpriority=10)


def _kill_workers() -> None:
    workers = [p for p in multiprocessing.active_children() if p.daemon]
    if workers:
        # torch would raise for workers that were killed
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()


def _only_once(number: int, *_: Any) -> None:
    signal.signal(number, signal.SIG_DFL)
