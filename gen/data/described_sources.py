"""Where described pictures come from: declared in a recipe, read into memory.

All paths are relative to the recipe's data folder. A pattern over a picture's name gives its place; an index (CSV) gives what the name does
not. Further layouts (folders with metadata, WebDataset, map tiles) are read through `collections`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from .described import COVER, UNKNOWN, Bytes, Described, Facts, captions_of, coordinates_in, cover_of_reflectance
from .splits import cell_of, place_of

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)(?:-?(\d\d)(?:-?(\d\d))?)?(?!\d)")
_WOODED = re.compile("forest|wood|taiga|conifer|savanna")


class _Declared(BaseModel):
    """What a source says of all its pictures; what a name or the index says goes before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: str
    weight: float = Field(1.0, ge=0)
    only: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    place: str = ""
    """The place of all pictures; empty for the index's, else the cell of the coordinates, else what `splits.place_of` says."""
    index: str = ""
    """CSV with a row per picture: ``path`` or ``file``, and any of gsd_m, place, date, month, class, caption, lat, lon, cloud_coverage."""
    gsd: float | None = Field(None, gt=0)
    lat: float | None = Field(None, ge=-90, le=90)
    lon: float | None = Field(None, ge=-180, le=180)
    date: str = ""
    subject: str = ""
    """What the pictures show, in words."""
    where: str = ""
    """Where, in words."""
    view: str = "satellite image"
    words: dict[str, str] = Field(default_factory=dict)
    """From the index's classes to words."""

    def pictures(self, root: Path) -> Iterator[Described]:
        """Read all that the source declares.

        Args:
            root: Data folder.

        Yields:
            The pictures.

        Raises:
            InputError: If there is none, or a file cannot be read.
        """
        rows, found = self._rows(root), False
        for name, pixels, mask, known in self._stored(root):
            if any(fnmatchcase(name, pattern) for pattern in self.only) and not any(fnmatchcase(name, p) for p in self.exclude):
                found = True
                yield self._described(name, pixels, mask, {**rows.get(name.partition("#")[0], {}), **known})
        if not found:
            raise InputError(f"no picture matches {self.files!r} under {root}; check 'data', 'files', 'only' and 'exclude'")

    def _stored(self, root: Path) -> Iterator[tuple[str, Bytes, Bytes | None, dict[str, Any]]]:
        raise NotImplementedError

    def _rows(self, root: Path) -> dict[str, dict[str, str]]:
        if not self.index:
            return {}
        folder = Path(self.index).parent
        try:
            with (root / self.index).open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the index {root / self.index} cannot be read ({error}); check 'data' and 'index'") from error
        return {row["path"] if row.get("path") else (folder / row.get("file", "")).as_posix(): row for row in rows}

    def _described(self, name: str, pixels: Bytes, mask: Bytes | None, row: dict[str, Any]) -> Described:
        place = str(row.get("place") or "")
        spot = coordinates_in(place)
        lat = _number(row.get("lat")) if spot is None else spot[0]
        lon = _number(row.get("lon")) if spot is None else spot[1]
        lat, lon = (self.lat, self.lon) if lat is None or lon is None else (lat, lon)
        date = str(row.get("date") or row.get("month") or self.date) or _date_in(Path(name).stem)
        kind = str(row.get("class") or row.get("landcover_class") or "")
        subject = self.words.get(kind, kind.lower()) or self.subject
        words = re.sub(r"\(.*\)", "", place).strip()
        where = self.where or ("" if coordinates_in(words) else words)
        own = (str(row["caption"]).strip(),) if row.get("caption") else ()
        month = _MONTHS[int(date[5:7]) - 1] if len(date) >= 7 else ""
        facts = Facts(subject, where, self.view, month, own)
        return Described(
            name=name,
            pixels=pixels,
            place=self._place(name.partition("#")[0], place, lat, lon),
            gsd=_number(str(row.get("gsd_m", "")).partition(" ")[0]) or self.gsd,
            lat=lat,
            lon=lon,
            date=date or None,
            cloud_cover=_number(row.get("cloud_coverage")),
            captions=captions_of(facts),
            mask=mask,
        )

    def _place(self, name: str, words: str, lat: float | None, lon: float | None) -> str:
        if self.place or words or lat is None or lon is None:
            return place_of(name, self.place or words)
        named = place_of(name)
        return cell_of(lat, lon) if named == name.rpartition("/")[0] else named


class DescribedImages(_Declared):
    """8-bit pictures (PNG, JPEG), with or without masks of the same size."""

    kind: Literal["images"] = "images"
    mask: str = ""
    """Path of a picture's mask, with ``{folder}`` and ``{stem}`` of the picture (`unsuffixed` taken off); it may be missing."""
    unsuffixed: str = ""
    mask_class: str = ""
    """What the mask's values above 127 are, a name of `COVER`; the rest is unknown."""

    def _stored(self, root: Path) -> Iterator[tuple[str, Bytes, Bytes | None, dict[str, Any]]]:
        for path in sorted(root.glob(self.files)):
            name = path.relative_to(root).as_posix()
            yield name, _rgb(path), self._mask(root, path), {}

    def _mask(self, root: Path, path: Path) -> Bytes | None:
        if not self.mask:
            return None
        folder = path.parent.relative_to(root).as_posix()
        file = root / self.mask.format(folder=folder, stem=path.stem.removesuffix(self.unsuffixed))
        if not file.is_file():
            return None
        marked = _rgb(file)[0] > 127
        return np.where(marked, np.uint8(COVER.index(self.mask_class)), np.uint8(UNKNOWN))


class DescribedBands(_Declared):
    """Reflectances: GeoTIFFs, or stacks ``[N, C, H, W]`` of numpy archives, shown with one fixed stretch and given a weak mask.

    Coordinates come from the GeoTIFF, or from an array ``lonlat`` ``[N, 2]`` of the archive.
    """

    kind: Literal["bands"] = "bands"
    bands: tuple[int, int, int, int]
    """Positions of red, green, blue and near infrared, from 0."""
    scale: float = 1e-4
    offset: float = 0.0
    offsets: dict[str, float] = Field(default_factory=dict)
    """Offset of single files by pattern, where it differs."""
    white: float = Field(0.275, gt=0)
    """Reflectance that is shown as 255."""
    subjects: dict[str, str] = Field(default_factory=dict)
    """Words by pattern over the name."""

    def _stored(self, root: Path) -> Iterator[tuple[str, Bytes, Bytes | None, dict[str, Any]]]:
        for path in sorted(root.glob(self.files)):
            name = path.relative_to(root).as_posix()
            words = next((text for pattern, text in self.subjects.items() if fnmatchcase(name, pattern)), "")
            extra = next((value for pattern, value in self.offsets.items() if fnmatchcase(name, pattern)), self.offset)
            for number, stored, known in self._arrays(path):
                reflectance = (stored.astype(np.float32) + np.float32(extra)) * np.float32(self.scale)
                shown = np.clip(reflectance[:3] / self.white * 255.0 + 0.5, 0, 255).astype(np.uint8)
                red, green, _, near = reflectance
                mask = cover_of_reflectance(red, near, green, bool(_WOODED.search((words or self.subject).lower())))
                told = {"class": words, **known} if words else known
                yield f"{name}{number}", shown, mask, told

    def _arrays(self, path: Path) -> Iterator[tuple[str, NDArray[np.generic], dict[str, Any]]]:
        if path.suffix == ".npz":
            try:
                with np.load(path, allow_pickle=False) as archive:
                    stack, lonlat = archive["x"], archive["lonlat"]
            except (OSError, ValueError, KeyError) as error:
                raise InputError(f"{path} cannot be read as an archive with 'x' and 'lonlat' ({error}); copy it again") from error
            for number, image in enumerate(stack):
                yield f"#{number}", image[list(self.bands)], {"lon": float(lonlat[number][0]), "lat": float(lonlat[number][1])}
            return
        import rasterio
        from rasterio.errors import RasterioError
        from rasterio.warp import transform

        try:
            with rasterio.open(path) as file:
                image = file.read([band + 1 for band in self.bands])
                x, y = file.xy(file.height // 2, file.width // 2)
                lon, lat = transform(file.crs, "EPSG:4326", [x], [y])
        except (RasterioError, IndexError) as error:
            raise InputError(f"cannot read bands {list(self.bands)} of {path}: {error}") from error
        yield "", image, {"lon": float(lon[0]), "lat": float(lat[0])}


def _rgb(path: Path) -> Bytes:
    from PIL import Image

    try:
        with Image.open(path) as file:
            return np.ascontiguousarray(np.asarray(file.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}); copy it again or exclude it") from error


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _date_in(stem: str) -> str:
    found = _DATE.search(stem)
    if found is None or (found[2] and not 1 <= int(found[2]) <= 12):
        return ""
    return "-".join(part for part in found.groups() if part)
