"""Exact overlap of rotated boxes, and what happens to a layout when its picture is flipped, turned, scaled or cropped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from ..errors import InputError
from .box import Box, Corner, Layout

Floats = NDArray[np.float64]


def rotated_iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of quadrilaterals, exact (polygon clipping, no sampling).

    Args:
        a: Corners [N, 4, 2], in any unit.
        b: Corners [M, 4, 2], in the same unit.

    Returns:
        [N, M], 0 to 1; 0 where either has no area.

    Raises:
        InputError: If the shapes are others, or a quadrilateral crosses itself or is not finite.
    """
    left, right = _polygons(a), _polygons(b)
    ious = np.zeros((len(left), len(right)))
    if not ious.size:
        return ious
    hull, other = shapely.bounds(left), shapely.bounds(right)
    # Only pairs whose hulls overlap are clipped; the rest is 0.
    low = np.maximum(hull[:, None, :2], other[None, :, :2])
    high = np.minimum(hull[:, None, 2:], other[None, :, 2:])
    rows, cols = np.nonzero((low < high).all(axis=-1))
    areas, others = shapely.area(left), shapely.area(right)
    solid = (areas[rows] > 0) & (others[cols] > 0)
    rows, cols = rows[solid], cols[solid]
    common = shapely.area(shapely.intersection(left[rows], right[cols]))
    ious[rows, cols] = np.clip(common / (areas[rows] + others[cols] - common), 0.0, 1.0)
    return ious


def visible_share(box: Box, width: float, height: float) -> float:
    """Share of a box's area inside the picture, 0 to 1.

    Args:
        box: The box.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
    """
    left, top, right, bottom = box.xyxy
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return 1.0
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return 0.0
    return float(shapely.area(_inside(box, width, height)) / box.area)


def fit_inside(box: Box, width: float, height: float) -> Box:
    """The box round what is visible of it: a horizontal one is cut, a turned one becomes the smallest rectangle of its own angle.

    The corners of a turned one may still reach out of the picture. Flags are kept; `truncated` is set where something was cut.

    Args:
        box: The box; some of it must be visible.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.

    Raises:
        InputError: If nothing of it is inside the picture.
    """
    left, top, right, bottom = box.xyxy
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return box
    if visible_share(box, width, height) <= 0.0:
        raise InputError(
            f"a box of class {box.name!r} ({left:g},{top:g} to {right:g},{bottom:g}) is outside its {width:g} x {height:g} picture"
        )
    if box.is_horizontal:
        p, q, r, s = ((min(max(x, 0.0), width), min(max(y, 0.0), height)) for x, y in box.corners)
        return replace(box, corners=(p, q, r, s), truncated=True)
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = box.corners
    angle = math.atan2((by - ay) + (cy - dy), (bx - ax) + (cx - dx))
    points = shapely.get_coordinates(_inside(box, width, height))
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    u, v = points @ along, points @ across
    ends = np.array([(u.min(), v.min()), (u.max(), v.min()), (u.max(), v.max()), (u.min(), v.max())])
    p, q, r, s = ((float(x), float(y)) for x, y in ends @ np.array([along, across]))
    return replace(box, corners=(p, q, r, s), truncated=True)


def flip(layout: Layout, axis: Literal["x", "y"] = "x") -> Layout:
    """Mirror: ``"x"`` swaps left and right, ``"y"`` top and bottom.

    The edge from the first to the second corner stays the first edge (in DOTA it is an object's front), so these two swap places.

    Args:
        layout: Of the picture before.
        axis: Which coordinate is mirrored.

    Raises:
        InputError: If the axis is another.
    """
    if axis not in ("x", "y"):
        raise InputError(f"a layout can be flipped along 'x' or 'y', not {axis!r}; name one of them")
    width, height = layout.width, layout.height

    def mirrored(box: Box) -> Box:
        a, b, c, d = ((width - x, y) if axis == "x" else (x, height - y) for x, y in box.corners)
        return replace(box, corners=(b, a, d, c))

    return replace(layout, boxes=tuple(mirrored(box) for box in layout.boxes))


def rot90(layout: Layout, turns: int = 1) -> Layout:
    """Quarter turns anticlockwise on screen, as `numpy.rot90` does to the picture [H, W].

    Args:
        layout: Of the picture before.
        turns: How many; negative ones are clockwise.
    """
    for _ in range(turns % 4):
        width = layout.width
        layout = _moved(replace(layout, width=layout.height, height=width), lambda x, y, width=width: (y, width - x))  # type: ignore[misc]
    return layout


def rotate(layout: Layout, angle: float, *, min_visible: float = 0.5) -> Layout:
    """Turn about the picture's centre, in a picture of the same size.

    Horizontal boxes become turned ones. Nothing is cut: boxes may reach beyond the picture.

    Args:
        layout: Of the picture before.
        angle: Radians clockwise on screen.
        min_visible: Boxes of which less than this share of the area stays inside are dropped, 0 to 1.
    """
    cos, sin, cx, cy = math.cos(angle), math.sin(angle), layout.width / 2, layout.height / 2
    turned = _moved(layout, lambda x, y: (cx + cos * (x - cx) - sin * (y - cy), cy + sin * (x - cx) + cos * (y - cy)))
    kept = []
    for box in turned.boxes:
        share = visible_share(box, layout.width, layout.height)
        if share > 0 and share >= min_visible:
            kept.append(box if share >= 1 else replace(box, truncated=True))
    return replace(turned, boxes=tuple(kept))


def scale(layout: Layout, width: int, height: int) -> Layout:
    """Resize the picture to `width` x `height` pixels.

    Under unequal factors a turned rectangle becomes a parallelogram, which is what its object becomes too.

    Args:
        layout: Of the picture before.
        width: New width in pixels.
        height: New height in pixels.
    """
    across, down = width / layout.width, height / layout.height
    return _moved(replace(layout, width=width, height=height), lambda x, y: (x * across, y * down))


def crop(layout: Layout, x: float, y: float, w: int, h: int, min_visible: float = 0.5, *, cut: bool = True) -> Layout:
    """What a window of the picture shows.

    Args:
        layout: Of the whole picture.
        x: Left edge of the window in pixels; the window may reach beyond the picture.
        y: Upper edge of the window in pixels.
        w: Width of the window in pixels.
        h: Height of the window in pixels.
        min_visible: Boxes of which less than this share of the area is inside are dropped, 0 to 1.
        cut: Whether boxes that reach out are fitted to their visible part (see `fit_inside`), or kept whole.

    Returns:
        The layout of the window; boxes that reach out are marked as truncated.
    """
    moved = _moved(replace(layout, width=w, height=h), lambda px, py: (px - x, py - y))
    kept = []
    for box in moved.boxes:
        share = visible_share(box, w, h)
        if share >= 1:
            kept.append(box)
        elif share > 0 and share >= min_visible:
            kept.append(fit_inside(box, w, h) if cut else replace(box, truncated=True))
    return replace(moved, boxes=tuple(kept))


def _moved(layout: Layout, move: Callable[[float, float], Corner]) -> Layout:
    boxes = []
    for box in layout.boxes:
        a, b, c, d = (move(x, y) for x, y in box.corners)
        boxes.append(replace(box, corners=(a, b, c, d)))
    return replace(layout, boxes=tuple(boxes))


def _inside(box: Box, width: float, height: float) -> shapely.Geometry:
    return shapely.intersection(shapely.Polygon(box.corners), shapely.box(0, 0, width, height))


def _polygons(quads: Floats) -> NDArray[np.object_]:
    quads = np.asarray(quads, dtype=np.float64)
    if quads.ndim != 3 or quads.shape[1:] != (4, 2):
        raise InputError(f"boxes of the shape {quads.shape} cannot be compared; give corners [N, 4, 2]")
    if not np.isfinite(quads).all():
        raise InputError("boxes with corners that are not finite cannot be compared; leave them out")
    polygons = shapely.polygons(quads)
    crossing = ~shapely.is_valid(polygons) & (shapely.area(polygons) > 0)
    if crossing.any():
        raise InputError(f"box {int(np.argmax(crossing))} crosses itself, so it has no overlap; give its corners in order round the object")
    return polygons
