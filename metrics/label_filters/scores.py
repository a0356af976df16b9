"""What a filter says of one picture, and what follows from it with thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...gen.annotations.box import Layout
from ...gen.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Figures of one filter for one picture, the higher the better.

    Attributes:
        filter: Name of the filter.
        objects: ``[N]``, in the order of the boxes; NaN where the filter has no answer.
        picture: Of the whole picture; NaN where it has no answer. Where it follows from the objects it is their least.
    """

    filter: str
    objects: Floats
    picture: float

    @classmethod
    def least(cls, name: str, objects: Floats) -> Scores:
        """Scores whose picture is as good as its worst object; an empty picture has no answer."""
        known = objects[~np.isnan(objects)]
        return cls(name, objects, float(known.min()) if len(known) else math.nan)

    def plain(self) -> dict[str, Any]:
        """For a manifest: plain JSON types, None for no answer."""
        return {"objects": [None if math.isnan(v) else round(float(v), 6) for v in self.objects], "picture": _or_none(self.picture)}


class LabelFilter(Protocol):
    """Scores labelled pictures.

    Attributes:
        name: Short and unique, such as ``classifier``.
        words: What the figure is and with what it was made, for a report.
    """

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def words(self) -> str:
        """See above."""
        ...

    def __call__(self, picture: Tensor, layout: Layout) -> Scores:
        """Scores of a picture ``[3, H, W]``, 0 to 1, as large as the layout says."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What thresholds make of scores.

    Attributes:
        objects: ``[N]`` whether each object passes every filter.
        picture: Whether the picture passes every filter and, through it, all its objects.
        reasons: Of each filter that refuses something, how many objects it refuses; -1 for the picture as a whole.
    """

    objects: NDArray[np.bool_]
    picture: bool
    reasons: Mapping[str, int]


def judge(scores: Sequence[Scores], thresholds: Mapping[str, float]) -> Verdict:
    """Hold scores against thresholds; no answer passes.

    Args:
        scores: Of one picture, one for each filter.
        thresholds: Least score by filter; filters without one refuse nothing.

    Raises:
        InputError: If the filters scored different numbers of objects.
    """
    counts = {len(one.objects) for one in scores}
    if len(counts) > 1:
        raise InputError(f"filters scored {sorted(counts)} objects of one picture; score all of them against the same layout")
    objects, picture, reasons = np.ones(counts.pop() if counts else 0, bool), True, dict[str, int]()
    for one in scores:
        least = thresholds.get(one.filter, -math.inf)
        refused = one.objects < least
        objects &= ~refused
        if refused.any():
            reasons[one.filter] = int(refused.sum())
        elif one.picture < least:
            picture, reasons[one.filter] = False, -1
    return Verdict(objects, picture and bool(objects.all()), reasons)


def check_picture(picture: Tensor, layout: Layout) -> None:
    """Refuse a picture that is not the layout's.

    Raises:
        InputError: If the shape is not ``[3, height, width]``.
    """
    if picture.ndim != 3 or picture.shape[0] != 3 or tuple(picture.shape[1:]) != (layout.height, layout.width):
        raise InputError(
            f"the picture {layout.picture or ''} has the shape {tuple(picture.shape)} and its layout is {layout.width} x {layout.height}; "
            "give [3, height, width] of the same size"
        )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)
