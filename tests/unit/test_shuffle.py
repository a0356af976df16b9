"""The order of a collection: each epoch a permutation, a function of (seed, index), few shards at a time, well mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.gen.data import shuffle
from earthgen.gen.data.shuffle import Mixture, position
from earthgen.gen.errors import InputError
from earthgen.train.order import batches

SIZES = (3, 0, 17, 1, 8, 8, 25, 2, 0, 11, 6)


def epoch(seed: int, number: int, sizes: Sequence[int], group: int = 8) -> list[tuple[int, int]]:
    total = sum(sizes)
    found = [position(seed, number * total + at, sizes, group) for at in range(total)]
    assert {row[0] for row in found} == {number}
    return [row[1:] for row in found]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    number=st.integers(0, 10**6),
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=24).filter(sum),
    group=st.integers(1, 9),
)
def test_every_epoch_visits_each_member_once(seed: int, number: int, sizes: list[int], group: int) -> None:
    members = {(shard, member) for shard, size in enumerate(sizes) for member in range(size)}
    visited = epoch(seed, number, sizes, group)
    assert len(visited) == len(members)
    assert set(visited) == members


def test_ranks_and_batches_partition_an_epoch() -> None:
    total = sum(SIZES)
    for ranks, batch in ((1, 9), (3, 3), (9, 1)):
        seen = [
            position(5, index, SIZES, 3)
            for rank in range(ranks)
            for step in batches(total, 2 * total, batch, rank, ranks)
            for index in step
        ]
        assert len(seen) == total // 9 * 9 == len(set(seen))


def test_a_resumed_run_goes_on_where_it_stopped() -> None:
    whole = [position(1, index, SIZES, 4) for index in range(200)]
    for start in (0, 1, 77, 81, 150):
        for cached in (shuffle._epoch, shuffle._group, shuffle._total):
            cached.cache_clear()
        assert [position(1, index, list(SIZES), 4) for index in range(start, 200)] == whole[start:]
    assert [position(1, index, SIZES, 4) for index in reversed(range(200))] == whole[::-1]


def test_seeds_and_epochs_differ() -> None:
    orders = [tuple(epoch(seed, number, SIZES)) for seed in range(3) for number in range(3)]
    assert len(set(orders)) == 9


def test_only_a_group_of_shards_is_read_from_at_a_time() -> None:
    sizes, group = (10,) * 40, 4
    order = [shard for shard, _ in epoch(0, 0, sizes, group)]
    blocks = [set(order[at : at + 40]) for at in range(0, 400, 40)]
    assert all(len(block) == group for block in blocks)
    assert len(set().union(*blocks)) == 40
    # Within a group the shards are mixed: runs of one shard are short (the longest of 40 among four has 20 with a chance below 1e-9).
    assert max(len(run) for block in range(10) for run in runs(order[40 * block : 40 * block + 40])) < 20


def runs(values: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for value in values:
        if found and found[-1][0] == value:
            found[-1].append(value)
        else:
            found.append([value])
    return found


def test_places_are_uniform_over_epochs() -> None:
    """Chi-squared of where member 0 of shard 0 comes up, over 20 bins: 99.99 % of uniform draws lie below 51."""
    sizes, epochs = (20, 20, 20, 20, 20), 2000
    total = sum(sizes)
    places = []
    for number in range(epochs):
        order = shuffle._epoch.__wrapped__(3, number, sizes, 2)
        first = order.shards.tolist().index(0)
        block = first // 2
        start = int(order.ends[block - 1]) if block else 0
        members = shuffle._group.__wrapped__(3, number, block, int(order.ends[block]) - start)
        places.append(start + int(np.flatnonzero(members == 20 * (first % 2))[0]))
    assert position(3, 1999 * total + places[-1], sizes, 2) == (1999, 0, 0)
    counts = np.bincount(np.asarray(places) * 20 // total, minlength=20)
    assert float(((counts - epochs / 20) ** 2 / (epochs / 20)).sum()) < 51


def test_the_order_is_the_same_for_ever() -> None:
    """Recorded once; a change of numpy or of this code that moved it would break the resumption of runs."""
    assert [position(7, index, (4, 4, 4, 4), 2) for index in range(6)] == RECORDED


RECORDED = [(0, 2, 3), (0, 2, 2), (0, 3, 1), (0, 2, 0), (0, 3, 3), (0, 3, 2)]


def test_impossible_questions() -> None:
    with pytest.raises(InputError, match="no picture"):
        position(0, 0, (0, 0))
    with pytest.raises(ValueError, match="sample index"):
        position(0, -1, (3,))
    with pytest.raises(ValueError, match="group"):
        position(0, 0, (3,), 0)


@pytest.mark.parametrize("weights", [(1.0,), (0.7, 0.3), (1 / 3, 1 / 3, 1 / 3), (0.9989, 0.0001, 0.001), tuple(np.full(7, 1 / 7).tolist())])
def test_sources_get_their_share_and_number_their_turns_without_gaps(weights: tuple[float, ...]) -> None:
    mixture = Mixture(weights)
    turns: dict[int, list[int]] = {source: [] for source in range(len(weights))}
    for index in range(2500):
        source, turn = mixture.turn(4, index)
        turns[source].append(turn)
    for source, seen in turns.items():
        assert seen == list(range(len(seen)))
        if len(seen) > 10:
            assert len(seen) / 2500 == pytest.approx(weights[source], abs=0.01)
    counts = Counter(mixture.turn(4, index)[0] for index in range(1000, 2000))
    assert all(abs(counts[source] - 1000 * weight) <= 1 for source, weight in enumerate(weights))
    assert min(counts.values()) >= 1
