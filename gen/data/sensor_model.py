"""What a coarser sensor sees of a sharp picture, and how a picture is made to agree with it.

The sensor A blurs by a Gaussian point spread function and takes one value per block of ``scale x scale`` fine pixels. The Gaussian is
fixed by its modulation transfer at the coarse grid's Nyquist frequency: ``MTF(f) = exp(-2 pi^2 sigma^2 f^2)`` at ``f = 1 / (2 scale)``
gives ``sigma = scale sqrt(-2 ln mtf) / pi`` fine pixels.

Back-projection corrects a sharp picture x until A x = y: ``x + U (A U)^-1 (y - A x)`` with U the bicubic `upsample`. A U acts on the
coarse grid as a separable convolution, whose inverse is a short filter; a few repetitions take care of the borders and of the filter's
cut ends. Everything is linear, local and the same at every place, so that tiles of a scene agree (unlike histogram matching), and the
number of rounds is fixed for the same reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .resample import upsample

_SIGMAS = 4.0  # the Gaussian is cut here: 6e-5 of its weight lies outside
_INVERSE_RADIUS = 12  # coarse pixels; the inverse's taps have fallen below 1e-3 of the first by then at mtf 0.3


def mtf_sigma(mtf: float, scale: int) -> float:
    """Standard deviation, in fine pixels, of the Gaussian whose transfer at frequency ``1 / (2 scale)`` is `mtf`."""
    return scale * math.sqrt(-2.0 * math.log(mtf)) / math.pi


def gaussian_taps(sigma: float, *, half: bool = False) -> Tensor:
    """Samples of a Gaussian, summing to 1.

    Args:
        sigma: Standard deviation in pixels.
        half: Centre between two samples (an even number of taps) instead of on one.

    Returns:
        1-D float32 tensor.
    """
    radius = max(1, math.ceil(_SIGMAS * sigma))
    with torch.inference_mode(False):  # the taps may be kept and later meet a training step
        return _sampled_gaussian(sigma, radius, half)


def _sampled_gaussian(sigma: float, radius: int, half: bool) -> Tensor:
    places = torch.arange(-radius, radius, dtype=torch.float64) + 0.5 if half else torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (places / sigma) ** 2)
    return (taps / taps.sum()).to(torch.float32)


def separable_filter(image: Tensor, taps: Tensor, padding: tuple[int, int], *, stride: int = 1, border: str = "reflect") -> Tensor:
    """Correlate each band with the same taps along rows and columns.

    Args:
        image: ``[B, C, H, W]``.
        taps: 1-D.
        padding: Pixels added before and after each axis; mirrored, or repeated where the picture is too small for that.
        stride: Keep every stride-th result.
        border: ``reflect`` or ``replicate``.

    Returns:
        ``[B, C, H', W']``.
    """
    bands = image.shape[1]
    mode = border if min(image.shape[-2:]) > max(padding) else "replicate"
    padded = F.pad(image, (*padding, *padding), mode=mode)
    kernel = taps.to(image).expand(bands, 1, -1)
    rows = F.conv2d(padded, kernel[:, :, :, None], stride=(stride, 1), groups=bands)
    return F.conv2d(rows, kernel[:, :, None, :], stride=(1, stride), groups=bands)


@dataclass(frozen=True)
class SensorModel:
    """Gaussian blur and decimation by a whole factor.

    Attributes:
        scale: Fine pixels per coarse pixel side, at least 1.
        mtf: Modulation transfer at the coarse grid's Nyquist frequency, between 0 and 1. Sentinel-2's 10 m bands have 0.2 to 0.35.
    """

    scale: int
    mtf: float = 0.3

    def __post_init__(self) -> None:
        if self.scale < 1 or not 0.0 < self.mtf < 1.0:
            raise InputError(
                f"a sensor model has scale {self.scale} and MTF {self.mtf}; "
                "the scale is at least 1 and the MTF between 0 and 1, for example 0.3"
            )

    @cached_property
    def _taps(self) -> Tensor:
        # At an even scale the centre of a block lies between two fine pixels.
        return gaussian_taps(mtf_sigma(self.mtf, self.scale), half=self.scale % 2 == 0)

    @property
    def reach(self) -> float:
        """How far a coarse pixel sees, in coarse pixels from its centre."""
        return len(self._taps) / 2 / self.scale

    def degrade(self, high: Tensor) -> Tensor:
        """What the sensor sees.

        Args:
            high: ``[B, C, H, W]``, H and W multiples of the scale; mirrored at the borders.

        Returns:
            ``[B, C, H / scale, W / scale]``.

        Raises:
            InputError: If the sides are no multiples of the scale.
        """
        if high.shape[-2] % self.scale or high.shape[-1] % self.scale:
            raise InputError(
                f"a picture of {high.shape[-2]} x {high.shape[-1]} pixels cannot be reduced {self.scale} times; "
                f"crop it to multiples of {self.scale}"
            )
        before = (len(self._taps) - self.scale + 1) // 2
        after = len(self._taps) - self.scale - before
        return separable_filter(high, self._taps, (before, after), stride=self.scale)

    def back_project(self, image: Tensor, low: Tensor, *, rounds: int = 4) -> tuple[Tensor, Tensor]:
        """Correct a picture until the sensor sees `low` in it.

        Args:
            image: ``[B, C, H, W]``, finite.
            low: ``[B, C, H / scale, W / scale]``, finite.
            rounds: Corrections; fixed, so that the result does not depend on the tile.

        Returns:
            The corrected picture, and what is left: ``low - degrade(picture)``, ``[B, C, h, w]``.
        """
        inverse = _inverse_taps(self.scale, self.mtf)
        radius = len(inverse) // 2
        error = low - self.degrade(image)
        for _ in range(rounds):
            filtered = separable_filter(error, inverse, (radius, radius), border="replicate")
            image = image + upsample(filtered, self.scale)
            error = low - self.degrade(image)
        return image, error


@lru_cache(maxsize=32)
@torch.inference_mode(False)
@torch.no_grad()
def _inverse_taps(scale: int, mtf: float) -> Tensor:
    """Taps of the inverse of A U along one axis, from its transfer on a long periodic line."""
    length = 128
    line = torch.zeros(1, 1, 1, length)
    line[..., length // 2] = 1.0
    # One row is enough: with rows repeated, both A and U leave constants along columns as they are.
    plane = line.expand(1, 1, length, length)
    response = SensorModel(scale, mtf).degrade(upsample(plane, scale))[0, 0, length // 2].double()
    transfer = torch.fft.fft(response.roll(-(length // 2))).real
    inverse = torch.fft.ifft(1.0 / transfer).real.roll(_INVERSE_RADIUS)[: 2 * _INVERSE_RADIUS + 1]
    return (inverse / inverse.sum()).to(torch.float32)
