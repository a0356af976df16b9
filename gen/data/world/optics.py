"""What coarser sensors see of a canvas: blur by the modulation transfer function, then one value per block.

The same sensor as `gen.data.sensor_model`, which tests hold against it; here tap by tap, in an order that does not depend on the
window's size, so that
overlapping windows agree to the last bit.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..sensor_model import gaussian_taps, mtf_sigma
from .lattice import Array, Grid

MTF = 0.3
"""Modulation transfer at the coarse grid's Nyquist frequency, for all bands."""


@cache
def _taps(scale: int) -> tuple[np.float32, ...]:
    return tuple(np.float32(tap) for tap in gaussian_taps(mtf_sigma(MTF, scale), half=scale % 2 == 0).tolist())


def reach_of(scale: int) -> int:
    """How many fine pixels beyond its own block a coarse pixel sees."""
    return (len(_taps(scale)) - scale) // 2


def observe(image: Array, grid: Grid, coarse: Grid, scale: int) -> Array:
    """Blur and decimate.

    Args:
        image: ``[C, H, W]`` on `grid`.
        grid: Covers `coarse` and `reach_of` pixels around it.
        coarse: The window that is wanted, of pixels `scale` times larger.
        scale: An even number.

    Returns:
        ``[C, h, w]`` float32.
    """
    taps, reach = _taps(scale), reach_of(scale)
    top, left = coarse.row * scale - reach - grid.row, coarse.col * scale - reach - grid.col
    columns = image[:, :, left : left + coarse.width * scale + 2 * reach]
    rows = np.zeros((image.shape[0], coarse.height, columns.shape[2]), np.float32)
    for number, tap in enumerate(taps):
        rows += tap * columns[:, top + number : top + number + (coarse.height - 1) * scale + 1 : scale]
    out = np.zeros((image.shape[0], coarse.height, coarse.width), np.float32)
    for number, tap in enumerate(taps):
        out += tap * rows[:, :, number : number + (coarse.width - 1) * scale + 1 : scale]
    return out
