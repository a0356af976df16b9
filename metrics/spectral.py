"""Fidelity of spectra: spectral angle (SAM) and ERGAS, over valid pixels.

SAM: mean over pixels of the angle between the two band vectors (Yuhas, Goetz and Boardman 1992), in degrees. ERGAS:
``100 / ratio * sqrt(mean_b(MSE_b / mean_b^2))`` (Wald 2002). Pixels with a zero vector have no angle and count neither in the sum nor in
the number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..gen.errors import InputError
from .pixels import combined_mask


def spectral_angles(image: Tensor, truth: Tensor) -> Tensor:
    """Angle between band vectors.

    The form ``2 atan2(|u - v|, |u + v|)`` of unit vectors (Kahan) keeps full precision near 0, where the arc cosine loses half of the
    digits.

    Args:
        image: ``[B, C, H, W]``.
        truth: ``[B, C, H, W]``.

    Returns:
        ``[B, H, W]`` in degrees; NaN where a vector is zero or not finite.
    """
    a, b = image.double(), truth.double()
    u, v = (vector / torch.linalg.vector_norm(vector, dim=1, keepdim=True) for vector in (a, b))
    return torch.rad2deg(2.0 * torch.atan2(torch.linalg.vector_norm(u - v, dim=1), torch.linalg.vector_norm(u + v, dim=1)))


def sam(image: Tensor, truth: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Mean spectral angle over valid pixels.

    Args:
        image: ``[B, C, H, W]`` with at least two bands, NaN = nodata.
        truth: ``[B, C, H, W]``.
        mask: Boolean ``[B, H, W]``; None = every finite pixel.

    Returns:
        ``[B]`` in degrees; NaN for an image without valid pixel, or with one band, where every angle is 0 or 180.
    """
    valid = combined_mask(image, truth, mask)
    if image.shape[1] < 2:
        return torch.full((len(image),), math.nan, dtype=torch.float64)
    angles = spectral_angles(image, truth)
    keep = valid & torch.isfinite(angles)
    return torch.stack([angle[k].mean() for angle, k in zip(angles, keep, strict=True)])


def ergas(image: Tensor, truth: Tensor, *, ratio: float, mask: Tensor | None = None) -> Tensor:
    """Relative dimensionless global error of synthesis.

    Args:
        image: ``[B, C, H, W]``, NaN = nodata.
        truth: ``[B, C, H, W]``, not of zero mean.
        ratio: Pixel size of the low over that of the high picture, such as 4.
        mask: Boolean ``[B, H, W]``; None = every finite pixel.

    Returns:
        ``[B]``; NaN for an image without valid pixel.

    Raises:
        InputError: If shapes differ or the ratio is not positive.
    """
    if not ratio > 0:
        raise InputError(f"ratio is {ratio}; it must be positive, for instance 4 for 10 m from 40 m")
    valid = combined_mask(image, truth, mask)
    figures = []
    for a, b, v in zip(image, truth, valid, strict=True):
        x, y = a[:, v].double(), b[:, v].double()
        figures.append(100.0 / ratio * ((x - y).square().mean(dim=1) / y.mean(dim=1).square()).mean().sqrt())
    return torch.stack(figures)
