"""Agreement with the sensor: the picture that is nearest, in a sense, to the sampled one among those in which the sensor sees the input.

Back-projection alone may leave the range that a file can store, beside bright points over dark water for example, and what is then cut off
is missing. So where it does, projections onto the range and onto the sensor's constraint take turns, over-relaxed (von Neumann; Gubin et
al. 1967).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..gen.data.radiometry import Radiometry
from ..gen.data.sensor_model import SensorModel

Limits = tuple[float, float]

TURNS = 8  # leave 1e-4 of reflectance where one cut leaves 1e-2 (measured on Sentinel-2)
RELAXATION = 1.8


def agree(image: Tensor, low: Tensor, sensor: SensorModel, limits: Limits | None) -> Tensor:
    """Correct a picture until the sensor sees `low` in it.

    Args:
        image: ``[B, C, H, W]``, finite.
        low: ``[B, C, h, w]``, finite.
        sensor: The sensor model.
        limits: Range to keep to, as far as `low` allows; None leaves it free.

    Returns:
        ``[B, C, H, W]``. A picture that keeps to the range by itself is only back-projected; none depends on the others of the batch.
    """
    image = sensor.back_project(image, low)[0]
    if limits is None:
        return image
    parts = [_within(part[None], at[None], sensor, limits) for part, at in zip(image, low, strict=True)]
    return torch.cat(parts)


def _within(image: Tensor, low: Tensor, sensor: SensorModel, limits: Limits) -> Tensor:
    for _ in range(TURNS):
        if bool((image >= limits[0]).all()) and bool((image <= limits[1]).all()):
            return image
        image = image + RELAXATION * (image.clamp(*limits) - image)
        image = sensor.back_project(image, low, rounds=2)[0]
    return image.clamp(*limits)


def storable(radiometry: Radiometry) -> Limits | None:
    """Lowest and highest physical number that the radiometry can store beside its nodata; None for floats."""
    if not radiometry.is_integer:
        return None
    lowest, highest = (int(getattr(np.iinfo(radiometry.dtype), side)) for side in ("min", "max"))
    lowest += radiometry.nodata == lowest
    highest -= radiometry.nodata == highest
    ends = sorted((number + radiometry.offset) * radiometry.scale for number in (lowest, highest))
    return ends[0], ends[1]
