"""The arms of the experiment: what each adds to the same real pictures, so that a gain can be told from its causes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...gen.errors import InputError
from .cheap_pictures import copy_paste, flat_pictures, shuffled
from .places import DetectionSets
from .samples import Sample
from .training import Pool

Source = Callable[[int, int], Sequence[Sample]]
"""Labelled pictures for a training subset (its number) and how many are wanted; made from nothing but that subset."""

REAL, COPY_PASTE, TRIVIAL, ORACLE = "real", "copy-paste", "trivial", "oracle"


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes:
        name: Of the row.
        sources: What shares the synthetic half of every batch; none for real pictures only.
        steps: Of the usual number.
        shuffle: Whether the pictures of the sources exchange their boxes.
        says: What the row shows.
    """

    name: str
    sources: tuple[str, ...] = ()
    steps: float = 1.0
    shuffle: bool = False
    says: str = ""


def standard_arms(generated: str | None = None, filtered: str | None = None) -> tuple[Arm, ...]:
    """The rows that every table has, and those of a generator.

    Args:
        generated: Name of the source of generated pictures, if there is one.
        filtered: Name of the source of those that passed the filter, if there is one.

    Returns:
        Real only, at twice the steps, copy-paste, flat rectangles, the generator's, shuffled labels, oracle.
    """
    best = filtered or generated
    arms = [
        Arm(REAL, says="the baseline"),
        Arm("real, twice the steps", steps=2.0, says="does more training help, without more data?"),
        Arm(COPY_PASTE, (COPY_PASTE,), says="objects of the same real pictures, pasted elsewhere"),
        Arm("flat rectangles", (TRIVIAL,), says="new layouts without any appearance: is a generator needed?"),
    ]
    arms += [Arm(generated, (generated,), says="generated pictures, all of them")] if generated else []
    arms += [Arm(filtered, (filtered,), says="generated pictures that passed the filter")] if filtered else []
    arms += [Arm(f"{COPY_PASTE} and {best}", (COPY_PASTE, best), says="do they add to copy-paste?")] if best else []
    broken = best or COPY_PASTE
    arms += [
        Arm(f"{broken}, labels shuffled", (broken,), shuffle=True, says="must hurt, or the instrument is broken"),
        Arm(ORACLE, (ORACLE,), says="as many new real pictures as there are: must win, or the instrument is broken"),
    ]
    return tuple(arms)


def cheap_sources(sets: DetectionSets, seed: int = 0) -> dict[str, Source]:
    """Copy-paste, flat rectangles and the oracle's real pictures.

    Args:
        sets: Of the experiment.
        seed: Of the pictures; those of one subset and source are the same in every run.
    """

    def rng(kind: int, subset: int) -> np.random.Generator:
        return np.random.default_rng([seed, kind, subset])

    return {
        COPY_PASTE: lambda subset, count: copy_paste(sets.subsets[subset], sets.horizontal, count, rng(1, subset)),
        TRIVIAL: lambda subset, count: flat_pictures(sets.subsets[subset], sets.horizontal, count, rng(2, subset)),
        ORACLE: lambda subset, count: sets.unseen(subset)[: max(1, count)],
    }


def pools_of(
    arm: Arm, sets: DetectionSets, subset: int, sources: Mapping[str, Source], count: int, share: float, seed: int = 0
) -> list[Pool]:
    """The mixture that an arm trains on.

    Args:
        arm: Which.
        sets: Of the experiment.
        subset: Number of the training subset.
        sources: By name.
        count: Synthetic pictures in all; several sources share them.
        share: Of a batch that is synthetic, 0 to 1.
        seed: Of the exchange of labels.

    Returns:
        Pools whose shares sum to 1.

    Raises:
        InputError: If a source is unknown or gives no picture.
    """
    if not arm.sources:
        return [Pool(sets.subsets[subset], 1.0)]
    pools = [Pool(sets.subsets[subset], 1 - share)]
    for name in arm.sources:
        if name not in sources:
            raise InputError(f"the arm {arm.name!r} needs pictures of {name!r}; known sources are {sorted(sources)}")
        samples = list(sources[name](subset, count // len(arm.sources)))
        if not samples:
            raise InputError(f"the source {name!r} gave no picture for training subset {subset}; give at least one")
        if arm.shuffle:
            samples = shuffled(samples, np.random.default_rng([seed, 3, subset]))
        pools.append(Pool(samples, share / len(arm.sources)))
    return pools
