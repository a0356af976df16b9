"""One damaged picture among a million does not stop a run: it is replaced by another one, and named. Many do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from .record import Collection, Record, UnreadableRecord

_ATTEMPTS = 200


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        record: A whole record.
        replaced: Names of the records that were tried before it, each with what is wrong with it.
    """

    record: Record
    replaced: tuple[str, ...] = ()


class Tolerant:
    """Reads a collection; a record that cannot be read is replaced by another, as a pure function of (seed, sample index, attempt).

    Attributes:
        collection: What is read.
        share: Largest share of damaged records that is tolerated.
    """

    def __init__(
        self, collection: Collection, seed: int = 0, share: float = 0.01, check: Callable[[Record], str | None] | None = None
    ) -> None:
        """Nothing is read yet.

        Args:
            collection: What is read.
            seed: Seed of the replacements, >= 0.
            share: Largest share of the collection's records that may be bad.
            check: Says what is wrong with a record that could be read, None if it is good.
        """
        self.collection, self.share = collection, share
        self._seed, self._check = seed, check
        self._bad: dict[int, str] = {}
        self._lock = threading.Lock()

    @property
    def bad(self) -> list[str]:
        """Every damaged record so far, with what is wrong with it."""
        with self._lock:
            return list(self._bad.values())

    def read(self, member: int, index: int) -> Reading:
        """Read a record, or another in its place.

        Args:
            member: Number of the record in the collection.
            index: Sample index that it is read for; keys the replacement.

        Raises:
            InputError: If more than `share` of the collection's records are damaged.
        """
        replaced: list[str] = []
        for attempt in range(_ATTEMPTS):
            at = member if attempt == 0 else self._other(index, attempt)
            known = self._bad.get(at)
            if known is None:
                try:
                    record = self.collection.read(at)
                    wrong = None if self._check is None else self._check(record)
                    if wrong is None:
                        return Reading(record, tuple(replaced))
                    known = f"{record.name} ({wrong})"
                except UnreadableRecord as error:
                    known = f"{error.name} ({error.reason})"
                self._note(at, known)
            replaced.append(known)
        raise InputError(f"{_ATTEMPTS} records in a row cannot be used, the last {known}; look at these files")

    def _other(self, index: int, attempt: int) -> int:
        raw = np.random.Philox(np.random.SeedSequence([self._seed, index, attempt])).random_raw()
        return int(raw % len(self.collection))

    def _note(self, at: int, what: str) -> None:
        with self._lock:
            self._bad[at] = what
            count, total = len(self._bad), len(self.collection)
            if count > self.share * total:
                first = "; ".join(list(self._bad.values())[:5])
                raise InputError(
                    f"{count} of {total} records cannot be used, more than {self.share:.0%}: {first}{'; ...' if count > 5 else ''}; "
                    "mend these files or leave them out"
                )
