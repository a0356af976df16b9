"""Rasters of any depth and number of bands as 8-bit pictures: stretches, composites, and colours for one-band layers.

Nothing here changes data: limits are found on the input and used for input and output alike, so that a difference seen on the screen is one
of the pixels and not of the stretch. Invalid pixels get a colour of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..gen.data.band_names import match_bands
from ..gen.data.resample import upsample
from ..gen.errors import InputError

Array = NDArray[np.floating[Any]]
Picture = NDArray[np.uint8]

NODATA_COLOUR = (198, 205, 214)
STRETCHES = ("percentile", "fixed", "minmax")
# Dark to bright through four hues, brightness rising evenly, so that it also reads in grey.
_HEAT = np.array([(13, 8, 52), (70, 20, 110), (150, 40, 105), (220, 85, 65), (250, 165, 45), (252, 245, 165)], dtype=np.float64)


@dataclass(frozen=True)
class Stretch:
    """How physical values become brightness.

    Attributes:
        kind: ``percentile`` (from the 2nd to the 98th), ``fixed`` (from `low` to `high`) or ``minmax``.
        joint: One pair of limits for all three bands, which keeps the colours, instead of one pair each.
        low: Value shown black; for ``fixed`` only, in the raster's physical unit.
        high: Value shown white.
    """

    kind: str = "percentile"
    joint: bool = True
    low: float = 0.0
    high: float = 0.3

    def __post_init__(self) -> None:
        if self.kind not in STRETCHES:
            raise InputError(f"there is no stretch called {self.kind!r}; choose one of {', '.join(STRETCHES)}")
        if self.kind == "fixed" and not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise InputError(f"a fixed stretch from {self.low} to {self.high} shows nothing; give a lower value for black than for white")


def stretch_limits(image: Array, stretch: Stretch) -> Array:
    """The values that become black and white.

    Args:
        image: ``[C, H, W]`` physical values, NaN where invalid.
        stretch: The rule.

    Returns:
        ``[C, 2]`` low and high; high is above low also for constant and for wholly invalid bands.
    """
    bands = image.shape[0]
    if stretch.kind == "fixed":
        return np.tile(np.array([stretch.low, stretch.high]), (bands, 1))
    groups = [image.reshape(-1)] * bands if stretch.joint else list(image.reshape(bands, -1))
    ends = (2.0, 98.0) if stretch.kind == "percentile" else (0.0, 100.0)
    found: list[Array] = []
    for group in groups[:1] if stretch.joint else groups:
        valid = group[np.isfinite(group)]
        found.append(np.percentile(valid.astype(np.float64), ends) if valid.size else np.array([0.0, 1.0]))
    limits = np.stack(found * bands if stretch.joint else found)
    flat = limits[:, 1] <= limits[:, 0]
    limits[flat] += np.array([-0.5, 0.5]) * np.maximum(np.abs(limits[flat, :1]), 1e-6)
    return limits


def to_picture(image: Array, limits: Array) -> Picture:
    """Three bands as an 8-bit picture.

    Args:
        image: ``[3, H, W]``, or ``[1, H, W]`` for grey; NaN where invalid.
        limits: ``[3, 2]`` or ``[1, 2]``, of `stretch_limits`.

    Returns:
        ``[H, W, 3]`` uint8; a pixel that is invalid in any band has `NODATA_COLOUR`.
    """
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    valid = np.isfinite(image).all(axis=0)
    scaled = (np.where(valid, image, low) - low) / (high - low)
    bytes_ = np.rint(np.clip(scaled, 0.0, 1.0) * 255.0).astype(np.uint8)
    picture = np.repeat(bytes_, 3, axis=0) if bytes_.shape[0] == 1 else bytes_
    picture = np.ascontiguousarray(np.moveaxis(picture, 0, -1))
    picture[~valid] = NODATA_COLOUR
    return picture


def to_heat(layer: Array, top: float) -> Picture:
    """One layer of values from 0 upwards in false colours.

    Args:
        layer: ``[H, W]``, NaN where invalid.
        top: Value of the brightest colour, above 0.

    Returns:
        ``[H, W, 3]`` uint8, invalid pixels in `NODATA_COLOUR`.
    """
    valid = np.isfinite(layer)
    places = np.clip(np.where(valid, layer, 0.0) / top, 0.0, 1.0) * (len(_HEAT) - 1)
    knots = np.arange(len(_HEAT))
    picture = np.stack([np.rint(np.interp(places, knots, _HEAT[:, c])).astype(np.uint8) for c in range(3)], axis=-1)
    picture[~valid] = NODATA_COLOUR
    return picture


def heat_top(layer: Array) -> float:
    """The value to give the brightest colour: the 99th percentile of the valid pixels, rounded to two digits, never 0."""
    valid = layer[np.isfinite(layer)]
    value = float(np.percentile(valid, 99.0)) if valid.size else 0.0
    return float(f"{value:.2g}") if value > 0.0 else 1e-6


def heat_gradient() -> str:
    """The colours of `to_heat` as a CSS gradient from left to right, for a legend."""
    stops = ", ".join(f"rgb({red:.0f}, {green:.0f}, {blue:.0f})" for red, green, blue in _HEAT)
    return f"linear-gradient(to right, {stops})"


def band_mean(layer: Array) -> Array:
    """Mean over the bands ``[C, H, W] -> [H, W]``; a pixel that is invalid in any band is NaN."""
    return np.asarray(layer.mean(axis=0))


def enlarge(image: Array, scale: int, how: str) -> Array:
    """The input on the output's grid, for the left side of the slider.

    Args:
        image: ``[C, h, w]``.
        scale: Whole factor.
        how: ``pixels`` repeats each pixel, ``bicubic`` interpolates; invalid pixels stay invalid in both.

    Returns:
        ``[C, h * scale, w * scale]``.
    """
    repeated = image.repeat(scale, axis=-2).repeat(scale, axis=-1)
    if how == "pixels":
        return repeated
    if how != "bicubic":
        raise InputError(f"the input can be enlarged by 'pixels' or 'bicubic', not by {how!r}")
    valid = np.isfinite(image).all(axis=0)
    means = [band[valid].mean() if valid.any() else 0.0 for band in image]
    filled = np.where(valid, image, np.array(means, dtype=np.float64)[:, None, None]).astype(np.float32)
    smooth = upsample(torch.from_numpy(filled)[None], scale)[0].numpy()
    return np.where(np.isfinite(repeated).all(axis=0), smooth, np.nan)


COMPOSITES = {
    "True colour": ("red", "green", "blue"),
    "Infrared": ("nir", "red", "green"),
    "Short-wave infrared": ("swir22", "nir", "red"),
}


def named_composites(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """The usual band combinations that these bands allow, best known first.

    Args:
        names: The bands' names; what they show is looked up in the sensor table.

    Returns:
        Title to the bands shown red, green and blue. There is always at least one.
    """
    found: dict[str, tuple[str, str, str]] = {}
    for title, wanted in COMPOSITES.items():
        with suppress(InputError):
            red, green, blue = (names[at] for at in match_bands(names, wanted))
            found[title] = (red, green, blue)
    if not found:
        found["First bands" if len(names) > 1 else "Grey"] = (names[0], names[min(1, len(names) - 1)], names[min(2, len(names) - 1)])
    return found
