"""Sub-pixel displacement between two pictures.

Phase correlation, whose peak is refined by a Fourier transform up-sampled around it (Guizar-Sicairos, Thurman and Fienup 2008).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .pixels import check_same_shape, combined_mask

REFINEMENT = 100
FADE = 3
# Noise alone decides the phase of frequencies this far under the strongest one.
_FLOOR = 1e-6


def displacement(
    image: Tensor, reference: Tensor, *, mask: Tensor | None = None, refinement: int = REFINEMENT, limit: float = math.inf
) -> Tensor:
    """How far the image lies below and to the right of the reference.

    Bands are averaged; the whole is tapered by a Hann window and faded towards invalid pixels: neither the borders nor the outline of
    a hole, which do not move with the picture, have a say.

    Args:
        image: ``[B, C, H, W]``, NaN = nodata.
        reference: ``[B, C, H, W]``.
        mask: Boolean ``[B, H, W]``; None = every finite pixel.
        refinement: Steps per pixel of the answer.
        limit: Longest displacement that is believed, in pixels.

    Returns:
        ``[B, 2]`` rows and columns in pixels; NaN where a picture is uniform or the displacement exceeds the limit.
    """
    check_same_shape(image, reference)
    valid = combined_mask(image, reference, mask)
    results = []
    for a, b, keep in zip(image.double(), reference.double(), valid, strict=True):
        found = _displacement(_prepared(a, keep), _prepared(b, keep), refinement) if keep.sum() > 1 else (math.nan, math.nan)
        results.append(found if math.hypot(*found) <= limit else (math.nan, math.nan))
    return torch.tensor(results, dtype=torch.float64)


def _prepared(picture: Tensor, keep: Tensor) -> Tensor:
    """One tapered band of mean 0, ``[H, W]``."""
    grey = picture.nan_to_num(0.0).mean(dim=0)
    grey = torch.where(keep, grey - grey[keep].mean(), 0.0) * _faded(keep)
    window = [torch.hann_window(size + 2, periodic=False, dtype=torch.float64, device=grey.device)[1:-1] for size in grey.shape]
    return grey * window[0][:, None] * window[1]


def _faded(keep: Tensor) -> Tensor:
    """1 far from holes, 0 inside them, smooth between, ``[H, W]``."""
    if bool(keep.all()):
        return torch.ones_like(keep, dtype=torch.float64)
    hole = F.max_pool2d((~keep).double()[None, None], 4 * FADE + 1, stride=1, padding=2 * FADE)
    for _ in range(2):
        hole = F.avg_pool2d(hole, 2 * FADE + 1, stride=1, padding=FADE, count_include_pad=False)
    return 1.0 - hole[0, 0]


def _displacement(a: Tensor, b: Tensor, refinement: int) -> tuple[float, float]:
    product = torch.fft.fft2(a) * torch.fft.fft2(b).conj()
    strength = product.abs()
    if not strength.max() > 0:
        return math.nan, math.nan
    phase = torch.where(strength > _FLOOR * strength.max(), product / strength.clamp(min=torch.finfo(strength.dtype).tiny), 0.0)
    peak = int(torch.fft.ifft2(phase).real.argmax())
    height, width = a.shape
    coarse = [float(_signed(peak // width, height)), float(_signed(peak % width, width))]
    reach = math.ceil(0.75 * refinement)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64, device=a.device) / refinement
    rows, columns = coarse[0] + steps, coarse[1] + steps
    # The inverse transform at the fine positions only: two small matrix products.
    row_kernel = torch.exp(2j * math.pi * rows[:, None] * torch.fft.fftfreq(height, dtype=torch.float64, device=a.device))
    column_kernel = torch.exp(2j * math.pi * torch.fft.fftfreq(width, dtype=torch.float64, device=a.device)[:, None] * columns)
    best = int((row_kernel @ phase @ column_kernel).real.argmax())
    return float(rows[best // len(columns)]), float(columns[best % len(columns)])


def _signed(index: int, size: int) -> int:
    return index - size if index > size // 2 else index
