"""The layers of `EANet`: gate, channel norm, efficient activation block, residual channel attention.

Parameter names are those of the published EDiffSR checkpoints.
"""

# Letters: b batch, c channels, h height, w width, e width of the time embedding.

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pooling import ContextPool

NORM_EPS = 1e-5


class SimpleGate(nn.Module):
    """Product of the two halves of the channels (Chen et al. 2022, NAFNet)."""

    def forward(self, value: Tensor) -> Tensor:
        """``[b, 2c, ...]`` to ``[b, c, ...]``."""
        first, second = value.chunk(2, dim=1)
        return first * second


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel, with a gain ``g`` and no bias.

    The published code widens its epsilon from 1e-5 to 1e-3 in half precision. Statistics are always taken in float32 here, hence one
    epsilon.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, value: Tensor) -> Tensor:
        """Normalise ``[b, c, h, w]``; the result is stored channels last."""
        last = value.permute(0, 2, 3, 1)
        return F.layer_norm(last, last.shape[-1:], self.g.flatten(), None, NORM_EPS).permute(0, 3, 1, 2)


class PooledAttention(nn.Sequential):
    """Pointwise layers on pooled means, brought back to the pixels. Child 0 is the pool, so the convolutions keep their published
    numbers.
    """

    def __init__(self, pool: ContextPool, *layers: nn.Module) -> None:
        super().__init__(pool, *layers)

    def forward(self, value: Tensor) -> Tensor:
        """Weights ``[b, c, 1, 1]`` or ``[b, c, h, w]`` for ``value`` ``[b, c, h, w]``."""
        weights = value
        for layer in self:
            weights = layer(weights)
        return cast(ContextPool, self[0]).spread(weights, value.shape[2], value.shape[3])


class TimeHead(nn.Sequential):
    """Shift and scale of both halves of a block from the time embedding."""

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__(SimpleGate(), nn.Linear(embedding // 2, 4 * channels))

    def forward(self, embedding: Tensor) -> Tensor:
        """``[b, e]`` to ``[b, 4c, 1, 1]``: shift and scale of the token half, shift and scale of the channel half."""
        return super().forward(embedding)[:, :, None, None]


class EfficientActivationBlock(nn.Module):
    """One EAB: mixes pixels, then channels; both halves start as the identity (``beta`` and ``gamma`` are zero).

    x += beta * conv3(sca(u) * u), u = gate(dw3x3(conv1(modulate(norm1 x)))), and x += gamma * conv5(gate(conv4(modulate(norm2 x)))).
    """

    def __init__(self, channels: int, embedding: int, pool: ContextPool) -> None:
        """Build the block.

        Args:
            channels: Width c.
            embedding: Width e of the time embedding.
            pool: Of the simplified channel attention.
        """
        super().__init__()
        self.mlp = TimeHead(embedding, channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.sca = PooledAttention(pool, nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.gate = SimpleGate()
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.norm1 = ChannelNorm(channels)
        self.norm2 = ChannelNorm(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, value: Tensor, embedding: Tensor) -> Tensor:
        """``[b, c, h, w]`` and ``[b, e]`` to ``[b, c, h, w]``."""
        shift_a, scale_a, shift_f, scale_f = self.mlp(embedding).chunk(4, dim=1)
        mixed = self.mix(self.norm1(value) * (1 + scale_a) + shift_a)
        value = value + self.conv3(mixed) * self.beta
        channels = self.gate(self.conv4(self.norm2(value) * (1 + scale_f) + shift_f))
        return value + self.conv5(channels) * self.gamma

    def mix(self, value: Tensor) -> Tensor:
        """Depth-wise mixing, gate and channel attention of the token half, ``[b, c, h, w]`` in and out."""
        value = self.gate(self.conv2(self.conv1(value)))
        return value * self.sca(value)


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation weights times the input (Zhang et al. 2018, RCAN)."""

    def __init__(self, channels: int, squeeze: int, pool: ContextPool) -> None:
        super().__init__()
        narrow = max(1, channels // squeeze)
        self.attention = PooledAttention(pool, nn.Conv2d(channels, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, channels, 1), nn.Sigmoid())

    def forward(self, value: Tensor) -> Tensor:
        """``[b, c, h, w]`` in and out."""
        return value * self.attention(value)


class ResidualChannelAttention(nn.Module):
    """x + attention(conv(relu(conv x))), 3 x 3 convolutions, squeeze 16 (RCAB)."""

    def __init__(self, channels: int, pool: ContextPool, squeeze: int = 16) -> None:
        super().__init__()
        self.rcab = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            ChannelAttention(channels, squeeze, pool),
        )

    def forward(self, value: Tensor) -> Tensor:
        """``[b, c, h, w]`` in and out."""
        return value + self.rcab(value)
