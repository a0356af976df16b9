"""Tiles into pieces of the finished picture: each is blended with what its left and upper neighbours left for it.

Tiles come row by row. What a tile shares with its right and lower neighbours is carried to them; the rest is final. Blending across and
blending down are two interpolations ``a + w (b - a)``, so where both tiles agree the value is theirs, bit for bit, and the order in which
tiles were made has no say.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .tile_plan import Cell, ramp

Array = NDArray[np.float32]


class Pieces(NamedTuple):
    """What becomes of one layer of a tile.

    Attributes:
        done: Final pixels, ``[C, rows.done, cols.done]``.
        right: For the right neighbour, ``[C, rows.used, cols.after]``.
        down: For the lower neighbour, blended across already, ``[C, rows.after, cols.done]``.
    """

    done: Array
    right: Array
    down: Array


def split_tile(used: Array, rows: Cell, cols: Cell, left: Array | None, above: Array | None) -> Pieces:
    """Blend a tile with its neighbours and split it.

    Args:
        used: ``[C, rows.used, cols.used]``, NaN where there is no data. It is overwritten.
        rows: The tile down the scene.
        cols: The tile across the scene.
        left: `Pieces.right` of the left neighbour; None without one.
        above: `Pieces.down` of the upper neighbour; None without one.

    Returns:
        The pieces.
    """
    height, width = used.shape[1] - rows.after, used.shape[2] - cols.after
    right = used[:, :, width:].copy()
    if left is not None and cols.before:
        used[:, :, : cols.before] = blend(left, used[:, :, : cols.before], ramp(cols.before))
    across = used[:, :, :width]
    down = across[:, height:].copy()
    if above is not None and rows.before:
        across[:, : rows.before] = blend(above, across[:, : rows.before], ramp(rows.before)[:, None])
    return Pieces(across[:, :height], right, down)


def blend(first: Array, second: Array, weight: Array) -> Array:
    """``(1 - weight) first + weight second``; where one of them is NaN, the other.

    Args:
        first: Any shape.
        second: Same shape.
        weight: Of `second`, 0 to 1, broadcasts.

    Returns:
        float32 of that shape; equal values stay what they are, bit for bit.
    """
    mixed = first + weight * (second - first)
    lost = np.isnan(mixed)
    if lost.any():
        mixed = np.where(lost, np.where(np.isnan(first), second, first), mixed)
    return np.asarray(mixed, dtype=np.float32)
