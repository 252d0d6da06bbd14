"""A norm layer between a backbone and the heads of a downstream model."""

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ExtraNorm(BaseModule):
    """One norm layer for each map that a backbone hands on.

    Contrastive features are not scaled like supervised ones, so heads and learning
    rates made for the latter do not fit them. The paper adds "an additional BN layer
    after the backbone" for detection and segmentation (Section 4.2, Appendix A), for
    frozen and unfrozen backbones alike. Other packages' configs name it
    ``ExtraNorm``.

    Args:
        in_channels (Sequence[int]): Channels of each map, in the order of the
            backbone's ``out_indices``.
        norm_cfg (dict, optional): The layer. Defaults to ``dict(type='SyncBN')``,
            whose affine parameters are trained.
        init_cfg (dict or list[dict], optional): Initialization config. Defaults to
            None, which is weight 1 and bias 0.

    Shape:
        x: n maps (N, C_i, H_i, W_i); returns: the same shapes.

    Raises:
        ValueError: If the backbone hands on another number of maps: a layer without
            a map would stay without gradient.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = dict(type='SyncBN') if norm_cfg is None else norm_cfg
        self.norms = nn.ModuleList(
            build_norm_layer(norm_cfg, channels)[1] for channels in in_channels
        )

    def forward(self, x: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Normalise each map."""
        if len(x) != len(self.norms):
            raise ValueError(
                f'ExtraNorm has {len(self.norms)} layer(s) but the backbone hands on '
                f'{len(x)} map(s); make in_channels as long as its out_indices'
            )
        return tuple(norm(one) for norm, one in zip(self.norms, x))
