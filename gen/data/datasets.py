"""Super-resolution training pairs: a sharp crop and its degraded counterpart, each a pure function of a generator.

The dataset holds its pictures in memory, so it is for small collections. `item(rng)` draws a source by weight, a picture by area, a crop,
one of the eight turns and flips, a brightness factor, and the degradation's values, in that order, from the generator that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .degrade import Chain
from .sources import Array, ArrayFiles, ImageFiles, Picture, RasterFiles, WorldWindows

AnySource = RasterFiles | ArrayFiles | ImageFiles | WorldWindows
_TRIES = 20


@dataclass(frozen=True)
class Pair:
    """One training example.

    Attributes:
        high: Sharp crop ``[C, H, W]``, float32, physical units.
        low: Its degraded counterpart ``[C, H / scale, W / scale]``.
        name: Where it came from: picture name and crop corner.
    """

    high: Tensor
    low: Tensor
    name: str


class PairDataset:
    """Crops of pictures with their degraded counterparts."""

    def __init__(self, sources: Sequence[AnySource], root: Path, crop: int, degradation: Chain) -> None:
        """Read all pictures.

        Args:
            sources: What to read; sources of weight 0 are skipped.
            root: Data folder that the sources' paths are relative to.
            crop: Side of a crop in sharp pixels; a multiple of the scale.
            degradation: Sharp to low resolution.

        Raises:
            InputError: If a source is empty, the crop does not divide, the band counts differ, or every picture is smaller than a crop.
        """
        if crop % degradation.scale:
            raise InputError(f"the crop of {crop} pixels is no multiple of the scale {degradation.scale}; choose one that is")
        self.crop, self.degradation = crop, degradation
        self.groups: list[tuple[AnySource, list[Picture]]] = []
        for source in sources:
            if source.weight > 0:
                self.groups.append((source, [p for p in source.pictures(root) if min(p.pixels.shape[-2:]) >= crop]))
        self.groups = [(source, pictures) for source, pictures in self.groups if pictures]
        if not self.groups:
            raise InputError(f"no training picture is at least {crop} x {crop} pixels; lower 'crop' or add sources")
        counts = {picture.pixels.shape[0] for _, pictures in self.groups for picture in pictures}
        if len(counts) != 1:
            raise InputError(f"training pictures have different numbers of bands ({sorted(counts)}); every source must declare the same")
        self.bands = counts.pop()
        self._weights = _normalised([source.weight for source, _ in self.groups])
        self._areas = [_normalised([p.pixels[0].size for p in pictures]) for _, pictures in self.groups]

    @property
    def pictures(self) -> list[Picture]:
        """All pictures that crops are drawn from."""
        return [picture for _, pictures in self.groups for picture in pictures]

    @property
    def names(self) -> list[str]:
        """Their names, for the run's record."""
        return [picture.name for picture in self.pictures]

    def item(self, rng: np.random.Generator) -> Pair:
        """One pair; all random choices come from `rng`.

        Raises:
            InputError: If 20 crops in a row held nodata.
        """
        for _ in range(_TRIES):
            number = int(rng.choice(len(self.groups), p=self._weights))
            source, pictures = self.groups[number]
            picture = pictures[int(rng.choice(len(pictures), p=self._areas[number]))]
            top, left = (int(rng.integers(0, size - self.crop + 1)) for size in picture.pixels.shape[-2:])
            crop = picture.pixels[:, top : top + self.crop, left : left + self.crop]
            if np.isfinite(crop).all():
                high = torch.from_numpy(_turned(crop, int(rng.integers(0, 8)))) * float(rng.uniform(*source.gain))
                return Pair(high, self.degradation(high, rng), f"{picture.name}+{top},{left}")
        raise InputError(f"{_TRIES} crops in a row held nodata (the last in {picture.name}); leave pictures that are mostly nodata out")


def _normalised(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64)
    return array / array.sum()


def _turned(crop: Array, which: int) -> Array:
    """One of the eight symmetries of the square."""
    turned = np.rot90(crop, which % 4, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if which >= 4 else turned)
