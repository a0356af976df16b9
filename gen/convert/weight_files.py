"""Weights from files that others wrote, without running anything that is in them.

`torch.load` is called with ``weights_only=True``: it rebuilds tensors and plain containers and refuses every other object, so that a pickle
with code in it is an error before the code runs. Checkpoints of Lightning name classes of Lightning and of its configs beside the weights;
those names, and no others, are read as an empty class of ours, so that nothing of theirs is imported or run either.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import InputError

TRAINING_STATE = frozenset({"optimizers", "optimizer", "schedulers", "optimizer_state_dict"})
EMA, ONLINE = "ema_model.", "online_model."
INERT = frozenset({"pytorch_lightning", "lightning", "lightning_fabric", "omegaconf", "argparse", "pathlib", "typing"})


class _Inert:
    """Stands for an object that a checkpoint has beside its weights. Whatever it is given, it keeps nothing."""

    def __init__(self, *_given: Any, **_named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The weights in a file: safetensors, a state dict by `torch.save`, a checkpoint of Lightning, or the wrapper of ema_pytorch.

    Args:
        path: The file. Its kind is told by its content.

    Returns:
        Tensors by key, on the CPU, without the prefixes of `DataParallel` (``module.``) and of the wrapper (``ema_model.``: the averaged
        weights are taken, not the ``online_model.``).

    Raises:
        InputError: If there is no such file, it holds something else (code, a training state), or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no weight file {path}; give the path of a .pth or .safetensors file")
    value = load_file_safely(path)
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = dict(value["state_dict"])  # of Lightning
    if isinstance(value, dict) and TRAINING_STATE & value.keys():
        raise InputError(
            f"{path} is a training state, with optimisers instead of weights; give the weights beside it, such as 180000_G.pth"
        )
    if not isinstance(value, dict) or not value:
        raise InputError(f"{path} holds a {type(value).__name__}, not weights by name; give a file that holds a state dict")
    if any(isinstance(key, str) and key.startswith(EMA) for key in value):
        value = {key.removeprefix(EMA): tensor for key, tensor in value.items() if isinstance(key, str) and key.startswith(EMA)}
    wrong = next((key for key, tensor in value.items() if not isinstance(key, str) or not isinstance(tensor, Tensor)), None)
    if wrong is not None:
        raise InputError(f"{path} holds a {type(value[wrong]).__name__} under {wrong!r}, not a tensor; give a file that holds a state dict")
    repeated = [key for key, tensor in value.items() if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size()]
    if repeated:
        raise InputError(f"{path} claims more numbers under {repeated[0]!r} than it holds; copy it again, or take it from its authors")
    if all(key.startswith("module.") for key in value):
        value = {key.removeprefix("module."): tensor for key, tensor in value.items()}
    return value


def load_file_safely(path: Path) -> Any:
    """Whatever tensors and plain containers a file holds; see `read_state_dict`."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise InputError(f"the weight file {path} is empty; copy it again")
    if head[8:9] == b"{":
        try:
            return dict(load_file(path))
        except (SafetensorError, ValueError) as error:
            raise InputError(f"the weight file {path} is damaged ({_first_line(error)}); copy it again") from error
    try:
        return _load_pickle(path)
    except OSError:
        raise
    except Exception as error:
        # Damage surfaces as many types; what pickles refuse is told by torch's own sentence about weights_only.
        if "Weights only load failed" in str(error) or "weights_only" in str(error):
            raise InputError(
                f"{path} is a pickle with more than weights in it, which could run code, and nothing in it was run; "
                "give a file that holds a plain state dict"
            ) from error
        raise InputError(f"{path} is damaged or no weight file ({_first_line(error)}); give a .pth or .safetensors file") from error


def _load_pickle(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols; what matters is raised
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception:
            names = _named_globals(path)
            if not names or any(name.split(".")[0] not in INERT for name in names):
                raise
            with torch.serialization.safe_globals([(_Inert, name) for name in names]):
                return torch.load(path, map_location="cpu", weights_only=True)


def _named_globals(path: Path) -> list[str]:
    """What a pickle names beyond weights, by reading it without running it; nothing where this torch cannot tell."""
    find = getattr(torch.serialization, "get_unsafe_globals_in_checkpoint", None)
    try:
        return list(find(path)) if find else []
    except Exception:  # an older form of file, or a damaged one
        return []


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120].rstrip(".")
