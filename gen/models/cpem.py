"""The condition path on the low-resolution grid, as the EDiffSR paper draws it (CPEM).

The public code has no such path; the paper shows where it sits and what enters, not its inner layout. Ours: the low-resolution picture and
the diffusion sample, folded to the low-resolution grid by space-to-depth, are joined by a 3 x 3 convolution, refined by residual channel
attention, and unfolded again by a 1 x 1 convolution and a pixel shuffle. It works on 1 / scale**2 of the pixels. The unfolding convolution
starts at zero: the path adds nothing until trained.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, cat, nn

from .eanet_blocks import ResidualChannelAttention
from .pooling import ContextPool


class ConditionPath(nn.Module):
    """CPEM: features for the first layer of the network from the low-resolution grid."""

    def __init__(self, bands: int, channels: int, inner: int, blocks: int, scale: int, local_size: int | None) -> None:
        """Build the path.

        Args:
            bands: Bands C of the picture.
            channels: Width of the result.
            inner: Width on the low-resolution grid.
            blocks: Residual channel attention blocks.
            scale: Full-resolution pixels per low-resolution pixel side.
            local_size: Pooling window in full-resolution pixels, or None for global means.
        """
        super().__init__()
        self.scale = scale
        self.fold = nn.Conv2d(bands * (1 + scale * scale), inner, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualChannelAttention(inner, ContextPool(local_size, scale)) for _ in range(blocks))
        self.unfold = nn.Conv2d(inner, channels * scale * scale, 1)
        self.reset_output()

    def reset_output(self) -> None:
        """Zero the last layer, so that the path contributes nothing."""
        for parameter in self.unfold.parameters():
            nn.init.zeros_(parameter)

    def forward(self, sample: Tensor, low: Tensor) -> Tensor:
        """Features of the condition.

        Args:
            sample: ``[B, C, H, W]``, H and W multiples of the scale.
            low: ``[B, C, H / scale, W / scale]``.

        Returns:
            ``[B, channels, H, W]``.
        """
        value = self.fold(cat([low, F.pixel_unshuffle(sample, self.scale)], dim=1))
        for block in self.blocks:
            value = block(value)
        return F.pixel_shuffle(self.unfold(value), self.scale)
