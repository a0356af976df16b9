"""The unit in which a diffusion sees pictures: physical values times a constant, or values relative to the place's own mean and contrast.

Residuals of a sharp picture against its up-sampled counterpart are a hundred times larger over a town than over water. A diffusion has one
noise level, so most of its steps are lost on the one or the other. Relative to the low-resolution picture's local mean and standard
deviation (a box window on its grid, each band by itself) they are about alike everywhere, whatever the sensor, haze or illumination. Mean
and contrast depend on the condition alone and are carried to the fine grid by linear interpolation: the change of unit is local, the same
at every place, linear in the sharp picture, and exactly undone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .resample import upsample


@dataclass(frozen=True)
class LocalContrast:
    """Where mean and contrast come from.

    Attributes:
        window: Side of the box in low-resolution pixels, odd.
        floor: Standard deviation, in physical units, that is added in squares: about the noise of the sensor.
    """

    window: int
    floor: float

    def __post_init__(self) -> None:
        if self.window < 3 or self.window % 2 == 0 or not self.floor > 0:
            raise InputError(
                f"local contrast has window {self.window} and floor {self.floor}; "
                "the window is odd and at least 3, the floor above 0; take for example 9 and 0.001"
            )

    def statistics(self, low: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and contrast around each pixel; windows that hang over the border take what is inside.

        Args:
            low: ``[B, C, h, w]``, finite.

        Returns:
            Both ``[B, C, h, w]``.
        """
        mean = self._box(low)
        # Deviations from the local means avoid the cancellation of E[x^2] - E[x]^2.
        return mean, (self._box((low - mean).square()) + self.floor**2).sqrt()

    def _box(self, low: Tensor) -> Tensor:
        return F.avg_pool2d(low, self.window, 1, self.window // 2, count_include_pad=False)


@dataclass(frozen=True)
class Frame:
    """Unit of one batch.

    Attributes:
        low: The low-resolution picture in this unit, ``[B, C, h, w]``.
        mu: It, up-sampled, ``[B, C, H, W]``.
        origin: Physical value of 0, ``[B, C, H, W]``, or 0.
        gain: Physical value of 1 above the origin.
    """

    low: Tensor
    mu: Tensor
    origin: Tensor | float
    gain: Tensor | float

    def enter(self, high: Tensor) -> Tensor:
        """Physical values to this unit, ``[B, C, H, W]``."""
        return (high - self.origin) / self.gain

    def leave(self, high: Tensor) -> Tensor:
        """This unit to physical values, ``[B, C, H, W]``."""
        return high * self.gain + self.origin


def frame_of(low: Tensor, scale: int, data_scale: float, contrast: LocalContrast | None = None) -> Frame:
    """Choose the unit for a batch.

    Args:
        low: ``[B, C, h, w]``, physical units, finite.
        scale: Fine pixels per coarse pixel side.
        data_scale: Factor on physical values, or on relative ones if `contrast` is given.
        contrast: None for a constant factor alone (published).

    Returns:
        The unit, with the picture and its up-sampled counterpart in it.
    """
    if contrast is None:
        scaled = low * data_scale
        return Frame(scaled, upsample(scaled, scale), 0.0, 1.0 / data_scale)
    mean, spread = contrast.statistics(low)
    relative = (low - mean) / spread * data_scale
    size = (low.shape[-2] * scale, low.shape[-1] * scale)
    origin, gain = (F.interpolate(value, size=size, mode="bilinear", align_corners=False) for value in (mean, spread / data_scale))
    return Frame(relative, upsample(relative, scale), origin, gain)
