"""One process trains into a folder, and no second one."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..gen.errors import InputError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock during a block.

    The lock belongs to the open file, so that the system lets go of it when the process dies, however it dies; the file itself stays.

    Args:
        folder: The run's folder; it is made if it is missing.

    Raises:
        InputError: If another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            raise InputError(f"{folder} is being trained by {holder}; stop that one first, or choose another 'output' or 'name'") from error
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(handle)
