"""Does the sharp picture, seen again by the sensor, give the picture it was made from? No truth is needed.

`sensor_error` uses our declared sensor model (Gaussian MTF blur and decimation); `reflectance`, `spectral` and `spatial` follow the
definitions of opensr-test (v1.3.2): bilinear antialiased reduction, a 16 px border cut, mean absolute difference, mean spectral angle in
degrees, and the length of the shift found by phase correlation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..gen.data.sensor_model import SensorModel
from ..gen.errors import InputError
from .pixels import valid_mask
from .registration import displacement
from .spectral import sam

OPENSR_BORDER = 16
OPENSR_LONGEST_SHIFT = 5.0


@dataclass(frozen=True)
class SensorError:
    """Difference ``A(high) - low`` over valid low-resolution pixels, per image.

    Attributes:
        mean: Mean absolute difference ``[B]``, in the pictures' units.
        largest: Largest absolute difference ``[B]``.
    """

    mean: Tensor
    largest: Tensor


@dataclass(frozen=True)
class Triple:
    """The consistency triple of opensr-test, per image.

    Attributes:
        reflectance: Mean absolute difference ``[B]``, in the pictures' units.
        spectral: Mean spectral angle ``[B]`` in degrees.
        spatial: Length of the shift ``[B]`` in low-resolution pixels; NaN above 5.
    """

    reflectance: Tensor
    spectral: Tensor
    spatial: Tensor


def scale_between(high: Tensor, low: Tensor) -> int:
    """The whole factor between two grids.

    Args:
        high: ``[B, C, H, W]``.
        low: ``[B, C, h, w]``.

    Returns:
        The factor.

    Raises:
        InputError: If there is no such factor or the bands differ.
    """
    factor = high.shape[-1] // max(1, low.shape[-1])
    if factor < 1 or tuple(high.shape) != (*low.shape[:2], low.shape[-2] * factor, low.shape[-1] * factor):
        raise InputError(
            f"a high picture of shape {tuple(high.shape)} does not cover a low one of {tuple(low.shape)} by a whole factor "
            "with the same bands; crop both to the same ground"
        )
    return factor


def sensor_error(high: Tensor, low: Tensor, sensor: SensorModel) -> SensorError:
    """Apply the sensor model and compare with the low picture.

    Args:
        high: ``[B, C, H, W]``, physical units, NaN = nodata.
        low: ``[B, C, h, w]``.
        sensor: The model; its scale must be the factor between the grids.

    Returns:
        Mean and largest absolute difference per image; NaN for an image without valid pixel.

    Raises:
        InputError: If the grids do not fit the sensor's scale.
    """
    factor = scale_between(high, low)
    if factor != sensor.scale:
        raise InputError(f"the pictures differ by a factor {factor}, the sensor model has scale {sensor.scale}; use SensorModel({factor})")
    # What the blur reaches of nodata depends on how it is filled, so those low pixels are left out.
    reach = math.ceil(sensor.reach)
    seen = sensor.degrade(high.nan_to_num(0.0))
    hole = F.max_pool2d((~valid_mask(high)).float()[:, None], factor, stride=factor)
    keep = (F.max_pool2d(hole, 2 * reach + 1, stride=1, padding=reach)[:, 0] < 0.5) & valid_mask(low)
    means, largest = [], []
    for a, b, k in zip(seen, low, keep, strict=True):
        difference = (a[:, k].double() - b[:, k].double()).abs()
        means.append(difference.mean())
        largest.append(difference.max() if difference.numel() else torch.tensor(math.nan, dtype=torch.float64))
    return SensorError(torch.stack(means), torch.stack(largest))


def reduced(high: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Bilinear antialiased reduction as opensr-test does it, with the pixels that no nodata reaches.

    Args:
        high: ``[B, C, H, W]``, NaN = nodata.
        factor: Whole factor.

    Returns:
        ``[B, C, h, w]`` and the boolean mask ``[B, h, w]``.
    """
    size = (high.shape[-2] // factor, high.shape[-1] // factor)
    small = F.interpolate(high.nan_to_num(0.0), size=size, mode="bilinear", antialias=True, align_corners=False)
    holes = F.interpolate((~valid_mask(high)).to(high)[:, None], size=size, mode="bilinear", antialias=True, align_corners=False)
    return small, holes[:, 0] <= 0.0


def opensr_triple(high: Tensor, low: Tensor, *, rgb: tuple[int, int, int] | None = None, border: int = OPENSR_BORDER) -> Triple:
    """Reflectance, spectral and spatial consistency of opensr-test.

    Args:
        high: ``[B, C, H, W]``, physical units, NaN = nodata.
        low: ``[B, C, h, w]``.
        rgb: Positions of red, green and blue, on which the shift is measured; None = all bands.
        border: High-resolution pixels left out along each edge, rounded up to whole low-resolution pixels.

    Returns:
        The three figures per image.

    Raises:
        InputError: If the grids do not fit.
    """
    factor = scale_between(high, low)
    small, keep = reduced(high, factor)
    edge = math.ceil(border / factor)
    if 2 * edge >= min(low.shape[-2:]):
        nothing = torch.full((len(low),), math.nan, dtype=torch.float64)
        return Triple(nothing, nothing, nothing)
    inner = (..., slice(edge, low.shape[-2] - edge), slice(edge, low.shape[-1] - edge))
    small, low, keep = small[inner], low[inner], (keep & valid_mask(low))[inner]
    difference = torch.stack([(a[:, k].double() - b[:, k].double()).abs().mean() for a, b, k in zip(small, low, keep, strict=True)])
    picked = list(rgb) if rgb else slice(None)
    shift = displacement(small[:, picked], low[:, picked], mask=keep, limit=OPENSR_LONGEST_SHIFT)
    return Triple(difference, sam(small, low, mask=keep), torch.linalg.vector_norm(shift, dim=1))
