"""Super-resolution training pairs: a sharp crop and its degraded counterpart, each a pure function of a generator.

Small collections are held in memory: `item(rng)` draws a source by weight, a picture by area, a crop, one of the eight turns and flips, a
brightness factor, and the degradation's values, in that order, from the generator that it is given. Streamed ones are read when their
turn comes: there, the sample index says which source and which picture, so that an epoch sees every picture once; the rest is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .degrade import Chain
from .shuffle import Mixture
from .sources import Array, ArrayFiles, ImageFiles, Picture, RasterFiles, StreamFiles, WorldWindows
from .stream import PictureStream

InMemory = RasterFiles | ArrayFiles | ImageFiles | WorldWindows
AnySource = InMemory | StreamFiles
_TRIES = 20


@dataclass(frozen=True)
class Pair:
    """One training example.

    Attributes:
        high: Sharp crop ``[C, H, W]``, float32, physical units.
        low: Its degraded counterpart ``[C, H / scale, W / scale]``.
        name: Where it came from: picture name and crop corner.
        replaced: Pictures that were to be seen and could not be used, with the reasons.
    """

    high: Tensor
    low: Tensor
    name: str
    replaced: tuple[str, ...] = ()


class PairDataset:
    """Crops of pictures with their degraded counterparts."""

    def __init__(self, sources: Sequence[AnySource], root: Path, crop: int, degradation: Chain, seed: int = 0) -> None:
        """Read all pictures of sources that are no streams, and open the streams.

        Args:
            sources: What to read; sources of weight 0 are skipped.
            root: Data folder that the sources' paths are relative to.
            crop: Side of a crop in sharp pixels; a multiple of the scale.
            degradation: Sharp to low resolution.
            seed: Seed of the streams' order, >= 0.

        Raises:
            InputError: If a source is empty, the crop does not divide, the band counts differ, or every picture is smaller than a crop.
        """
        if crop % degradation.scale:
            raise InputError(f"the crop of {crop} pixels is no multiple of the scale {degradation.scale}; choose one that is")
        self.crop, self.degradation, self.seed = crop, degradation, seed
        self.groups: list[tuple[InMemory, list[Picture]]] = []
        self.streams: list[PictureStream] = []
        for number, source in enumerate(sources):
            if source.weight > 0 and isinstance(source, StreamFiles):
                self.streams.append(PictureStream(source, root, crop, seed, number))
            elif source.weight > 0 and not isinstance(source, StreamFiles):
                self.groups.append((source, [p for p in source.pictures(root) if min(p.pixels.shape[-2:]) >= crop]))
        self.groups = [(source, pictures) for source, pictures in self.groups if pictures]
        if not self.groups and not self.streams:
            raise InputError(f"no training picture is at least {crop} x {crop} pixels; lower 'crop' or add sources")
        counts = {picture.pixels.shape[0] for picture in self.pictures} | {int(stream.bands or 0) for stream in self.streams}
        if len(counts) != 1:
            raise InputError(f"training pictures have different numbers of bands ({sorted(counts)}); every source must declare the same")
        self.bands = counts.pop()
        self._weights = _normalised([source.weight for source, _ in self.groups])
        every = [source.weight for source, _ in self.groups] + [stream.source.weight for stream in self.streams]
        self._mixture = Mixture(tuple(every))
        self._areas = [_normalised([p.pixels[0].size for p in pictures]) for _, pictures in self.groups]

    @property
    def pictures(self) -> list[Picture]:
        """All pictures in memory that crops are drawn from."""
        return [picture for _, pictures in self.groups for picture in pictures]

    @property
    def names(self) -> Sequence[str]:
        """Names of all pictures, streamed ones too, for the run's record."""
        return _Names([picture.name for picture in self.pictures], self.streams)

    def keep_out(self, sources: Sequence[AnySource], root: Path) -> None:
        """Hold the streams against held-out pictures, by name now and by content as they come; `Picture.overlaps` does it for the others.

        Args:
            sources: Held-out sources.
            root: Data folder.

        Raises:
            InputError: If a held-out picture is also streamed.
        """
        if self.streams:
            held_out = [picture for source in sources for picture in source.pictures(root)]
            for stream in self.streams:
                stream.keep_out(held_out)

    def item(self, rng: np.random.Generator, index: int | None = None) -> Pair:
        """One pair; all random choices come from `rng`, except which streamed picture it is.

        Args:
            rng: Generator of the sample.
            index: Sample index since the start of the run; streams need it.

        Raises:
            InputError: If 20 crops in a row held nodata, or too many streamed pictures are damaged.
            ValueError: If there are streams and no index.
        """
        if not self.streams:
            return self._from_memory(rng, None)
        if index is None:
            raise ValueError("streamed pictures are chosen by the sample index; give it")
        number, turn = self._mixture.turn(self.seed, index)
        if number < len(self.groups):
            return self._from_memory(rng, number)
        return self._from_stream(self.streams[number - len(self.groups)], turn, index, rng)

    def _from_stream(self, stream: PictureStream, turn: int, index: int, rng: np.random.Generator) -> Pair:
        streamed = stream.picture(turn, index)
        pixels = streamed.picture.pixels
        if streamed.corners is None:
            top, left = (int(rng.integers(0, size - self.crop + 1)) for size in pixels.shape[-2:])
        else:
            top, left = streamed.corners[int(rng.integers(0, len(streamed.corners)))].tolist()
        return self._pair(streamed.picture, (top, left), stream.source, rng, streamed.replaced)

    def _from_memory(self, rng: np.random.Generator, chosen: int | None) -> Pair:
        for _ in range(_TRIES):
            number = int(rng.choice(len(self.groups), p=self._weights)) if chosen is None else chosen
            source, pictures = self.groups[number]
            picture = pictures[int(rng.choice(len(pictures), p=self._areas[number]))]
            top, left = (int(rng.integers(0, size - self.crop + 1)) for size in picture.pixels.shape[-2:])
            if np.isfinite(picture.pixels[:, top : top + self.crop, left : left + self.crop]).all():
                return self._pair(picture, (top, left), source, rng)
        raise InputError(f"{_TRIES} crops in a row held nodata (the last in {picture.name}); leave pictures that are mostly nodata out")

    def _pair(
        self, picture: Picture, corner: tuple[int, int], source: AnySource, rng: np.random.Generator, replaced: tuple[str, ...] = ()
    ) -> Pair:
        top, left = corner
        crop = picture.pixels[:, top : top + self.crop, left : left + self.crop]
        high = torch.from_numpy(_turned(crop, int(rng.integers(0, 8)))) * float(rng.uniform(*source.gain))
        return Pair(high, self.degradation(high, rng), f"{picture.name}+{top},{left}", replaced)


class _Names(Sequence[str]):
    """Names in memory, then those of streams, which are asked for when they are needed."""

    def __init__(self, held: list[str], streams: list[PictureStream]) -> None:
        self.held, self.streams = held, streams

    def __len__(self) -> int:
        return len(self.held) + sum(len(stream) for stream in self.streams)

    def __iter__(self) -> Iterator[str]:
        yield from self.held
        for stream in self.streams:
            yield from (stream.collection.name(index) for index in range(len(stream)))

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        return next(islice(self, range(len(self))[index], None))


def _normalised(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64)
    return array / array.sum()


def _turned(crop: Array, which: int) -> Array:
    """One of the eight symmetries of the square."""
    turned = np.rot90(crop, which % 4, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if which >= 4 else turned)
