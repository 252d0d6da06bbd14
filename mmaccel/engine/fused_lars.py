"""LARS without one device synchronisation per parameter."""

import itertools
from collections.abc import Iterable
from typing import Any, TypeAlias

import torch
from mmengine.registry import OPTIMIZERS
from torch import Tensor
from torch.optim import Optimizer

from mmaccel.models.utils.transfer import to_device

Tensors: TypeAlias = list[Tensor] | tuple[Tensor, ...]

#: What an update reads of a group.
_SETTINGS = (
    'lr',
    'momentum',
    'weight_decay',
    'dampening',
    'eta',
    'nesterov',
    'lars_exclude',
)


@OPTIMIZERS.register_module()
class FusedLARS(Optimizer):
    """LARS (layer-wise adaptive rates), all parameters of equal settings at once.

    The hosts' LARS copies two norms per parameter to the host, some 300
    synchronisations per update of ResNet-50. Here the norms stay on the device. The
    update is theirs up to the rounding of the rate, which they compute in double
    precision, and so is the state dict (You et al. 2017, Algorithm 1).

    Args:
        params (Iterable): Parameters, or groups of them. A group with
            ``lars_exclude=True`` gets plain SGD.
        lr (float): Learning rate, 0 or more.
        momentum (float): 0 or more. Defaults to 0.
        weight_decay (float): L2 penalty, 0 or more. Defaults to 0.
        dampening (float): Of momentum. Defaults to 0.
        eta (float): Trust coefficient, 0 or more. Defaults to 0.001.
        nesterov (bool): Nesterov momentum. Defaults to False.
        eps (float): Against division by zero. Defaults to 1e-8.

    Raises:
        ValueError: For a value out of its range, or Nesterov momentum with dampening
            or without momentum.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0,
        weight_decay: float = 0,
        dampening: float = 0,
        eta: float = 0.001,
        nesterov: bool = False,
        eps: float = 1e-8,
    ) -> None:
        settings = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eta=eta)
        for name, value in settings.items():
            if value < 0:
                raise ValueError(f'{name}={value} is not possible; use 0 or more')
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError('nesterov=True needs momentum > 0 and dampening=0')
        self.eps = eps
        super().__init__(params, dict(settings, dampening=dampening, nesterov=nesterov))

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in _merged(self.param_groups):
            params = [p for p in group['params'] if p.grad is not None]
            if params:
                self._update(group, params)
        return loss

    def _update(self, group: dict, params: list[Tensor]) -> None:
        gradients = [p.grad for p in params if p.grad is not None]  # all have one
        rates = self._rates(group, params, gradients)
        steps: Tensors = torch._foreach_add(
            gradients, params, alpha=group['weight_decay']
        )
        if isinstance(rates, list):
            torch._foreach_mul_(steps, rates)
        else:
            steps = scaled(steps, rates)
        if group['momentum']:
            steps = self._with_momentum(group, params, steps)
        torch._foreach_sub_(params, steps)

    def _rates(
        self, group: dict, params: list[Tensor], gradients: list[Tensor]
    ) -> list[float] | Tensor:
        if group['lars_exclude']:
            return [group['lr']] * len(params)
        weight = torch.stack(torch._foreach_norm(params)).double()
        gradient = torch.stack(torch._foreach_norm(gradients)).double()
        local = (
            group['eta']
            * weight
            / (gradient + group['weight_decay'] * weight + self.eps)
        )
        usable = (weight != 0) & (gradient != 0)
        local = torch.where(usable, local, torch.ones_like(local))
        return group['lr'] * local

    def _with_momentum(
        self, group: dict, params: list[Tensor], steps: Tensors
    ) -> Tensors:
        first = [i for i, p in enumerate(params) if not self.state[p]]
        for i in first:
            self.state[params[i]]['momentum_buffer'] = torch.zeros_like(params[i])
        buffers = [self.state[p]['momentum_buffer'] for p in params]
        torch._foreach_mul_(buffers, group['momentum'])
        torch._foreach_add_(buffers, steps, alpha=1 - group['dampening'])
        for i in first:  # the first step is taken whole, whatever the dampening
            buffers[i].copy_(steps[i])
        if group['nesterov']:
            return torch._foreach_add(steps, buffers, alpha=group['momentum'])
        return buffers


def scaled(tensors: Tensors, factors: Tensor) -> Tensors:
    """Multiply each tensor by its own factor on the device, in few kernels.

    CUDA has no fused kernel for tensors times scalars of the device: there the tensors
    are laid one behind the other.

    Args:
        tensors (Sequence[Tensor]): Without gaps in memory, of one type.
        factors (Tensor): (len(tensors),).

    Returns:
        Sequence[Tensor]: The same shapes and strides.
    """
    if factors.device.type == 'cpu':
        torch._foreach_mul_(tensors, list(factors.unbind()))
        return tensors
    sizes = [x.numel() for x in tensors]
    flat = torch.cat([x.as_strided((x.numel(),), (1,)) for x in tensors])
    lengths = to_device(torch.tensor(sizes), factors.device)
    flat *= factors.to(flat.dtype).repeat_interleave(lengths, output_size=sum(sizes))
    starts = itertools.accumulate([0, *sizes])
    return [
        flat.as_strided(x.shape, x.stride(), start) for x, start in zip(tensors, starts)
    ]


def _merged(groups: list[dict]) -> list[dict]:
    """Groups of equal settings as one, in the order of the first of each.

    ``paramwise_cfg`` makes a group of every parameter; most differ in nothing else.
    The optimizer's own groups are left alone, for schedulers and checkpoints.
    """
    merged: list[dict] = []
    for group in groups:
        settings = {key: group.get(key) for key in _SETTINGS}
        for other in merged:
            if all(other[key] == value for key, value in settings.items()):
                other['params'] = [*other['params'], *group['params']]
                break
        else:
            merged.append({**settings, 'params': group['params']})
    return merged
