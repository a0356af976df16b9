"""Pictures that anybody can make, to be scored beside a generator's: what a figure says of them is its floor.

- ``blurred``: training pictures under a Gaussian of 4 pixels, turned so that each is used up to eight times.
- ``colour noise``: white noise in which every pixel takes the nearest of a training picture's colours (means of an 8 x 8 grid).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 4.0
WORDS = (
    f"blurred: training pictures under a Gaussian of {RADIUS:g} px, turned and flipped; "
    "colour noise: white noise, every pixel at the nearest of 64 colours of a training picture"
)


def blurred(picture: Tensor, radius: float = RADIUS) -> Tensor:
    """A Gaussian blur with mirrored borders.

    Args:
        picture: ``[C, H, W]``.
        radius: Standard deviation in pixels.
    """
    reach = min(math.ceil(3 * radius), min(picture.shape[1:]) - 1)
    steps = torch.arange(-reach, reach + 1, dtype=picture.dtype)
    kernel = torch.exp(-0.5 * (steps / radius) ** 2)
    kernel = (kernel / kernel.sum()).expand(picture.shape[0], 1, -1)
    padded = F.pad(picture[None], (reach,) * 4, mode="reflect")
    across = F.conv2d(padded, kernel[:, :, None], groups=picture.shape[0])
    return F.conv2d(across, kernel[..., None], groups=picture.shape[0])[0]


def colour_noise(picture: Tensor, seed: int) -> Tensor:
    """White noise in the colours of a picture ``[3, H, W]``, 0 to 1."""
    palette = F.adaptive_avg_pool2d(picture, 8).flatten(1).T
    noise = torch.from_numpy(np.random.default_rng(seed).random((picture[0].numel(), 3), dtype=np.float32))
    nearest = torch.cdist(noise, palette.float()).argmin(1)
    return palette[nearest].T.reshape(picture.shape)


def trivial_sets(training: Callable[[], Iterator[Tensor]], count: int, size: tuple[int, int], seed: int = 0) -> dict[str, Iterator[Tensor]]:
    """Both kinds of picture, by name.

    Args:
        training: Gives the training pictures, anew each time.
        count: How many of each kind, as many as the generator made.
        size: Height and width of the generator's pictures; a training picture is cut in its middle, or stretched where it is smaller.
        seed: Of the noise.
    """
    return {"blurred": _turned_and_blurred(training, count, size), "colour noise": _noisy(training, count, size, seed)}


def fitted(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of ``[C, H, W]`` at a size; a smaller picture is enlarged bilinearly first."""
    height, width = size
    grow = max(height / picture.shape[1], width / picture.shape[2], 1.0)
    if grow > 1:
        shape = [max(height, round(picture.shape[1] * grow)), max(width, round(picture.shape[2] * grow))]
        picture = F.interpolate(picture[None], size=shape, mode="bilinear", align_corners=False)[0]
    top, left = (picture.shape[1] - height) // 2, (picture.shape[2] - width) // 2
    return picture[:, top : top + height, left : left + width]


def symmetries(picture: Tensor, which: int) -> Tensor:
    """One of the eight turns and flips of ``[C, H, W]``; a quarter turn only where the sides are equal."""
    quarter = which % 4 if picture.shape[1] == picture.shape[2] else 2 * (which % 2)
    turned = torch.rot90(picture, quarter, (1, 2))
    return turned.flip(2) if which >= 4 else turned


def _turned_and_blurred(training: Callable[[], Iterator[Tensor]], count: int, size: tuple[int, int]) -> Iterator[Tensor]:
    for number, which, picture in _rounds(training, count):
        del number
        yield blurred(symmetries(fitted(picture, size), which))


def _noisy(training: Callable[[], Iterator[Tensor]], count: int, size: tuple[int, int], seed: int) -> Iterator[Tensor]:
    for number, _, picture in _rounds(training, count):
        yield colour_noise(fitted(picture, size), seed + number)


def _rounds(training: Callable[[], Iterator[Tensor]], count: int) -> Iterator[tuple[int, int, Tensor]]:
    """Number, round and picture, round after round until there are enough."""
    number = 0
    for which in range(count):
        for picture in training():
            if number == count:
                return
            yield number, which % 8, picture
            number += 1
