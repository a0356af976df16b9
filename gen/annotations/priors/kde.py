"""Layouts from smoothed statistics: how many objects, how large, how long, how turned, and how far from their neighbours.

What varies between layouts (numbers of objects, mean size, direction of the street grid) is drawn together, from one real layout at a time,
since pictures taken from near show few and large objects; what varies within a layout (residual size, aspect, angle) is drawn per object.
Both are kernel densities: a real row plus Gaussian noise of Scott's width, shrunk so that variances stay what they are. Positions follow by
placing object after object among random candidates, weighted by how often real nearest neighbours lie at that gap (`gaps`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..box import Box, Layout
from ..geometry import rotated_iou, visible_share
from .gaps import Gaps
from .prior import LayoutPrior
from .rejection import SLACK, Ground, size_scores
from .statistics import Floats, Ints, Objects, box_from, covered_shares, objects_of, reach, separations

_TRIES = 12
"""Sizes that are tried for one object before it is left out."""


class KdePrior(LayoutPrior):
    """The prior of this module.

    Settings: `bandwidth` multiplies Scott's width of every kernel (0 draws real rows as they are); `candidates` is the number of positions
    that an object chooses among; `rounds` how often the weights of gaps are corrected by what sampling makes of them.
    """

    kind: ClassVar[str] = "kde"
    DEFAULTS: ClassVar[Mapping[str, float]] = {"bandwidth": 1.0, "candidates": 48.0, "rounds": 3.0}

    def __init__(
        self, layouts: Sequence[Layout], settings: Mapping[str, float] | None = None, learnt: Mapping[str, Any] | None = None
    ) -> None:
        """Split the statistics into those of layouts and those of objects, and fit the gaps."""
        super().__init__(layouts, settings, learnt)
        objects = self._objects = objects_of(self.layouts)
        self._counts = objects.counts()
        self._levels, self._rest, self._crowded = _levels(objects, self._counts.shape)
        self._gaps = Gaps.of(objects)
        if learnt:
            self._gaps = self._gaps.given(learnt.get("preference"))
        for number in range(0 if learnt else int(self.settings["rounds"])):
            rng = np.random.default_rng([number, len(self.layouts)])
            made = [self.draw(rng) for _ in range(max(20, min(len(self.layouts), 40)))]
            self._gaps = self._gaps.corrected(objects_of(made, objects.names))

    @property
    def learnt(self) -> dict[str, Any]:
        """The weights of gaps."""
        return {"preference": self._gaps.preference.tolist()}

    def draw(self, rng: np.random.Generator, ground: Ground | None = None) -> Layout:
        """One layout; an object that finds no place within the limits is left out."""
        anchor = int(rng.integers(len(self.layouts)))
        width, height = (int(value) for value in self._objects.frames[anchor])
        numbers = self._numbers(anchor, rng)
        levels = {label: self._level(anchor, label, rng) for label in np.flatnonzero(numbers).tolist()}
        wanted = [
            (label, self._size(label, level, numbers[label] > 1, rng)) for label, level in levels.items() for _ in range(numbers[label])
        ]
        # Large ones first: they find no place between small ones.
        wanted.sort(key=lambda entry: -entry[1][0])
        placed, boxes = np.zeros((0, 5)), list[Box]()
        for label, size in wanted:
            for attempt in range(_TRIES):
                size = self._size(label, levels[label], numbers[label] > 1, rng) if attempt else size
                found = self._place(size, label, placed, boxes, (width, height), ground, rng)
                if found is not None:
                    placed, boxes = np.vstack([placed, found[0]]), [*boxes, found[1]]
                    break
        order = rng.permutation(len(boxes))
        return Layout(width, height, tuple(boxes[number] for number in order))

    def _box(self, label: int, row: Floats) -> Box:
        x, y, log_area, log_aspect, angle = (float(value) for value in row)
        return box_from(self._objects.names[label], x, y, log_area, log_aspect, angle, self._objects.horizontal[label])

    def _numbers(self, anchor: int, rng: np.random.Generator) -> Ints:
        """Objects of each class: the anchor's, smoothed on a logarithmic scale where it has any."""
        found = np.zeros(self._counts.shape[1], np.int64)
        for label, count in enumerate(self._counts[anchor]):
            if count:
                every = np.log(self._counts[:, label][self._counts[:, label] > 0].astype(float))
                value = math.exp(_smoothed(math.log(float(count)), every, self.settings["bandwidth"], rng))
                # Rounded at random, so that the mean stays.
                found[label] = max(1, int(value + rng.random()))
        return found

    def _level(self, anchor: int, label: int, rng: np.random.Generator) -> Floats:
        """Mean log area and grid direction of a class in the layout."""
        known = self._levels[:, label][~np.isnan(self._levels[:, label, 0])]
        area, direction = self._levels[anchor, label]
        return np.array([_smoothed(area, known[:, 0], self.settings["bandwidth"], rng), direction + rng.normal(0, math.radians(5))])

    def _size(self, label: int, level: Floats, several: bool, rng: np.random.Generator) -> Floats:
        """Log area, log aspect and angle of an object."""
        mine = self._objects.label == label
        pool = np.flatnonzero(mine & self._crowded) if several and (mine & self._crowded).any() else np.flatnonzero(mine)
        row = self._rest[int(pool[int(rng.integers(len(pool)))])]
        area = level[0] + _smoothed(row[0], self._rest[pool, 0], self.settings["bandwidth"], rng)
        aspect = _smoothed(row[1], self._rest[pool, 1], self.settings["bandwidth"], rng)
        if self._objects.horizontal[label]:
            return np.array([area, aspect, 0.0])
        angle = level[1] + row[2] + rng.normal(0, math.radians(2.0) * self.settings["bandwidth"])
        return np.array([area, abs(aspect), (angle + math.pi / 2) % math.pi - math.pi / 2])

    def _place(
        self,
        size: Floats,
        label: int,
        placed: Floats,
        boxes: list[Box],
        frame: tuple[int, int],
        ground: Ground | None,
        rng: np.random.Generator,
    ) -> tuple[Floats, Box] | None:
        """Row and box of an object at a position within the limits: the first of the candidates, in random order of their weights."""
        if max(abs(z) for z in size_scores(size[0], size[1], self.limits.spreads[self._objects.names[label]])) > self.limits.z:
            return None
        rows = self._candidates(size, frame, rng)
        if rows is not None and ground is not None:
            rows = rows[ground.stands(rows[:, :2], self._objects.names[label], frame)]
        if rows is None or not len(rows):
            return None
        between = separations(rows[:, None], placed[None]) if len(placed) else np.zeros((len(rows), 0))
        weights = self._gaps.weights(between.min(1) if len(placed) else np.full(len(rows), np.nan), label)
        for number in np.argsort(rng.exponential(size=len(rows)) / weights):
            box = self._box(label, rows[number])
            close = [boxes[other] for other in np.flatnonzero(between[number] < 0)]
            if self._fits(box, close, frame, ground):
                return rows[number], box
        return None

    def _candidates(self, size: Floats, frame: tuple[int, int], rng: np.random.Generator) -> Floats | None:
        """Rows at random positions; wholly inside the picture where every real object is. None if the object is too large for that."""
        count = max(1, int(self.settings["candidates"]))
        margins = (
            np.array([float(reach(np.array(along), *size)) for along in (0.0, math.pi / 2)]) if self.limits.inside >= 1 else np.zeros(2)
        )
        room = np.array(frame) - 2 * margins
        if (room < 0).any():
            return None
        return np.column_stack([margins + rng.random((count, 2)) * room, np.tile(size, (count, 1))])

    def _fits(self, box: Box, close: list[Box], frame: tuple[int, int], ground: Ground | None) -> bool:
        """Whether a box of a possible size keeps to the other limits beside those that may overlap it."""
        if visible_share(box, *frame) < self.limits.inside - SLACK:
            return False
        if close:
            quads = np.array([box.corners, *(other.corners for other in close)], np.float64)
            iou, areas = rotated_iou(quads[:1], quads[1:]), np.array([other.area for other in close])
            own = np.array([box.area])
            if iou.max() > self.limits.overlap:
                return False
            if max(covered_shares(iou, own, areas).max(), covered_shares(iou.T, areas, own).max()) > self.limits.covered:
                return False
        return ground is None or bool(ground.shares(Layout(*frame, (box,)))[0] >= ground.share)


def _levels(objects: Objects, shape: tuple[int, ...]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Split the statistics.

    Returns:
        Mean log area and grid direction of each layout and class, ``[L, K, 2]``, NaN where there is none; of each object the residuals of
        log area, log aspect and angle, ``[M, 3]``; and whether it has company of its class.
    """
    levels = np.full((*shape, 2), np.nan)
    rest = np.column_stack([objects.log_area, objects.log_aspect, objects.angle])
    layout, label = objects.layout, objects.label
    crowded = np.zeros(len(layout), bool)
    for number, kind in {(int(a), int(b)) for a, b in zip(layout, label, strict=True)}:
        own = (layout == number) & (label == kind)
        area = float(objects.log_area[own].mean())
        # Directions a quarter turn apart are one grid; long objects say more about it.
        pull = np.exp(4j * objects.angle[own]) * (1 + objects.log_aspect[own] ** 2)
        direction = float(np.angle(pull.sum()) / 4)
        # Of the grid's two directions, the one of most long sides.
        if np.cos(2 * (objects.angle[own] - direction)).sum() < 0:
            direction += math.pi / 2
        levels[number, kind] = area, direction
        rest[own] -= [area, 0.0, direction]
        crowded[own] = own.sum() > 1
    return levels, rest, crowded


def _smoothed(value: float, every: Floats, bandwidth: float, rng: np.random.Generator) -> float:
    """A value plus Gaussian noise, pulled towards the mean by what keeps the variance of `every`."""
    spread = float(every.std())
    width = bandwidth * spread * len(every) ** -0.2
    if spread == 0.0 or width == 0.0:
        return float(value)
    mean = float(every.mean())
    return mean + (float(value) - mean + width * float(rng.normal())) / math.sqrt(1 + (width / spread) ** 2)
