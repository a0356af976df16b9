"""What belongs to one browser tab: a folder for its results, what it is looking at, and the switch that stops its run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..gen.errors import InputError

if TYPE_CHECKING:
    from .generate_job import Generated
    from .previews import Scene
    from .upscale_job import Result


class Cancelled(Exception):
    """The user has pressed Cancel."""


class Session:
    """One browser tab. Sessions share nothing; several may run at once.

    Attributes:
        scene: The raster that was uploaded last, None before.
        result: What the last finished upscaling has written, None before.
        generated: What the last finished generation has written, None before.
        centre: Where the detail view is, as fractions of height and width.
    """

    def __init__(self) -> None:
        self.scene: Scene | None = None
        self.result: Result | None = None
        self.generated: Generated | None = None
        self.centre = (0.5, 0.5)
        self._folder: Path | None = None
        self._stop = threading.Event()
        self._running = threading.Lock()
        _OPEN.add(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """A session is one thing, however often the app's state is copied."""
        return self

    @property
    def folder(self) -> Path:
        """The session's own temporary folder, made when first needed."""
        if self._folder is None or not self._folder.is_dir():
            self._folder = Path(tempfile.mkdtemp(prefix="earthgen-app-"))
        return self._folder

    @property
    def running(self) -> bool:
        """Whether a run is going on."""
        return self._running.locked()

    def look_at(self, row: float, column: float) -> None:
        """Move the detail view to a place in the picture of the overview, in its pixels."""
        if self.scene is not None:
            height, width = self.scene.shown_size
            self.centre = ((row + 0.5) / height, (column + 0.5) / width)

    def begin(self) -> None:
        """Take the session for a run.

        Raises:
            InputError: If one is going on already.
        """
        if not self._running.acquire(blocking=False):
            raise InputError("a run is going on in this window; wait until it is done, or cancel it first")
        self._stop.clear()

    def end(self) -> None:
        """Give the session back after a run."""
        self._running.release()

    def cancel(self) -> None:
        """Ask the run, if there is one, to stop at its next chance."""
        self._stop.set()

    def check(self) -> None:
        """Raise `Cancelled` if the run is to stop."""
        if self._stop.is_set():
            raise Cancelled

    def keep(self, result: Result | None) -> None:
        """Take a run's result, and remove the files of the one before."""
        if self.result is not None:
            shutil.rmtree(self.result.image.parent, ignore_errors=True)
        self.result = result

    def keep_generated(self, generated: Generated | None) -> None:
        """Take the pictures of a run, and remove those of the one before."""
        if self.generated is not None:
            shutil.rmtree(self.generated.archive.parent, ignore_errors=True)
        self.generated = generated

    def close(self) -> None:
        """Stop the run and remove the folder."""
        self.cancel()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


_OPEN: weakref.WeakSet[Session] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for session in list(_OPEN):
        session.close()
