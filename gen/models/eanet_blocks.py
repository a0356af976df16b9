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
SCALES = (3, 5, 7)


def depthwise(channels: int, kernel: int) -> nn.Conv2d:
    """A convolution of each channel by itself, size kept."""
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)


def scaled_convolution(convolution: nn.Conv2d, value: Tensor, gain: Tensor) -> Tensor:
    """A 1 x 1 convolution with bias, its result times a gain per channel.

    Args:
        convolution: c channels out.
        value: ``[b, *, h, w]``.
        gain: ``[1, c, 1, 1]``.

    Returns:
        ``[b, c, h, w]``.
    """
    if type(convolution) is not nn.Conv2d:  # an adapter stands around it, and its part is not in the weights
        return cast(Tensor, convolution(value)) * gain
    bias = cast(Tensor, convolution.bias)
    return F.conv2d(value, convolution.weight * gain.view(-1, 1, 1, 1), bias * gain.flatten())


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
    """Pointwise layers on pooled means, brought back to the pixels.

    Child 0 is the pool, so that the convolutions keep their published numbers.
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
    ``beta`` and ``gamma`` are multiplied into the weights of the convolutions before them, which is the same and cheaper.
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
        self.add_mixer(channels, pool)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.gate = SimpleGate()
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.norm1 = ChannelNorm(channels)
        self.norm2 = ChannelNorm(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def add_mixer(self, channels: int, pool: ContextPool) -> None:
        """Create the layers that `mix` uses."""
        self.conv2 = depthwise(2 * channels, 3)
        self.sca = PooledAttention(pool, nn.Conv2d(channels, channels, 1))

    def mixing_radius(self, pools: bool) -> int:
        """How far the depth-wise kernels of `mix` reach; ``pools``: whether what goes through pooled means counts."""
        return 1

    def forward(self, value: Tensor, embedding: Tensor) -> Tensor:
        """``[b, c, h, w]`` and ``[b, e]`` to ``[b, c, h, w]``."""
        shift_a, scale_a, shift_f, scale_f = self.mlp(embedding).chunk(4, dim=1)
        mixed = self.mix(self.conv1(torch.addcmul(shift_a, self.norm1(value), 1 + scale_a)))
        value = value + scaled_convolution(self.conv3, mixed, self.beta)
        channels = self.gate(self.conv4(torch.addcmul(shift_f, self.norm2(value), 1 + scale_f)))
        return value + scaled_convolution(self.conv5, channels, self.gamma)

    def mix(self, value: Tensor) -> Tensor:
        """Depth-wise mixing, gate and channel attention of the token half, ``[b, 2c, h, w]`` to ``[b, c, h, w]``."""
        value = self.gate(self.conv2(value))
        return value * self.sca(value)


class MultiScaleBlock(EfficientActivationBlock):
    """The block of the published code before 2024-05: depth-wise kernels 3, 5 and 7, each with a gate and a pooled map, and a blend.

    As published, the three pooled maps themselves are blended, not their products with the pixels: with a global pool the token half adds
    one value per channel to the whole picture.
    """

    def add_mixer(self, channels: int, pool: ContextPool) -> None:
        """Create the layers that `mix` uses."""
        for kernel in SCALES:
            self.add_module(f"conv2_{kernel}", depthwise(2 * channels, kernel))
            self.add_module(f"sca_{kernel}", PooledAttention(pool, nn.Conv2d(channels, channels, 1)))
        self.blending = nn.Conv2d(len(SCALES) * channels, channels, 1)

    def mixing_radius(self, pools: bool) -> int:
        """As in the parent; nothing but pooled means leaves `mix`."""
        return max(SCALES) // 2 if pools else 0

    def mix(self, value: Tensor) -> Tensor:
        """Maps of three scales, blended: ``[b, 2c, h, w]`` to ``[b, c, 1, 1]``, or to ``[b, c, h, w]`` with a local pool."""
        maps = []
        for kernel in SCALES:
            branch = self.gate(self.get_submodule(f"conv2_{kernel}")(value))
            maps.append(self.get_submodule(f"sca_{kernel}")(branch))
        blended: Tensor = self.blending(torch.cat(maps, dim=1))
        return blended


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
