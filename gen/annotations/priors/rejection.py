"""What no real layout looks like.

Objects outside the picture, on top of each other, of a size or shape that their class never has, or on ground where
they cannot be. Limits are taken from real layouts. Every object gets figures, and a verdict that follows from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..box import Layout
from ..geometry import visible_share
from .statistics import Floats, all_overlaps, measured, objects_of, overlaps

OVERLAP_PERCENTILE, INSIDE_PERCENTILE = 99.0, 1.0
SLACK = 1e-9
"""What rounding may add to a figure at its limit."""
_GRID = 7
"""Points per axis at which ground under an object is looked up."""


@dataclass(frozen=True)
class Spread:
    """Normal model of one class's sizes: natural logarithms of area (square pixels) and aspect."""

    count: int
    area: tuple[float, float]
    aspect: tuple[float, float]
    horizontal: bool


@dataclass(frozen=True)
class Ground:
    """Where classes may stand.

    Attributes:
        codes: ``[H, W]`` whole numbers such as land cover, stretched over the whole layout whatever its size in pixels.
        allowed: Codes on which a class may stand; classes that are not named may stand anywhere.
        share: How much of an object must lie on allowed codes.
    """

    codes: NDArray[np.integer] = field(repr=False)
    allowed: Mapping[str, frozenset[int]]
    share: float = 0.5

    def stands(self, points: Floats, name: str, frame: tuple[int, int]) -> NDArray[np.bool_]:
        """Whether points ``[n, 2]`` inside a picture of this width and height lie on ground that is allowed to a class, ``[n]``."""
        if name not in self.allowed:
            return np.ones(len(points), bool)
        height, width = self.codes.shape
        col = np.clip(np.floor(points[:, 0] / frame[0] * width).astype(int), 0, width - 1)
        row = np.clip(np.floor(points[:, 1] / frame[1] * height).astype(int), 0, height - 1)
        return np.isin(self.codes[row, col], list(self.allowed[name]))

    def shares(self, layout: Layout) -> Floats:
        """Of each object, the share on allowed ground, ``[N]``; what lies outside the picture is not counted."""
        found = np.ones(len(layout.boxes))
        steps = (np.arange(_GRID) + 0.5) / _GRID
        u, v = (axis.ravel()[:, None] for axis in np.meshgrid(steps, steps))
        height, width = self.codes.shape
        for number, box in enumerate(layout.boxes):
            if box.name not in self.allowed:
                continue
            a, b, c, d = np.array(box.corners, np.float64)
            points = (1 - u) * (1 - v) * a + u * (1 - v) * b + u * v * c + (1 - u) * v * d
            col = np.floor(points[:, 0] / layout.width * width).astype(int)
            row = np.floor(points[:, 1] / layout.height * height).astype(int)
            seen = (col >= 0) & (col < width) & (row >= 0) & (row < height)
            there = np.isin(self.codes[row[seen], col[seen]], list(self.allowed[box.name]))
            found[number] = there.mean() if seen.any() else 0.0
        return found


@dataclass(frozen=True)
class Findings:
    """Figures of each object of one layout, ``[N]`` each, and `ok`: whether all are within the limits.

    Attributes:
        inside: Share of the area inside the picture.
        overlap: Largest IoU with another object.
        covered: Largest share of the area that another object covers.
        area_z: Standard deviations between the log area and its class's mean; NaN where the class is unknown.
        aspect_z: The same of the log aspect.
        ground: Share on allowed ground.
        ok: The verdict.
    """

    inside: Floats
    overlap: Floats
    covered: Floats
    area_z: Floats
    aspect_z: Floats
    ground: Floats
    ok: NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """What a layout must keep to.

    Attributes:
        overlap: Largest IoU of two objects.
        covered: Largest share of an object that another covers: what keeps a small one out of a large one.
        inside: Smallest share of an object inside the picture.
        spreads: By class.
        z: Largest absolute z-score of log area and log aspect.
    """

    overlap: float
    covered: float
    inside: float
    spreads: Mapping[str, Spread]
    z: float = 3.0

    @classmethod
    def of(cls, layouts: Sequence[Layout], z: float = 3.0) -> Limits:
        """Limits of real layouts: the 99th percentiles of overlap and cover, the 1st of the share inside, mean and spread of the sizes.

        Args:
            layouts: At least one with an object.
            z: See `Limits`.

        Raises:
            InputError: If there is no object.
        """
        objects = objects_of(layouts)
        if not len(objects.layout):
            raise InputError(f"{len(layouts)} layouts hold no object to take limits from; give layouts with boxes")
        spreads = {}
        for number, name in enumerate(objects.names):
            own = objects.label == number
            area, aspect = objects.log_area[own], objects.log_aspect[own]
            spreads[name] = Spread(
                int(own.sum()),
                (float(area.mean()), float(area.std())),
                (float(aspect.mean()), float(aspect.std())),
                objects.horizontal[number],
            )
        inside = np.concatenate([inside_shares(layout) for layout in layouts])
        iou, covered = all_overlaps(layouts)
        return cls(
            overlap=float(np.percentile(iou, OVERLAP_PERCENTILE)),
            covered=float(np.percentile(covered, OVERLAP_PERCENTILE)),
            inside=float(np.percentile(inside, INSIDE_PERCENTILE)),
            spreads=spreads,
            z=z,
        )

    def findings(self, layout: Layout, ground: Ground | None = None) -> Findings:
        """Figures and verdict of every object. A class without real objects is refused.

        Args:
            layout: The layout.
            ground: Where classes may stand.
        """
        area_z, aspect_z = z_scores(layout, self.spreads)
        inside, (overlap, covered) = inside_shares(layout), overlaps(layout)
        shares = np.ones(len(layout.boxes)) if ground is None else ground.shares(layout)
        ok = (inside >= self.inside - SLACK) & (overlap <= self.overlap + SLACK) & (covered <= self.covered + SLACK)
        ok &= (np.abs(area_z) <= self.z) & (np.abs(aspect_z) <= self.z)
        if ground is not None:
            ok &= shares >= ground.share
        return Findings(inside, overlap, covered, area_z, aspect_z, shares, ok)


def size_scores(log_area: float, log_aspect: float, spread: Spread) -> tuple[float, float]:
    """z-scores of one object's log area and log aspect."""
    return _score(log_area, spread.area), _score(log_aspect, spread.aspect)


def z_scores(layout: Layout, spreads: Mapping[str, Spread]) -> tuple[Floats, Floats]:
    """z-scores of log area and log aspect of each object, ``[N]`` each; NaN for a class that `spreads` lacks."""
    area, aspect = np.full(len(layout.boxes), np.nan), np.full(len(layout.boxes), np.nan)
    for number, box in enumerate(layout.boxes):
        if box.name not in spreads:
            continue
        spread = spreads[box.name]
        _, _, log_area, log_aspect, _ = measured(box, spread.horizontal)
        area[number], aspect[number] = size_scores(log_area, log_aspect, spread)
    return area, aspect


def inside_shares(layout: Layout) -> Floats:
    """Of each object, the share of its area inside the picture, ``[N]``."""
    return np.array([visible_share(box, layout.width, layout.height) for box in layout.boxes], np.float64)


def _score(value: float, model: tuple[float, float]) -> float:
    # A class of one object, or of equal ones, is given a spread of a tenth.
    return (value - model[0]) / max(model[1], 0.1)
