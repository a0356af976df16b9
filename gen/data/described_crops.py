"""Square crops of described pictures, drawn by source, then by place, then by picture: a place seen on many dates counts once.

`CropSampler.item(rng)` draws in that order, then how many pixels to average (the ground sampling distance grows with it), the corner, one
of the eight turns and flips, and a caption, all from the generator that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from pydantic import Field

from ..errors import InputError
from .described import COVER, UNKNOWN, Bytes, Described
from .described_sources import DescribedBands, DescribedImages
from .described_stream import DescribedCollection, DescribedStream
from .described_world import DescribedWorld
from .splits import Split, split_of

DescribedSource = Annotated[DescribedImages | DescribedBands | DescribedWorld | DescribedCollection, Field(discriminator="kind")]
_TRIES = 20
D = TypeVar("D", bound=np.generic)


@dataclass(frozen=True)
class Crop:
    """A square of a picture.

    Attributes:
        pixels: ``[3, S, S]`` uint8.
        shares: Share of each class of `COVER` in each pixel, ``[K, S, S]`` float32; None without a mask.
        of: The picture; its ``gsd`` is the crop's, its pixels and mask are those of the picture.
        caption: One of the picture's captions, or empty.
        name: Picture, corner and reduction.
        hints: The picture's hints, cut alike, ``[C, S, S]`` uint8.
    """

    pixels: Bytes
    shares: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None
    of: Described
    caption: str
    name: str
    hints: Mapping[str, Bytes] = field(default_factory=dict)


class Drawn(NamedTuple):
    """The pictures of one part of a collection."""

    stream: DescribedStream
    part: Split
    least: float | None = None


class CropSampler:
    """Draws crops.

    Attributes:
        sources: Pictures of each source by place.
    """

    def __init__(
        self, sources: Iterable[tuple[float, Sequence[Described] | Drawn]], crop: int, reductions: Sequence[int] = (1,), turns: bool = True
    ) -> None:
        """Sort pictures by place.

        Args:
            sources: Weight of each source, and its pictures or collection; pictures smaller than a crop are left out.
            crop: Side of a crop in pixels.
            reductions: How many pixels per axis may be averaged into one; each picture takes those that it is large enough for.
            turns: Whether to turn and flip.

        Raises:
            InputError: If no picture is large enough.
        """
        self.crop, self.reductions, self.turns = crop, tuple(reductions), turns
        self.sources: list[list[list[Described]] | Drawn] = []
        weights: list[float] = []
        for weight, pictures in sources:
            if isinstance(pictures, Drawn):
                self.sources.append(pictures)
                weights.append(weight)
                continue
            places: dict[str, list[Described]] = {}
            for picture in pictures:
                if min(picture.pixels.shape[-2:]) >= crop * min(self.reductions):
                    places.setdefault(picture.place, []).append(picture)
            if places and weight > 0:
                self.sources.append(list(places.values()))
                weights.append(weight)
        if not self.sources:
            raise InputError(f"no picture is at least {crop} x {crop} pixels; lower 'size' or add sources")
        total = sum(weights)
        self._weights = np.asarray(weights) / total if total else np.full(len(weights), 1 / len(weights))

    @property
    def pictures(self) -> list[Described]:
        """All pictures in memory that crops are drawn from."""
        memory = [places for places in self.sources if not isinstance(places, Drawn)]
        return [picture for places in memory for pictures in places for picture in pictures]

    @property
    def names(self) -> list[str]:
        """Names of the pictures in memory, and of the collections."""
        return [*(picture.name for picture in self.pictures), *(s.stream.name for s in self.sources if isinstance(s, Drawn))]

    @property
    def captions(self) -> list[str]:
        """Captions of the pictures in memory, and some of the collections'."""
        streamed = [caption for source in self.sources if isinstance(source, Drawn) for caption in source.stream.captions()]
        return [caption for picture in self.pictures for caption in picture.captions] + streamed

    def item(self, rng: np.random.Generator) -> Crop:
        """One crop; all random choices come from `rng`."""
        crop = self._draw(rng)
        for _ in range(_TRIES):
            # Black corners of rotated scenes and holes of mosaics show nothing.
            if (crop.pixels.max(0) > 0).mean() > 0.97:
                break
            crop = self._draw(rng)
        return crop

    def _draw(self, rng: np.random.Generator) -> Crop:
        places = self.sources[int(rng.choice(len(self.sources), p=self._weights))]
        if isinstance(places, Drawn):
            picture = places.stream.draw(rng, places.part, self.crop * min(self.reductions), places.least)
        else:
            pictures = places[int(rng.integers(len(places)))]
            picture = pictures[int(rng.integers(len(pictures)))]
        fits = [factor for factor in self.reductions if min(picture.pixels.shape[-2:]) >= factor * self.crop]
        factor = fits[int(rng.integers(len(fits)))]
        top, left = (int(rng.integers(0, size - self.crop * factor + 1)) for size in picture.pixels.shape[-2:])
        which = int(rng.integers(8)) if self.turns else 0
        caption = picture.captions[int(rng.integers(len(picture.captions)))] if picture.captions else ""
        return cut(picture, top, left, self.crop, factor, which, caption)


def cut(picture: Described, top: int, left: int, size: int, factor: int = 1, turn: int = 0, caption: str = "") -> Crop:
    """Cut a crop out of a picture.

    Args:
        picture: The picture.
        top: First row.
        left: First column.
        size: Side of the crop in its own pixels.
        factor: Pixels per axis that are averaged into one.
        turn: Which of the eight symmetries of the square.
        caption: Its caption.
    """
    rows, cols = slice(top, top + size * factor), slice(left, left + size * factor)
    pixels = _reduced(picture.pixels[:, rows, cols], factor)
    shares = None
    if picture.mask is not None:
        shares = _mean(shares_of(picture.mask[rows, cols]), factor)
        shares = _turned(shares, turn)
    gsd = None if picture.gsd is None else picture.gsd * factor
    hints = {name: _turned(_reduced(hint[:, rows, cols], factor), turn) for name, hint in picture.hints.items()}
    return Crop(_turned(pixels, turn), shares, replace(picture, gsd=gsd), caption, f"{picture.name}+{top},{left}/{factor}", hints)


def shares_of(codes: Bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """One channel per class of `COVER`, ``[K, H, W]``, 1 where the mask says that class; all 0 where it says nothing."""
    known = np.arange(len(COVER), dtype=np.uint8)[:, None, None]
    return ((codes[None] == known) & (codes != UNKNOWN)[None]).astype(np.float32)


def read_split(
    sources: Sequence[DescribedImages | DescribedBands | DescribedWorld | DescribedCollection],
    root: Path,
    wanted: Sequence[Split] = ("train", "validation", "test"),
) -> dict[Split, list[tuple[float, list[Described] | Drawn]]]:
    """Read sources and divide their pictures by place.

    Args:
        sources: What to read; those of weight 0 are skipped.
        root: Data folder.
        wanted: Parts that are of interest.

    Returns:
        Per part the weight and pictures of each source. The procedural world is all training: another seed is another world.
    """
    parts: dict[Split, list[tuple[float, list[Described] | Drawn]]] = {part: [] for part in wanted}
    for source in sources:
        if source.weight <= 0:
            continue
        if isinstance(source, DescribedCollection):
            stream = source.open(root)
            for part in wanted:
                parts[part].append((source.weight, Drawn(stream, part)))
            continue
        kept: dict[Split, list[Described]] = {part: [] for part in wanted}
        for picture in source.pictures(root):
            part = "train" if isinstance(source, DescribedWorld) else split_of(picture.place)
            if part in kept:
                kept[part].append(picture)
        for part, pictures in kept.items():
            parts[part].append((source.weight, pictures))
    return parts


def _reduced(pixels: Bytes, factor: int) -> Bytes:
    if factor == 1:
        return pixels
    return np.asarray(np.floor(_mean(pixels.astype(np.float32), factor) + 0.5), dtype=np.uint8)


def _mean(image: np.ndarray[tuple[int, ...], np.dtype[np.float32]], factor: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if factor == 1:
        return image
    channels, height, width = image.shape
    return image.reshape(channels, height // factor, factor, width // factor, factor).mean((2, 4), dtype=np.float32)


def _turned(crop: np.ndarray[Any, np.dtype[D]], which: int) -> np.ndarray[Any, np.dtype[D]]:
    turned = np.rot90(crop, which % 4, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if which >= 4 else turned)
