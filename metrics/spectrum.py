"""Power spectra over rings of radial frequency, and their ratio to the truth's: how much detail there is, whether right or wrong.

Welch's method: Hann-windowed, half-overlapping square blocks, each without its band means; only blocks without invalid pixels count, so
that nodata has no influence. Frequencies are in cycles per pixel; 0.5 is the Nyquist frequency.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .pixels import combined_mask

BLOCK = 64
UPPER_HALF = (0.25, 0.5)


def power_spectrum(image: Tensor, *, block: int = BLOCK, mask: Tensor | None = None) -> Tensor:
    """Mean power of the blocks of each band.

    A white field of variance v has the expected power v at every frequency away from 0.

    Args:
        image: ``[B, C, H, W]``, NaN = nodata.
        block: Side of the blocks in pixels; cut to the picture's shorter side.
        mask: Boolean ``[B, H, W]``; None = every finite pixel.

    Returns:
        ``[B, C, block, block]`` in squared units of the picture, frequencies in the order of ``torch.fft.fftfreq``; NaN for an image
        without a whole valid block.
    """
    valid = combined_mask(image, image, mask)
    side = min(block, *image.shape[-2:])
    window = torch.hann_window(side, periodic=True, dtype=torch.float64, device=image.device)
    window = window[:, None] * window
    spectra = []
    for picture, keep in zip(image.double(), valid, strict=True):
        total, count = torch.zeros(len(picture), side, side, dtype=torch.float64, device=image.device), 0
        for row in _origins(picture.shape[-2], side):
            for column in _origins(picture.shape[-1], side):
                here = (slice(row, row + side), slice(column, column + side))
                if not keep[here].all():
                    continue
                part = picture[(slice(None), *here)]
                total += torch.fft.fft2((part - part.mean(dim=(-2, -1), keepdim=True)) * window).abs().square()
                count += 1
        spectra.append(total / window.square().sum() / count if count else torch.full_like(total, math.nan))
    return torch.stack(spectra)


def _origins(size: int, side: int) -> list[int]:
    """Block origins half a block apart, the last one flush with the end."""
    return sorted({*range(0, size - side + 1, max(1, side // 2)), size - side})


def radial_frequency(side: int) -> Tensor:
    """Radial frequency in cycles per pixel, ``[side, side]``, in the order of ``torch.fft.fftfreq``."""
    axis = torch.fft.fftfreq(side, dtype=torch.float64)
    return (axis[:, None].square() + axis.square()).sqrt()


def ring_power(spectrum: Tensor, rings: int = 16) -> tuple[Tensor, Tensor]:
    """Mean power per ring of radial frequency between 0 and 0.5.

    Args:
        spectrum: ``[..., side, side]`` from `power_spectrum`.
        rings: Number of rings.

    Returns:
        Ring centres in cycles per pixel ``[rings]`` and mean power ``[..., rings]`` (NaN for an empty ring). Frequency 0 and the corners
        beyond 0.5 are left out.
    """
    radius = radial_frequency(spectrum.shape[-1]).to(spectrum.device)
    # The small excess keeps exactly 0.5 in the last ring.
    which = (radius * 2 * rings * (1 - 1e-9)).floor().long()
    which = torch.where((radius > 0) & (which < rings), which, rings).flatten()
    count = torch.bincount(which, minlength=rings + 1)[:rings]
    flat = spectrum.flatten(-2)
    total = torch.zeros(*flat.shape[:-1], rings + 1, dtype=flat.dtype, device=flat.device).index_add_(-1, which, flat)
    centres = (torch.arange(rings, dtype=torch.float64) + 0.5) / (2 * rings)
    return centres, total[..., :rings] / count


def ring_ratio(image: Tensor, truth: Tensor, *, rings: int = 16, block: int = BLOCK, mask: Tensor | None = None) -> Tensor:
    """Power of the picture over that of the truth per ring, summed over bands first.

    Args:
        image: ``[B, C, H, W]``.
        truth: ``[B, C, H, W]``.
        rings: Number of rings between 0 and 0.5 cycles per pixel.
        block: Side of Welch's blocks.
        mask: Boolean ``[B, H, W]``; None = every finite pixel.

    Returns:
        ``[B, rings]``; 1 is right, below is too smooth, above too noisy.
    """
    valid = combined_mask(image, truth, mask)
    ours, theirs = (ring_power(power_spectrum(picture, block=block, mask=valid).sum(dim=1), rings)[1] for picture in (image, truth))
    return ours / theirs


def band_power_ratio(
    image: Tensor, truth: Tensor, *, band: tuple[float, float] = UPPER_HALF, block: int = BLOCK, mask: Tensor | None = None
) -> Tensor:
    """Power of the picture over that of the truth inside a band of radial frequencies, summed over picture bands.

    Args:
        image: ``[B, C, H, W]``.
        truth: ``[B, C, H, W]``.
        band: Lowest and highest radial frequency in cycles per pixel; by default the upper half of what the grid can hold.
        block: Side of Welch's blocks.
        mask: Boolean ``[B, H, W]``; None = every finite pixel.

    Returns:
        ``[B]``; 1 is right. NaN where there is no whole valid block or the truth has no power there.
    """
    valid = combined_mask(image, truth, mask)
    ours, theirs = (power_spectrum(picture, block=block, mask=valid) for picture in (image, truth))
    radius = radial_frequency(ours.shape[-1]).to(ours.device)
    inside = (radius >= band[0]) & (radius <= band[1])
    power, reference = ours[..., inside].sum(dim=(1, 2)), theirs[..., inside].sum(dim=(1, 2))
    return torch.where(reference > 0, power / reference, math.nan)
