"""The files of a collection: found by pattern, none of them twice, few of them open at a time."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError

_EDGE = 64 * 2**10


def glob_files(folder: str | Path, pattern: str, what: str) -> list[Path]:
    """Sorted files of a folder that match a pattern.

    Args:
        folder: Where to look.
        pattern: Shell pattern relative to it, as `Path.glob` takes it.
        what: What is looked for, for errors: ``"tar shards"``.

    Raises:
        InputError: If the folder is missing, the pattern is no pattern, or nothing matches.
    """
    root = existing_folder(folder, what)
    try:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"{pattern!r} is no pattern for {what} ({error}); give one relative to {root}, such as shards/*.tar") from error
    if not found:
        raise InputError(f"no file under {root} matches {pattern!r}; check the pattern of the {what}")
    return found


def existing_folder(folder: str | Path, what: str) -> Path:
    """The folder, which must be there.

    Raises:
        InputError: If it is not.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"there is no folder {root} with {what}; check the path")
    return root


def labels_of(paths: Sequence[Path], root: Path | None) -> list[str]:
    """Short unique names of files, for the names of their records: relative to `root`, or to the folder that all share."""
    base = root if root is not None and all(path.is_relative_to(root) for path in paths) else None
    base = base or Path(os.path.commonpath([path.parent.absolute() for path in paths]))
    return [os.path.relpath(path.absolute(), base.absolute()).replace(os.sep, "/") for path in paths]


def refuse_twins(paths: Sequence[Path]) -> None:
    """Refuse a file that occurs twice, under another name or as a copy.

    Files of equal size and equal ends are read whole to be sure, others are not.

    Args:
        paths: Files.

    Raises:
        InputError: If two of them are one file or have the same content, or one is empty or cannot be read.
    """
    seen: dict[Path, Path] = {}
    alike: dict[tuple[int, bytes], list[Path]] = {}
    for path in paths:
        real = path.resolve()
        if real in seen:
            raise InputError(f"the shards {seen[real]} and {path} are one file; give each once")
        seen[real] = path
        try:
            alike.setdefault(_ends(path), []).append(path)
        except OSError as error:
            raise InputError(f"the shard {path} cannot be read ({error.strerror}); check its permissions, or leave it out") from error
    for group in alike.values():
        digests: dict[bytes, Path] = {}
        for path in group if len(group) > 1 else ():
            with path.open("rb") as file:
                twin = digests.setdefault(hashlib.file_digest(file, "sha256").digest(), path)
            if twin is not path:
                raise InputError(f"the shards {twin} and {path} have the same content; leave one of them out")


def _ends(path: Path) -> tuple[int, bytes]:
    size = path.stat().st_size
    if not size:
        raise InputError(f"the shard {path} is empty (0 bytes); copy it again, or leave it out")
    with path.open("rb") as file:
        first = file.read(_EDGE)
        file.seek(max(0, size - _EDGE))
        return size, hashlib.sha256(first + file.read(_EDGE)).digest()


class _Handle:
    """An open file that closes when its last user lets go of it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def stamp(self) -> tuple[int, int]:
        """Size and modification time (ns) as they are now."""
        status = os.fstat(self.number)
        return status.st_size, status.st_mtime_ns

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class OpenFiles:
    """Reads parts of many files with a bounded number of them open; safe between threads, after a fork, and in a pickle."""

    def __init__(self, limit: int = 16) -> None:
        """Open nothing yet.

        Args:
            limit: Files kept open.
        """
        self.limit = limit
        self._open: OrderedDict[Path, _Handle] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> int:
        return self.limit

    def __setstate__(self, limit: int) -> None:
        self.__init__(limit)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._open)

    def read(self, path: Path, offset: int, size: int, stamp: tuple[int, int] | None = None) -> bytes:
        """Read a part of a file.

        Args:
            path: The file.
            offset: First byte.
            size: Number of bytes.
            stamp: Size and modification time (ns) that the file must still have.

        Returns:
            The bytes; fewer where the file ends before.

        Raises:
            InputError: If the file is gone or has changed.
            OSError: If the disk fails.
        """
        handle = self._handle(path)
        if stamp is not None and handle.stamp() != stamp:
            raise InputError(f"the file {path} has changed since it was opened; start again")
        parts = []
        while size > 0 and (part := os.pread(handle.number, min(size, 2**30), offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _handle(self, path: Path) -> _Handle:
        with self._lock:
            handle = self._open.get(path)
            if handle is None:
                try:
                    handle = _Handle(path)
                except OSError as error:
                    raise InputError(f"the file {path} cannot be opened any more ({error.strerror}); see that it is still there") from error
                self._open[path] = handle
                while len(self._open) > self.limit:
                    self._open.popitem(last=False)
            self._open.move_to_end(path)
            return handle
