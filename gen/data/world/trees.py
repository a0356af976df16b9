"""Tree crowns on a jittered lattice: height, cover and kind of the tallest crown over each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..noise import hash_at
from .lattice import Array, Grid, key_of

CELL = 3
"""Pixels between the lattice's points; one tree at most stands in a cell."""


@dataclass
class Crowns:
    """Trees on a canvas, ``[h, w]`` each.

    Attributes:
        cover: Share of the pixel under crowns.
        height: Of the canopy above ground, metres.
        conifer: Whether the tallest tree is a conifer.
        tone: Brightness of its foliage, about 1.
    """

    cover: Array
    height: Array
    conifer: Array
    tone: Array


def grow_trees(seed: int, grid: Grid, density: Array, conifer: Array) -> Crowns:
    """Plant a canvas.

    Args:
        seed: Of the world.
        grid: The canvas.
        density: Chance of a tree per lattice cell, read at the cell's middle pixel, ``[h, w]``.
        conifer: Chance that it is a conifer, ``[h, w]``.

    Returns:
        Crowns; complete farther than 6 pixels from the border.
    """
    rows = np.arange(grid.row // CELL, (grid.row + grid.height - 1) // CELL + 1)
    cols = np.arange(grid.col // CELL, (grid.col + grid.width - 1) // CELL + 1)
    middle_rows, middle_cols = rows * CELL + 1 - grid.row, cols * CELL + 1 - grid.col
    at = np.clip(middle_rows, 0, grid.height - 1)[:, None] * grid.width + np.clip(middle_cols, 0, grid.width - 1)
    name = hash_at(key_of(seed, "tree"), rows[:, None], cols[None, :])

    def draw(which: int) -> Array:
        return ((name >> np.uint64(12 * which)) & np.uint64(4095)).astype(np.float32) * np.float32(1 / 4096)

    stands = draw(0) < density.ravel().take(at)
    shape = grid.shape
    if not stands.any():
        return Crowns(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, bool), np.ones(shape, np.float32))
    needle = draw(4) < conifer.ravel().take(at)
    size = draw(1)
    radius = np.where(stands, np.where(needle, 0.95 + 0.65 * size, 1.15 + 1.05 * size), np.float32(1e-3)).astype(np.float32)
    tall = np.where(stands, np.where(needle, 11.0 + 13.0 * size, 7.0 + 11.0 * size), np.float32(-99)).astype(np.float32)
    x, y = np.float32(0.3) + np.float32(2.4) * draw(2), np.float32(0.3) + np.float32(2.4) * draw(3)
    tone = np.float32(0.84) + np.float32(0.32) * draw(1) + np.float32(0.2) * (draw(3) - np.float32(0.5))
    block = (len(rows), CELL, len(cols), CELL)
    best, cover = np.zeros(block, np.float32), np.zeros(block, np.float32)
    kind, shade = np.zeros(block, bool), np.ones(block, np.float32)
    phase = np.arange(CELL, dtype=np.float32) + np.float32(0.5)
    padded = [
        np.pad(layer, 1, constant_values=value)
        for layer, value in ((x, 0), (y, 0), (radius, 1e-3), (tall, -99), (tone, 1), (needle, False))
    ]
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            px, py, r, h, t, n = (
                layer[1 + down : 1 + down + len(rows), 1 + right : 1 + right + len(cols)][:, None, :, None] for layer in padded
            )
            dx, dy = px + np.float32(CELL * right) - phase, py + np.float32(CELL * down) - phase[:, None, None]
            inside = 1 - (dx * dx + dy * dy) / (r * r)
            crown = h * (np.float32(0.55) + np.float32(0.45) * inside)
            np.maximum(cover, np.where(h > 0, inside * (np.float32(0.5) * r) + np.float32(0.5), 0), out=cover)
            higher = (inside > -0.4) & (crown > best)
            np.copyto(best, crown, where=higher)
            np.copyto(kind, np.broadcast_to(n, block), where=higher)
            np.copyto(shade, np.broadcast_to(t, block), where=higher)
    top, left = grid.row - int(rows[0]) * CELL, grid.col - int(cols[0]) * CELL
    cut = slice(top, top + grid.height), slice(left, left + grid.width)
    layers = (layer.reshape(len(rows) * CELL, len(cols) * CELL)[cut] for layer in (np.clip(cover, 0, 1), best, kind, shade))
    return Crowns(*(np.ascontiguousarray(layer) for layer in layers))
