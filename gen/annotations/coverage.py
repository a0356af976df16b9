"""Layouts as pictures: how much of each pixel a class covers, and which way its objects point.

Coverage is exact along rows and sampled down columns: each of `supersample` lines a pixel row is cut by the box in one interval, and the
length of that interval inside each pixel is added up. Boxes parallel to the picture's edges come out exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .box import Box, Layout

Floats = NDArray[np.float64]


def rasterize(layout: Layout, names: Sequence[str], height: int, width: int, supersample: int = 4) -> NDArray[np.float32]:
    """Draw a layout.

    Args:
        layout: The boxes; its own size is stretched onto the drawing's.
        names: Classes, one channel each, in this order.
        height: Of the drawing, in pixels.
        width: Of the drawing, in pixels.
        supersample: Lines a pixel row.

    Returns:
        [len(names) + 2, height, width]: the covered share of each class, 0 to 1 (overlaps saturate at 1), then sin and cos of twice the
        le90 angle in the drawing, -1 to 1, times the covered share; where boxes overlap, their mean weighted by coverage.

    Raises:
        InputError: If a box's class is not among `names`.
    """
    places = {name: place for place, name in enumerate(names)}
    if missing := sorted({name for name in layout.names if name not in places}):
        raise InputError(
            f"the classes {', '.join(missing)} are not among those drawn ({', '.join(names)}); add them, or leave the boxes out"
        )
    drawing = np.zeros((len(names) + 2, height, width), dtype=np.float32)
    total = np.zeros((height, width), dtype=np.float32)
    scale = np.array([width / layout.width, height / layout.height])
    for box in layout.boxes:
        quad = np.array(box.corners) * scale
        a, b, c, d = ((float(x), float(y)) for x, y in quad)
        angle = 2 * Box(box.name, (a, b, c, d)).le90[4]
        for rows, cols, share in covered(quad, height, width, supersample):
            drawing[places[box.name], rows, cols] += share
            drawing[-2, rows, cols] += math.sin(angle) * share
            drawing[-1, rows, cols] += math.cos(angle) * share
            total[rows, cols] += share
    np.minimum(drawing[: len(names)], 1.0, out=drawing[: len(names)])
    drawing[len(names) :] /= np.maximum(total, 1.0)
    return drawing


def covered(quad: Floats, height: int, width: int, supersample: int = 4) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """How much of each pixel a quadrilateral covers; one piece if it is convex, two where it is not.

    Args:
        quad: Corners [4, 2] in pixels, clockwise on screen.
        height: Of the drawing, in pixels.
        width: Of the drawing, in pixels.
        supersample: Lines a pixel row.

    Yields:
        Rows, columns, and the covered share of the pixels there, 0 to 1.
    """
    for piece in _convex_pieces(quad):
        top, bottom = max(0, math.floor(piece[:, 1].min())), min(height, math.ceil(piece[:, 1].max()))
        left, right = max(0, math.floor(piece[:, 0].min())), min(width, math.ceil(piece[:, 0].max()))
        if top >= bottom or left >= right:
            continue
        if _straight(piece):
            yield slice(top, bottom), slice(left, right), _straight_share(piece, top, bottom, left, right)
            continue
        lines = top + (np.arange((bottom - top) * supersample) + 0.5) / supersample
        start, end = _intervals(piece, lines)
        pixels = np.arange(left, right, dtype=np.float64)
        inside = np.minimum(end[:, None], pixels + 1) - np.maximum(start[:, None], pixels)
        share = np.clip(inside, 0.0, 1.0).reshape(bottom - top, supersample, -1).mean(axis=1)
        yield slice(top, bottom), slice(left, right), share.astype(np.float32)


def _straight(piece: Floats) -> bool:
    return len(piece) == 4 and all(len(np.unique(piece[:, axis])) == 2 for axis in (0, 1))


def _straight_share(piece: Floats, top: int, bottom: int, left: int, right: int) -> NDArray[np.float32]:
    rows, cols = np.arange(top, bottom), np.arange(left, right)
    down = np.clip(np.minimum(piece[:, 1].max(), rows + 1) - np.maximum(piece[:, 1].min(), rows), 0.0, 1.0)
    across = np.clip(np.minimum(piece[:, 0].max(), cols + 1) - np.maximum(piece[:, 0].min(), cols), 0.0, 1.0)
    return np.outer(down, across).astype(np.float32)


def _intervals(piece: Floats, lines: Floats) -> tuple[Floats, Floats]:
    """Where horizontal lines enter and leave a convex polygon; an empty interval where they miss it."""
    start, end = np.full(len(lines), np.inf), np.full(len(lines), -np.inf)
    for (ax, ay), (bx, by) in zip(piece, np.roll(piece, -1, axis=0), strict=True):
        if ay == by:
            continue
        hit = (lines >= min(ay, by)) & (lines <= max(ay, by))
        x = ax + (lines[hit] - ay) / (by - ay) * (bx - ax)
        start[hit], end[hit] = np.minimum(start[hit], x), np.maximum(end[hit], x)
    return start, end


def _convex_pieces(quad: Floats) -> list[Floats]:
    edges = np.roll(quad, -1, axis=0) - quad
    before = np.roll(edges, 1, axis=0)
    turns = before[:, 0] * edges[:, 1] - before[:, 1] * edges[:, 0]
    if (turns >= 0).all():
        return [quad]
    # The diagonal from the corner that points inwards divides the quadrilateral into two triangles.
    around = np.roll(quad, -int(np.argmin(turns)), axis=0)
    return [around[[0, 1, 2]], around[[0, 2, 3]]]
