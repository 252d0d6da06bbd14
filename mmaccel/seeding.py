"""Global random state as a function of a seed and counters."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

#: Streams, so that equal counters of different purposes give independent numbers.
SAMPLE, REPLACEMENT, STEP, PLAN, WINDOW, VIEWS = 1, 2, 3, 4, 5, 6


def derived_seeds(stream: int, *counters: int, count: int = 1) -> list[int]:
    """Seeds of 32 bits that depend on a stream and counters alone.

    Args:
        stream (int): One of this module's streams.
        *counters (int): Non-negative, for example ``(seed, epoch, index)``.
        count (int): Number of seeds. Defaults to 1.
    """
    sequence = np.random.SeedSequence(counters, spawn_key=(stream,))
    return [int(word) for word in sequence.generate_state(count)]


def seed_host(stream: int, *counters: int) -> int:
    """Seed Python's, NumPy's and torch's CPU generator.

    Returns:
        int: The 64-bit seed torch got, for generators of other devices.

    Note:
        ``torch.manual_seed`` would also seed every GPU, which a data loader's worker
        must not touch.
    """
    python, numpy, high, low = derived_seeds(stream, *counters, count=4)
    random.seed(python)
    np.random.seed(numpy)
    seed = (high << 32) + low
    torch.default_generator.manual_seed(seed)
    return seed


def derived_generator(stream: int, *counters: int) -> torch.Generator:
    """CPU generator that depends on a stream and counters alone.

    Every rank and every resumed run gets the same numbers from it, without talking and
    without saved state.

    Args:
        stream (int): One of this module's streams.
        *counters (int): Non-negative, for example ``(seed, iteration, rank)``.
    """
    high, low = derived_seeds(stream, *counters, count=2)
    return torch.Generator().manual_seed((high << 32) + low)


@contextmanager
def keep_random_state() -> Iterator[None]:
    """Restore every global random generator on exit.

    Whatever the body draws from Python, NumPy, torch or the current CUDA device,
    training continues as if it had not run.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda)
