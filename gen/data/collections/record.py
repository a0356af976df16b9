"""What a collection gives: records of a picture, its caption, its metadata and further arrays, read one at a time.

A collection is made of shards (files that are read best in one go). Its members are numbered through all shards in order.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

Json = None | bool | int | float | str | list[Any] | dict[str, Any]
Pixels = NDArray[np.generic]


@dataclass(frozen=True)
class Record:
    """One member of a collection.

    Attributes:
        name: Unique in its collection: shard or folder, then the member.
        picture: ``[C, H, W]``, numbers as stored (uint8, uint16, floats, ...).
        caption: Text that describes the picture, None where there is none.
        metadata: What else is known, plain JSON types.
        extras: Further arrays by name, such as masks; pictures among them are ``[C, H, W]``.
    """

    name: str
    picture: Pixels
    caption: str | None = None
    metadata: dict[str, Json] = field(default_factory=dict)
    extras: dict[str, Pixels] = field(default_factory=dict)


class UnreadableRecord(InputError):
    """One record is damaged or incomplete; the rest of the collection may be well.

    Attributes:
        name: The record's name.
        reason: What is wrong with it, without its name.
    """

    def __init__(self, name: str, reason: str) -> None:
        """Name the record and say what is wrong."""
        self.name, self.reason = name, " ".join(reason.split())[:200]
        super().__init__(f"the record {name} cannot be read ({self.reason}); mend it or leave it out")


class Collection(Protocol):
    """Many records, never all in memory; safe to read from several threads and after a fork."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Records of each shard, none of them 0."""
        ...

    @property
    def group(self) -> int:
        """Shards that may be read from in turn without opening or decoding them again and again."""
        ...

    def __len__(self) -> int:
        """Number of records."""
        ...

    def name(self, index: int) -> str:
        """Name of a record, without reading it."""
        ...

    def read(self, index: int) -> Record:
        """Read a record.

        Raises:
            UnreadableRecord: If this record is damaged.
            InputError: If the collection itself is gone or has changed.
            IndexError: If there is no such record.
        """
        ...


class Bounds:
    """Where the shards of a collection begin in its numbering."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        """Add up the sizes."""
        self.sizes = sizes
        self._ends = np.cumsum(np.asarray(sizes, dtype=np.int64)) if sizes else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.sizes else 0

    def find(self, index: int) -> tuple[int, int]:
        """Shard and position in it of a record.

        Raises:
            IndexError: If there is no such record.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no record {index} among {len(self)}")
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - int(self._ends[shard]) + self.sizes[shard]

    def index(self, shard: int, member: int) -> int:
        """Number of a record; the inverse of `find`."""
        return int(self._ends[shard]) - self.sizes[shard] + member


class NameTable:
    """Many short texts in two arrays: a hundredth of the objects that a list of str is."""

    def __init__(self, texts: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        """Take UTF-8 bytes of all texts one after another, and where each ends."""
        self.texts, self.ends = texts, ends

    @classmethod
    def of(cls, names: list[str]) -> NameTable:
        """Pack a list."""
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        ends = np.cumsum(np.asarray([len(text) for text in encoded], dtype=np.int64))
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends.astype(np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.texts[start : int(self.ends[index])].tobytes().decode("utf-8", "surrogateescape")


def parse_json(text: str | bytes, name: str) -> Json:
    """Parse JSON that came with a record; NaN and infinities, which JSON has not, become None.

    Raises:
        UnreadableRecord: If it is no JSON.
    """
    try:
        return plain(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UnreadableRecord(name, f"its metadata are no JSON: {error}") from error


def plain(value: Any) -> Json:
    """A value of common Python and numpy types as plain JSON types; dates as ISO text, what JSON has not as None.

    Args:
        value: Anything.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | decimal.Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(entry) for entry in value]
    return None


def take_caption(metadata: dict[str, Json], column: str | None) -> str | None:
    """Take the caption out of a record's metadata.

    Args:
        metadata: Of the record; the caption is removed from it.
        column: Its key; None looks for ``caption`` and ``text``.
    """
    for key in (column,) if column else ("caption", "text"):
        if isinstance(metadata.get(key), str):
            return str(metadata.pop(key))
    return None
