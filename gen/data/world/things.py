"""The table of things that stand on the ground, and the labelled boxes made of it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .lattice import Array, Grid

KINDS = ("building", "greenhouse", "storage tank", "plane", "ship", "vehicle")
KIND = {name: number for number, name in enumerate(KINDS)}
FLAT, GABLE, DISC, HULL, AIRFRAME, HALL = range(6)
"""Shapes: box, box with a ridge along its length, circle, ship, aeroplane, box with a low ridge."""


@dataclass(frozen=True)
class Things:
    """Rotated boxes with what they are made of; arrays of one value per thing, in metres.

    Attributes:
        kind: Number in `KINDS`, int64.
        shape: One of the shapes above.
        x: Middle, east of the origin, float64.
        y: Middle, south of the origin, float64.
        cos: Of the direction of its length; angles turn from east to south.
        sin: Of the direction of its length.
        length: Along that direction.
        width: Across it.
        height: Above the ground.
        material: Row of the spectra.
        tone: Brightness factor.
        order: What is drawn later lies on top.
        name: Hash that names the thing, uint64.
    """

    kind: Array
    shape: Array
    x: Array
    y: Array
    cos: Array
    sin: Array
    length: Array
    width: Array
    height: Array
    material: Array
    tone: Array
    order: Array
    name: Array

    def __len__(self) -> int:
        return len(self.x)

    def take(self, which: Array) -> Things:
        """Some of the things."""
        return Things(*(getattr(self, field.name)[which] for field in fields(self)))

    def corners(self, inset: float = 0.0) -> tuple[Array, Array]:
        """Corner coordinates ``[n, 4]``, `inset` metres inwards: front left, front right, rear right, rear left, clockwise on screen."""
        along = np.array([0.5, 0.5, -0.5, -0.5]) * np.maximum(self.length - 2 * inset, 0.5)[:, None]
        across = np.array([-0.5, 0.5, 0.5, -0.5]) * np.maximum(self.width - 2 * inset, 0.5)[:, None]
        return (
            self.x[:, None] + along * self.cos[:, None] - across * self.sin[:, None],
            self.y[:, None] + along * self.sin[:, None] + across * self.cos[:, None],
        )


def gather(parts: list[Things]) -> Things:
    """One table out of several, in an order that does not depend on the window."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return nothing()
    whole = Things(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Things)))
    return whole.take(np.lexsort((whole.name, whole.order)))


def nothing() -> Things:
    """An empty table."""
    whole, real = np.zeros(0, np.int64), np.zeros(0, np.float64)
    return Things(whole, whole, real, real, real, real, real, real, real, whole, real, whole, np.zeros(0, np.uint64))


@dataclass(frozen=True)
class WorldObject:
    """A labelled thing.

    Attributes:
        name: Class name, one of `KINDS`.
        corners: Four (x, y) pairs in pixels of the 2.5 m window, x to the right and y down, with (0, 0) the upper left corner of the
        first pixel. Clockwise on the
            picture; the first is the front left corner of what has a front (ship, plane, vehicle).
        height: Above ground, metres.
        number: Identifies the thing in the world: the same from whatever window.
    """

    name: str
    corners: tuple[tuple[float, float], ...]
    height: float
    number: int


def label(things: Things, grid: Grid) -> tuple[list[WorldObject], list[WorldObject]]:
    """Boxes in a window.

    Args:
        things: All things near it.
        grid: The window.

    Returns:
        Those wholly inside, and those that its border cuts.
    """
    x, y = things.corners()
    x, y = x / grid.size - grid.col, y / grid.size - grid.row
    inside: Array = np.all((x >= 0) & (x <= grid.width) & (y >= 0) & (y <= grid.height), axis=1)
    touches = (x.max(1) > 0) & (x.min(1) < grid.width) & (y.max(1) > 0) & (y.min(1) < grid.height)
    found: tuple[list[WorldObject], list[WorldObject]] = ([], [])
    seen = np.flatnonzero(inside | touches)
    boxes, within = np.stack([x, y], axis=2)[seen].tolist(), inside[seen].tolist()
    rest = (values[seen].tolist() for values in (things.kind, things.height, things.name))
    for box, whole, kind, height, name in zip(boxes, within, *rest, strict=True):
        found[0 if whole else 1].append(WorldObject(KINDS[kind], tuple((corner[0], corner[1]) for corner in box), height, name))
    return found
