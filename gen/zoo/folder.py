"""Model folders in diffusers layout: ``model_index.json``, a folder per component with its config and safetensors, and ``card.toml``.

A folder is written whole or not at all. Reading is strict: no pickles, no missing or unexpected weights, no shapes that differ.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import InputError
from .card import CARD, dump_toml
from .names import INDEX

WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "model.safetensors"  # of transformers
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_NAMED = 4  # keys that an error lists


def write_model_folder(
    folder: Path,
    *,
    pipeline: str,
    components: Mapping[str, Any],
    settings: Mapping[str, Any],
    card: Mapping[str, Any],
    half: bool = True,
) -> None:
    """Write a model folder, whole or not at all; an older model of this name is replaced.

    Args:
        folder: Where to.
        pipeline: Class name of the pipeline, such as ``SuperResolutionPipeline``.
        components: Networks (`ModelMixin`), schedulers (`SchedulerMixin`), text encoders and tokenizers of transformers, by name; none
            is changed.
        settings: The pipeline's other arguments, plain JSON types.
        card: What ``card.toml`` says; no file is written if it is empty.
        half: Whether weights are stored in half precision.

    Raises:
        InputError: If `folder` holds something else than a model, or a weight is not finite or too large for half precision.
        OSError: If the disk is full or fails; an older model is untouched.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / INDEX).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is no model folder; choose another name or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        partial.mkdir()
        for name, component in components.items():
            _write_component(partial / name, component, half)
        index = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
        parts = {name: [type(component).__module__.split(".")[0], type(component).__name__] for name, component in components.items()}
        (partial / INDEX).write_text(json.dumps({**index, **parts, **settings}, indent=2) + "\n", encoding="utf-8")
        if card:
            (partial / CARD).write_text(dump_toml(card), encoding="utf-8")
        _replace(folder, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def read_index(folder: Path, pipeline: str) -> dict[str, Any]:
    """The index of a model folder, after the checks that need no weights.

    Args:
        folder: The folder.
        pipeline: Class name that it must name.

    Returns:
        Components and settings by name, without the entries that diffusers marks by an underscore.

    Raises:
        InputError: If the folder holds pickles, the index is missing or damaged, or it belongs to another pipeline.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no model folder {folder}; give a folder that has a {INDEX}")
    refuse_pickles(folder)
    index = read_config(folder / INDEX)
    found = index.get("_class_name")
    if found != pipeline:
        raise InputError(f"the model {folder} is made for {found}, not for {pipeline}; choose a model of this task")
    return {key: value for key, value in index.items() if not key.startswith("_")}


def refuse_pickles(folder: Path) -> None:
    """Raise `InputError` if a file in the folder may be a pickle, which can run code when it is opened."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICKLES:
            raise InputError(
                f"the model folder {folder} holds {path.relative_to(folder)}, a pickle, which can run code when opened; "
                "remove it, or turn published weights into safetensors with `earthgen convert`"
            )


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or an `InputError` that says what is wrong with it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"the model folder {path.parent} has no {path.name}; it is incomplete, so copy it again") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); it is damaged, so copy the model again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__} where a JSON object is expected; copy the model again")
    return value


def load_weights(folder: Path, expected: nn.Module) -> dict[str, Tensor]:
    """Read a component's weights and hold them against the network that they are for.

    Args:
        folder: The component's folder.
        expected: A network of the same config, which may live on the device ``meta``.

    Returns:
        The state dict, in float32 where the network has floats.

    Raises:
        InputError: If the file is missing or damaged, keys are missing or unexpected, or a shape differs or a value is not finite.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"the model folder {folder} has no {WEIGHTS}; it is incomplete, so copy it again")
    try:
        stored = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"the weights {path} are damaged ({error}); copy the model again") from error
    wanted = expected.state_dict()
    _compare(path, stored, wanted)
    for key, value in stored.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"the weights {path} have values in {key} that are not finite; train or copy the model again")
    return {key: value.to(torch.float32 if wanted[key].is_floating_point() else wanted[key].dtype) for key, value in stored.items()}


def model_digest(folder: Path) -> str:
    """Short digest of a model's weights: the first 12 hexadecimal digits of a sha256 over all safetensors and their names."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _compare(path: Path, stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing, unexpected = sorted(wanted.keys() - stored.keys()), sorted(stored.keys() - wanted.keys())
    if missing or unexpected:
        parts = [f"{len(keys)} {word} ({_list(keys)})" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
        found = " and ".join(parts)
        raise InputError(f"the weights {path} do not fit their config: keys {found}; take the config that was saved with them")
    wrong = [
        f"{key} is {tuple(stored[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(wanted)
        if stored[key].shape != wanted[key].shape
    ]
    if wrong:
        raise InputError(f"the weights {path} do not fit their config: {_list(wrong)}; take the config that was saved with them")


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _write_component(folder: Path, component: Any, half: bool) -> None:
    folder.mkdir()
    if not hasattr(component, "save_config"):
        _write_text_part(folder, component, half)
        return
    component.save_config(folder)
    config = folder / str(component.config_name)
    # Where the weights once came from is a path on somebody's machine.
    kept = {key: value for key, value in read_config(config).items() if key != "_name_or_path"}
    config.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    if not isinstance(component, nn.Module):
        return
    _write_weights(folder / WEIGHTS, component, half, config.stat().st_mode)


def _write_text_part(folder: Path, component: Any, half: bool) -> None:
    """A text encoder or a tokenizer of transformers, which have files of their own."""
    if not isinstance(component, nn.Module):
        component.save_pretrained(folder)
        return
    config: Any = component.config
    config.save_pretrained(folder)
    _write_weights(folder / TEXT_WEIGHTS, component, half, (folder / "config.json").stat().st_mode)


def _write_weights(path: Path, component: nn.Module, half: bool, mode: int) -> None:
    tensors: dict[str, Tensor] = {}
    for key, value in component.state_dict().items():
        # The clone gives every tensor its own dense memory, which safetensors asks for.
        dense = value.detach().to("cpu", torch.float16 if half and value.is_floating_point() else value.dtype).clone().contiguous()
        if dense.is_floating_point() and not bool(torch.isfinite(dense).all()):
            raise InputError(f"the weight {key} is not finite or too large for half precision; train again, or store full precision")
        tensors[key] = dense
    save_file(tensors, path, metadata={"format": "pt"})
    # safetensors writes for the owner alone; a model is as readable as the files beside it.
    path.chmod(mode)


def _replace(folder: Path, partial: Path) -> None:
    """Sync everything in `partial` and give it the name `folder`."""
    for path in (*partial.rglob("*"), partial):
        _sync(path)
    if folder.exists():
        old = partial.with_suffix(".old")
        folder.rename(old)
        try:
            partial.rename(folder)
        except OSError:
            old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        partial.rename(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise  # some file systems cannot sync a folder
    finally:
        os.close(handle)
