"""One projector per exit."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmaccel import host


@MODELS.register_module()
class IntermediateNeck(BaseModule):
    """Projection heads after every stage, each of upstream's own class.

    The paper puts "three auxiliary heads after the three blocks" beside the usual
    one (Section 4). A config turns upstream's neck into this one by two lines; the
    other arguments stay as they were and serve as the template of every projector.

    Args:
        in_channels (Sequence[int]): Channels after each stage, for example
            (256, 512, 1024, 2048) for a ResNet-50. Its length is the number of exits.
        projector (str): Registered upstream neck. Defaults to ``'MoCoV2Neck'``; MoCo
            v1 uses ``'LinearNeck'``, SimCLR ``'NonLinearNeck'``.
        init_cfg (dict or list[dict], optional): Initialization config. Defaults to
            None, which leaves it to the projectors.
        **template: The projector's other arguments, under upstream's names. A list
            or tuple as long as ``in_channels`` gives one value per exit.

    Raises:
        ValueError: If ``in_channels`` is a single number.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        projector: str = 'MoCoV2Neck',
        init_cfg: dict | list[dict] | None = None,
        **template: Any,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(in_channels, int):
            raise ValueError(
                f'IntermediateNeck got in_channels={in_channels}; give the channels '
                'after every stage, such as in_channels=(256, 512, 1024, 2048)'
            )
        self.in_channels = tuple(in_channels)
        self.projectors = nn.ModuleList(
            host.build(
                MODELS,
                dict(
                    type=projector,
                    in_channels=channels,
                    **{key: self._pick(value, i) for key, value in template.items()},
                ),
            )
            for i, channels in enumerate(self.in_channels)
        )

    @property
    def num_exits(self) -> int:
        """Number of stages that have a projector."""
        return len(self.projectors)

    def forward(self, x: tuple[Tensor], exit_stage: int | None = None) -> list[Tensor]:
        """Project the map of one stage.

        Args:
            x (tuple[Tensor]): One map (N, C, H, W), in a tuple as upstream's necks
                take it.
            exit_stage (int, optional): Stage the map comes from, counted from 1.
                Defaults to the last, which is what upstream's neck does.

        Returns:
            list[Tensor]: One tensor (N, D).
        """
        stage = self.num_exits if exit_stage is None else exit_stage
        z = self.projectors[stage - 1](x)
        return [z] if isinstance(z, Tensor) else list(z)  # MMPretrain's SwAVNeck

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take the other host's names: its SwAVNeck calls ``bn`` what this calls
        ``norm``, or the other way round.
        """
        for i, projector in enumerate(self.projectors):
            for mine, other in (('norm', 'bn'), ('bn', 'norm')):
                if not hasattr(projector, mine) or hasattr(projector, other):
                    continue
                old = f'{prefix}projectors.{i}.{other}.'
                for key in [key for key in state_dict if key.startswith(old)]:
                    new = f'{prefix}projectors.{i}.{mine}.{key[len(old) :]}'
                    state_dict[new] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _pick(self, value: Any, exit_index: int) -> Any:
        per_exit = isinstance(value, (list, tuple)) and len(value) == len(
            self.in_channels
        )
        return value[exit_index] if per_exit else value
