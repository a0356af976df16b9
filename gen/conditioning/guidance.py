"""Classifier-free guidance with a scale for each group of conditions (Ho and Salimans 2022, arXiv 2207.12598).

Conditions are switched on group after group, in the order hints, metadata, text. With e_0 for none, e_1 for the first group, ... the guided
prediction is ``e_0 + w_1 (e_1 - e_0) + w_2 (e_2 - e_1) + ...``. Equal scales give the joint rule of one scale; scales of 1 before the last
group keep those conditions in the unguided branch, as CRS-Diff and GeoSynth do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError

GROUPS = ("hints", "metadata", "text")
"""Groups of conditions, in the order in which they are switched on."""

Guidance = float | Mapping[str, float]


@dataclass(frozen=True)
class GuidancePlan:
    """Which predictions are needed, and how they are put together.

    Attributes:
        stages: The groups that are on in each prediction; the last has all that count.
        scales: One fewer: of the difference between a prediction and the one before.
    """

    stages: tuple[frozenset[str], ...]
    scales: tuple[float, ...]


def guide(predictions: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
    """Put predictions together.

    Args:
        predictions: Of the denoiser, equal shapes: with no condition or those that are kept, then with more and more of them.
        scales: One fewer; 1 takes a difference as it is.

    Returns:
        ``p_0 + sum of w_k (p_k - p_{k-1})``.

    Raises:
        ValueError: If the numbers do not fit.
    """
    if len(predictions) != len(scales) + 1:
        raise ValueError(f"{len(predictions)} predictions for {len(scales)} scales; there is one prediction more than scales")
    guided = predictions[0]
    for scale, before, after in zip(scales, predictions[:-1], predictions[1:], strict=True):
        guided = guided + scale * (after - before)
    return guided


def group_scales(guidance: Guidance, default: Mapping[str, float] | None = None) -> dict[str, float]:
    """One scale for each group.

    Args:
        guidance: One number for all groups together, or numbers by group.
        default: For groups that are not named; 1 where there is none.

    Returns:
        Scales by group, in the order of `GROUPS`.

    Raises:
        InputError: If a group does not exist or a scale is no number from 0 to 100.
    """
    given = guidance if isinstance(guidance, Mapping) else dict.fromkeys(GROUPS, guidance)
    strange = [name for name in given if name not in GROUPS]
    if strange:
        raise InputError(f"there is no group of conditions {strange[0]!r}; guidance has {', '.join(GROUPS)}, so name these")
    scales = {name: float(given.get(name, (default or {}).get(name, 1.0))) for name in GROUPS}
    for name, scale in scales.items():
        if not (math.isfinite(scale) and 0.0 <= scale <= 100.0):
            raise InputError(f"the guidance scale of {name} is {scale:g}; it is from 0 (condition off) over 1 (as trained) to 100")
    return scales


def plan_guidance(scales: Mapping[str, float], present: Sequence[str]) -> GuidancePlan:
    """The fewest predictions that give the guided one.

    Args:
        scales: By group, from `group_scales`.
        present: Groups that say something; the others are at their null in every prediction.

    Returns:
        Neighbours of equal scales are switched on together, a first group of scale 1 is on from the start, a last one of scale 0 never.
    """
    stages: list[frozenset[str]] = [frozenset()]
    weights: list[float] = []
    for name in GROUPS:
        if name not in present:
            continue
        if weights and weights[-1] == scales[name]:
            stages[-1] |= {name}
        else:
            stages.append(stages[-1] | {name})
            weights.append(scales[name])
    if weights and weights[0] == 1.0:
        stages, weights = stages[1:], weights[1:]
    if weights and weights[-1] == 0.0:
        stages, weights = stages[:-1], weights[:-1]
    return GuidancePlan(tuple(stages), tuple(weights))
