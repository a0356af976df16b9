"""Averages of the weights that are kept so that the length of the average can be chosen after training.

A power-function average (Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", section 3) at time ``t``
weighs the weights of time ``s`` by ``(g + 1) s^g / t^(g + 1)``: it grows with the run and forgets the random start by itself. Its relative
width is the standard deviation of that density over ``t``, ``sqrt((g + 1) / ((g + 2)^2 (g + 3)))``. Time is counted in samples, so a step
that ends at ``n`` samples and began at ``m`` keeps ``(m / n)^(g + 1)`` of the old average; with this decay the average is exactly the
integral over the weights as a step function of time, whatever the sizes of the steps.

A run with ``ema_profiles = [0.05, 0.10]`` follows these two and stores snapshots of them; `ema_reconstruction` makes other averages out of
the snapshots. Cost: for each width one more float32 copy of the trained weights in memory and in every checkpoint, one pass over them a
step, and two bytes a weight in every snapshot (EDiffSR's 20.4 million weights, two widths: 163 MB of memory, 82 MB a snapshot). An empty
list costs nothing.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..gen.errors import InputError
from .checkpoint import Snapshot, checkpoints, is_whole, save_checkpoint
from .ema import blend, floating, shadow_of
from .journal import DISK_FULL

WIDEST = 1 / math.sqrt(12)
"""Relative width of the plain mean over the run (g = 0); no power function that grows is wider."""
_FORGOTTEN = 1e-3


def power_of(width: float) -> float:
    """The exponent ``g`` of a power-function average.

    Args:
        width: Relative width, above 0 and at most `WIDEST`.

    Returns:
        The largest root of ``(g + 2)^2 (g + 3) width^2 = g + 1``, which is 0 or more.

    Raises:
        InputError: If the width is out of range.
    """
    if not 0 < width <= WIDEST:
        raise InputError(f"{width:g} is no relative width: give one above 0 and at most {WIDEST:.4f}, which is the mean of the whole run")
    inverse = width**-2
    power = float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max())
    return max(power, 0.0)


def width_of(power: float) -> float:
    """The relative width of the power-function average with an exponent of 0 or more."""
    return math.sqrt((power + 1) / (power + 3)) / (power + 2)


@dataclass(frozen=True)
class StoredAverage:
    """One average in one snapshot.

    Attributes:
        snapshot: Folder of the snapshot.
        part: Its name there.
        power: Exponent of its density.
        samples: Samples at which it was taken, the end of its density.
        step: Samples of the optimizer step before it.
    """

    snapshot: Path
    part: str
    power: float
    samples: int
    step: int


class EmaProfiles:
    """Power-function averages of a model's trained weights, and their snapshots.

    Attributes:
        widths: Relative widths.
        shadows: Averaged tensors by name, for each width.
        samples: Samples at the last update.
        since: For each width, the samples at which it was taken up: 0, or more where a run was resumed with a new width. The weights before
            are taken for those at that moment, which an average forgets as the run goes on.
    """

    def __init__(self, model: nn.Module, widths: Sequence[float] = (), folder: Path | None = None, every: int = 0) -> None:
        """Start from the model's present weights, on their device; none of them is left after the first update.

        Args:
            model: Model whose weights are followed.
            widths: Relative widths; none for no profiles.
            folder: Where snapshots go; None where this process writes none.
            every: Samples from one snapshot to the next.

        Raises:
            InputError: If a width is out of range or given twice, or there are widths and no snapshots.
        """
        if widths and not every:
            raise InputError(f"ema_profiles = {list(widths)} needs profile_every, the samples between snapshots; set it to 1/50 of the run")
        if len(set(widths)) < len(widths):
            raise InputError(f"ema_profiles = {list(widths)} has a width twice; give each once")
        self.widths = tuple(widths)
        self.shadows = [shadow_of(model) for _ in self.widths]
        self.samples, self.since = 0, [0] * len(self.widths)
        self._powers = [power_of(width) for width in self.widths]
        self._folder, self._every, self._step, self._tidy = folder, every, 0, False

    def update(self, model: nn.Module, samples: int, total: int, notice: Callable[[str], None] | None = None) -> None:
        """Take one step's weights in, and store a snapshot when one is due: every so many samples and after the last step.

        Args:
            model: The model after its optimizer step.
            samples: Samples seen by now, over all processes.
            total: Samples of the whole run.
            notice: Told when the disk is full and there is no snapshot.

        Raises:
            OSError: If a snapshot cannot be written for another reason.
        """
        if not self.widths:
            return
        if not self._tidy:
            self._drop_later()
        values = dict(floating(model))
        for power, shadow in zip(self._powers, self.shadows, strict=True):
            left = (power + 1) * math.log(self.samples / samples) if self.samples else -math.inf
            blend(shadow, values, -math.expm1(left))
        due = samples // self._every > self.samples // self._every
        self._step, self.samples = samples - self.samples, samples
        if self._folder is not None and (due or samples + self._step > total):
            self._store(self._folder, notice)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint keeps, by file; the tensors are the live ones."""
        return {f"profile-{number}": shadow for number, shadow in enumerate(self.shadows)}

    def meta(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the tensors, plain JSON types."""
        return {"widths": list(self.widths), "since": list(self.since), "step": self._step}

    def load(self, snapshot: Snapshot) -> None:
        """Go back to a checkpoint; a width that it lacks starts from its trained weights.

        Args:
            snapshot: The checkpoint, with ``profiles`` in its meta from `meta`, or none.
        """
        known = snapshot.meta.get("profiles", {"widths": [], "since": [], "step": 0})
        self.samples, self._step, self._tidy = snapshot.samples, int(known["step"]), False
        for index, (width, shadow) in enumerate(zip(self.widths, self.shadows, strict=True)):
            number = known["widths"].index(width) if width in known["widths"] else None
            stored = snapshot.tensors["model" if number is None else f"profile-{number}"]
            self.since[index] = snapshot.samples if number is None else int(known["since"][number])
            for name, value in shadow.items():
                value.copy_(stored[name])

    def _store(self, folder: Path, notice: Callable[[str], None] | None) -> None:
        halves = {part: {name: _half(value) for name, value in shadow.items()} for part, shadow in self.tensors().items()}
        try:
            save_checkpoint(folder, Snapshot(self.samples, halves, self.meta()), keep=sys.maxsize)
        except OSError as error:
            if notice is None or error.errno not in DISK_FULL:
                raise
            notice("the disk is full: a snapshot of the averages was left out, those before are whole; free some space")

    def _drop_later(self) -> None:
        """Remove snapshots of a future that this run has yet to come to; they are written again, under its present settings."""
        self._tidy = True
        for path in checkpoints(self._folder) if self._folder is not None else []:
            if int(path.name) > self.samples:
                shutil.rmtree(path, ignore_errors=True)


def stored_averages(folder: Path, samples: int | None = None) -> list[StoredAverage]:
    """The averages in a folder of snapshots, oldest first.

    A snapshot that is torn or damaged is passed over, and so is an average that has not yet forgotten that it was taken up in mid-run.

    Args:
        folder: ``profiles`` of a run; it need not exist.
        samples: Only snapshots up to here.
    """
    found: list[StoredAverage] = []
    for path in reversed(checkpoints(folder)):
        if (samples is None or int(path.name) <= samples) and is_whole(path):
            found.extend(_averages_in(path, json.loads((path / "state.json").read_text(encoding="utf-8"))))
    return found


def _averages_in(path: Path, meta: Mapping[str, Any]) -> list[StoredAverage]:
    samples = int(meta["samples"])
    powers = [power_of(width) for width in meta["widths"]]
    return [
        StoredAverage(path, f"profile-{number}", power, samples, int(meta["step"]))
        for number, (power, since) in enumerate(zip(powers, meta["since"], strict=True))
        if (since / samples) ** (power + 1) < _FORGOTTEN
    ]


def _half(value: Tensor) -> Tensor:
    """Half precision, or the tensor as it is where that cannot hold it."""
    half = value.to(torch.float16)
    return half if bool(half.isfinite().all()) else value
