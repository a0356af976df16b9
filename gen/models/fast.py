"""Where and how a network runs fastest: device, dtype, memory layout."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import nn

from ..errors import InputError
from .eanet import EANet

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name.

    Args:
        name: ``auto`` (a CUDA device, else Apple's, else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Returns:
        A device that is there.

    Raises:
        InputError: If the name is unknown or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"the device {name!r} is unknown; it is auto, cpu, cuda, cuda:N or mps; choose one of them") from None
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(device.type, 0)
    if (device.index or 0) >= count:
        raise InputError(f"the device {name!r} is not on this machine; it has {_present()}; choose one of them or auto")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a name.

    Args:
        name: ``auto``, ``float32``, ``bfloat16`` or ``float16``. ``auto`` is bfloat16 on CUDA devices that compute in it and on CPUs with
            AMX, where it is several times faster, and float32 elsewhere.
        device: Where the network will run.

    Returns:
        The dtype.

    Raises:
        InputError: If the name is unknown, or the device cannot compute in it.
    """
    if name == "auto":
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else device.type == "cpu" and has_amx()
        return torch.bfloat16 if fast else torch.float32
    if name not in DTYPES:
        raise InputError(f"the dtype {name!r} is unknown; it is auto, {', '.join(DTYPES)}; choose one of them")
    if name == "float16" and device.type == "cpu":
        raise InputError("float16 is not for CPUs; they compute in float32, and some in bfloat16; choose one of these or auto")
    return DTYPES[name]


@cache
def has_amx() -> bool:
    """Whether this machine's processor has bfloat16 matrix instructions (Intel AMX)."""
    information = Path("/proc/cpuinfo")
    return information.is_file() and "amx_bf16" in information.read_text()


def prepare_for_inference(model: EANet, device: torch.device, dtype: torch.dtype) -> EANet:
    """Move a network to its device and make it fast there; what it computes stays the same up to rounding.

    Weights are stored channels last; on a CPU the blocks run a few rows at a time (`strips`) wherever gradients are off. The network can
    still be trained, saved and loaded.

    Args:
        model: Changed in place.
        device: Where to.
        dtype: Of the weights and the arithmetic.

    Returns:
        The same network, in evaluation mode.
    """
    nn.Module.to(nn.Module.to(model.eval(), device=device, dtype=dtype), memory_format=torch.channels_last)
    model.striped = device.type == "cpu"
    return model


def _present() -> str:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])])
