"""Backbones cut into stages, and passes that run through them as far as is asked."""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from .backbones import last_map, stage_names, view_with
from .norms import counted_together, folded_norms
from .skipping import train_only

Stage = Callable[[Tensor], Tensor]


def split_stages(
    backbone: nn.Module,
    blocks: Collection[int] | None = None,
    folded: int = 0,
) -> list[nn.Module]:
    """Cut a backbone into its stages, the stem being part of the first.

    The first stage is upstream's own ``forward`` run on a shallow view of the
    backbone in which the later stages are identities, so no forward is written a
    second time and every stem works. The views share all parameters, buffers and
    modules; the backbone itself is not changed. Composing the stages equals
    ``backbone(x)[-1]``.

    Args:
        backbone (nn.Module): Any class with a stem and ``layer1`` ... ``layerN``
            whose forward returns its last map (or a tuple that ends with it).
        blocks (Collection[int], optional): Residual blocks, counted from 0 through the
            network, that get a gradient; the residual branches of the others are
            computed without one. Defaults to all.
        folded (int): Number of stages, from the first on, that run as
            :func:`folded_norms` of them. Defaults to 0.

    Returns:
        list[nn.Module]: N modules, from a map (N, C, H, W) to the next each.
    """
    names = stage_names(backbone)
    stages = [getattr(backbone, name) for name in names]
    if blocks is not None:
        first_block = 0
        for i, stage in enumerate(stages):
            stages[i] = train_only(stage, blocks, first_block)
            first_block += len(stage)
    stages[0] = view_with(
        backbone, {names[0]: stages[0], **{name: nn.Identity() for name in names[1:]}}
    )
    stages[:folded] = map(folded_norms, stages[:folded])
    return [_LastMap(stages[0]), *stages[1:]]


class _LastMap(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        return last_map(self.backbone(x))


def counting_together(
    stage: nn.Module, compiled: Callable[[nn.Module], Stage] | None = None
) -> Stage:
    """A stage whose batch norms count their batches in one kernel.

    Args:
        stage (nn.Module): From :func:`split_stages`.
        compiled (Callable, optional): Makes a compiled function of the stage, in which
            the counts do not appear. Defaults to None, the stage as it is.
    """
    run = stage if compiled is None else compiled(stage)

    def counted(x: Tensor) -> Tensor:
        with counted_together(stage, once=compiled is not None):
            return run(x)

    return counted


class StagePass:
    """One batch on its way through a backbone, stage by stage.

    Args:
        stages (Sequence[Callable]): From :func:`split_stages`.
        x (Tensor): Images (N, C, H, W).
        record_from (int): First stage that autograd records, counted from 1; the maps
            of earlier stages carry no gradient. Defaults to 1.

    Attributes:
        x (Tensor): The latest map. A window of it may be put in its place before the
            pass goes on.
    """

    def __init__(
        self, stages: Sequence[Stage], x: Tensor, record_from: int = 1
    ) -> None:
        self.x = x
        self._stages = stages
        self._record_from = record_from
        self._done = 0

    def run_to(self, stop: int) -> Iterator[tuple[int, Tensor]]:
        """Run the stages that are left up to ``stop``; later ones are not computed.

        Args:
            stop (int): Number of the last stage to run.

        Yields:
            tuple[int, Tensor]: Each stage's number, from 1, and its map (N, C, H, W).
        """
        while self._done < stop:
            recorded = torch.is_grad_enabled() and self._done + 1 >= self._record_from
            with torch.set_grad_enabled(recorded):
                self.x = self._stages[self._done](self.x)
            self._done += 1
            yield self._done, self.x
