"""Files that are either whole or not there.

A file is written under a temporary name in the same folder, synced to the disk and renamed onto its target: a reader, or a crash at any
moment, finds the old file or the new one, never a part.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError


@contextmanager
def atomic_path(target: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary sibling of `target` to write to; rename it onto `target` when the block ends well, remove it when it does not.

    Args:
        target: The file to make or replace; its folder must exist.
        durable: Whether to wait until the disk has it. Without, a power cut may leave an empty or torn file, never a half-written one else.

    Yields:
        A path that does not exist yet, in the same folder and with the same suffix.

    Raises:
        InputError: If the folder is missing or cannot be written, or `target` is a folder.
        OSError: If the block wrote nothing, or syncing or renaming fails.
    """
    target = Path(target)
    check_output_path(target)
    partial = target.with_name(f".{target.stem[:100]}.{os.getpid()}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield partial
        if durable:
            _sync(partial)
        os.replace(partial, target)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    # Some file systems cannot sync a folder; the rename itself is done by now.
    with suppress(OSError):
        if durable:
            _sync(target.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Args:
        path: The file to make or replace.
        text: Its content.

    Raises:
        InputError: As `atomic_path`.
        OSError: If the disk is full or fails; the old file is untouched.
    """
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically.

    Args:
        path: The file to make or replace.
        value: Plain JSON types; NaN and infinities are refused, since JSON has none.

    Raises:
        InputError: As `atomic_path`.
        TypeError: If the value is no JSON type.
        ValueError: If a number is not finite.
        OSError: If the disk is full or fails; the old file is untouched.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_output_path(target: str | Path, *inputs: str | Path) -> None:
    """Refuse an output path before any work is done.

    Args:
        target: The file to be written.
        *inputs: Files or folders that are being read: the output must be none of them, under whatever name, nor lie inside one.

    Raises:
        InputError: If the folder is missing or cannot be written, `target` is a folder, or it is one of the inputs.
    """
    target = Path(target)
    folder = target.parent
    if target.is_dir():
        raise InputError(f"the output {target} is a folder; give the name of a file to write")
    if not folder.exists():
        raise InputError(f"the output folder {folder} does not exist; make it first, or choose another one")
    if not folder.is_dir():
        raise InputError(f"the output folder {folder} is a file; choose a folder that may be written")
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InputError(f"the output folder {folder} may not be written; change its permissions, or choose another one")
    for source in map(Path, inputs):
        same = target.exists() and source.exists() and os.path.samefile(target, source)
        inside = source.is_dir() and target.resolve().is_relative_to(source.resolve())
        if same or inside or target.resolve() == source.resolve():
            raise InputError(f"the output {target} is the input {source} itself; give the output a name of its own")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
