"""What makes a reconstruction good: near in value, with the edges and the texture of the original."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_FLOOR = 2e-5  # of local energy: about the quantisation of 8 bits


def colour_distance(made: Tensor, truth: Tensor, cell: int = 8) -> Tensor:
    """Mean absolute error of averages over cells of ``cell x cell`` pixels, per sample ``[B]``; both ``[B, C, H, W]``."""
    return F.avg_pool2d(made - truth, min(cell, *made.shape[-2:])).abs().mean((1, 2, 3))


def gradient_distance(made: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of differences between neighbours, at full and half resolution.

    Args:
        made: ``[B, C, H, W]``.
        truth: Of the same shape.

    Returns:
        Per sample, ``[B]``.
    """
    error = made - truth
    parts = []
    for _ in range(2):
        parts += [error.diff(dim=-1).abs().mean((1, 2, 3)), error.diff(dim=-2).abs().mean((1, 2, 3))]
        error = F.avg_pool2d(error, 2)
    return torch.stack(parts).mean(0)


def energy_distance(made: Tensor, truth: Tensor, octaves: int = 3, cell: int = 8) -> Tensor:
    """Mean absolute difference of the logarithms of local energy in octaves of spatial frequency.

    An octave is what an average of 2 x 2 pixels takes away; its energy is averaged over cells of `cell` pixels of its own grid, and over
    the bands. Where texture is, its strength counts, not its position.

    Args:
        made: ``[B, C, H, W]``.
        truth: Of the same shape.
        octaves: How many, from the finest.
        cell: Side of a cell.

    Returns:
        Per sample, ``[B]``, in nepers.
    """
    parts = []
    for _ in range(octaves):
        energies = []
        for image in (made, truth):
            smooth = F.interpolate(F.avg_pool2d(image, 2), scale_factor=2.0, mode="nearest")
            height, width = smooth.shape[-2:]
            detail = (image[..., :height, :width] - smooth).square().mean(1, keepdim=True)
            energies.append((F.avg_pool2d(detail, min(cell, height, width)) + _FLOOR).log())
        parts.append((energies[0] - energies[1]).abs().mean((1, 2, 3)))
        made, truth = F.avg_pool2d(made, 2), F.avg_pool2d(truth, 2)
    return torch.stack(parts).mean(0)
