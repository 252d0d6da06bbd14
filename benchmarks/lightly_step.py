"""lightly's MoCo v2 and SimCLR as training steps to be measured beside ours."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision
from mmengine.config import Config
from torch import Tensor, nn

from mmaccel.analysis.device import synchronize
from mmaccel.analysis.memory import bytes_on_device
from mmaccel.analysis.numerics import Numerics
from mmaccel.engine.config_reader import type_name
from mmaccel.errors import ConfigError
from mmaccel.models.plan import StepPlan

#: The release whose documentation the steps follow.
LIGHTLY = '1.6.0'


def lightly_version() -> str | None:
    """Version of lightly here; None without it."""
    try:
        import lightly
    except ImportError:
        return None
    return lightly.__version__


class LightlyRunner:
    """One training step that lightly's documentation spells out, with our sizes.

    lightly gives heads, losses and the moving average; the loop is the user's, and this
    is the one of its examples ``moco.py`` and ``simclr.py``: torchvision's ResNet,
    both views one after the other, no shuffled batch norm. Widths, queue, temperature,
    momentum and the kind of optimizer are those of the upstream config, so that the
    same is computed. Images come normalised and in the layout, as its loader gives
    them: unlike the others it is not charged for that.

    Args:
        cfg (Config): Upstream's config of MoCo v2 or SimCLR.
        images (Sequence[Tensor]): Two views, uint8 (N, 3, H, W), on the device.
        numerics (Numerics): Resolved precision and layout.

    Raises:
        ConfigError: If lightly is not installed or the config is another method's.

    Note:
        Of the interface of ``StepRunner`` it has what timing needs.
    """

    def __init__(
        self, cfg: Config, images: Sequence[Tensor], numerics: Numerics
    ) -> None:
        if lightly_version() is None:
            raise ConfigError(
                f'lightly is not installed; `pip install lightly=={LIGHTLY}`'
            )
        torch.manual_seed(0)
        self.device = images[0].device
        self.numerics = numerics
        kind = type_name(cfg.model)
        if kind not in _METHODS:
            raise ConfigError(
                f'there is no step of lightly for {kind}; compare MoCo or SimCLR'
            )
        layout = torch.contiguous_format
        if numerics.layout == 'channels_last':
            layout = torch.channels_last
        self.model = _METHODS[kind](cfg).to(self.device, memory_format=layout).train()
        mean, std = (
            torch.tensor(cfg.model.data_preprocessor[key], device=self.device)
            for key in ('mean', 'std')
        )
        self.images = [
            ((x.float() - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)).contiguous(
                memory_format=layout
            )
            for x in images
        ]
        self.optimizer = _optimizer(cfg, self.model)
        self._scaler = None
        if numerics.precision == 'fp16':
            self._scaler = torch.cuda.amp.GradScaler()

    def step(self, plan: StepPlan | None = None) -> None:
        """Run one whole training step and wait for the device."""
        with self._autocast():
            loss = self.model(*self.images)
        if self._scaler is None:
            loss.backward()
            self.optimizer.step()
        else:
            self._scaler.scale(loss).backward()
            self._scaler.step(self.optimizer)
            self._scaler.update()
        self.optimizer.zero_grad()
        self.synchronize()

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        synchronize(self.device)

    def resident_bytes(self) -> int:
        """Bytes held between steps: weights, buffers, optimizer state and images."""
        return bytes_on_device(self.model, self.optimizer, self.images)

    def _autocast(self) -> Any:
        dtype = dict(bf16=torch.bfloat16, fp16=torch.float16).get(
            str(self.numerics.precision)
        )
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype)


class _LightlySimCLR(nn.Module):
    def __init__(self, cfg: Config) -> None:
        super().__init__()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        neck = cfg.model.neck
        self.backbone = _resnet(cfg.model.backbone.depth)
        self.projection_head = SimCLRProjectionHead(
            neck.in_channels, neck.hid_channels, neck.out_channels
        )
        self.criterion = NTXentLoss(temperature=cfg.model.head.temperature)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss of two views."""
        vectors = (
            self.projection_head(self.backbone(x).flatten(1)) for x in (first, second)
        )
        return self.criterion(*vectors)


class _LightlyMoCo(nn.Module):
    def __init__(self, cfg: Config) -> None:
        super().__init__()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        model, neck = cfg.model, cfg.model.neck
        self.backbone = _resnet(model.backbone.depth)
        self.projection_head = MoCoProjectionHead(
            neck.in_channels, neck.hid_channels, neck.out_channels
        )
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NTXentLoss(
            temperature=model.head.temperature,
            memory_bank_size=(model.queue_len, model.feat_dim),
        )
        self.momentum = model.momentum

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Move the key encoder and return the loss of two views."""
        from lightly.models.utils import update_momentum

        update_momentum(self.backbone, self.backbone_momentum, m=self.momentum)
        update_momentum(
            self.projection_head, self.projection_head_momentum, m=self.momentum
        )
        query = self.projection_head(self.backbone(first).flatten(1))
        # no parameter here asks for a gradient, so nothing is recorded
        key = self.backbone_momentum(second).flatten(1)
        key = self.projection_head_momentum(key).detach()
        return self.criterion(query, key)


_METHODS: dict[str, Callable[[Config], nn.Module]] = {
    'MoCo': _LightlyMoCo,
    'SimCLR': _LightlySimCLR,
}


def _resnet(depth: int) -> nn.Module:
    """Torchvision's network up to its pooling, as the examples take it."""
    network = torchvision.models.get_model(f'resnet{depth}', weights=None)
    return nn.Sequential(*list(network.children())[:-1])


def _optimizer(cfg: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Build the upstream config's kind of optimizer; LARS is lightly's own."""
    chosen = cfg.optim_wrapper.optimizer
    settings = dict(
        lr=chosen.lr, momentum=chosen.momentum, weight_decay=chosen.weight_decay
    )
    parameters = [p for p in model.parameters() if p.requires_grad]
    if chosen.type.endswith('LARS'):
        from lightly.utils.lars import LARS

        return LARS(parameters, **settings)
    return torch.optim.SGD(parameters, **settings)
