"""Kernels, bytes and waits of a config's steps and its baseline's, without a GPU."""

from collections import Counter

import torch
from mmengine.config import Config

from mmaccel.engine.config import load_config

from .count import Counts
from .fake_cuda import FakeStepRunner
from .numerics import Numerics
from .step_report import BASELINE

_GIB = 2**30
_MOVERS = 10


def count_report(
    path: str,
    cfg: Config,
    baseline: str | None = None,
    batch_size: int = 32,
    size: int | None = None,
    numerics: Numerics | None = None,
) -> dict:
    """Count what steps ask of a GPU: what ``mmaccel step --count`` prints.

    Args:
        path (str): The config's name in the report.
        cfg (Config): A pretraining config.
        baseline (str, optional): Config to compare with. Defaults to the one that
            ``cfg`` names.
        batch_size (int): Images per step and device. Defaults to 32.
        size (int, optional): Side of the views. Defaults to the pipeline's.
        numerics (Numerics, optional): Precision, layout and compilation of the config's
            step. What torch compiles is planned for an A100.

    Returns:
        dict: ``steps`` by exit and ``'baseline'``, each with ``launches``, ``gib``,
        ``waits``, ``our_waits``, ``slow``, ``relaid`` (convolutions whose maps are not
        channels-last) and ``movers``; ``expected`` and ``ratio``,
        weighted by the exits' probabilities.

    Raises:
        ImportError: If this torch has no ``FakeTensorMode``.
    """
    runner = FakeStepRunner(cfg, batch_size, size, numerics)
    steps = {
        name: _counted(runner, variant.plan)
        for name, variant in runner.variants.items()
    }
    probs = {name: variant.probability for name, variant in runner.variants.items()}
    baseline = baseline or cfg.get('baseline')
    if baseline:
        other = FakeStepRunner(load_config(baseline), batch_size, size)
        (variant,) = other.variants.values()
        steps[BASELINE] = _counted(other, variant.plan)
    rows = {name: _row(counts) for name, counts in steps.items()}
    expected = {
        key: sum(p * rows[name][key] for name, p in probs.items())
        for key in ('launches', 'gib')
    }
    return dict(
        config=path,
        baseline=baseline,
        torch=torch.__version__,
        batch_size=batch_size,
        views=[list(image.shape[1:]) for image in runner.images],
        numerics=runner.numerics._asdict(),
        exit_probs=probs,
        steps=rows,
        expected=expected,
        ratio={key: value / rows[BASELINE][key] for key, value in expected.items()}
        if baseline
        else None,
    )


def _counted(runner: FakeStepRunner, plan: object) -> Counts:
    """Counts of a step that is not the first of its kind."""
    for _ in range(2):  # the first makes the optimizer's averages
        runner.step(plan)  # type: ignore[arg-type]
    return runner.counts


def _row(counts: Counts) -> dict:
    return dict(
        launches=counts.launches,
        gib=round(counts.moved / _GIB, 3),
        waits=len(counts.waits),
        our_waits=len(counts.our_waits),
        waits_at=dict(Counter(wait.place for wait in counts.waits)),
        slow=dict(counts.slow),
        relaid=counts.relaid,
        movers={
            name: round(moved / _GIB, 3)
            for name, moved in counts.movers.most_common(_MOVERS)
        },
    )
