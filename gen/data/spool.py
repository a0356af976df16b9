"""Finished work on disk, so that a run that was killed at any moment goes on where it stopped.

A folder with::

    identity.json   what the work belongs to: scene, tiling, settings. Written first, whole.
    journal         one line of JSON per finished tile: the sizes and sha256 of its files. Appended to when all of them are written.
    LAYER/000017    an array, compressed; an empty file stands for NaN everywhere
    carry/...       what a tile left for its neighbours, until they no longer need it
    lock            held by the running process

A tile without a whole line in the journal was not finished and is made again. Going on, every file is held against its sum.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numcodecs.blosc import Blosc
from numpy.typing import NDArray

from ..errors import InputError
from .atomic import write_json

try:
    import fcntl
except ImportError:  # Windows has no such locks; there, keeping a second process out is up to the user
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)
_CODEC = Blosc("lz4", clevel=1, shuffle=Blosc.BITSHUFFLE)
_FORMAT = 1
_CARRY = "carry/"


class Spool:
    """The folder, open. A context manager; closing it leaves the folder as it is.

    Attributes:
        folder: Where it is.
        done: How many tiles are finished: those numbered 0 to ``done - 1``.
        skipped: How many of these were without data.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, resume: bool = False, reach: int = 1) -> None:
        """Open or make the folder and lock it.

        Args:
            folder: May be missing.
            identity: What the work belongs to, as JSON types.
            resume: Whether to go on with what is there. Otherwise it is thrown away, with a warning.
            reach: For how many tiles after its own the files of ``carry`` are needed. They are kept twice as long, so that a few damaged
                files do not cost all of the work.

        Raises:
            InputError: If another process works there, the folder holds something else, or `identity` is another one.
        """
        self.folder, self.done, self.skipped = folder, 0, 0
        self._identity: dict[str, Any] = json.loads(json.dumps({"format": _FORMAT, **identity}))
        self._reach, self._files = reach, dict[str, tuple[int, str]]()
        with _speaking(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder)
            try:
                self._open(resume)
            except BaseException:
                os.close(self._lock)
                raise

    def _open(self, resume: bool) -> None:
        stored = _stored_identity(self.folder)
        if stored is not None and resume:
            self._compare(stored)
            self._go_on()
        else:
            if stored is not None:
                _log.warning("the unfinished work in %s is thrown away, since resuming was not asked for", self.folder)
            _clear(self.folder)
            write_json(self.folder / "identity.json", self._identity)
        self._journal = os.open(self.folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def _compare(self, stored: Mapping[str, Any]) -> None:
        differing = [key for key in {**stored, **self._identity} if stored.get(key) != self._identity.get(key)]
        if differing:
            changes = ", ".join(f"{key} was {stored.get(key)} and is {self._identity.get(key)}" for key in differing)
            raise InputError(
                f"the unfinished work in {self.folder} belongs to another run: {changes}; "
                "repeat that run's settings, or start over without resuming"
            )

    def _go_on(self) -> None:
        """Take over the tiles whose files are whole, up to the last one whose successor finds all that was carried to it."""
        journal = self.folder / "journal"
        if not journal.exists():
            return
        ends, carries, skipped = [0], list[bool](), list[bool]()
        for number, line in enumerate(journal.read_bytes().split(b"\n")[:-1]):
            entry = _entry(line, number)
            whole = {name: self._whole(name, *stamp) for name, stamp in entry["files"].items()} if entry else {"": False}
            if not all(good for name, good in whole.items() if not name.startswith(_CARRY)):
                break
            ends.append(ends[-1] + len(line) + 1)
            carries.append(all(good for name, good in whole.items() if name.startswith(_CARRY)))
            skipped.append(entry is not None and bool(entry["skipped"]))
        self.done = next((done for done in range(len(carries), 0, -1) if all(carries[max(done - self._reach, 0) : done])), 0)
        self.skipped = sum(skipped[: self.done])
        if self.done < len(carries) - 1:
            _log.warning("files in %s were damaged; the work goes on from tile %d instead of %d", self.folder, self.done, len(carries))
        os.truncate(journal, ends[self.done])

    def _whole(self, name: str, size: int, digest: str) -> bool:
        try:
            data = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return False
        return len(data) == size and hashlib.sha256(data).hexdigest() == digest

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Store an array of the tile in work. It counts from `finish` on.

        Args:
            name: ``folder/file``.
            array: Any shape and type; if all of it is NaN, next to nothing is stored.

        Raises:
            InputError: If the disk is full.
        """
        empty = array.size == 0 or (array.dtype.kind == "f" and bool(np.isnan(array.flat[0])) and bool(np.isnan(array).all()))
        data = b"" if empty else _CODEC.encode(np.ascontiguousarray(array))
        path = self.folder / name
        with _speaking(self.folder):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        self._files[name] = (len(data), hashlib.sha256(data).hexdigest())

    def read(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
        """An array as it was written.

        Args:
            name: As given to `write`.
            shape: Its shape.
            dtype: Its type; of an array that was NaN everywhere, float32 comes back.

        Returns:
            The array.
        """
        data = (self.folder / name).read_bytes()
        if not data:
            return np.full(shape, np.nan, np.float32)
        return np.frombuffer(_CODEC.decode(data), dtype).reshape(shape)

    def finish(self, *, skipped: bool = False) -> None:
        """Note that all files of the next tile are written, and drop what no tile needs any more.

        Args:
            skipped: Whether it was without data.
        """
        line = json.dumps({"tile": self.done, "skipped": skipped, "files": self._files}) + "\n"
        with _speaking(self.folder):
            os.write(self._journal, line.encode())
        self.done += 1
        self.skipped += skipped
        self._files = {}
        for path in self.folder.glob(f"{_CARRY}{self.done - 1 - 2 * self._reach:06d}.*"):
            path.unlink()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._journal)
        os.close(self._lock)


def remove_spool(folder: Path) -> None:
    """Remove a spool once its picture is safe. Nothing happens where there is none.

    Args:
        folder: Where it is.

    Raises:
        InputError: If the folder holds something else.
    """
    if folder.exists():
        _stored_identity(folder)
        _clear(folder)
        shutil.rmtree(folder)


def _locked(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise InputError(f"another process is at work in {folder}; wait until it ends, or choose another output") from error
        except OSError:
            _log.warning("%s cannot be locked; see that no second process works there", folder)
    return descriptor


def _stored_identity(folder: Path) -> dict[str, Any] | None:
    """The identity that the folder holds; None if it holds no work yet."""
    names = {path.name for path in folder.iterdir()}
    if "identity.json" not in names:
        foreign = sorted(name for name in names - {"lock"} if not name.startswith(".identity."))
        if foreign:
            raise InputError(f"the folder {folder} is not empty and holds {foreign[0]}; name an empty or a new one for the unfinished work")
        return None
    try:
        identity = json.loads((folder / "identity.json").read_text(encoding="utf-8"))
    except ValueError:
        identity = None
    if not isinstance(identity, dict):
        raise InputError(f"{folder}/identity.json does not say what the unfinished work belongs to; remove that folder and start over")
    return identity


def _clear(folder: Path) -> None:
    # The identity goes last: what is left by a crash in between is still known as ours.
    paths = sorted(folder.iterdir(), key=lambda path: path.name == "identity.json")
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _entry(line: bytes, number: int) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(entry, dict) and entry.get("tile") == number and {"skipped", "files"} <= set(entry)
    return entry if whole else None


@contextmanager
def _speaking(folder: Path) -> Iterator[None]:
    """Failures of the disk in one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"the disk that holds {folder} is full; free some space, then run again and resume") from error
        raise InputError(f"cannot write {folder} ({error.strerror or error}); make it writable, or choose another output") from error
