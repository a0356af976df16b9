"""A scene's sampling on disk, so that a run that was killed at any moment goes on where it stopped.

Nothing of a sampler is stored: it is run again from its noise with the predictions that were finished, which costs next to nothing, and
comes to the same bytes whatever it keeps of earlier steps. Kept are the blended prediction of each finished step, and those of the windows
of the step in work (`gen.data.spool`: a group of windows is what it calls a tile).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..gen.data.spool import Spool

if TYPE_CHECKING:
    from .earth import EarthPipeline
    from .earth_prepare import Request
    from .earth_windows import Windows


class SceneWork:
    """Predictions of a scene, finished and to come.

    Attributes:
        resumed: Groups of windows that an earlier run had finished.
    """

    def __init__(self, spool: Spool, groups: Sequence[int]) -> None:
        """Work in an open spool.

        Args:
            spool: Of the scene.
            groups: How many groups of windows each step has.
        """
        self._spool = spool
        self._first = [sum(groups[:step]) for step in range(len(groups) + 1)]
        self.resumed = spool.done

    def step(self, step: int, like: Tensor) -> Tensor | None:
        """The blended prediction of a step that an earlier run finished, on the device of `like` and with its shape."""
        return self._read(f"steps/{step:06d}", like) if self._first[step + 1] <= self._spool.done else None

    def group(self, step: int, number: int, like: Tensor) -> Tensor | None:
        """The predictions of a group of windows that an earlier run finished."""
        at = self._first[step] + number
        return self._read(_carried(at), like) if at < self._spool.done else None

    def keep_group(self, step: int, number: int, made: Tensor, blended: Tensor | None) -> None:
        """Store a new group's predictions, with the step's blended one if it is the last of its step.

        Raises:
            InputError: If the disk is full.
        """
        self._spool.write(_carried(self._first[step] + number), made.cpu().numpy())
        if blended is not None:
            self._spool.write(f"steps/{step:06d}", blended.cpu().numpy())
        self._spool.finish()

    def _read(self, name: str, like: Tensor) -> Tensor:
        return torch.from_numpy(self._spool.read(name, tuple(like.shape)).copy()).to(like.device)


def _carried(number: int) -> str:
    return f"carry/{number:06d}.windows"


def work_folder(target: Path) -> Path:
    """Where the unfinished work of a file lies."""
    return target.with_name(f".{target.name}.work")


@contextmanager
def scene_work(folder: Path, windows: Windows, steps: int, identity: Mapping[str, Any], resume: bool) -> Iterator[SceneWork]:
    """Open a scene's work; it stays in the folder until `remove_spool`.

    Args:
        folder: May be missing.
        windows: Of the scene.
        steps: Evaluations of the whole scene.
        identity: All that the predictions depend on.
        resume: Go on with what is there; else it is thrown away, with a warning.

    Raises:
        InputError: If another process works there, or what is there belongs to another scene.
    """
    groups = [-(-len(windows.spans(step)) // windows.batch) for step in range(steps)]
    with Spool(folder, identity, resume=resume, reach=max(groups)) as spool:
        yield SceneWork(spool, groups)


def identity_of(pipeline: EarthPipeline, request: Request, windows: Windows, tags: Mapping[str, str]) -> dict[str, Any]:
    """What a scene's predictions depend on, in words and digests."""
    place = next(pipeline.unet.parameters())
    tensors = {"picture": request.images, "mask": request.masks, **{f"hint {name}": hint for name, hint in request.hints[0].items()}}
    return {
        "scene": f"{request.width} x {request.height} pixels",
        "windows": f"{windows.side} latents that share {windows.overlap}, {windows.batch} at once",
        "number type": f"{str(place.dtype).removeprefix('torch.')} on {place.device.type}",
        "settings": dict(tags),
        **{name: _digest(value) for name, value in tensors.items() if value is not None},
    }


def _digest(value: Tensor) -> str:
    return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()[:16]
