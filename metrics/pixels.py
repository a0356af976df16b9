"""Which pixels count, and in which bands: valid masks, borders, and the luma of colour pictures.

Legend: B images, C bands, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor

from ..gen.data.band_names import match_bands
from ..gen.errors import InputError

# ITU-R BT.601 in studio range for input 0-1, the Y that most super-resolution tables use.
_LUMA = (65.481 / 255.0, 128.553 / 255.0, 24.966 / 255.0)
_LUMA_OFFSET = 16.0 / 255.0


def check_same_shape(image: Tensor, truth: Tensor) -> None:
    """Refuse pictures of different shape.

    Args:
        image: ``[B, C, H, W]``.
        truth: ``[B, C, H, W]``.

    Raises:
        InputError: If the shapes differ or are not four-dimensional.
    """
    if image.ndim != 4 or image.shape != truth.shape:
        raise InputError(f"the pictures have shapes {tuple(image.shape)} and {tuple(truth.shape)}; both must be the same [B, C, H, W]")


def valid_mask(*images: Tensor) -> Tensor:
    """Pixels that are finite in every band of every picture.

    Args:
        *images: ``[B, C, H, W]`` each, bands may differ in number.

    Returns:
        Boolean ``[B, H, W]``.
    """
    mask = torch.isfinite(images[0]).all(dim=1)
    for image in images[1:]:
        mask = mask & torch.isfinite(image).all(dim=1)
    return mask


def combined_mask(image: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
    """The pixels finite in both pictures and, where a mask is given, inside it.

    Args:
        image: ``[B, C, H, W]``.
        truth: ``[B, C, H, W]``.
        mask: Boolean ``[B, H, W]`` or None.

    Returns:
        Boolean ``[B, H, W]``.

    Raises:
        InputError: If the shapes do not fit.
    """
    check_same_shape(image, truth)
    valid = valid_mask(image, truth)
    if mask is None:
        return valid
    if mask.shape != valid.shape:
        raise InputError(f"the mask has shape {tuple(mask.shape)}; expected {tuple(valid.shape)}, one value a pixel")
    return valid & mask.to(device=valid.device, dtype=torch.bool)


def without_border(image: Tensor, border: int) -> Tensor:
    """Cut `border` pixels from every edge of ``[..., H, W]``.

    Raises:
        InputError: If nothing would be left.
    """
    if border < 0 or 2 * border >= min(image.shape[-2:]):
        raise InputError(f"a border of {border} px leaves nothing of {image.shape[-2]} x {image.shape[-1]} px; choose a smaller border")
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]


def eroded(mask: Tensor, radius: int) -> Tensor:
    """Pixels whose whole ``(2 radius + 1)`` square lies inside the picture and the mask.

    Args:
        mask: Boolean ``[B, H, W]``.
        radius: Pixels.

    Returns:
        Boolean ``[B, H, W]``.
    """
    outside = F.pad((~mask).float()[:, None], [radius] * 4, value=1.0)
    return F.max_pool2d(outside, 2 * radius + 1, stride=1)[:, 0] < 0.5


def luma(image: Tensor) -> Tensor:
    """Y of ITU-R BT.601 (studio range) of ``[B, 3, H, W]`` in red, green, blue order and 0-1.

    Returns:
        ``[B, 1, H, W]``, 16/255 to 235/255.

    Raises:
        InputError: If there are not three bands.
    """
    if image.shape[1] != 3:
        raise InputError(f"luma needs the three bands red, green, blue; got {image.shape[1]}")
    weights = torch.tensor(_LUMA, dtype=image.dtype, device=image.device)[None, :, None, None]
    return (image * weights).sum(dim=1, keepdim=True) + _LUMA_OFFSET


def rgb_indices(names: Sequence[str]) -> tuple[int, int, int] | None:
    """Positions of red, green and blue among band names of any known sensor (or R, G, B), or None where they are not all there."""
    for wanted in (("red", "green", "blue"), ("R", "G", "B")):
        with suppress(InputError):
            red, green, blue = match_bands(names, wanted)
            return red, green, blue
    return None


def select_bands(image: Tensor, names: Sequence[str], bands: str | Sequence[str]) -> tuple[Tensor, str]:
    """Take the bands that a figure is measured on.

    Args:
        image: ``[B, C, H, W]``.
        names: Names of the C bands.
        bands: ``all``, ``RGB``, ``Y``, or names.

    Returns:
        The bands, and the words for the protocol.

    Raises:
        InputError: If a band is not there.
    """
    if bands == "all":
        return image, f"all ({', '.join(names)})"
    if bands in ("RGB", "Y"):
        where = rgb_indices(names)
        if where is None:
            raise InputError(f"bands={bands} needs red, green and blue; the pictures have {', '.join(names)}; use bands=all or give names")
        picked = image[:, list(where)]
        return (picked, "RGB") if bands == "RGB" else (luma(picked), "Y (BT.601, 16-235)")
    wanted = [bands] if isinstance(bands, str) else list(bands)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(f"no band {', '.join(missing)} in the pictures; they have {', '.join(names)}")
    return image[:, [list(names).index(name) for name in wanted]], ", ".join(wanted)
