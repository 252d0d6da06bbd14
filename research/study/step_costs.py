"""What the steps of declared variants cost, relative to a plain baseline's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmaccel.analysis.cost import cost_of_step
from mmaccel.analysis.measure import MedianRange, Timed, ratios, time_steps
from mmaccel.analysis.numerics import Numerics
from mmaccel.analysis.step import StepRunner
from mmaccel.engine.config_reader import hooks
from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically
from mmaccel.hardware import processor_abilities, processor_name
from mmaccel.models.plan import StepPlan

from .grid import Run
from .speedup import OPERATIONS, TIME

_BASELINE = 'baseline'


def build_step(run: Run) -> StepRunner:
    """A run's step at its own batch, precision and memory layout, on the CPU."""
    cfg = run.build()
    numerics = Numerics(run.amp, _layout(cfg))
    return StepRunner(cfg, cfg.train_dataloader.batch_size, numerics=numerics)


def count_operations(run: Run, step: StepRunner, baseline_macs: int) -> dict:
    """Operations of everything that an update may do, weighted by the schedule.

    Returns:
        dict: ``width`` and ``batch_size``; ``shares`` of the updates and ``macs`` per
        image of each thing that an update may do; ``baseline_macs``; ``operations``,
        the ratio of the expected number to the baseline's.
    """
    shares = {name: v.probability for name, v in step.variants.items()}
    macs = {name: _macs(step, v.plan) for name, v in step.variants.items()}
    expected = sum(share * macs[name] for name, share in shares.items())
    return dict(
        width=run.width,
        batch_size=step.batch_size,
        shares={name: round(share, 6) for name, share in shares.items()},
        macs=macs,
        baseline_macs=baseline_macs,
        **{OPERATIONS: round(expected / baseline_macs, 4)},
    )


def time_step(
    step: StepRunner, baseline: StepRunner, rounds: int, warmup: int = 2
) -> dict:
    """Time everything that an update may do, and the baseline's step, in turn.

    Args:
        step (StepRunner): The variant's.
        baseline (StepRunner): The plain baseline's.
        rounds (int): Timed rounds, 1 or more.
        warmup (int): Rounds before, not timed. Defaults to 2.

    Returns:
        dict: ``n``, the rounds; ``step_ms`` and ``baseline_ms``; ``time``, the ratio
        within each round of the expected step, weighted by the schedule, to the
        baseline's. Times and ratio are medians with their range.
    """
    steps = [Timed(name, step, v.plan) for name, v in step.variants.items()]
    times = time_steps([Timed(_BASELINE, baseline), *steps], rounds, warmup)
    base = times.pop(_BASELINE)
    expected = [
        sum(v.probability * times[name][i] for name, v in step.variants.items())
        for i in range(rounds)
    ]
    return dict(
        n=rounds,
        step_ms={name: MedianRange(values) for name, values in times.items()},
        baseline_ms=MedianRange(base),
        **{TIME: ratios(expected, base)},
    )


def measure_variants(
    variants: Mapping[str, tuple[Run, Run]], path: str, rounds: int = 0
) -> None:
    """Count and time variants; add each to a file as soon as it is measured.

    Args:
        variants (Mapping[str, tuple]): From :func:`research.study.grid.read_variants`.
        path (str): The file. A variant that it has timed is timed again only if it
            does other operations now.
        rounds (int): Timed rounds; 0 counts operations alone. Defaults to 0.

    Raises:
        ConfigError: If the file has times of another machine, torch or number of
            threads.
    """
    file = json.loads(Path(path).read_text()) if Path(path).is_file() else {}
    setting = _setting() if rounds else {}
    known = {name: file.get(name) for name in setting}
    if file and known != setting:
        raise ConfigError(
            f'{path} has measurements of {known}, and this is {setting}; name another '
            'file with --out'
        )
    entries = file.get('variants', {})
    baselines: dict[str, tuple[StepRunner, int]] = {}
    for name, (run, plain) in variants.items():
        if plain.config not in baselines:
            built = build_step(plain)
            baselines[plain.config] = built, _macs(built, None)
        baseline, macs = baselines[plain.config]
        step = build_step(run)
        counted = count_operations(run, step, macs)
        known = entries.get(name, {})
        if known.items() >= counted.items() and (not rounds or TIME in known):
            continue
        entries[name] = counted
        if rounds:
            timed = time_step(step, baseline, rounds)
            entries[name].update(timed, load=round(os.getloadavg()[0], 2))
        print(name, entries[name][OPERATIONS], entries[name].get(TIME, ''), flush=True)
        text = json.dumps({**file, **setting, 'variants': entries}, indent=1)
        write_atomically(path, f'{text}\n'.encode())


def _setting() -> dict[str, Any]:
    return dict(
        device=processor_name('cpu'),
        abilities=processor_abilities(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def _layout(cfg: Config) -> str:
    """Upstream's algorithms get their layout from a hook, which a step lacks."""
    return 'channels_last' if any(hooks(cfg, 'ChannelsLastHook')) else 'config'


def _macs(step: StepRunner, plan: StepPlan | None) -> int:
    cost = cost_of_step(step, plan)
    return cost['forward'] + cost['backward']
