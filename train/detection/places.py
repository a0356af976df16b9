"""From labelled places to the sets of an experiment: crops, and a split in which no two sets share ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...gen.annotations.box import Layout
from ...gen.annotations.geometry import crop, scale
from ...gen.errors import InputError
from .samples import Sample


@dataclass(frozen=True)
class Place:
    """A labelled piece of ground.

    Attributes:
        name: Two places may overlap on the ground only if they have the same name.
        picture: uint8 ``[H, W, 3]``.
        layout: Its objects.
    """

    name: str
    picture: NDArray[np.uint8]
    layout: Layout


@dataclass(frozen=True)
class DetectionSets:
    """What an experiment runs on; no two of these share ground.

    Attributes:
        names: Classes.
        horizontal: Those of them whose boxes lie along the axes.
        subsets: Training sets, each a replicate of its own: crops of one size.
        more: Real training crops that only the oracle sees, beside those of the other subsets.
        validation: Crops for choosing numbers.
        test: Crops for the table, those without an object too.
    """

    names: tuple[str, ...]
    horizontal: tuple[str, ...]
    subsets: tuple[tuple[Sample, ...], ...]
    more: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]

    def unseen(self, subset: int) -> tuple[Sample, ...]:
        """Real crops that a subset does not hold: those of the other subsets and `more`."""
        others = tuple(sample for number, part in enumerate(self.subsets) if number != subset for sample in part)
        return others + self.more


def shrunk(place: Place, factor: float) -> Place:
    """A place at a coarser resolution (box filter), its boxes with it.

    Args:
        place: Any.
        factor: New over old side, at most 1; sides are rounded down.

    Raises:
        InputError: If the factor is not in (0, 1] or leaves no pixel.
    """
    height, width = (int(side * factor) for side in place.picture.shape[:2])
    if not 0 < factor <= 1 or height < 1 or width < 1:
        raise InputError(f"the place {place.name} cannot be shrunk by {factor:g}; give a factor above 0, at most 1, that leaves pixels")
    if factor == 1:
        return place
    picture = np.asarray(Image.fromarray(place.picture).resize((width, height), Image.Resampling.BOX))
    return Place(place.name, picture, scale(place.layout, width, height))


def crops(place: Place, size: int, min_visible: float = 0.4, *, least_objects: int = 1) -> Iterator[Sample]:
    """Cut a place into squares side by side, centred on it; what is left at the edges is not used.

    Args:
        place: Any.
        size: Pixels.
        min_visible: Objects of which a smaller share is inside are not labelled.
        least_objects: Squares with fewer objects are left out.

    Yields:
        Pictures and their boxes.
    """
    height, width = place.picture.shape[:2]
    top, left = (height % size) // 2, (width % size) // 2
    for y in range(top, height - size + 1, size):
        for x in range(left, width - size + 1, size):
            layout = crop(place.layout, x, y, size, size, min_visible)
            if len(layout.boxes) >= least_objects:
                yield np.ascontiguousarray(place.picture[y : y + size, x : x + size]), layout


def split_places(
    places: Sequence[Place],
    names: Sequence[str],
    *,
    size: int,
    horizontal: Sequence[str] = (),
    subsets: int = 3,
    most: int = 24,
    test_share: float = 0.3,
    validation_share: float = 0.1,
    min_visible: float = 0.4,
    seed: int = 0,
) -> DetectionSets:
    """Deal places out to training subsets, validation and test.

    Args:
        places: Labelled pictures; those of one name go to one set.
        names: Classes.
        size: Side of training crops in pixels.
        horizontal: Classes whose boxes lie along the axes.
        subsets: Number of disjoint training sets.
        most: Crops of a training set; the rest goes to `DetectionSets.more`.
        test_share: Of the objects, about.
        validation_share: Of the objects, about.
        min_visible: As in `crops`.
        seed: Of the order.

    Returns:
        The sets.

    Raises:
        InputError: If there are fewer names of places than sets, or a subset comes out empty.
    """
    groups: dict[str, list[Place]] = {}
    for place in places:
        groups.setdefault(place.name, []).append(place)
    if len(groups) < subsets + 2:
        raise InputError(f"{len(groups)} places cannot be dealt out to {subsets} training sets, validation and test; label more places")
    order = [sorted(groups)[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    train_share = (1 - test_share - validation_share) / subsets
    dealt = _dealt([_objects(groups[name]) for name in order], [test_share, validation_share, *[train_share] * subsets])
    parts = [
        [place for name, part in zip(order, dealt, strict=True) if part == number for place in groups[name]]
        for number in range(subsets + 2)
    ]
    cut = [
        [sample for place in part for sample in crops(place, size, min_visible, least_objects=int(number > 1))]
        for number, part in enumerate(parts)
    ]
    return assemble(names, cut[2:], cut[1], cut[0], horizontal=horizontal, most=most, seed=seed)


def assemble(
    names: Sequence[str],
    training: Sequence[Sequence[Sample]],
    validation: Sequence[Sample],
    test: Sequence[Sample],
    *,
    horizontal: Sequence[str] = (),
    most: int = 24,
    seed: int = 0,
) -> DetectionSets:
    """Sets from parts that share no ground already; of each training part, `most` crops chosen at random make the subset.

    Test crops should have the training crops' size: the network's norms take means over a picture, so another size is another network.

    Raises:
        InputError: If a part is empty.
    """
    rng = np.random.default_rng(seed)
    kept: list[tuple[Sample, ...]] = []
    more: list[Sample] = []
    for part in training:
        order = rng.permutation(len(part))
        kept.append(tuple(part[i] for i in sorted(order[:most])))
        more += [part[i] for i in sorted(order[most:])]
    if not kept or not all(kept) or not validation or not test:
        sizes = [len(part) for part in kept]
        raise InputError(
            f"a set is empty: training crops {sizes}, validation crops {len(validation)}, test crops {len(test)}; label more places"
        )
    return DetectionSets(tuple(names), tuple(horizontal), tuple(kept), tuple(more), tuple(validation), tuple(test))


def _objects(places: Sequence[Place]) -> int:
    return sum(len(place.layout.boxes) for place in places)


def _dealt(weights: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Which set each group goes to: the one that is furthest behind its share, the heaviest groups first."""
    have, total = np.zeros(len(shares)), max(1, sum(weights))
    result = [0] * len(weights)
    counts = np.zeros(len(shares), int)
    for rank, index in enumerate(sorted(range(len(weights)), key=lambda i: -weights[i])):
        left = len(weights) - rank
        empty = np.nonzero(counts == 0)[0]
        behind = np.array(shares) - have / total
        chosen = int(empty[behind[empty].argmax()]) if left <= len(empty) else int(behind.argmax())
        result[index], have[chosen], counts[chosen] = chosen, have[chosen] + weights[index], counts[chosen] + 1
    return result
