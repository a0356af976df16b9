"""What turns a sharp picture into its low-resolution counterpart, as a composable list.

A recipe lists the steps; each is a small model checked by pydantic, told apart by ``kind``, and may give a range ``[low, high]`` from which
every sample draws its own value::

    [[degradation]]
    kind = "mtf_blur"
    mtf = [0.2, 0.4]
    scale = 4

All steps take and give ``[C, H, W]`` float32 tensors in physical units, and draw from one explicit generator, so that a sample's
degradation is a function of that generator's seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from torch import Tensor

from .sensor_model import gaussian_taps, mtf_sigma, separable_filter

Rng = np.random.Generator


def _as_range(value: object) -> object:
    return (float(value), float(value)) if isinstance(value, int | float) else value


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if not 0.0 <= value[0] <= value[1] < math.inf:
        raise ValueError("a range is [low, high] with 0 <= low <= high")
    return value


Range = Annotated[tuple[float, float], BeforeValidator(_as_range), AfterValidator(_ascending)]
"""A number, or ``[low, high]`` from which each sample draws uniformly."""


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MtfBlur(_Step):
    """Gaussian blur whose transfer function at the low-resolution Nyquist frequency is `mtf`, together with `Decimate` of the same scale.

    ``MTF(f) = exp(-2 pi^2 sigma^2 f^2)`` at ``f = 1 / (2 scale)`` gives ``sigma = scale sqrt(-2 ln mtf) / pi`` pixels. `Decimate` at an
    even scale averages the two central pixels per axis, which is itself a blur, of transfer ``cos(pi f)``; that is taken off here, so that
    the pair has the wanted transfer.
    """

    kind: Literal["mtf_blur"] = "mtf_blur"
    mtf: Range = (0.3, 0.3)
    scale: int = Field(4, ge=2, le=16)

    @field_validator("mtf")
    @classmethod
    def _is_share(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 < value[0] <= value[1] < 0.9:
            raise ValueError("an MTF at the Nyquist frequency lies above 0 and below 0.9")
        return value

    def __call__(self, image: Tensor, rng: Rng) -> Tensor:
        """Blur ``[C, H, W]`` with reflected borders."""
        taps = gaussian_taps(self._sigma(_draw(self.mtf, rng)))
        # As many taps as the widest blur of the range needs: a new filter length costs the CPU's convolution 20 ms of preparation.
        longest = len(gaussian_taps(self._sigma(self.mtf[0])))
        taps = F.pad(taps, [(longest - len(taps)) // 2] * 2)
        return separable_filter(image[None], taps, (longest // 2, longest // 2))[0]

    def _sigma(self, mtf: float) -> float:
        averaging = math.cos(math.pi / (2 * self.scale)) if self.scale % 2 == 0 else 1.0
        return mtf_sigma(min(mtf / averaging, 0.999), self.scale)


class Noise(_Step):
    """Sensor noise: white, with a part of constant standard deviation and a part that grows with the square root of the signal."""

    kind: Literal["noise"] = "noise"
    std: Range = (0.0, 0.0)
    relative: Range = (0.0, 0.0)

    def __call__(self, image: Tensor, rng: Rng) -> Tensor:
        """Add noise; `std` is in the image's units, `relative` is the standard deviation at signal 1."""
        std, relative = _draw(self.std, rng), _draw(self.relative, rng)
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
        return image + noise * torch.sqrt(std**2 + relative**2 * image.clamp(min=0.0))


class Decimate(_Step):
    """Keep one pixel in `scale` per axis; the kept centres are the centres of the ``scale x scale`` blocks."""

    kind: Literal["decimate"] = "decimate"
    scale: int = Field(4, ge=2, le=16)

    def __call__(self, image: Tensor, rng: Rng) -> Tensor:
        """``[C, H, W]`` to ``[C, H // scale, W // scale]``; even scales average the 2 x 2 pixels around the block centre."""
        size = self.scale
        high, wide = image.shape[-2] // size * size, image.shape[-1] // size * size
        first = (size - 1) // 2
        last = size // 2
        rows = 0.5 * (image[..., first:high:size, :wide] + image[..., last:high:size, :wide])
        return 0.5 * (rows[..., first::size] + rows[..., last::size])


class Quantise(_Step):
    """Round to the steps in which the sensor stores its numbers (Sentinel-2: 1e-4; 8 bit: 1/255)."""

    kind: Literal["quantise"] = "quantise"
    step: float = Field(1e-4, gt=0)

    def __call__(self, image: Tensor, rng: Rng) -> Tensor:
        """Round to multiples of `step`."""
        return torch.round(image / self.step) * self.step


class Misregister(_Step):
    """Shift each band on its own by a sub-pixel vector (bilinear), as imperfect band registration does."""

    kind: Literal["misregister"] = "misregister"
    shift: Range = (0.0, 0.25)

    def __call__(self, image: Tensor, rng: Rng) -> Tensor:
        """Shift by a length drawn from `shift`, in pixels of the grid the step stands on, in a random direction per band."""
        bands = [_shift(band[None], _draw(self.shift, rng), rng.uniform(0.0, 2.0 * math.pi))[0] for band in image]
        return torch.stack(bands)


Degradation = Annotated[MtfBlur | Noise | Decimate | Quantise | Misregister, Field(discriminator="kind")]


class Chain:
    """Steps applied one after the other; `scale` is the product of their decimations."""

    def __init__(self, steps: Sequence[MtfBlur | Noise | Decimate | Quantise | Misregister]) -> None:
        """Keep the steps in order."""
        self.steps = tuple(steps)
        self.scale = math.prod(step.scale for step in steps if isinstance(step, Decimate))

    def __call__(self, image: Tensor, rng: Rng) -> Tensor:
        """Degrade ``[C, H, W]`` to ``[C, H // scale, W // scale]``."""
        for step in self.steps:
            image = step(image, rng)
        return image


def build_degradation(steps: Sequence[MtfBlur | Noise | Decimate | Quantise | Misregister]) -> Chain:
    """Turn a recipe's list of steps into one callable ``(image [C, H, W], rng) -> low [C, h, w]``."""
    return Chain(steps)


def _draw(bounds: Range, rng: Rng) -> float:
    # Always one draw, so that the later draws do not depend on whether a range is a single value.
    return float(bounds[0] + (bounds[1] - bounds[0]) * rng.random())


def _shift(image: Tensor, length: float, angle: float) -> Tensor:
    down, right = length * math.sin(angle), length * math.cos(angle)
    reach = math.ceil(length) + 1
    padded = F.pad(image[None], (reach,) * 4, mode="replicate")[0]
    top, left = math.floor(down), math.floor(right)
    part_y, part_x = down - top, right - left
    height, width = image.shape[-2:]
    out = torch.zeros_like(image)
    for row, weight_y in ((top, 1.0 - part_y), (top + 1, part_y)):
        for col, weight_x in ((left, 1.0 - part_x), (left + 1, part_x)):
            window = padded[..., reach + row : reach + row + height, reach + col : reach + col + width]
            out = out + weight_y * weight_x * window
    return out
