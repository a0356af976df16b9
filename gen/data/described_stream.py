"""Described pictures of collections that are too large for memory: shards, parquet files, folders with metadata, map tiles.

A record is read when it is drawn. Its place is the cell of its coordinates, without coordinates its own name, and decides between training
and held-out places as for pictures in memory; records of the other parts, damaged ones, and those of too low a quality are drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from .collections import Collection, Record, UnreadableRecord, open_collection
from .collections.opening import Format
from .collections.tile_folder import TileFolder, tile_metadata
from .described import Bytes, Described
from .splits import Split, cell_of, split_of

_TRIES = 200
_CAPTIONED = 512


class DescribedCollection(BaseModel):
    """A collection and what its metadata are called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["collection"] = "collection"
    format: Format
    files: str
    """Pattern of the shards or parquet files; of an imagefolder or tiles, the folder."""
    weight: float = Field(1.0, ge=0)
    picture: str | None = None
    """Member or column that is the picture, where there are several."""
    caption: str | None = None
    """Key of the caption."""
    prompt: str = ""
    """Caption of all records, where they have none."""
    bands: tuple[int, int, int] = (0, 1, 2)
    """Positions of red, green and blue."""
    white: float = Field(255.0, gt=0)
    """Stored value that is shown as 255."""
    channels_last: bool = False
    columns: dict[Literal["lat", "lon", "gsd", "date", "year", "month", "day", "cloud_cover", "quality", "tile"], str] = Field(
        default={"lat": "lat", "lon": "lon", "gsd": "gsd", "date": "date", "cloud_cover": "cloud_cover"}
    )
    """Our name of a field to the metadata's key; ``tile`` is a text ``z_x_y``."""
    cloud_scale: float = Field(1.0, gt=0)
    """What the stored cloud cover is multiplied by; 0.01 for per cent."""
    hints: dict[str, str] = Field(default_factory=dict)
    """Name of a hint picture to the record's extra of it; for tiles, to the folder of equally named tiles."""
    cache: Path | None = None
    """Folder in which the indexes of tar shards are kept."""

    def open(self, root: Path) -> DescribedStream:
        """Open the collection.

        Raises:
            InputError: If it is missing, empty or damaged.
        """
        if self.format == "tiles":
            extras = {name: root / folder for name, folder in self.hints.items()}
            return DescribedStream(self, TileFolder(root / self.files, extras, prefix=f"{self.files.strip('/')}/"))
        settings: dict[str, Any] = {"picture": self.picture, "caption": self.caption, "channels_last": self.channels_last}
        return DescribedStream(self, open_collection(self.format, root, self.files, cache=self.cache, **settings))


class DescribedStream:
    """An open collection."""

    def __init__(self, source: DescribedCollection, collection: Collection) -> None:
        """Remember both."""
        self.source, self.collection = source, collection

    @property
    def name(self) -> str:
        """Of the collection."""
        return f"{self.source.files} ({len(self.collection)} records)"

    def draw(self, rng: np.random.Generator, part: Split, size: int, least: float | None = None) -> Described:
        """One picture.

        Args:
            rng: Chooses.
            part: Which places.
            size: Smallest side that is wanted.
            least: Lowest quality; records without one are taken.

        Returns:
            The picture.

        Raises:
            InputError: If none of 200 records will do.
        """
        reason = "none was tried"
        for _ in range(_TRIES):
            try:
                picture = self._described(self.collection.read(int(rng.integers(len(self.collection)))))
            except UnreadableRecord as error:
                reason = str(error)
                continue
            if min(picture.pixels.shape[-2:]) < size:
                reason = f"{picture.name} is smaller than {size} pixels"
            elif least is not None and picture.quality is not None and picture.quality < least:
                reason = f"{picture.name} has quality {picture.quality:g}"
            elif split_of(picture.place) == part:
                return picture
        raise InputError(f"{_TRIES} records of {self.source.files} in a row are no {part} pictures (the last reason: {reason})")

    def captions(self) -> list[str]:
        """Captions of evenly spaced records, up to 512, for learning a tokenizer."""
        count = len(self.collection)
        found: list[str] = []
        for number in range(min(count, _CAPTIONED)):
            try:
                found += self._described(self.collection.read(number * count // min(count, _CAPTIONED))).captions
            except UnreadableRecord:
                continue
        return found

    def _described(self, record: Record) -> Described:
        source, told = self.source, dict(record.metadata)
        tile = told.get(source.columns.get("tile", ""))
        if isinstance(tile, str):
            told |= _tile(tile, record.name)
        known: dict[str, Any] = {
            field: told.get(key, told.get(field)) for field, key in {**{n: n for n in ("lat", "lon", "gsd")}, **source.columns}.items()
        }
        lat, lon = _number(known.get("lat")), _number(known.get("lon"))
        cloud = _number(known.get("cloud_cover"))
        caption = record.caption or source.prompt
        return Described(
            name=record.name,
            pixels=_shown(record, source),
            place=record.name if lat is None or lon is None else cell_of(lat, lon),
            gsd=_number(known.get("gsd")),
            lat=lat,
            lon=lon,
            date=_date(known),
            cloud_cover=None if cloud is None else min(max(cloud * source.cloud_scale, 0.0), 1.0),
            captions=(caption,) if caption else (),
            quality=_number(known.get("quality")),
            hints={name: _hint(record, name if source.format == "tiles" else key) for name, key in source.hints.items()},
        )


def _shown(record: Record, source: DescribedCollection) -> Bytes:
    if record.picture.ndim != 3 or max(source.bands) >= record.picture.shape[0]:
        raise UnreadableRecord(record.name, f"the picture has shape {record.picture.shape}, without the bands {list(source.bands)}")
    chosen = record.picture[list(source.bands)]
    if chosen.dtype == np.uint8 and source.white == 255:
        return np.ascontiguousarray(chosen)
    return np.clip(np.nan_to_num(chosen.astype(np.float32)) / source.white * 255 + 0.5, 0, 255).astype(np.uint8)


def _hint(record: Record, key: str) -> Bytes:
    found = record.extras.get(key)
    if found is None:
        raise UnreadableRecord(record.name, f"it has no extra {key!r}; it has {', '.join(record.extras) or 'none'}")
    picture = found if found.ndim == 3 else found[None]
    if picture.dtype != np.uint8 or picture.shape[1:] != record.picture.shape[1:]:
        raise UnreadableRecord(record.name, f"its {key} is {picture.dtype} {picture.shape}; a hint has 8 bits and the picture's size")
    return np.ascontiguousarray(picture)


def _tile(text: str, name: str) -> dict[str, Any]:
    parts = text.split("_")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise UnreadableRecord(name, f"its tile {text!r} is no z_x_y")
    zoom, x, y = (int(part) for part in parts)
    return tile_metadata(zoom, x, y)


def _date(known: Mapping[str, Any]) -> str | None:
    given = known.get("date")
    if isinstance(given, str) and len(given) >= 4:
        return given[:10]
    year, month, day = (_number(known.get(name)) for name in ("year", "month", "day"))
    if year is None:
        return None
    parts = [f"{year:04.0f}"]
    for value in (month, day):
        if value is None:
            break
        parts.append(f"{value:02.0f}")
    return "-".join(parts)


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
