"""New layouts from the sizes, classes and numbers of real ones: the prior that the cheap arms share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...gen.annotations.box import Box, Layout
from ...gen.annotations.geometry import rotated_iou, visible_share
from .samples import Sample

Floats = NDArray[np.float64]
TRIES = 20
"""Places tried for an object before it is left out."""
LEAST_SIDE = 3.0
"""Pixels; smaller objects are not drawn."""


def whole_boxes(samples: Sequence[Sample]) -> list[tuple[int, Box]]:
    """Boxes that lie inside their picture and are clear, with its index; all that have some size if there is no such box.

    Args:
        samples: Pictures and their boxes.
    """
    boxes = [(number, box) for number, (_, layout) in enumerate(samples) for box in layout.boxes if min(box.le90[2:4]) >= LEAST_SIDE]
    clear = [
        (number, box)
        for number, box in boxes
        if not (box.truncated or box.difficult) and visible_share(box, samples[number][1].width, samples[number][1].height) >= 1
    ]
    return clear or boxes


def most_overlap(samples: Sequence[Sample], share: float = 0.95) -> float:
    """Overlap (IoU) with their worst neighbour that this share of real objects stays below; 0 if pictures hold one object at most."""
    worst: list[float] = []
    for _, layout in samples:
        if len(layout.boxes) > 1:
            overlap = rotated_iou(layout.quads, layout.quads)
            np.fill_diagonal(overlap, 0)
            worst += overlap.max(1).tolist()
    return float(np.quantile(worst, share)) if worst else 0.0


def placed(quad: Floats, width: int, height: int, taken: Sequence[Floats], overlap: float, rng: np.random.Generator) -> Floats | None:
    """Move a quadrilateral to where it is inside the picture and overlaps what is there no more than allowed.

    Args:
        quad: ``[4, 2]`` about any centre.
        width: Of the picture in pixels.
        height: Of the picture in pixels.
        taken: Quadrilaterals that are there.
        overlap: Largest IoU with any of them.
        rng: Where chance comes from.

    Returns:
        The moved one, or None if no place was found or it is larger than the picture.
    """
    low, high = -quad.min(0), np.array([width, height]) - quad.max(0)
    if (high < low).any():
        return None
    for _ in range(TRIES):
        moved: Floats = quad + rng.uniform(low, high)
        if not taken or rotated_iou(moved[None], np.stack(list(taken))).max() <= overlap:
            return moved
    return None


def turned_quad(box: Box, horizontal: bool, rng: np.random.Generator, stretch: float = 0.1) -> Floats:
    """A box's rectangle ``[4, 2]`` about 0, turned and stretched at random; horizontal ones by quarter turns.

    Args:
        box: Whose sides are taken.
        horizontal: Whether its class lies along the axes.
        rng: Where chance comes from.
        stretch: Largest relative change of scale.
    """
    if horizontal:
        _, _, w, h = box.xywh
        angle = float(rng.integers(4)) * np.pi / 2
    else:
        _, _, w, h, _ = box.le90
        angle = rng.uniform(0, 2 * np.pi)
    return rectangle(w, h, angle) * (1 + rng.uniform(-stretch, stretch))


def rectangle(w: float, h: float, angle: float) -> Floats:
    """Corners ``[4, 2]`` of a rectangle about 0, turned clockwise on screen, from (-w/2, -h/2) on."""
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    turned: Floats = corners @ np.array([[cos, sin], [-sin, cos]])
    return turned


def random_layout(samples: Sequence[Sample], horizontal: Sequence[str], overlap: float, rng: np.random.Generator) -> Layout:
    """A new layout: as many objects as some real picture, each of the size and class of some real object, anywhere, turned anyhow.

    Args:
        samples: Real ones of one size.
        horizontal: Classes whose boxes lie along the axes.
        overlap: Largest IoU between objects.
        rng: Where chance comes from.
    """
    pool = whole_boxes(samples)
    _, model = samples[int(rng.integers(len(samples)))]
    taken: list[Floats] = []
    boxes = []
    for _ in range(len(model.boxes) if pool else 0):
        _, box = pool[int(rng.integers(len(pool)))]
        quad = placed(turned_quad(box, box.name in horizontal, rng), model.width, model.height, taken, overlap, rng)
        if quad is not None:
            taken.append(quad)
            boxes.append(box_of(box.name, quad, box.name in horizontal))
    return Layout(model.width, model.height, tuple(boxes))


def box_of(name: str, quad: Floats, horizontal: bool) -> Box:
    """A box with these corners; a horizontal one is their hull, free of the rounding of turns."""
    if horizontal:
        (left, top), (right, bottom) = quad.min(0), quad.max(0)
        return Box.horizontal(name, float(left), float(top), float(right - left), float(bottom - top))
    a, b, c, d = ((float(x), float(y)) for x, y in quad)
    return Box(name, (a, b, c, d))
