"""The order in which a collection is seen: a pure function of (seed, sample index), kind to disks.

Every epoch visits each member exactly once. The shards are permuted anew in each epoch and taken in groups; within a group, the members of
all its shards are mixed. So only `group` shards are read from at a time, and yet no two epochs are alike. Nothing has state: a
resumed run only has to know how many samples it saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Numbers = NDArray[np.int64]
_SHARDS, _MEMBERS, _MIX = 0, 1, 2


def position(seed: int, index: int, sizes: Sequence[int], group: int = 8) -> tuple[int, int, int]:
    """Which member is seen at a sample index.

    The order of an epoch and of a group is worked out once and kept, so that a call takes some microseconds.

    Args:
        seed: Seed of the order, >= 0.
        index: Sample index since the start of the run, >= 0.
        sizes: Members of each shard; empty shards are never visited.
        group: Shards that are mixed with each other, >= 1. More mix better and read from more files at a time.

    Returns:
        Epoch, shard and member of the shard, each from 0.

    Raises:
        InputError: If there is no member at all.
        ValueError: If `index` or `group` is out of range.
    """
    if index < 0 or group < 1:
        raise ValueError(f"the sample index {index} and the group of {group} shards must be at least 0 and 1")
    sizes = sizes if isinstance(sizes, tuple) else tuple(sizes)
    total = _total(sizes)
    if not total:
        raise InputError("the collection holds no picture at all; check its files")
    epoch, at = divmod(index, total)
    order = _epoch(seed, epoch, sizes, group)
    number = int(np.searchsorted(order.ends, at, side="right"))
    start = int(order.ends[number - 1]) if number else 0
    shards = order.shards[number * group : (number + 1) * group]
    member = int(_group(seed, epoch, number, int(order.ends[number]) - start)[at - start])
    for shard in shards.tolist():
        if member < sizes[shard]:
            return epoch, shard, member
        member -= sizes[shard]
    raise AssertionError("a group's members are more than its shards hold")


@dataclass(frozen=True)
class Mixture:
    """Deals sample indices out to several sources in fixed proportion, so that each source has a numbering of its own without gaps.

    In every block of `BLOCK` samples each source has the same whole number of turns, its share rounded (at least one), mixed anew.

    Attributes:
        shares: Share of each source, adding up to 1.
    """

    shares: tuple[float, ...]
    BLOCK = 1000

    def turn(self, seed: int, index: int) -> tuple[int, int]:
        """Source of a sample, and how many samples that source had before.

        Args:
            seed: Seed of the order, >= 0.
            index: Sample index since the start of the run, >= 0.
        """
        block, at = divmod(index, self.BLOCK)
        sources = _mixed(seed, block, self.shares)
        source = int(sources[at])
        return source, block * _turns(self.shares)[source] + int((sources[:at] == source).sum())


def _permutation(count: int, *key: int) -> Numbers:
    """A permutation by sorting raw 64-bit numbers, whose sequence numpy promises never to change."""
    return np.argsort(np.random.Philox(np.random.SeedSequence(list(key))).random_raw(count), kind="stable")


@dataclass(frozen=True)
class _Epoch:
    shards: Numbers
    ends: Numbers


@lru_cache(64)
def _total(sizes: tuple[int, ...]) -> int:
    return sum(sizes)


@lru_cache(16)
def _epoch(seed: int, epoch: int, sizes: tuple[int, ...], group: int) -> _Epoch:
    shards = _permutation(len(sizes), seed, _SHARDS, epoch)
    counts = np.asarray(sizes, dtype=np.int64)[shards]
    return _Epoch(shards, np.cumsum(np.add.reduceat(counts, np.arange(0, len(sizes), group))))


@lru_cache(16)
def _group(seed: int, epoch: int, number: int, count: int) -> NDArray[np.uint32 | np.int64]:
    order = _permutation(count, seed, _MEMBERS, epoch, number)
    return order.astype(np.uint32) if count < 2**32 else order


@lru_cache(64)
def _turns(shares: tuple[float, ...]) -> tuple[int, ...]:
    """Turns of each source in a block: the shares by largest remainder, none of them 0."""
    exact = np.asarray(shares) / np.sum(shares) * Mixture.BLOCK
    turns = np.maximum(np.floor(exact), 1).astype(int)
    while turns.sum() != Mixture.BLOCK:
        step = 1 if turns.sum() < Mixture.BLOCK else -1
        lack = np.where((turns > 1) | (step > 0), (exact - turns) * step, -np.inf)
        turns[int(np.argmax(lack))] += step
    return tuple(turns.tolist())


@lru_cache(16)
def _mixed(seed: int, block: int, shares: tuple[float, ...]) -> Numbers:
    sources = np.repeat(np.arange(len(shares)), _turns(shares))
    return sources[_permutation(Mixture.BLOCK, seed, _MIX, block)]
