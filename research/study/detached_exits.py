"""A plain training whose exits learn beside it."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmselfsup.registry import HOOKS
from mmselfsup.utils import get_model
from torch import Tensor, nn


@HOOKS.register_module()
class DetachedExitsHook(Hook):
    """Train every exit's projector, and the backbone by the last loss alone.

    With losses summed and the last exit, the backbone's updates are those of the plain
    training, while the projectors of earlier exits learn from maps that carry no
    gradient: what :mod:`research.study.gradients` measures of exits is then not that of
    random projectors.

    Note:
        Replaces the model's ``project`` for the training.
    """

    def before_train(self, runner: Runner) -> None:
        """Detach the maps that projectors of exits before the last see."""
        model = get_model(runner.model)
        project = model.project

        def detached(neck: nn.Module, x: Tensor, stage: int) -> Tensor:
            last = stage == model.num_exits
            return project(neck, x if last else x.detach(), stage)

        model.project = detached
