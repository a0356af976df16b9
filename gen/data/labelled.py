"""Pictures of known places with what is known of them: class, month, ground sampling distance, land cover.

Sources are declared in a recipe. Which pictures belong to training and which are held out is decided by place alone (`splits`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from .splits import place_of, world_place

Bytes = NDArray[np.uint8]
_DATE = re.compile(r"\d{4}-(\d{2})")
WHITE = 0.3
"""Reflectance that is shown as white."""


@dataclass(frozen=True)
class LabelledPicture:
    """One picture in memory.

    Attributes:
        name: Unique name.
        place: Name for `splits.split_of`.
        pixels: ``[3, H, W]`` red, green, blue.
        gsd: Metres per pixel; NaN where unknown.
        month: 1 to 12, 0 where unknown.
        label: Class in the collection's own words, empty where unknown.
        cover: ``[H, W]`` codes of the procedural world's land cover, None where unknown.
    """

    name: str
    place: str
    pixels: Bytes = field(repr=False)
    gsd: float = float("nan")
    month: int = 0
    label: str = ""
    cover: Bytes | None = field(default=None, repr=False)


class IndexedPictures(BaseModel):
    """Pictures that a CSV index describes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["index"] = "index"
    index: str
    """The CSV file, relative to the data folder."""
    root: str = ""
    """Folder that the index's paths are relative to, itself relative to the data folder."""
    columns: dict[Literal["path", "gsd", "place", "date", "class"], str] = Field(
        default={"path": "path", "gsd": "gsd_m", "place": "place", "date": "date", "class": "class"}
    )
    """Our name of a column to the index's."""
    gsd: float | None = Field(None, gt=0)
    """Metres per pixel of all pictures, where the index does not say."""
    only: tuple[str, ...] = ("*",)
    """Paths (shell patterns) that are taken."""
    exclude: tuple[str, ...] = ()
    """Paths (shell patterns) that are left out."""
    weight: float = Field(1.0, gt=0)
    """Share of the samples drawn from this source, relative to the others."""

    def pictures(self, root: Path) -> Iterator[LabelledPicture]:
        """Read all pictures that the patterns take.

        Args:
            root: Data folder.

        Yields:
            The pictures, in the order of the index.

        Raises:
            InputError: If the index or a picture cannot be read, or no path fits.
        """
        found = 0
        for row in self._rows(root / self.index):
            path = self._cell(row, "path")
            if not any(fnmatchcase(path, pattern) for pattern in self.only):
                continue
            if any(fnmatchcase(path, pattern) for pattern in self.exclude):
                continue
            found += 1
            month = _DATE.search(self._cell(row, "date"))
            yield LabelledPicture(
                name=f"{self.root}/{path}" if self.root else path,
                place=place_of(f"{self.root}/{path}" if self.root else path, self._cell(row, "place")),
                pixels=_read_rgb(root / self.root / path),
                gsd=self.gsd or _number(self._cell(row, "gsd")),
                month=int(month.group(1)) if month else 0,
                label=self._cell(row, "class"),
            )
        if not found:
            raise InputError(f"the index {root / self.index} names no picture that 'only' takes and 'exclude' leaves; check both")

    def _rows(self, path: Path) -> list[dict[str, str]]:
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"the index {path} cannot be read ({error}); give a CSV file below the data folder") from error

    def _cell(self, row: dict[str, str], name: Literal["path", "gsd", "place", "date", "class"]) -> str:
        column = self.columns.get(name)
        if column is None:
            return ""
        if column not in row:
            raise InputError(f"the index {self.index} has no column {column!r}; it has {', '.join(row)}")
        return row[column].strip()


class WorldLooks(BaseModel):
    """Windows of the procedural world, made once at the start: each at 2.5 m and as Sentinel-2 sees it, with land cover."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["world"] = "world"
    seed: int = 0
    count: int = Field(64, ge=1)
    """Windows; about a tenth each belong to validation and test."""
    size: int = Field(128, ge=16)
    """Side of a window in 10 m pixels."""
    weight: float = Field(1.0, gt=0)

    def pictures(self, root: Path) -> Iterator[LabelledPicture]:
        """Make the windows: places all over the world, each in a month of its own.

        Args:
            root: Not used.

        Yields:
            Two pictures for each window.
        """
        from .world import World

        for number in range(self.count):
            rng = np.random.default_rng([self.seed, number])
            row, col = (int(value) for value in rng.integers(0, 400_000, 2))
            month = int(rng.integers(1, 13))
            scene = World(self.seed).window(row, col, self.size, self.size, date=f"2021-{month:02d}-15", modalities=("s2",))
            place = world_place(self.seed, row + self.size // 2, col + self.size // 2)
            cover = scene.landcover.values[0].astype(np.uint8)
            coarse = scene.landcover_10m.values[0].astype(np.uint8)
            for layer, codes, gsd in (("truth", cover, 2.5), ("s2_10m", coarse, 10.0)):
                pixels = _shown(scene.layer(layer).sel(band=["B04", "B03", "B02"]).values)
                yield LabelledPicture(f"world-{self.seed}#{number}.{layer}", place, pixels, gsd, month, "", codes)


LabelledSource = Annotated[IndexedPictures | WorldLooks, Field(discriminator="kind")]


def _shown(reflectance: NDArray[np.float32]) -> Bytes:
    return np.asarray(np.floor(np.clip(reflectance / WHITE, 0.0, 1.0) * 255.0 + 0.5), dtype=np.uint8)


def _read_rgb(path: Path) -> Bytes:
    from PIL import Image

    try:
        with Image.open(path) as file:
            return np.ascontiguousarray(np.asarray(file.convert("RGB")).transpose(2, 0, 1))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}); copy it again or exclude it") from error


def _number(text: str) -> float:
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        return float("nan")
