"""What can be counted in layouts: sizes, aspects, angles, numbers of objects, gaps between neighbours, overlaps.

Priors are fitted to these and compared by them. Lengths are pixels, angles radians clockwise on screen.

A class whose boxes are all horizontal keeps its sides apart (log aspect is log of width over height, the angle is 0); any other class has
its long side first (log aspect >= 0) and the angle of that side, -pi/2 to pi/2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..box import Box, Layout
from ..geometry import rotated_iou

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAST_SIDE = 1e-6
"""Sides below this many pixels count as this, so that logarithms exist."""


@dataclass(frozen=True)
class Objects:
    """All objects of some layouts, one row each.

    Attributes:
        names: Class names, sorted.
        horizontal: Of each class, whether all its boxes are horizontal.
        layout: ``[M]`` number of the layout.
        label: ``[M]`` position in `names`.
        centre: ``[M, 2]``.
        log_area: ``[M]``.
        log_aspect: ``[M]``.
        angle: ``[M]``.
        frames: ``[L, 2]`` width and height of each layout.
    """

    names: list[str]
    horizontal: list[bool]
    layout: Ints
    label: Ints
    centre: Floats
    log_area: Floats
    log_aspect: Floats
    angle: Floats
    frames: Floats

    def counts(self) -> Ints:
        """Objects of each class in each layout, ``[L, len(names)]``."""
        table = np.zeros((len(self.frames), len(self.names)), np.int64)
        np.add.at(table, (self.layout, self.label), 1)
        return table


def objects_of(layouts: Sequence[Layout], names: Sequence[str] | None = None) -> Objects:
    """Measure every object.

    Args:
        layouts: What to measure.
        names: Classes; those that occur if left out. Objects of others are not counted.
    """
    boxes = [(number, box) for number, layout in enumerate(layouts) for box in layout.boxes if names is None or box.name in names]
    listed = sorted({box.name for _, box in boxes}) if names is None else list(names)
    horizontal = [all(box.is_horizontal for _, box in boxes if box.name == name) for name in listed]
    rows = [measured(box, horizontal[listed.index(box.name)]) for _, box in boxes]
    table = np.array(rows, np.float64).reshape(-1, 5)
    return Objects(
        names=listed,
        horizontal=horizontal,
        layout=np.array([number for number, _ in boxes], np.int64),
        label=np.array([listed.index(box.name) for _, box in boxes], np.int64),
        centre=table[:, :2],
        log_area=table[:, 2],
        log_aspect=table[:, 3],
        angle=table[:, 4],
        frames=np.array([(layout.width, layout.height) for layout in layouts], np.float64).reshape(-1, 2),
    )


def box_from(name: str, x: float, y: float, log_area: float, log_aspect: float, angle: float, horizontal: bool) -> Box:
    """The box of a row of `Objects`."""
    width, height = math.exp((log_area + log_aspect) / 2), math.exp((log_area - log_aspect) / 2)
    if horizontal:
        return Box.horizontal(name, x - width / 2, y - height / 2, width, height)
    return Box.rotated(name, x, y, width, height, angle)


def reach(direction: Floats, log_area: Floats, log_aspect: Floats, angle: Floats) -> Floats:
    """How far rectangles reach from their centres along directions (radians): half their projected lengths."""
    width, height = np.exp((log_area + log_aspect) / 2), np.exp((log_area - log_aspect) / 2)
    turn = direction - angle
    return np.asarray(np.abs(np.cos(turn)) * width / 2 + np.abs(np.sin(turn)) * height / 2)


def separations(one: Floats, others: Floats) -> Floats:
    """Gap between rectangles along the line of their centres, in units of their size; negative if they may overlap.

    The unit is the mean of the square roots of their areas.

    Args:
        one: ``[..., 5]`` x, y, log area, log aspect, angle.
        others: The same, of a shape that broadcasts.

    Returns:
        ``[...]``.
    """
    step = others[..., :2] - one[..., :2]
    distance = np.hypot(step[..., 0], step[..., 1])
    direction = np.arctan2(step[..., 1], step[..., 0])
    reached = reach(direction, one[..., 2], one[..., 3], one[..., 4]) + reach(direction, others[..., 2], others[..., 3], others[..., 4])
    size = (np.exp(one[..., 2] / 2) + np.exp(others[..., 2] / 2)) / 2
    return np.asarray((distance - reached) / size)


def rows_of(objects: Objects) -> Floats:
    """``[M, 5]`` x, y, log area, log aspect, angle: what `separations` takes."""
    return np.column_stack([objects.centre, objects.log_area, objects.log_aspect, objects.angle])


def nearest_gaps(objects: Objects) -> Floats:
    """Of each object, the smallest separation from another object of its layout, ``[M]``; NaN where it is alone."""
    found, rows = np.full(len(objects.layout), np.nan), rows_of(objects)
    for number in np.unique(objects.layout):
        members = np.flatnonzero(objects.layout == number)
        if len(members) > 1:
            gaps = separations(rows[members][:, None], rows[members][None])
            np.fill_diagonal(gaps, np.inf)
            found[members] = gaps.min(1)
    return found


def overlaps(layout: Layout) -> tuple[Floats, Floats]:
    """Of each object, the largest exact IoU with another object of the layout, and the largest share of it that another covers.

    Returns:
        ``[N]`` each; 0 where it is alone.
    """
    if len(layout.boxes) < 2:
        return np.zeros(len(layout.boxes)), np.zeros(len(layout.boxes))
    iou = np.array(rotated_iou(layout.quads, layout.quads), np.float64)
    np.fill_diagonal(iou, 0.0)
    areas = np.array([box.area for box in layout.boxes])
    return iou.max(1), covered_shares(iou, areas, areas).max(1)


def covered_shares(iou: Floats, areas: Floats, others: Floats) -> Floats:
    """Share of each object that each other one covers, ``[N, M]``, from IoU ``[N, M]`` and areas ``[N]`` and ``[M]``."""
    return np.asarray(iou * (areas[:, None] + others[None]) / (1 + iou) / areas[:, None])


def all_overlaps(layouts: Iterable[Layout]) -> tuple[Floats, Floats]:
    """`overlaps` of all objects of all layouts."""
    found = [overlaps(layout) for layout in layouts]
    return np.concatenate([np.zeros(0), *(iou for iou, _ in found)]), np.concatenate([np.zeros(0), *(share for _, share in found)])


def ks_distance(a: Floats, b: Floats) -> float:
    """Kolmogorov-Smirnov distance: the largest difference of two empirical distribution functions, 0 to 1; NaN where one is empty."""
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    if not len(a) or not len(b):
        return math.nan
    every = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, every, "right") / len(a) - np.searchsorted(b, every, "right") / len(b)).max())


def kuiper_distance(a: Floats, b: Floats, period: float = math.pi) -> float:
    """Kuiper's distance of angles, 0 to 1: as Kolmogorov-Smirnov's, but the same from whichever direction angles are counted."""
    a, b = np.sort(np.mod(a, period)), np.sort(np.mod(b, period))
    if not len(a) or not len(b):
        return math.nan
    every = np.concatenate([a, b])
    difference = np.searchsorted(a, every, "right") / len(a) - np.searchsorted(b, every, "right") / len(b)
    return float(max(difference.max(), 0.0) - min(difference.min(), 0.0))


def measured(box: Box, horizontal: bool) -> tuple[float, float, float, float, float]:
    """X and y of the middle, log area, log aspect, angle of a box by its class's convention."""
    if horizontal:
        x, y, width, height = box.xywh
        x, y, angle = x + width / 2, y + height / 2, 0.0
    else:
        x, y, width, height, angle = box.le90
    width, height = max(width, LEAST_SIDE), max(height, LEAST_SIDE)
    return x, y, math.log(width * height), math.log(width / height), angle
