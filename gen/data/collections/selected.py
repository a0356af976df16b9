"""A part of a collection, chosen by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate

import numpy as np

from .record import Bounds, Collection, Record


class Selected:
    """The records whose names match one of some shell patterns and none of others.

    Attributes:
        group: As of the whole collection.
    """

    def __init__(self, collection: Collection, only: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> None:
        """Look at all names.

        Args:
            collection: The whole.
            only: Patterns of the names to take.
            exclude: Patterns of the names to leave.
        """
        self._collection, self.group = collection, collection.group
        taken, left = _any(only), _any(exclude)
        names = (collection.name(index) for index in range(len(collection)))
        kept = np.fromiter((bool(taken.match(name)) and not left.match(name) for name in names), dtype=bool, count=len(collection))
        self._kept = np.flatnonzero(kept)
        # A shard of which nothing is left is no shard.
        parts = np.split(kept, np.cumsum(collection.sizes)[:-1])
        self._bounds = Bounds(tuple(int(part.sum()) for part in parts if part.any()))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Chosen records of each shard that has any."""
        return self._bounds.sizes

    def __len__(self) -> int:
        return len(self._kept)

    def name(self, index: int) -> str:
        """Name of a chosen record."""
        return self._collection.name(self._at(index))

    def read(self, index: int) -> Record:
        """Read a chosen record; errors as the collection's own."""
        return self._collection.read(self._at(index))

    def _at(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no record {index} among {len(self)}")
        return int(self._kept[index])


def _any(patterns: Sequence[str]) -> re.Pattern[str]:
    # Without a pattern nothing matches, not even the empty name.
    return re.compile("|".join(translate(pattern) for pattern in patterns) or r"(?!)")
