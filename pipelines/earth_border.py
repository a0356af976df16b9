"""Where painted pixels meet kept ones: the difference that the decoder makes is carried a little way outwards, so that no border shows.

Kept pixels are the given ones, bit for bit; what is painted comes from the decoder, which has its own idea of the kept part too. The
difference of the two, known where pixels are kept, is continued into the painted part as a weighted mean of what is near, and fades out
(a membrane with a limited reach, in the spirit of Pérez et al. 2003).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

REACH = 16
"""Pixels from the border in which painted pixels are corrected; smaller than what a tile of decoding sees around itself."""
_SIGMAS, _FROM = (0.6, 1.5, 5.0), (1.0, 4.0, 8.0)
"""Spreads of the means, and how far from the border each holds alone, pixels: single pixels at the border, tones farther out."""


def joined(pictures: Tensor, given: Tensor, masks: Tensor) -> Tensor:
    """Decoded pictures with the given pixels in place and painted ones led up to them.

    Args:
        pictures: As decoded, ``[B, C, H, W]``.
        given: The pictures to keep, of the same shape.
        masks: ``[B, 1, H, W]``, 0 where they are kept, 1 where they are painted, between where both are mixed.

    Returns:
        ``[B, C, H, W]``; where the mask is 0 the given values exactly.
    """
    return torch.lerp(given, led_up(pictures, given, masks), masks)


def led_up(pictures: Tensor, given: Tensor, masks: Tensor) -> Tensor:
    """Decoded pictures, 0 to 1, whose painted pixels lead up to the given ones; what is kept is as it was decoded."""
    led = (pictures + correction(given - pictures, masks)).clamp(0, 1)
    return torch.where(masks > 0, led, pictures)


def correction(difference: Tensor, masks: Tensor, reach: int = REACH) -> Tensor:
    """The difference of kept pixels, continued into the painted part.

    Args:
        difference: Given less decoded, ``[B, C, H, W]``; only what is kept counts.
        masks: ``[B, 1, H, W]``, as for `joined`.
        reach: Pixels.

    Returns:
        ``[B, C, H, W]``: 0 at `reach` pixels from the kept part and beyond, and where nothing near is kept.
    """
    kept = (masks <= 0).to(difference)
    if not bool(kept.any()) or bool(kept.all()):
        return torch.zeros_like(difference)
    away = _distance(kept, reach)
    found, *others = (_mean(difference, kept, sigma, reach) for sigma in _SIGMAS)
    for wider, start, end in zip(others, _FROM[:-1], _FROM[1:], strict=True):
        found = torch.lerp(found, wider, ((away - start) / (end - start)).clamp(0, 1))
    fade = torch.cos(away / reach * (math.pi / 2)).square() * (away < reach)  # the cosine itself ends a rounding error above 0
    return found * fade


def _distance(kept: Tensor, reach: int) -> Tensor:
    """Pixels to the nearest kept one, cut at `reach`: square and diamond steps by turns, an octagon near a circle."""
    grown, away = kept, torch.full_like(kept, float(reach))
    away = torch.where(kept > 0, 0.0, away)
    cross = kept.new_tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    for step in range(1, reach):
        grown = F.max_pool2d(grown, 3, 1, 1) if step % 2 else (F.conv2d(grown, cross, padding=1) > 0).to(kept)
        away = torch.where((grown > 0) & (away > step), float(step), away)
    return away


def _mean(difference: Tensor, kept: Tensor, sigma: float, reach: int) -> Tensor:
    """Gaussian mean of the kept differences; what is farther than the kernel's reach gets that of a flat floor, never 0 over 0."""
    steps = torch.arange(-reach, reach + 1, dtype=difference.dtype, device=difference.device)
    # A heavy tail keeps the quotient sound some pixels beyond a narrow Gaussian.
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2) + 1e-4 * torch.exp(-steps.abs() / sigma)

    def blurred(values: Tensor) -> Tensor:
        channels = values.shape[1]
        down, across = (kernel.reshape(shape).expand(channels, 1, *shape[2:]) for shape in ((1, 1, -1, 1), (1, 1, 1, -1)))
        padded = F.conv2d(values, down, padding=(reach, 0), groups=channels)
        return F.conv2d(padded, across, padding=(0, reach), groups=channels)

    weight = blurred(kept)
    return torch.where(weight > 1e-12, blurred(difference * kept) / weight.clamp_min(1e-12), 0.0)
