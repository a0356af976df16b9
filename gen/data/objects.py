"""Pictures with the objects in them: quads and class names, cut into blocks and divided into training and held-out places.

Coordinates are pixels, x to the right and y down; pixel (0, 0) covers [0, 1] x [0, 1]. A quad has four corners, clockwise on the screen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .splits import Split, split_of

Bytes = NDArray[np.uint8]
Quads = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectPicture:
    """A picture and its labelled objects.

    Attributes:
        name: Unique name.
        pixels: ``[3, H, W]`` uint8, as displayed.
        quads: Corners ``[N, 4, 2]`` float64; they may reach outside the picture.
        labels: N class names.
        place: Name of the place, for dividing into training and test.
        gsd: Metres per pixel; None where unknown.
        captions: Sentences that all fit the picture.
        complete: Whether all objects of the classes are labelled.
    """

    name: str
    pixels: Bytes
    quads: Quads
    labels: tuple[str, ...]
    place: str
    gsd: float | None = None
    captions: tuple[str, ...] = ()
    complete: bool = True

    @property
    def extents(self) -> NDArray[np.float64]:
        """The longer edge of each object in pixels, ``[N]``."""
        return sides_of(self.quads).max(1) if len(self.quads) else np.zeros(0)


def sides_of(quads: Quads) -> NDArray[np.float64]:
    """Lengths of the two edges of each quad, the mean of opposite ones, ``[N, 2]``."""
    edges = np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2)
    return np.asarray(0.5 * (edges[:, :2] + edges[:, 2:]))


def area_of(polygon: NDArray[np.float64]) -> float:
    """Area of a polygon ``[n, 2]`` in square pixels."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon[:, 0], polygon[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def clipped(polygon: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """The part of a convex polygon ``[n, 2]`` inside the picture (Sutherland and Hodgman 1974), ``[m, 2]``; m may be 0."""
    for axis, sign, limit in ((0, 1.0, 0.0), (0, -1.0, -width), (1, 1.0, 0.0), (1, -1.0, -height)):
        if not len(polygon):
            break
        inside = sign * polygon[:, axis] - limit
        found = []
        for at, depth in enumerate(inside):
            before, behind = polygon[at - 1], inside[at - 1]
            if (depth >= 0) != (behind >= 0):
                found.append(before + (polygon[at] - before) * (behind / (behind - depth)))
            if depth >= 0:
                found.append(polygon[at])
        polygon = np.array(found).reshape(-1, 2)
    return polygon


def visible_shares(quads: Quads, width: float, height: float) -> NDArray[np.float64]:
    """Share of each quad's area that lies inside a picture, ``[N]``; 0 for a quad without area."""
    shares = np.zeros(len(quads))
    inside = (quads >= 0).all((1, 2)) & (quads[..., 0] <= width).all(1) & (quads[..., 1] <= height).all(1)
    shares[inside] = 1.0
    for number in np.flatnonzero(~inside):
        whole = area_of(quads[number])
        shares[number] = area_of(clipped(quads[number], width, height)) / whole if whole > 0 else 0.0
    return shares


def turned(quads: Quads, which: int, size: float) -> Quads:
    """Corners of a square picture's objects after one of the eight turns and flips, clockwise again; exact.

    Args:
        quads: ``[N, 4, 2]``.
        which: 0 to 7: quarter turns counter-clockwise, from 4 on mirrored left to right afterwards.
        size: Side of the picture.

    Returns:
        ``[N, 4, 2]``. The edge from the first to the second corner stays the first edge, which is an object's front where it has one.
    """
    x, y = quads[..., 0], quads[..., 1]
    for _ in range(which % 4):
        x, y = y, size - x
    if which < 4:
        return np.stack([x, y], -1)
    # A mirrored quad runs the other way round: the two ends of each edge change places.
    return np.stack([size - x, y], -1)[:, [1, 0, 3, 2]]


def turned_pixels(pixels: NDArray[Any], which: int) -> NDArray[Any]:
    """A square picture ``[C, S, S]`` after the same turn as `turned`."""
    made = np.rot90(pixels, which % 4, axes=(1, 2))
    return np.ascontiguousarray(made[:, :, ::-1] if which >= 4 else made)


def blocks_of(picture: ObjectPicture, rows: int, cols: int, min_visible: float = 0.3) -> list[ObjectPicture]:
    """Cut one large picture into blocks that are places of their own; what lies across a cut belongs to each block that shows enough of it.

    Args:
        picture: The whole.
        rows: Blocks from top to bottom.
        cols: Blocks from left to right.
        min_visible: Share of an object that a block must show.
    """
    if rows * cols == 1:
        return [picture]
    height, width = picture.pixels.shape[1:]
    made = []
    for row in range(rows):
        for col in range(cols):
            top, bottom, left, right = (
                round(height * row / rows), round(height * (row + 1) / rows), round(width * col / cols), round(width * (col + 1) / cols)
            )  # fmt: skip
            quads = picture.quads - np.array([left, top], float)
            kept = np.flatnonzero(visible_shares(quads, right - left, bottom - top) >= min_visible)
            part = replace(
                picture, name=f"{picture.name}#{row},{col}", pixels=np.ascontiguousarray(picture.pixels[:, top:bottom, left:right]),
                quads=quads[kept], labels=tuple(picture.labels[number] for number in kept), place=f"{picture.place} {row},{col}",
            )  # fmt: skip
            made.append(part)
    return made


_TILE = re.compile(r"(\d+)-(\d+)-(\d+)")


def tile_place(name: str, zoom: int) -> str | None:
    """The ancestor at a zoom of a map tile ``...x-y-z``: a tile, its children and their children are one place.

    Args:
        name: File name with the tile's numbers.
        zoom: Of the ancestor; a tile of a lower zoom is its own.

    Returns:
        ``tile x-y-z``, or None if there are no such numbers.
    """
    found = _TILE.search(name)
    if found is None:
        return None
    x, y, z = (int(number) for number in found.groups())
    up = max(0, z - zoom)
    return f"tile {x >> up}-{y >> up}-{z - up}"


@dataclass(frozen=True)
class HeldOut:
    """Places that are not trained on, by pattern; with neither, a hash of the place's name decides (`splits.split_of`).

    Attributes:
        validation: Patterns of places that may choose a checkpoint.
        test: Patterns of places that choose nothing.
    """

    validation: tuple[str, ...] = field(default=())
    test: tuple[str, ...] = field(default=())

    def part_of(self, place: str) -> Split:
        """The part that a place belongs to."""
        if not self.validation and not self.test:
            return split_of(place)
        if any(fnmatchcase(place, pattern) for pattern in self.test):
            return "test"
        return "validation" if any(fnmatchcase(place, pattern) for pattern in self.validation) else "train"


def divided(pictures: Iterable[ObjectPicture], held_out: HeldOut, parts: Sequence[Split]) -> dict[Split, list[ObjectPicture]]:
    """Pictures by part."""
    found: dict[Split, list[ObjectPicture]] = {part: [] for part in parts}
    for picture in pictures:
        part = held_out.part_of(picture.place)
        if part in found:
            found[part].append(picture)
    return found
