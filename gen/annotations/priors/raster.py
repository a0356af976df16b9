"""Layouts as rasters and back: one channel per class, +1 inside objects and -1 outside, which a diffusion can draw.

The published form (AeroGen) loses objects that touch: they become one. Here a cell that two objects of a class share, or that lies between
two touching ones, goes to -1, so that each keeps a component of its own; and cells at an edge hold how much of them is covered, so that
the boxes come back finer than the cells.

Back: components of cells above 0 that share sides; of each, weighted by (value + 1) / 2, the area, the middle and the second moments. A
rectangle of sides w and h has the moments w^2 / 12 and h^2 / 12, and one whose sides are nearly equal shows its direction in the fourth
moments alone. All of it is measured in pixels of the picture, not in cells, since cells need not be square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..box import Box, Layout
from ..coverage import covered
from .statistics import Floats, box_from

Raster = NDArray[np.float32]
_SQUARE = 1.2
"""Aspect under which the direction is taken from fourth moments."""


def encode_raster(layout: Layout, names: Sequence[str], size: int) -> Raster:
    """Draw a layout.

    Args:
        layout: Boxes of the classes `names`.
        names: One channel each.
        size: Rows and columns.

    Returns:
        ``[len(names), size, size]`` from -1 to 1.

    Raises:
        InputError: If a box has another class.
    """
    unknown = sorted(set(layout.names) - set(names))
    if unknown:
        raise InputError(f"the layout {layout.picture or ''} has the class {unknown[0]!r}; known are {', '.join(names)}")
    cells = np.zeros((len(names), size, size), np.float32)
    owner = np.full((len(names), size, size), -1, np.int64)
    scale = np.array([size / layout.width, size / layout.height])
    for number, box in enumerate(layout.boxes):
        channel, share = names.index(box.name), np.zeros((size, size), np.float32)
        for rows, cols, part in covered(np.array(box.corners, np.float64) * scale, size, size):
            share[rows, cols] = np.minimum(share[rows, cols] + part, 1.0)
        _add(cells[channel], owner[channel], share, number)
    _separate(cells, owner)
    return 2 * cells - 1


@dataclass(frozen=True)
class Decoding:
    """How rasters become boxes.

    Attributes:
        names: Class of each channel.
        horizontal: Of each class, whether its boxes are horizontal.
        least: Smallest mass of an object in cells; less is noise.
    """

    names: Sequence[str]
    horizontal: Sequence[bool]
    least: float = 1.5

    def __call__(self, raster: NDArray[np.floating], width: int, height: int) -> Layout:
        """The layout of a raster.

        Args:
            raster: ``[len(names), h, w]``, about -1 to 1; values outside are cut.
            width: Of the picture, pixels.
            height: Of the picture, pixels.

        Raises:
            InputError: If the number of channels is another, or a value is not finite.
        """
        values = np.asarray(raster, np.float64)
        if values.ndim != 3 or len(values) != len(self.names) or not np.isfinite(values).all():
            raise InputError(f"a raster of shape {values.shape} is no layout of {len(self.names)} classes; give finite [classes, h, w]")
        shares = np.clip((values + 1) / 2, 0, 1)
        cell = width / values.shape[2], height / values.shape[1]
        boxes: list[Box] = []
        for name, horizontal, share in zip(self.names, self.horizontal, shares, strict=True):
            labels = components(share > 0.5)
            for rows, cols in _members(labels):
                weights = _own(share, labels, rows, cols)
                if weights[2].sum() >= self.least:
                    boxes.append(_box(name, horizontal, *weights, cell))
        return Layout(width, height, tuple(boxes))


def components(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Connected components of cells that share a side, ``[h, w]``: 0 outside, then 1, 2, ... in the order of their first cells.

    Runs of a row are joined with the runs that they touch in the row above.
    """
    padded = np.pad(inside, ((0, 0), (1, 1))).astype(np.int8)
    rows, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, ends = np.nonzero(np.diff(padded, axis=1) == -1)
    parent = list(range(len(rows)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first = np.searchsorted(rows, np.arange(inside.shape[0] + 1))
    for row in range(1, inside.shape[0]):
        above, here = first[row - 1], first[row]
        while above < first[row] and here < first[row + 1]:
            if starts[above] < ends[here] and starts[here] < ends[above]:
                a, b = root(int(above)), root(int(here))
                parent[max(a, b)] = min(a, b)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    labels = np.zeros(inside.shape, np.int64)
    numbers: dict[int, int] = {}
    for run, (row, start, end) in enumerate(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True)):
        labels[row, start:end] = numbers.setdefault(root(run), len(numbers) + 1)
    return labels


def rectangle_of(x: Floats, y: Floats, weights: Floats, cell: tuple[float, float]) -> tuple[float, float, float, float, float]:
    """The rectangle of given area, middle and second moments.

    Args:
        x: ``[n]`` centres of cells in pixels.
        y: ``[n]``.
        weights: ``[n]`` covered shares.
        cell: Width and height of a cell in pixels.

    Returns:
        Middle, long side, short side, angle of the long side.
    """
    total = float(weights.sum())
    cx, cy = float(weights @ x) / total, float(weights @ y) / total
    dx, dy = x - cx, y - cy
    # A covered share is the rectangle seen through a window of one cell, which adds the window's own moments.
    xx = max(float(weights @ dx**2) / total - cell[0] ** 2 / 12, 0.0)
    yy = max(float(weights @ dy**2) / total - cell[1] ** 2 / 12, 0.0)
    xy = float(weights @ (dx * dy)) / total
    half, spread = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    area = total * cell[0] * cell[1]
    ratio = math.sqrt((half + spread) / max(half - spread, (half + spread) / 400, 1e-12))
    angle = math.atan2(2 * xy, xx - yy) / 2
    if ratio < _SQUARE:
        fourth = complex(weights @ (dx + 1j * dy) ** 4)
        quarter = (math.atan2(-fourth.imag, -fourth.real)) / 4
        # Of the square's directions, the one next to the long axis.
        angle = quarter + round((angle - quarter) / (math.pi / 2)) * math.pi / 2
    return cx, cy, math.sqrt(area * ratio), math.sqrt(area / ratio), angle


def _add(cells: Raster, owner: NDArray[np.int64], share: Raster, number: int) -> None:
    """Put an object into its channel; the cells that it shares with another are nobody's."""
    both = (share > 0.05) & (cells > 0.05)
    mine = (share > cells) & ~both
    cells[mine], owner[mine] = share[mine], number
    cells[both], owner[both] = 0.0, -1


def _separate(cells: Raster, owner: NDArray[np.int64]) -> None:
    """Clear the weaker of every two neighbouring cells that belong to two objects."""
    for axis in (1, 2):
        one, other = [slice(None)] * 3, [slice(None)] * 3
        one[axis], other[axis] = slice(None, -1), slice(1, None)
        a, b = owner[tuple(one)], owner[tuple(other)]
        clash = (a >= 0) & (b >= 0) & (a != b) & (cells[tuple(one)] > 0.5) & (cells[tuple(other)] > 0.5)
        weaker = cells[tuple(one)] <= cells[tuple(other)]
        for part, which in ((tuple(one), clash & weaker), (tuple(other), clash & ~weaker)):
            view = cells[part]
            view[which] = 0.0


def _members(labels: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    rows, cols = np.nonzero(labels)
    order = np.argsort(labels[rows, cols], kind="stable")
    cuts = np.flatnonzero(np.diff(labels[rows, cols][order])) + 1
    return list(zip(np.split(rows[order], cuts), np.split(cols[order], cuts), strict=True)) if len(rows) else []


def _own(share: Floats, labels: NDArray[np.int64], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Columns, rows and weights of a component with its rim: outer cells that touch it and no other component."""
    top, bottom, left, right = max(rows.min() - 1, 0), rows.max() + 2, max(cols.min() - 1, 0), cols.max() + 2
    part, mine = labels[top:bottom, left:right], labels[rows[0], cols[0]]
    near = _grown(part == mine)
    foreign = _grown((part > 0) & (part != mine))
    chosen = (part == mine) | (near & (part == 0) & ~foreign)
    y, x = np.nonzero(chosen & (share[top:bottom, left:right] > 0.02))
    return x + left + 0.5, y + top + 0.5, share[top + y, left + x]


def _grown(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(inside, 1)
    height, width = inside.shape
    found = np.zeros_like(inside)
    for down in range(3):
        for across in range(3):
            found |= padded[down : down + height, across : across + width]
    return found


def _box(name: str, horizontal: bool, x: Floats, y: Floats, weights: Floats, cell: tuple[float, float]) -> Box:
    cx, cy, width, height, angle = rectangle_of(x * cell[0], y * cell[1], weights, cell)
    if horizontal:
        total = weights.sum()
        spread = [
            max(float(weights @ (axis * side - middle) ** 2) / total - side**2 / 12, side**2 / 48)
            for axis, side, middle in ((x, cell[0], cx), (y, cell[1], cy))
        ]
        ratio = math.sqrt(spread[0] / spread[1])
        area = total * cell[0] * cell[1]
        return box_from(name, cx, cy, math.log(area), math.log(ratio), 0.0, True)
    return box_from(name, cx, cy, math.log(width * height), math.log(width / height), angle, False)
