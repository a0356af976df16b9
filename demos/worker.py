"""A run beside the web page: a thread with one result or error, and how far it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..gen.errors import InputError
from .sessions import Session

T = TypeVar("T")
Report = Callable[[int, int], None]

_POLL = 0.3  # seconds between two looks at the worker
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: Finished parts.
        total: All parts; 0 while it is not known.
        seconds: Since the start.
        left: Expected seconds to the end, None while unknown.
    """

    done: int
    total: int
    seconds: float
    left: float | None


class Worker(Generic[T]):
    """A thread with one result or error, and how far it is."""

    def __init__(self, work: Callable[[Report], T]) -> None:
        """Start `work`, which is given a function to tell (parts done, parts in all)."""
        self._work = work
        self._started = time.monotonic()
        self._at = (0, 0, 0.0)
        self._made: list[T] = []
        self._failed: BaseException | None = None
        self.thread = threading.Thread(target=self._go, name="earthgen-run", daemon=True)
        self.thread.start()

    def _go(self) -> None:
        try:
            self._made.append(self._work(self._report))
        except BaseException as error:
            self._failed = error

    def _report(self, done: int, total: int) -> None:
        self._at = (done, total, time.monotonic() - self._started)

    def watch(self) -> Iterator[Progress]:
        """How far it is, a few times a second until it ends."""
        while self.thread.is_alive():
            self.thread.join(_POLL)
            seconds = time.monotonic() - self._started
            done, total, then = self._at
            # The pace is that of the parts that are done: time since the last one counts down what is left.
            yield Progress(done, total, seconds, max(0.0, then * total / done - seconds) if done else None)

    def answer(self) -> T:
        """What the work returned, after it ended; what it raised is raised."""
        if self._failed is not None:
            raise self._failed
        return self._made[0]


def watched(session: Session, work: Callable[[Report], T], keep: Callable[[T], None]) -> Iterator[Progress]:
    """Run `work` for a session; closing the iterator stops it.

    Args:
        session: Taken for the run, and given back after it.
        work: Does it, in a thread of its own.
        keep: Takes the result; not called unless the run ends well.

    Yields:
        How far it is.

    Raises:
        InputError: If the session has a run going on.
        Cancelled: If the session was told to stop.
    """
    session.begin()
    try:
        worker = Worker(work)
        try:
            yield from worker.watch()
        finally:
            if worker.thread.is_alive():
                session.cancel()
                worker.thread.join()
        session.check()
        keep(worker.answer())
    finally:
        session.end()


def sentence(error: BaseException) -> str:
    """What the user reads about an error: its own sentence if it is one of ours, else where to look."""
    if isinstance(error, InputError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "there is not enough memory for this run; close other programs, or use the command line's smaller --tile"
    _log.error("the run has failed", exc_info=error)
    return f"something inside EarthGen has failed ({type(error).__name__}); the terminal that runs the app shows the details"
