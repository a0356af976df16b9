"""Sinusoidal embedding of scalars such as the diffusion time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(value: Tensor, width: int, base: float = 10_000.0) -> Tensor:
    """Sines, then cosines, of a scalar at geometrically spaced frequencies.

    Frequency i of n = width / 2 is ``base ** (-i / (n - 1))``: the last one is 1 / base (Vaswani et al. 2017, in the form that IR-SDE
    uses).

    Args:
        value: ``[B]``, any real number; computed in float32.
        width: Channels of the result, even and at least 4.
        base: Ratio between the highest and the lowest frequency.

    Returns:
        ``[B, width]``, float32.
    """
    count = width // 2
    steps = torch.arange(count, device=value.device, dtype=torch.float32)
    angle = value.float()[:, None] * torch.exp(steps * (-math.log(base) / (count - 1)))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Sinusoids(nn.Module):
    """`sinusoids` as a layer without parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, value: Tensor) -> Tensor:
        """Embed ``[B]`` as ``[B, width]`` float32."""
        return sinusoids(value, self.width)
