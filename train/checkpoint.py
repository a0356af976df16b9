"""Checkpoints that are either whole or not there.

A checkpoint is a folder of safetensors and JSON files. It is written under a temporary name, a manifest with the sha256 of each file is
added, every file is synced, and only then is the folder renamed; older ones are pruned last. `latest_checkpoint` looks at the manifest
before it trusts a folder, and falls back to the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..gen.errors import InputError

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Snapshot:
    """Everything that a run needs to go on.

    Attributes:
        samples: Samples seen so far.
        tensors: Tensors by file (``model``, ``ema``, ``optimizer``), then by name.
        meta: Other state, plain JSON types.
    """

    samples: int
    tensors: dict[str, dict[str, Tensor]]
    meta: dict[str, Any]


def save_checkpoint(folder: Path, snapshot: Snapshot, keep: int = 2) -> Path:
    """Write a snapshot atomically, then drop all but the `keep` newest.

    A whole checkpoint of as many samples is left as it is: it is the same one. Only one process may save into a folder.

    Args:
        folder: Folder of the run's checkpoints.
        snapshot: What to save.
        keep: Checkpoints to keep, this one included.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: If it cannot be written; the previous checkpoints stay as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{snapshot.samples:012d}"
    if is_whole(target):
        return target
    for left_over in folder.glob(".*.part"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = folder / f".{target.name}.part"
    try:
        partial.mkdir()
        _write(partial, snapshot)
        if target.exists():
            shutil.rmtree(target)  # damaged: it did not match
        partial.rename(target)
        _sync(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in checkpoints(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest_checkpoint(folder: Path) -> tuple[Path | None, list[Path]]:
    """Newest checkpoint whose manifest matches its files.

    Args:
        folder: Folder of the run's checkpoints; it need not exist.

    Returns:
        The checkpoint, or None, and the newer folders that were passed over because they are damaged.
    """
    damaged: list[Path] = []
    for candidate in checkpoints(folder):
        if is_whole(candidate):
            return candidate, damaged
        damaged.append(candidate)
    return None, damaged


def load_checkpoint(path: Path) -> Snapshot:
    """Read a checkpoint.

    Args:
        path: Its folder.

    Returns:
        What was saved.

    Raises:
        InputError: If the manifest does not match the files.
    """
    if not is_whole(path):
        raise InputError(f"the checkpoint {path} is damaged: its files do not match its manifest; take an older one")
    meta = json.loads((path / "state.json").read_text(encoding="utf-8"))
    tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
    return Snapshot(int(meta.pop("samples")), tensors, meta)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders, newest first, whole or not."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()), reverse=True)


def is_whole(folder: Path) -> bool:
    """Whether a folder has a manifest, and all its files are as the manifest says."""
    try:
        digests = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(digests) and all(_sha256(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError, AttributeError):
        return False


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors (``"<parameter number>.<entry>"``), so that no pickle is needed."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": torch.as_tensor(value) for number, entries in state.items() for name, value in entries.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; the parameter groups stay as the recipe made them."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, entry = name.partition(".")
        state.setdefault(int(number), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, entries in optimizer.state.items():
        for entry, value in entries.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                # Files hold plain order; a fused kernel goes through the memory of weight and moments side by side.
                entries[entry] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _write(folder: Path, snapshot: Snapshot) -> None:
    for name, tensors in snapshot.tensors.items():
        # The copy gives every tensor its own dense memory, which safetensors asks for.
        save_file({key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")
    state = json.dumps({"samples": snapshot.samples, **snapshot.meta}, indent=1, sort_keys=True)
    (folder / "state.json").write_text(state, encoding="utf-8")
    digests = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
    (folder / _MANIFEST).write_text(json.dumps(digests, indent=1), encoding="utf-8")
    for file in folder.iterdir():
        _sync(file)
    _sync(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
