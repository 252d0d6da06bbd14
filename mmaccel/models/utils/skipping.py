"""Residual blocks whose gradient passes along the shortcut alone (Section 4.3)."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from .backbones import view_with


class _WithoutGradient(nn.Module):
    """A module's forward pass, unrecorded."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


def train_only(
    stage: nn.Module, blocks: Collection[int], first_block: int
) -> nn.Module:
    """View of a stage in which only some blocks' residual branches get a gradient.

    Args:
        stage (nn.Module): Its children are residual blocks.
        blocks (Collection[int]): Blocks that get one, counted through the network.
        first_block (int): Number of the stage's first block.
    """
    children = {
        name: block if first_block + i in blocks else _shortcut_only(block)
        for i, (name, block) in enumerate(stage.named_children())
    }
    return view_with(stage, children)


def _shortcut_only(block: nn.Module) -> nn.Module:
    """View of a residual block whose gradient passes along the shortcut alone."""
    residual = {
        name: _WithoutGradient(child)
        for name, child in block.named_children()
        if name != 'downsample' and next(child.parameters(), None) is not None
    }
    return view_with(block, residual)
