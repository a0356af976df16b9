"""Where the members of a tar shard lie, found in one pass over its headers.

Members are grouped into samples as WebDataset does: by folder and name up to the first dot; the rest of the name is the member's extension.
The index is a few arrays, about 40 bytes a member, so that millions fit in memory; it can be kept in a folder, from where it is taken
up again while the shard has the same size and modification time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..atomic import atomic_path
from .record import NameTable

_VERSION = 1
_LONGEST_HEADER = 2**20
_BLOCK = 512


@dataclass(frozen=True)
class Member:
    """One file in a shard.

    Attributes:
        extension: Its name from the first dot on, without that dot: ``"png"``, ``"seg.png"``.
        offset: First byte of its content.
        size: Bytes of its content.
    """

    extension: str
    offset: int
    size: int


@dataclass(frozen=True)
class TarIndex:
    """Samples of one shard.

    Attributes:
        stamp: Size and modification time (ns) of the shard.
        keys: Name of each sample.
        ends: ``[samples]``, where each sample's members end in the next arrays.
        members: ``[members, 3]``: number of the extension, offset, size.
        extensions: The extensions that occur.
    """

    stamp: tuple[int, int]
    keys: NameTable
    ends: NDArray[np.int64]
    members: NDArray[np.int64]
    extensions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ends)

    def sample(self, number: int) -> list[Member]:
        """Members of a sample."""
        start = int(self.ends[number - 1]) if number else 0
        rows = self.members[start : int(self.ends[number])].tolist()
        return [Member(self.extensions[kind], offset, size) for kind, offset, size in rows]


def index_tar(path: Path, cache: Path | None = None) -> TarIndex:
    """Index a shard.

    Args:
        path: An uncompressed tar file.
        cache: Folder where the index is kept; None keeps nothing.

    Returns:
        The index, with at least one sample.

    Raises:
        InputError: If it is no tar file, cut short, empty, or holds a sample twice.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"the shard {path} cannot be read ({error.strerror}); check the path") from error
    stamp = (status.st_size, status.st_mtime_ns)
    kept = None if cache is None else cache / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.npz"
    index = None if kept is None else _load(kept, stamp)
    if index is None:
        index = _scan(path, stamp)
        if kept is not None:
            _store(kept, index)
    return index


def check_cache(folder: Path) -> Path:
    """Make a folder for indexes.

    Raises:
        InputError: If it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the cache folder {folder} cannot be made ({error.strerror}); choose another one") from error
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InputError(f"the cache folder {folder} may not be written; change its permissions, or choose another one")
    return folder


class _Headers(io.FileIO):
    """A file whose reads are bounded: only headers are read here, and one that claims to be larger is no header."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return super().read(size)


def _scan(path: Path, stamp: tuple[int, int]) -> TarIndex:
    found: dict[str, list[tuple[int, int, int]]] = {}
    extensions: dict[str, int] = {}
    for info in _members(path, stamp[0]):
        folder, _, base = info.name.removeprefix("./").rpartition("/")
        if base.startswith((".", "__")):
            continue
        stem, _, extension = base.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        number = extensions.setdefault(extension.lower(), len(extensions))
        rows = found.setdefault(key, [])
        if any(row[0] == number for row in rows):
            raise InputError(f"the shard {path} holds {key}.{extension} twice; give every sample of a shard its own name")
        rows.append((number, info.offset_data, info.size))
    if not found:
        raise InputError(f"the shard {path} holds no sample; leave it out")
    ends = np.cumsum(np.asarray([len(rows) for rows in found.values()], dtype=np.int64))
    members = np.asarray([row for rows in found.values() for row in rows], dtype=np.int64).reshape(-1, 3)
    return TarIndex(stamp, NameTable.of(list(found)), ends.astype(np.int64), members, tuple(extensions))


def _members(path: Path, size: int) -> Iterator[tarfile.TarInfo]:
    """The regular files of a shard, each of them within the file."""
    cut = f"the shard {path} is cut short or damaged"
    try:
        with io.BufferedReader(_Headers(path), _BLOCK * 4) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]
                if info.size < 0 or info.offset_data + info.size > size:
                    raise InputError(f"{cut}: {info.name} claims {info.size} bytes at {info.offset_data} of {size}; copy it again")
                if info.isreg() and info.sparse is None:
                    yield info
            end = tar.offset
    except (tarfile.TarError, OSError, UnicodeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{cut}, or no uncompressed tar file ({error}); copy it again, or unpack its compression") from error
    _check_end(path, end, size)


def _check_end(path: Path, end: int, size: int) -> None:
    """A tar file ends in zeros; what follows them would be overlooked."""
    with path.open("rb") as file:
        file.seek(end)
        rest = file.read(min(2**20, size))
    if not rest:
        raise InputError(f"the shard {path} is cut short: its end mark is missing; copy it again")
    if rest[:_BLOCK].strip(b"\0"):
        raise InputError(f"the shard {path} is damaged: there is no header at byte {end}; copy it again")
    if rest.strip(b"\0"):
        raise InputError(f"the shard {path} goes on after its end mark: it is several archives joined; give them as files of their own")


def _load(path: Path, stamp: tuple[int, int]) -> TarIndex | None:
    """The kept index of a shard with this stamp; None if there is none, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["version"].tolist() != [_VERSION, *stamp]:
                return None
            extensions = tuple(json.loads(file["extensions"].tobytes()))
            texts, stops, ends, members = (file[name] for name in ("texts", "stops", "ends", "members"))
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    whole = len(stops) == len(ends) > 0 and int(stops[-1]) == len(texts) and int(ends[-1]) == len(members)
    inside = whole and bool((members >= 0).all() and (members[:, 1:].sum(1) <= stamp[0]).all() and (members[:, 0] < len(extensions)).all())
    return TarIndex(stamp, NameTable(texts, stops), ends, members, extensions) if inside else None


def _store(path: Path, index: TarIndex) -> None:
    try:
        with atomic_path(path) as partial:
            np.savez(
                partial,
                version=np.asarray([_VERSION, *index.stamp], dtype=np.int64),
                extensions=np.frombuffer(json.dumps(index.extensions).encode(), dtype=np.uint8),
                texts=index.keys.texts,
                stops=index.keys.ends,
                ends=index.ends,
                members=index.members,
            )
    except OSError as error:
        raise InputError(f"the index of a shard cannot be kept in {path.parent} ({error.strerror}); choose another cache folder") from error
