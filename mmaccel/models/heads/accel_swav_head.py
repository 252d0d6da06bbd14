"""One SwAV loss, with its prototypes and queue, per exit."""

import copy

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmaccel import host


@MODELS.register_module()
class AccelSwAVHead(BaseModule):
    """Upstream's ``SwAVHead`` with one loss, and so one set of prototypes, per exit.

    Args:
        loss (dict): Config of an ``AccelSwAVLoss``, the template of all exits' losses.
        num_exits (int): Number of exits. Defaults to 4.

    Attributes:
        losses (ModuleList): One loss per exit.
    """

    def __init__(self, loss: dict, num_exits: int = 4) -> None:
        super().__init__()
        self.losses = nn.ModuleList(
            host.build(MODELS, copy.deepcopy(loss)) for _ in range(num_exits)
        )

    def forward(self, pred: Tensor, exit_stage: int | None = None) -> Tensor:
        """Compute the loss of one exit, by default the last.

        Args:
            pred (Tensor): (V * N, D) unit vectors, view by view.
            exit_stage (int, optional): Counted from 1.
        """
        stage = len(self.losses) if exit_stage is None else exit_stage
        return self.losses[stage - 1](pred)
