"""Wrappers of a model for several processes, side by side in one measurement."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from mmaccel.analysis import StepRunner
from mmaccel.analysis.device import device_name
from mmaccel.analysis.measure import MedianRange
from mmaccel.cli import start
from mmaccel.cli.command import save
from mmaccel.engine.config import load_config
from mmaccel.engine.stagewise_parallel import StagewiseDataParallel


def enter(rank: int, args: argparse.Namespace) -> None:
    """Join the other ranks and measure."""
    start()  # a spawned process of a command has not
    dist.init_process_group(
        'gloo' if args.device == 'cpu' else 'nccl', rank=rank, world_size=args.ranks
    )
    measure(rank, args)
    dist.destroy_process_group()


def measure(rank: int, args: argparse.Namespace) -> None:
    """Time every wrapper on one rank; the first prints."""
    device = args.device if args.device == 'cpu' else f'cuda:{rank}'
    if args.device == 'cpu':
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // args.ranks))
    else:
        torch.cuda.set_device(rank)
    cfg = load_config(args.config)
    if 'queue_len' in cfg.model:  # of the whole batch; its length moves no gradient
        cfg.model.queue_len = 16 * args.batch_size * args.ranks
    options: dict[str, Any] = dict(
        batch_size=args.batch_size, size=args.size, device=device
    )
    baseline = load_config(cfg.baseline)
    if 'queue_len' in cfg.model:
        baseline.model.queue_len = cfg.model.queue_len
    find_unused = bool(baseline.get('find_unused_parameters', False))
    rows = {
        'upstream': Row(StepRunner(baseline, **options), Counted(find_unused)),
        'ours, torch': Row(StepRunner(cfg, **options), Counted(True)),
        'ours, stagewise': Row(StepRunner(cfg, **options), StagewiseDataParallel),
    }
    for number in range(args.rounds + 1):  # the first warms up
        for row in rows.values():
            row.run(keep=number > 0)
    if rank == 0:
        report(args, device, rows)


class Row:
    """A model under a wrapper, and what its steps took."""

    def __init__(self, runner: StepRunner, wrap: Callable[[nn.Module], Any]) -> None:
        self.runner = runner
        self.model = wrap(runner.model)
        self.milliseconds: list[float] = []
        self.megabytes: list[float] = []

    def run(self, keep: bool) -> None:
        """Take one step of every exit; note their expectation."""
        milliseconds = megabytes = 0.0
        for probability, plan in self.runner.variants.values():
            self.runner.use(plan)
            before = self.model.bytes_reduced
            dist.barrier()
            start = time.perf_counter()
            self.model.train_step(self.runner.data(), self.runner.optim_wrapper)
            self.runner.synchronize()
            milliseconds += probability * 1000 * (time.perf_counter() - start)
            megabytes += probability * (self.model.bytes_reduced - before) / 2**20
        if keep:
            self.milliseconds.append(milliseconds)
            self.megabytes.append(megabytes)


class Counted:
    """Makes MMEngine's wrapper, with a count of the bytes it reduces."""

    def __init__(self, find_unused: bool) -> None:
        self.find_unused = find_unused

    def __call__(self, model: nn.Module) -> Any:
        """Wrap a model."""
        wrapper = MMDistributedDataParallel(
            model,
            broadcast_buffers=False,
            find_unused_parameters=self.find_unused,
        )
        wrapper.bytes_reduced = 0

        def reduce(state, bucket):  # torch refuses other annotations than its own
            wrapper.bytes_reduced += bucket.buffer().nbytes
            return allreduce_hook(state, bucket)

        wrapper.register_comm_hook(None, reduce)
        return wrapper


def report(args: argparse.Namespace, device: str, rows: dict[str, Row]) -> None:
    """Print and save."""
    base = rows['upstream']
    figures = {}
    for name, row in rows.items():
        figures[name] = dict(
            reduced_mb=MedianRange(row.megabytes),
            step_ms=MedianRange(row.milliseconds),
            bytes_ratio=MedianRange(
                [a / b for a, b in zip(row.megabytes, base.megabytes)]
            ),
            step_ratio=MedianRange(
                [a / b for a, b in zip(row.milliseconds, base.milliseconds)]
            ),
        )
    print(f'{device_name(device)}, {args.ranks} ranks, n={args.rounds}')
    print(
        f'{"":18}{"MiB per step":>12}{"of upstream":>13}{"ms":>10}{"of upstream":>13}'
    )
    for name, spreads in figures.items():
        print(
            f'{name:18}{spreads["reduced_mb"]["median"]:12.1f}'
            f'{spreads["bytes_ratio"]["median"]:13.3f}'
            f'{spreads["step_ms"]["median"]:10.0f}'
            f'{spreads["step_ratio"]["median"]:13.3f}'
        )
    content = dict(
        device=device_name(device),
        torch=torch.__version__,
        config=args.config,
        batch_size=args.batch_size,
        ranks=args.ranks,
        n=args.rounds,
        rows=figures,
    )
    save(args.json, content)
