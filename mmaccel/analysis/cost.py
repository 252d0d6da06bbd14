"""Counting a step: operations, activation memory and gradients."""

import torch
from mmengine.config import Config

from mmaccel.engine.config import load_config
from mmaccel.models.plan import StepPlan

from .step import StepRunner


def cost_of_step(runner: StepRunner, plan: StepPlan | None = None) -> dict:
    """Count one step's multiply-accumulate operations and activation memory.

    The step is run under torch's own FLOP counter, so what is counted is what runs:
    both encoders, projectors, scoring of windows, logits; forward and backward. Two
    FLOPs are one MAC. Convolutions and matrix products are counted, as usual;
    elementwise work is not.

    Args:
        runner (StepRunner): Its model is run once, without an optimizer step.
        plan (StepPlan, optional): What the step does. None for upstream models.

    Returns:
        dict: ``forward`` and ``backward`` in MACs per image; ``activation_mb``: MiB
        per image that the forward pass keeps for the backward pass; ``gradient_mb``:
        MiB of gradients, which is what ranks reduce.

    Raises:
        RuntimeError: If this torch has no FLOP counter (before 2.1).
    """
    try:
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError as error:
        raise RuntimeError(
            f'counting operations needs torch 2.1 or newer and this is '
            f'{torch.__version__}; use the environment of constraints.txt'
        ) from error

    runner.use(plan)
    kept = _SavedForBackward(runner.model)
    forward, backward = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with forward, torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
        loss = runner.forward()
    with backward:
        loss.backward()
    gradients = [p.grad for p in runner.model.parameters() if p.grad is not None]
    runner.optim_wrapper.zero_grad()
    images = runner.batch_size
    return dict(
        forward=forward.get_total_flops() // 2 // images,
        backward=backward.get_total_flops() // 2 // images,
        activation_mb=round(kept.bytes / images / 2**20, 3),
        gradient_mb=round(
            sum(g.numel() * g.element_size() for g in gradients) / 2**20, 3
        ),
    )


def costs_of_updates(
    cfg: Config, batch_size: int = 2, size: int | None = None
) -> tuple[dict[str, float], dict[str, dict]]:
    """Probability and cost of everything that an update may do, by its name.

    Args: as of :func:`cost_report`.
    """
    runner = StepRunner(cfg, batch_size, size)
    costs = {name: cost_of_step(runner, v.plan) for name, v in runner.variants.items()}
    return {name: v.probability for name, v in runner.variants.items()}, costs


def cost_report(
    path: str,
    cfg: Config,
    baseline: str | None = None,
    batch_size: int = 2,
    size: int | None = None,
) -> dict:
    """Count the steps of a config and of its baseline: what ``mmaccel cost`` prints.

    Args:
        path (str): The config's name in the report.
        cfg (Config): A pretraining config.
        baseline (str, optional): Config to compare with. Defaults to the one that
            ``cfg`` names.
        batch_size (int): Images of the step that is counted; figures are per image.
            Defaults to 2, the fewest that batch norms of vectors accept.
        size (int, optional): Side of the views. Defaults to the pipeline's.
    """
    baseline = baseline or cfg.get('baseline')

    probs, costs = costs_of_updates(cfg, batch_size, size)
    base = None
    if baseline is not None:
        (base,) = costs_of_updates(load_config(baseline), batch_size, size)[1].values()

    def expected(*keys: str) -> float:
        return sum(p * sum(costs[name][k] for k in keys) for name, p in probs.items())

    macs, reduced = expected('forward', 'backward'), expected('gradient_mb')
    base_macs = None if base is None else base['forward'] + base['backward']
    return dict(
        device='cpu',
        torch=torch.__version__,
        config=path,
        batch_size=batch_size,
        n=1,
        unit='MACs per image',
        exit_probs=probs,
        macs={
            name: {key: cost[key] for key in ('forward', 'backward')}
            for name, cost in costs.items()
        },
        activation_mb={name: cost['activation_mb'] for name, cost in costs.items()},
        gradient_mb={name: cost['gradient_mb'] for name, cost in costs.items()},
        expected_gradient_mb=round(reduced, 3),
        expected_macs=round(macs),
        baseline=baseline,
        baseline_cost=base,
        baseline_macs=base_macs,
        ratio=None if base_macs is None else round(macs / base_macs, 4),
        baseline_gradient_mb=None if base is None else base['gradient_mb'],
        gradient_ratio=(
            None if base is None else round(reduced / base['gradient_mb'], 4)
        ),
    )


class _SavedForBackward:
    """Bytes of distinct storages that autograd keeps, parameters left out."""

    def __init__(self, model: torch.nn.Module) -> None:
        owned = [*model.parameters(), *model.buffers()]
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in owned}
        self.bytes = 0

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor

    def unpack(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor
