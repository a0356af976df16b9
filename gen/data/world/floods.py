"""Floods: in a flood's weeks the streams of a region stand over their banks, as far as the land beside them is low."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .lattice import Array, key_of, step, uniform_number

REGION = 24_000.0
"""Side of the regions that are flooded together, metres."""
_EVERY, _DAYS = 900.0, 32.0


def flood_height(seed: int, x: float, y: float, day: float) -> float:
    """Rise of the streams of the region at (x, y), metres; 0 on most days."""
    row, col, turn = int(np.floor(y / REGION)), int(np.floor(x / REGION)), int(np.floor(day / _EVERY))
    start = (0.1 + 0.8 * uniform_number(key_of(seed, f"flood {turn}"), row, col)) * _EVERY + turn * _EVERY
    height = 0.8 + 2.2 * uniform_number(key_of(seed, f"flood height {turn}"), row, col)
    return height if start <= day < start + _DAYS else 0.0


def flood_reach(canvas: Canvas, day: float) -> Array | None:
    """How far beyond their banks the streams stand at each pixel, metres, or nothing where no stream is in flood."""
    coarse = canvas.coarse
    rows, cols = np.floor(coarse.y / REGION).astype(np.int64), np.floor(coarse.x / REGION).astype(np.int64)
    rise = np.zeros(coarse.shape, np.float32)
    for row in np.unique(rows):
        for col in np.unique(cols):
            height = flood_height(canvas.seed, (col + 0.5) * REGION, (row + 0.5) * REGION, day)
            rise[(rows == row) & (cols == col)] = height
    if not (rise > 0.0).any():
        return None
    # A region's border is no wall: the rise fades towards it.
    inside_y, inside_x = (np.abs(np.mod(place / REGION, 1.0) - 0.5) for place in (coarse.y, coarse.x))
    rise *= 1.0 - step(0.44, 0.5, np.maximum(inside_y, inside_x))
    low = np.clip((rise + 1.2 - canvas.terrain.plain) / 2.0, 0.0, 1.0)
    ragged = 1.0 + 0.45 * coarse.smooth(key_of(canvas.seed, "flood edge"), 90.0)
    return canvas.fine(np.asarray(np.where(rise > 0.0, 75.0 * rise * low * np.maximum(ragged, 0.1), 0.0), np.float32))
