"""Pictures of a streamed source, in an order that is a pure function of the sample index; damaged ones are replaced and named."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .collections.record import Bounds, Record, UnreadableRecord
from .collections.tolerant import Tolerant
from .shuffle import position
from .sources import Array, Picture, StreamFiles


@dataclass(frozen=True)
class Streamed:
    """One picture of a stream.

    Attributes:
        picture: In physical units.
        corners: ``[N, 2]``, upper left corners (row, column) of all crops without nodata; None where that is every crop.
        replaced: What was to be seen in its place and could not be used.
    """

    picture: Picture
    corners: NDArray[np.int64] | None
    replaced: tuple[str, ...]


class PictureStream:
    """The pictures of a `StreamFiles` source, one at a time.

    Attributes:
        source: What is read.
        bands: Bands of every picture.
    """

    def __init__(self, source: StreamFiles, root: Path, crop: int, seed: int, number: int) -> None:
        """Open the collection and read one picture of it.

        Args:
            source: What to read.
            root: Data folder.
            crop: Smallest side of a picture that can be used.
            seed: Seed of the run, >= 0.
            number: Number of this source in the run, so that no two have one order.

        Raises:
            InputError: If the collection is empty or damaged, or its pictures cannot be used.
        """
        self.source, self.crop, self.root = source, crop, root
        self.collection = source.open(root)
        self._seed = int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])
        self._bounds = Bounds(self.collection.sizes)
        self._tolerant = Tolerant(self.collection, self._seed, check=self._wrong)
        self._held_out: dict[int, list[tuple[bytes, str]]] = {}
        self.bands: int | None = None
        self.bands = self.picture(0, 0).picture.pixels.shape[0]

    def __len__(self) -> int:
        return len(self.collection)

    def picture(self, turn: int, index: int) -> Streamed:
        """The picture of a turn.

        Args:
            turn: How many pictures this source gave before.
            index: Sample index of the run; keys what replaces a damaged picture.

        Raises:
            InputError: If more than 1 % of the pictures cannot be used, or this one is held out.
        """
        _, shard, member = position(self._seed, turn, self.collection.sizes, self.collection.group)
        reading = self._tolerant.read(self._bounds.index(shard, member), index)
        picture = self.source.physical(reading.record.name, reading.record.picture)
        self._refuse_held_out(picture)
        return Streamed(picture, free_corners(picture.pixels, self.crop), reading.replaced)

    def keep_out(self, pictures: Iterable[Picture]) -> None:
        """Refuse held-out pictures: now by name, and by content as soon as one comes up.

        Args:
            pictures: Held-out pictures.

        Raises:
            InputError: If one of them has the name of a picture of this source.
        """
        named: dict[str, str] = {}
        for picture in pictures:
            named[picture.place] = picture.name
            self._held_out.setdefault(zlib.crc32(picture.pixels.data), []).append((_digest(picture.pixels), picture.name))
        if not named:
            return
        for index in range(len(self.collection)):
            other = named.get(self.collection.name(index))
            if other is not None and self.source.window is None:
                raise InputError(_leak(other, self.collection.name(index)))

    def _refuse_held_out(self, picture: Picture) -> None:
        alike = self._held_out.get(zlib.crc32(picture.pixels.data)) if self._held_out else None
        for digest, name in alike or ():
            if digest == _digest(picture.pixels):
                raise InputError(_leak(name, picture.name))

    def _wrong(self, record: Record) -> str | None:
        """What keeps a record from being used."""
        try:
            pixels = self.source.physical(record.name, record.picture).pixels
        except UnreadableRecord as error:
            return error.reason
        if min(pixels.shape[1:]) < self.crop:
            return f"{pixels.shape[1]} x {pixels.shape[2]} pixels, smaller than a crop of {self.crop}"
        if self.bands is not None and pixels.shape[0] != self.bands:
            return f"{pixels.shape[0]} bands, where others have {self.bands}"
        corners = free_corners(pixels, self.crop)
        return None if corners is None or len(corners) else f"no crop of {self.crop} pixels without nodata"


def free_corners(pixels: Array, crop: int) -> NDArray[np.int64] | None:
    """Corners of all crops that hold no NaN.

    Args:
        pixels: ``[C, H, W]``.
        crop: Side of a crop.

    Returns:
        ``[N, 2]`` rows and columns, in reading order; None if nothing is NaN.
    """
    lost = ~np.isfinite(pixels).all(0)
    if not lost.any():
        return None
    total = np.zeros((lost.shape[0] + 1, lost.shape[1] + 1), dtype=np.int64)
    total[1:, 1:] = lost.cumsum(0).cumsum(1)
    count = total[crop:, crop:] - total[:-crop, crop:] - total[crop:, :-crop] + total[:-crop, :-crop]
    return np.argwhere(count == 0)


def _digest(pixels: Array) -> bytes:
    return hashlib.sha256(pixels.tobytes()).digest()


def _leak(held_out: str, trained: str) -> str:
    return f"the held-out picture {held_out} is also trained on, as {trained}; exclude it from the sources or choose windows apart"
