"""How far apart neighbours stand: the gap of every object to its nearest neighbour, against what chance would give.

A gap is the separation along the line of centres in units of the objects' size (`statistics.separations`). Its density among real objects
over its density at random positions says which positions a new object prefers: under 1 where real objects keep away, over 1 where they
gather.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .statistics import Floats, Ints, Objects, nearest_gaps, rows_of, separations

EDGES = np.array([-np.inf, -0.5, -0.3, -0.15, -0.05, 0.0, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.6, 2.5, 4.0, 7.0, 12.0, np.inf])
_LEAST = 30
"""Gaps of a class below which those of all classes are taken."""
_PSEUDO = 0.5
"""Added to every cell of a histogram, so that an empty one is not impossible. What is impossible is for the limits to say."""


@dataclass(frozen=True)
class Gaps:
    """Weights of gaps.

    Attributes:
        real: ``[K, G]`` shares of real nearest gaps in the cells between `EDGES`, by class.
        preference: ``[K, G]`` weights.
        counted: ``[K]`` whether the class has enough gaps of its own.
    """

    real: Floats
    preference: Floats
    counted: NDArray[np.bool_]

    @classmethod
    def of(cls, objects: Objects) -> Gaps:
        """Count the gaps of real layouts, and of the same objects at random positions of their layouts.

        Args:
            objects: Real ones.
        """
        gaps = nearest_gaps(objects)
        counted = np.array([(~np.isnan(gaps[objects.label == kind])).sum() >= _LEAST for kind in range(len(objects.names))])
        real = _shares(gaps, objects.label, counted)
        rng = np.random.default_rng(0)
        chance, owners = [], []
        for _ in range(8):
            scattered = objects.frames[objects.layout] * rng.random((len(objects.layout), 2))
            chance.append(nearest_gaps(replace(objects, centre=scattered)))
            owners.append(objects.label)
        return cls(real, real / _shares(np.concatenate(chance), np.concatenate(owners), counted), counted)

    def given(self, preference: Any) -> Gaps:
        """These gaps with stored weights.

        Args:
            preference: ``[K, G]`` as nested lists.

        Raises:
            InputError: If they are of another shape, or not positive.
        """
        try:
            found = np.array(preference, np.float64)
        except (TypeError, ValueError):
            found = np.zeros(0)
        if found.shape != self.preference.shape or not (np.isfinite(found) & (found > 0)).all():
            raise InputError(
                f"the stored weights of gaps have the shape {found.shape}, not {self.preference.shape}, or are not positive; fit again"
            )
        return replace(self, preference=found)

    def weights(self, nearest: Floats, label: int) -> Floats:
        """Weights of candidates of a class by their gap to what is placed already; 1 where nothing is."""
        cell = np.clip(np.searchsorted(EDGES, np.nan_to_num(nearest), "right") - 1, 0, len(EDGES) - 2)
        return np.where(np.isnan(nearest), 1.0, self.preference[label][cell])

    def corrected(self, made: Objects) -> Gaps:
        """Weights moved half the way (on a logarithmic scale) to what would give sampled layouts the real gaps."""
        found = _shares(nearest_gaps(made), made.label, self.counted)
        return replace(self, preference=self.preference * np.sqrt(np.clip(self.real / found, 0.2, 5.0)))


def gap_quantiles(objects: Objects) -> dict[str, float]:
    """The 5th, 50th and 95th percentile of nearest gaps; empty where no object has company."""
    gaps = nearest_gaps(objects)
    gaps = gaps[~np.isnan(gaps)]
    return {f"gap_{q}": float(np.percentile(gaps, q)) for q in (5, 50, 95)} if len(gaps) else {}


def pair_gaps(objects: Objects) -> dict[tuple[str, str], Floats]:
    """Gaps to the nearest object of every class, by (class, other class): how one class stands to another."""
    rows, found = rows_of(objects), dict[tuple[str, str], list[float]]()
    for number in np.unique(objects.layout):
        members = np.flatnonzero(objects.layout == number)
        table = separations(rows[members][:, None], rows[members][None])
        np.fill_diagonal(table, np.inf)
        for kind in np.unique(objects.label[members]):
            column = table[:, objects.label[members] == kind].min(1)
            for member, gap in zip(members, column, strict=True):
                if np.isfinite(gap):
                    found.setdefault((objects.names[objects.label[member]], objects.names[int(kind)]), []).append(float(gap))
    return {pair: np.array(gaps) for pair, gaps in found.items()}


def _shares(gaps: Floats, label: Ints, counted: NDArray[np.bool_]) -> Floats:
    """``[K, G]`` smoothed shares of the cells."""
    known = ~np.isnan(gaps)
    rows = []
    for kind, enough in enumerate(counted):
        chosen = known & (label == kind) if enough else known
        cells = np.histogram(gaps[chosen], np.clip(EDGES, -1e9, 1e9))[0] + _PSEUDO
        rows.append(cells / cells.sum())
    return np.array(rows)
