"""Crops for training an autoencoder, and the held-out ones that judge it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...gen.data.described_crops import CropSampler, read_split
from ...gen.data.sources import Picture
from ...gen.errors import InputError
from .autoencoder_config import AutoencoderConfig
from .picture_config import PictureConfig

HELD_OUT = 96
_TRIES = 20


class Crops(Protocol):
    """Where crops come from.

    Attributes:
        names: Names of the training pictures.
    """

    names: list[str]

    def item(self, rng: np.random.Generator) -> tuple[Tensor, str]:
        """A training crop ``[C, S, S]`` in [0, 1] and its name; all random choices come from `rng`."""
        ...

    def held_out(self) -> Tensor:
        """The same held-out crops each time, ``[n, C, S, S]``; n is 0 where nothing is held out."""
        ...


def crops_of(config: AutoencoderConfig, root: Path) -> Crops:
    """Read the pictures that a recipe declares."""
    if config.pictures is not None:
        return DisplayCrops(config.pictures, root)
    return PhysicalCrops(config, root)


class DisplayCrops:
    """Crops of described pictures; the held-out ones are of the validation places."""

    def __init__(self, config: PictureConfig, root: Path) -> None:
        """Read the pictures of the training and validation places."""
        parts = read_split(config.sources, root, ("train", "validation"))
        self._train = CropSampler(parts["train"], config.size, config.reductions)
        self.names = self._train.names
        self._validation = None
        if any(pictures for _, pictures in parts["validation"]):
            self._validation = CropSampler(parts["validation"], config.size, config.reductions, turns=False)
        self._size = config.size

    def item(self, rng: np.random.Generator) -> tuple[Tensor, str]:
        """A training crop and its name."""
        crop = self._train.item(rng)
        return _unit(crop.pixels), crop.name

    def held_out(self) -> Tensor:
        """`HELD_OUT` crops of validation places."""
        if self._validation is None:
            return torch.zeros(0, 3, self._size, self._size)
        drawn = [self._validation.item(np.random.default_rng([0, number])) for number in range(HELD_OUT)]
        return torch.stack([_unit(crop.pixels) for crop in drawn])


class PhysicalCrops:
    """Crops of pictures of any bands."""

    def __init__(self, config: AutoencoderConfig, root: Path) -> None:
        """Read the pictures.

        Raises:
            InputError: If none is large enough, the band counts differ from the recipe's, or a held-out picture is also trained on.
        """
        self._config, self._crop = config, config.crop
        self._groups = [
            (source, [p for p in source.pictures(root) if min(p.pixels.shape[-2:]) >= config.crop]) for source in config.sources
        ]
        self._groups = [(source, pictures) for source, pictures in self._groups if pictures]
        trained = [picture for _, pictures in self._groups for picture in pictures]
        self._kept = [picture for source in config.held_out for picture in source.pictures(root)]
        _check(trained, self._kept, len(config.bands), config.crop)
        self.names = [picture.name for picture in trained]
        weights = np.asarray([source.weight for source, _ in self._groups], dtype=np.float64)
        self._weights = weights / weights.sum()

    def item(self, rng: np.random.Generator) -> tuple[Tensor, str]:
        """A training crop and its name.

        Raises:
            InputError: If 20 crops in a row held nodata.
        """
        for _ in range(_TRIES):
            source, pictures = self._groups[int(rng.choice(len(self._groups), p=self._weights))]
            picture = pictures[int(rng.integers(len(pictures)))]
            top, left = (int(rng.integers(0, size - self._crop + 1)) for size in picture.pixels.shape[-2:])
            crop = picture.pixels[:, top : top + self._crop, left : left + self._crop]
            if np.isfinite(crop).all():
                turned = np.rot90(crop, int(rng.integers(4)), axes=(1, 2))
                return torch.from_numpy(np.ascontiguousarray(turned)) * float(rng.uniform(*source.gain)), f"{picture.name}+{top},{left}"
        raise InputError(f"{_TRIES} crops in a row held nodata (the last in {picture.name}); leave pictures that are mostly nodata out")

    def held_out(self) -> Tensor:
        """Centre crops of the held-out pictures."""
        crops = [_centre(picture, self._crop) for picture in self._kept if min(picture.pixels.shape[-2:]) >= self._crop]
        return torch.stack(crops) if crops else torch.zeros(0, len(self._config.bands), self._crop, self._crop)


def _check(trained: Sequence[Picture], kept: Sequence[Picture], bands: int, crop: int) -> None:
    if not trained:
        raise InputError(f"no training picture is at least {crop} x {crop} pixels; lower 'crop' or add sources")
    counts = {picture.pixels.shape[0] for picture in (*trained, *kept)}
    if counts != {bands}:
        raise InputError(f"the sources give {sorted(counts)} bands, but task.bands names {bands}; make them agree")
    for picture in kept:
        if any(picture.overlaps(other) for other in trained):
            raise InputError(f"the held-out picture {picture.name} is also trained on; exclude it from 'sources'")


def _centre(picture: Picture, size: int) -> Tensor:
    top, left = ((length - size) // 2 for length in picture.pixels.shape[-2:])
    return torch.from_numpy(np.nan_to_num(picture.pixels[:, top : top + size, left : left + size]))


def _unit(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / np.float32(255))
