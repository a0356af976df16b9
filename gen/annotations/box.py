"""One box type for every format: a class name and four corners; horizontal boxes are a special case.

x points right and y down; pixel (0, 0) covers [0, 1] x [0, 1], so the box of a whole picture of W x H pixels has the corners
(0, 0), (W, 0), (W, H), (0, H). Angles are in radians, positive clockwise on screen, and always computed from corners by atan2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Corner = tuple[float, float]
Corners = tuple[Corner, Corner, Corner, Corner]
Angled = tuple[float, float, float, float, float]

_LEAST_AREA = 1e-6  # px^2: less is a line or a point
_STRAIGHT = 1e-3  # px: how far the corners of a horizontal box may stand off its hull
_SNAP = 1e-9  # rad, and relative length: float noise at the ends of the angle ranges and between the sides of a square


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled quadrilateral, usually a rectangle. Every box that exists is finite, has an area and does not cross itself.

    Attributes:
        name: Class.
        corners: Four (x, y) in pixels, clockwise on screen; the first is the one that was declared first. Corners that are given
            anticlockwise are turned round, the first one kept.
        difficult: Hard to see; trainers may leave it out.
        truncated: Cut by the edge of the picture.
        score: Confidence from 0 to 1, if there is one.

    Raises:
        InputError: If the name is empty, the corners are not four finite points, lie on a line, or the outline crosses itself.
    """

    name: str
    corners: Corners
    difficult: bool = False
    truncated: bool = False
    score: float | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError("a box has no class name; give each box the name of its class")
        try:
            corners = tuple([(float(x), float(y)) for x, y in self.corners])
        except OverflowError as error:
            raise InputError(f"a box of class {self.name!r} has a number of hundreds of digits; all numbers must be finite") from error
        if len(corners) != 4:
            raise InputError(f"a box of class {self.name!r} has {len(corners)} corners; give four")
        object.__setattr__(self, "corners", _clockwise(self.name, corners))

    @classmethod
    def horizontal(
        cls, name: str, x: float, y: float, w: float, h: float,
        *, difficult: bool = False, truncated: bool = False, score: float | None = None,
    ) -> Box:  # fmt: skip
        """A box parallel to the picture's edges; the first corner is the upper left one.

        Args:
            name: Class.
            x: Left edge in pixels.
            y: Upper edge in pixels.
            w: Width in pixels, above 0.
            h: Height in pixels, above 0.
            difficult: As the attribute.
            truncated: As the attribute.
            score: As the attribute.

        Raises:
            InputError: If a side is not above 0.
        """
        if not (w > 0 and h > 0):
            raise InputError(f"a box of class {name!r} is {w:g} x {h:g} pixels; its width and height must be above 0")
        return cls(name, ((x, y), (x + w, y), (x + w, y + h), (x, y + h)), difficult, truncated, score)

    @classmethod
    def rotated(
        cls, name: str, cx: float, cy: float, w: float, h: float, angle: float,
        *, difficult: bool = False, truncated: bool = False, score: float | None = None,
    ) -> Box:  # fmt: skip
        """A rectangle turned about its centre; the first corner is (-w/2, -h/2), turned.

        Args:
            name: Class.
            cx: Centre in pixels.
            cy: Centre in pixels.
            w: Side along the angle, in pixels, above 0.
            h: The other side, in pixels, above 0.
            angle: Radians clockwise on screen.
            difficult: As the attribute.
            truncated: As the attribute.
            score: As the attribute.

        Raises:
            InputError: If a side is not above 0.
        """
        if not (w > 0 and h > 0):
            raise InputError(f"a box of class {name!r} is {w:g} x {h:g} pixels; its sides must be above 0")
        ax, ay = math.cos(angle) * w / 2, math.sin(angle) * w / 2
        bx, by = -math.sin(angle) * h / 2, math.cos(angle) * h / 2
        corners = ((cx - ax - bx, cy - ay - by), (cx + ax - bx, cy + ay - by), (cx + ax + bx, cy + ay + by), (cx - ax + bx, cy - ay + by))
        return cls(name, corners, difficult, truncated, score)

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return _doubled_area(self.corners) / 2

    @property
    def centre(self) -> Corner:
        """Mean of the corners, in pixels."""
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = self.corners
        return (ax + bx + cx + dx) / 4, (ay + by + cy + dy) / 4

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, upper, right and lower edge of the axis-aligned hull, in pixels."""
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = self.corners
        return min(ax, bx, cx, dx), min(ay, by, cy, dy), max(ax, bx, cx, dx), max(ay, by, cy, dy)

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        """Left edge, upper edge, width and height of the axis-aligned hull, in pixels."""
        left, top, right, bottom = self.xyxy
        return left, top, right - left, bottom - top

    @property
    def is_horizontal(self) -> bool:
        """Whether it is its own hull, within a thousandth of a pixel; the first corner may be any of the four."""
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = self.corners
        if (ax == dx and bx == cx and ay == by and cy == dy) or (ax == bx and cx == dx and ay == dy and by == cy):
            return True
        left, top, right, bottom = self.xyxy
        return all(min(x - left, right - x) <= _STRAIGHT and min(y - top, bottom - y) <= _STRAIGHT for x, y in self.corners)

    @property
    def le90(self) -> Angled:
        """(cx, cy, w, h, angle): w is the longer side, its angle in [-pi/2, pi/2)."""
        return self._by_longer_side(-math.pi / 2)

    @property
    def le135(self) -> Angled:
        """(cx, cy, w, h, angle): w is the longer side, its angle in [-pi/4, 3 pi/4)."""
        return self._by_longer_side(-math.pi / 4)

    @property
    def oc(self) -> Angled:
        """(cx, cy, w, h, angle) as OpenCV 4.5.1 and later 4.x: the angle in (0, pi/2], either side may be w."""
        cx, cy, w, h, angle = self._by_longer_side(0.0)
        if angle == 0.0:
            return cx, cy, h, w, math.pi / 2
        return (cx, cy, h, w, angle - math.pi / 2) if angle > math.pi / 2 + _SNAP else (cx, cy, w, h, angle)

    def _by_longer_side(self, lowest: float) -> Angled:
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = self.corners
        # Opposite edges averaged: exact for rectangles, and well defined for the quadrilaterals of DOTA.
        first = ((bx - ax) + (cx - dx)) / 2, ((by - ay) + (cy - dy)) / 2
        second = ((cx - bx) + (dx - ax)) / 2, ((cy - by) + (dy - ay)) / 2
        w, h = math.hypot(*first), math.hypot(*second)
        if w < h * (1 - _SNAP):
            first, w, h = second, h, w
        return *self.centre, w, h, wrap_angle(math.atan2(first[1], first[0]), lowest)


@dataclass(frozen=True, slots=True)
class Layout:
    """The boxes of one picture.

    Attributes:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        boxes: Its objects; there may be none. A box may reach beyond the picture, where its object does.
        picture: File name, relative to the folder of the pictures.

    Raises:
        InputError: If the picture has no pixels.
    """

    width: int
    height: int
    boxes: tuple[Box, ...] = ()
    picture: str | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InputError(
                f"the picture {self.picture or ''} is {self.width} x {self.height} pixels; a layout needs one of 1 x 1 or more"
            )
        object.__setattr__(self, "boxes", tuple(self.boxes))

    @property
    def quads(self) -> NDArray[np.float64]:
        """Corners in pixels [N, 4, 2], x before y."""
        return np.array([box.corners for box in self.boxes], dtype=np.float64).reshape(-1, 4, 2)

    @property
    def names(self) -> list[str]:
        """Class of each box."""
        return [box.name for box in self.boxes]


def wrap_angle(angle: float, lowest: float) -> float:
    """The angle of a line, moved by half turns into [lowest, lowest + pi); float noise just under the upper end becomes `lowest`.

    Args:
        angle: Radians.
        lowest: Lower end of the range, radians.
    """
    turned = (angle - lowest) % math.pi
    return lowest if turned < _SNAP or math.pi - turned < _SNAP else lowest + turned


def _doubled_area(corners: tuple[Corner, ...]) -> float:
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
    return (cx - ax) * (dy - by) - (dx - bx) * (cy - ay)


def _clockwise(name: str, corners: tuple[Corner, ...]) -> Corners:
    doubled = _doubled_area(corners)
    if not math.isfinite(doubled) or not all(math.isfinite(value) for corner in corners for value in corner):
        raise InputError(f"a box of class {name!r} has the corners {_listed(corners)}; all numbers must be finite")
    a, b, c, d = corners
    turns = [_turn(a, b, c), _turn(b, c, d), _turn(c, d, a), _turn(d, a, b)]
    left, right = sum(turn < 0 for turn in turns), sum(turn > 0 for turn in turns)
    # A simple quadrilateral turns one way at every corner, or the other way at one of them; a crossing one turns twice each way.
    if left and right and {left, right} != {1, 3}:
        raise InputError(f"a box of class {name!r} with the corners {_listed(corners)} crosses itself; give them in order round the object")
    if abs(doubled) < 2 * _LEAST_AREA:
        raise InputError(f"a box of class {name!r} with the corners {_listed(corners)} has no area; give one that covers something")
    return (a, b, c, d) if doubled > 0 else (a, d, c, b)


def _turn(a: Corner, b: Corner, c: Corner) -> float:
    turn = (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0])
    return turn if abs(turn) > _LEAST_AREA else 0.0


def _listed(corners: tuple[Corner, ...]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in corners)
