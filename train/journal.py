"""What a run writes down: ``log.jsonl``, one JSON object a line.

A line has ``samples``, ``seconds`` and one of: averages over the steps since the last line, ``evaluation``, or ``notice``. When a run is
taken up again, lines of steps that it will repeat are dropped first, so that the file reads as if nothing had happened.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..gen.data.atomic import write_text

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_log = logging.getLogger("earthgen.train")


class Averages:
    """Means of named figures since they were last taken, and latest values of others."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Start empty, or from what `state` gave."""
        state = state or {}
        self.sums: dict[str, float] = dict(state.get("sums", {}))
        self.latest: dict[str, float] = dict(state.get("latest", {}))
        self.steps = int(state.get("steps", 0))

    def add(self, figures: Mapping[str, float], **latest: float) -> None:
        """Count one step.

        Args:
            figures: Values to average.
            **latest: Values of which the last one counts.
        """
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.latest.update(latest)
        self.steps += 1

    def take(self) -> dict[str, float]:
        """The means and latest values; the averages start anew."""
        means = {name: value / self.steps for name, value in self.sums.items()} if self.steps else {}
        figures = {**means, **self.latest}
        self.sums, self.latest, self.steps = {}, {}, 0
        return figures

    def state(self) -> dict[str, Any]:
        """Plain JSON types for a checkpoint."""
        return {"sums": self.sums, "latest": self.latest, "steps": self.steps}


class Journal:
    """The log file of a run; with ``active`` false (all processes but the first) nothing is written."""

    def __init__(self, path: Path, active: bool = True) -> None:
        """Remember where to write; nothing is touched yet."""
        self.path, self.active = path, active
        self._complained = False

    def resume(self, samples: int) -> None:
        """Drop the lines of later samples, and a last line that was cut off.

        Args:
            samples: Samples seen at the checkpoint that the run goes on from.
        """
        if not self.active or not self.path.is_file():
            return
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if (at := _samples(line)) is not None and at <= samples]
        if kept != lines:
            write_text(self.path, "".join(kept))

    def write(self, samples: int, seconds: float, entry: Mapping[str, Any]) -> None:
        """Append a line; a full disk is said once and costs the line, not the run."""
        if not self.active:
            return
        line = json.dumps(_finite({"samples": samples, "seconds": round(seconds, 1), **entry}), allow_nan=False) + "\n"
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            os.truncate(self.path, size)
            if not self._complained:
                _log.warning("the disk is full: lines of %s are lost from %d samples on", self.path, samples)
            self._complained = True

    def notice(self, samples: int, seconds: float, sentence: str) -> None:
        """Tell the person at the terminal, and write it down."""
        if self.active:
            _log.warning("%s", sentence)
            self.write(samples, seconds, {"notice": sentence})


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _samples(line: str) -> int | None:
    """Samples of a whole line, None for a torn one."""
    if not line.endswith("\n"):
        return None
    try:
        return int(json.loads(line)["samples"])
    except (ValueError, KeyError, TypeError):
        return None
