"""Run a function on several gloo processes and collect what each returns."""

import os
import socket

import torch
import torch.multiprocessing as mp


def run_ranks(function, world_size, tmp_path, *args):
    """Call ``function(rank, *args)`` on each rank; return the results in rank order.

    ``function`` must be importable (a module's own function).
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    mp.spawn(_enter, (function, world_size, port, str(tmp_path), args), world_size)
    return [
        torch.load(os.path.join(tmp_path, f'rank{rank}.pt'), weights_only=False)
        for rank in range(world_size)
    ]


def _enter(rank, function, world_size, port, tmp_path, args):
    os.environ.update(
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
    )
    torch.set_num_threads(1)
    import mmaccel  # noqa: F401

    torch.distributed.init_process_group('gloo')
    try:
        result = function(rank, *args)
        torch.save(result, os.path.join(tmp_path, f'rank{rank}.pt'))
    finally:
        torch.distributed.destroy_process_group()
