"""Holes in pictures: which pixels have data, and what a network sees where there is none."""

from __future__ import annotations

import torch
from torch import Tensor

FILL_REACH = 16
"""Low-resolution pixels from data within which holes are filled before super-resolution, by the models and by their baselines alike."""


def valid_pixels(image: Tensor) -> Tensor:
    """Where there is data: a pixel with a band that is not finite has none.

    Args:
        image: ``[B, C, H, W]`` floats.

    Returns:
        ``[B, H, W]`` bool.
    """
    return torch.isfinite(image).all(1)


def fill_holes(image: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Fill pixels without data from their surroundings.

    In each of `reach` rounds, a hole's pixels that touch a known one (8 neighbours) become the mean of the known ones. So a filled value
    depends on pixels at most `reach` away: windows that overlap by that agree on it bit for bit. Beyond a window's edge nothing is known.

    Args:
        image: ``[B, C, H, W]`` floats; NaN and infinities mark holes, in any band.
        reach: Rounds, at least 0. What is farther than this from any data becomes 0.

    Returns:
        The picture, finite everywhere, with valid pixels unchanged bit for bit (the argument itself where there is no hole), and the mask
        of valid pixels, ``[B, H, W]`` bool.
    """
    valid = valid_pixels(image)
    if bool(valid.all()):
        return image, valid
    known = valid[:, None].to(image.dtype)
    filled = torch.where(valid[:, None], image, torch.zeros((), dtype=image.dtype, device=image.device))
    for _ in range(reach):
        if bool(known.all()):
            break
        count, total = _around(known), _around(filled)
        grow = (known == 0) & (count > 0)
        filled = torch.where(grow, total / count.clamp_min(1), filled)
        known = torch.where(grow, torch.ones_like(known), known)
    return filled, valid


def _around(image: Tensor) -> Tensor:
    """Sums over 3 x 3 pixels, zero outside, added in one order everywhere (a convolution's order may change with the size)."""
    padded = torch.nn.functional.pad(image, (0, 0, 1, 1))
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    padded = torch.nn.functional.pad(rows, (1, 1))
    return padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
