"""Hints and pictures that a user gives, as tensors of the picture's size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..gen.errors import InputError

Given = str | Path | np.ndarray | Tensor | Any
"""A file, an array or tensor ``[C, H, W]`` or ``[H, W]``, or a PIL image."""


def read_image(given: Given, name: str) -> Tensor:
    """One picture as floats.

    Args:
        given: A file (PNG, JPEG, GeoTIFF), a PIL image, or an array or tensor ``[C, H, W]`` or ``[H, W]``. Whole numbers of 8 bits are
            divided by 255, truth values are 0 and 1, floats are taken as they are.
        name: What it is, for errors.

    Returns:
        ``[C, H, W]`` float32 on the CPU.

    Raises:
        InputError: If it cannot be read, has other axes, whole numbers of unknown scale, or values that are not finite.
    """
    values = _values(given, name)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or 0 in values.shape:
        raise InputError(f"{name} has the shape {tuple(values.shape)}; it takes [C, H, W] or [H, W] with at least one pixel")
    if values.dtype == torch.bool:
        return values.float()
    if values.dtype == torch.uint8:
        return values.float() / 255.0
    if not values.is_floating_point():
        raise InputError(f"{name} holds {str(values.dtype).removeprefix('torch.')}, whose scale is unknown; give floats or 8 bits")
    values = values.detach().cpu().float()
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"{name} has values that are not finite; fill them first")
    return values


def read_hint(given: Given, name: str, channels: int, height: int, width: int) -> Tensor:
    """One hint, held against what the model takes.

    Args:
        given: As for `read_image`; 0 to 1 afterwards. One channel stands for several equal ones.
        name: Of the hint.
        channels: What the model takes; a picture of three equal channels is a mask of one.
        height: Of the picture that is made.
        width: Of it.

    Returns:
        ``[channels, height, width]``.

    Raises:
        InputError: If its size or channels are others.
    """
    hint = read_image(given, f"the hint {name!r}")
    if tuple(hint.shape[1:]) != (height, width):
        raise InputError(
            f"the hint {name!r} has {hint.shape[2]} x {hint.shape[1]} pixels, the picture {width} x {height}; give it the picture's size"
        )
    if hint.shape[0] == 1:
        hint = hint.repeat(channels, 1, 1)
    elif channels == 1 and hint.shape[0] == 3 and bool((hint == hint[:1]).all()):
        hint = hint[:1]
    if hint.shape[0] != channels:
        raise InputError(f"the hint {name!r} has {hint.shape[0]} bands and the model's slot {channels}; choose the bands that it takes")
    if float(hint.min()) < 0.0 or float(hint.max()) > 1.0:
        raise InputError(f"the hint {name!r} has values from {hint.min():g} to {hint.max():g}; they are from 0 to 1, so scale them")
    return hint


def read_mask(given: Given, height: int, width: int) -> Tensor:
    """What is to be repainted, ``[1, H, W]``, 1 where it is."""
    mask = read_image(given, "the mask")
    if mask.shape[0] not in (1, 3) or tuple(mask.shape[1:]) != (height, width):
        raise InputError(
            f"the mask has {mask.shape[0]} bands and {mask.shape[2]} x {mask.shape[1]} pixels, the picture {width} x {height}; "
            "give one band of the picture's size, 1 (or white) where it is to be painted anew"
        )
    return mask.mean(0, keepdim=True).clamp(0.0, 1.0)


def to_grid(values: Tensor, factor: int) -> Tensor:
    """Means over ``factor x factor`` pixels of ``[..., C, H, W]``, the borders continued to a multiple."""
    leading = values.shape[:-3]
    flat = pad_to(values.reshape(-1, *values.shape[-3:]), factor)
    return F.avg_pool2d(flat, factor).reshape(*leading, values.shape[-3], flat.shape[-2] // factor, flat.shape[-1] // factor)


def pad_to(values: Tensor, multiple: int) -> Tensor:
    """``[B, C, H, W]`` with its last rows and columns repeated until both sides are multiples."""
    height, width = values.shape[-2:]
    return F.pad(values, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def per_picture(given: Any, count: int, name: str) -> list[Any]:
    """One entry for each picture: a list or tuple is one each, a batch ``[B, C, H, W]`` too, anything else is for all."""
    if isinstance(given, np.ndarray | Tensor) and given.ndim == 4:
        given = list(given)
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        return [given] * count
    if len(given) != count:
        raise InputError(f"there are {len(given)} entries of {name} for {count} pictures; give one for all, or one for each")
    return list(given)


def _values(given: Given, name: str) -> Tensor:
    if isinstance(given, Tensor):
        return given
    if isinstance(given, np.ndarray):
        if given.dtype.kind not in "fiub":
            raise InputError(f"{name} holds {given.dtype}; give numbers")
        return torch.from_numpy(np.ascontiguousarray(given))
    if isinstance(given, str | Path):
        return torch.from_numpy(_file(Path(given), name))
    if hasattr(given, "convert"):  # of PIL
        return torch.from_numpy(_pil(given))
    raise InputError(f"{name} is a {type(given).__name__}; give a file, an array or a picture")


def _pil(image: Any) -> np.ndarray:
    if image.mode[:1] in "IF":  # 16 bits and more
        deep = np.asarray(image)
        return (deep.astype(np.float32) / (65535.0 if image.mode[0] == "I" else 1.0))[None]
    mode = "L" if image.mode in ("1", "L", "LA", "P") and image.getbands() != ("P",) else "RGB"
    pixels = np.asarray(image.convert(mode))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _file(path: Path, name: str) -> np.ndarray:
    if path.suffix.lower() in (".tif", ".tiff"):
        from ..gen.data.rasters import read_raster

        return np.asarray(read_raster(path).values, dtype=np.float32)
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return _pil(image)
    except FileNotFoundError:
        raise InputError(f"there is no file {path} for {name}; give one that exists") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"the file {path} cannot be read as a picture ({error}); give a PNG, JPEG or GeoTIFF for {name}") from error
