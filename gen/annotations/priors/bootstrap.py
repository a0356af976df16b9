"""Real layouts again, turned, flipped and shaken: the prior that is hardest to beat, and the least new."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..box import Layout
from ..geometry import flip, rot90, rotate
from .prior import LayoutPrior, keep_allowed
from .rejection import Ground
from .statistics import Floats, box_from, measured, objects_of

_TRIES = 8
Flags = NDArray[np.bool_]


class BootstrapPrior(LayoutPrior):
    """Draws a real layout, one of its eight symmetries, a turn about its middle, and moves, sizes and turns every object a little.

    Settings: `shift` is the standard deviation of each object's move in units of the square root of its area; `scale` that of its log side;
    `turn` that of its angle in degrees (horizontal classes are not turned); `spin` the largest turn of the whole layout in degrees, where
    no class is horizontal; `drop` the share of objects left out.
    """

    kind: ClassVar[str] = "bootstrap"
    DEFAULTS: ClassVar[Mapping[str, float]] = {"shift": 0.15, "scale": 0.05, "turn": 4.0, "spin": 10.0, "drop": 0.05}

    def __init__(
        self, layouts: Sequence[Layout], settings: Mapping[str, float] | None = None, learnt: Mapping[str, Any] | None = None
    ) -> None:
        """Keep the layouts, and which classes are horizontal."""
        super().__init__(layouts, settings, learnt)
        objects = objects_of(self.layouts)
        self._horizontal = dict(zip(objects.names, objects.horizontal, strict=True))

    def draw(self, rng: np.random.Generator, ground: Ground | None = None) -> Layout:
        """One layout: an object that breaks the limits at every try goes back to where it was, and is left out if it breaks them there."""
        base = self._turned(self.layouts[int(rng.integers(len(self.layouts)))], rng)
        kept = tuple(box for box in base.boxes if rng.random() >= self.settings["drop"])
        base = replace(base, boxes=kept or base.boxes)
        made = self._shaken(base, np.ones(len(base.boxes), bool), base, rng)
        for attempt in range(_TRIES):
            wrong = ~self.limits.findings(made, ground).ok
            if not wrong.any():
                return made
            last = attempt == _TRIES - 2
            made = self._put_back(made, wrong, base) if last else self._shaken(made, wrong, base, rng)
        return keep_allowed(made, self.limits, ground)

    def _turned(self, layout: Layout, rng: np.random.Generator) -> Layout:
        """A symmetry, and a turn about the middle where boxes may turn."""
        which = int(rng.integers(8))
        spin = math.radians(self.settings["spin"]) * float(rng.uniform(-1, 1))
        free = not any(self._horizontal[box.name] for box in layout.boxes)
        turned = symmetric(layout, which)
        return rotate(turned, spin, min_visible=0.0) if free else turned

    def _shaken(self, made: Layout, which: Flags, base: Layout, rng: np.random.Generator) -> Layout:
        rows, boxes = _rows(base, self._horizontal), list(made.boxes)
        for number in np.flatnonzero(which):
            x, y, log_area, log_aspect, angle = rows[number]
            name, side = base.boxes[number].name, math.exp(log_area / 2)
            move = rng.normal(0, self.settings["shift"] * side, 2)
            sides = rng.normal(0, self.settings["scale"], 2)
            turn = math.radians(rng.normal(0, self.settings["turn"]))
            log_aspect = log_aspect + sides[0] - sides[1]
            boxes[number] = box_from(
                name, x + move[0], y + move[1], log_area + sides.sum(), log_aspect, angle + turn, self._horizontal[name]
            )
        return replace(made, boxes=tuple(boxes))

    @staticmethod
    def _put_back(made: Layout, which: Flags, base: Layout) -> Layout:
        boxes = tuple(before if back else after for before, after, back in zip(base.boxes, made.boxes, which, strict=True))
        return replace(made, boxes=boxes)


def symmetric(layout: Layout, which: int) -> Layout:
    """One of the eight symmetries of the square.

    Args:
        layout: The layout.
        which: Quarter turns, plus 4 to flip left and right first.
    """
    return rot90(flip(layout) if which >= 4 else layout, which % 4)


def _rows(layout: Layout, horizontal: Mapping[str, bool]) -> Floats:
    """`statistics.rows_of` of one layout, by the classes' own conventions, in the order of its boxes."""
    return np.array([measured(box, horizontal[box.name]) for box in layout.boxes], np.float64).reshape(-1, 5)
