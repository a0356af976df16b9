"""Sentinel-2 products as they are distributed: a `.SAFE` folder, or the same in a `.zip`, which is read in place and never extracted.

An image's name tells its band, and its folder or name the ground sampling distance at which it is stored; the product's metadata tells the
quantification and, since processing baseline 04.00, the offset of each band.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from ..errors import InputError
from .band_names import match_bands
from .radiometry import Radiometry
from .sensors import sensor

_METADATA = re.compile(r"(?:^|/)(?:MTD_MSIL(?:1C|2A)|S2[A-D]_OPER_MTD_SAFL(?:1C|2A)[^/]*)\.xml$")
_IMAGE = re.compile(r"(?:^|/)GRANULE/([^/]+)/IMG_DATA/(?:R(\d\d)m/)?[^/]*_(B\d[0-9A])(?:_(\d\d)m)?\.jp2$", re.IGNORECASE)
_MAX_XML = 16 * 2**20
_MAX_MEMBERS = 50_000
_MAX_RATIO = 200
_TAGS = ("PRODUCT_URI", "PROCESSING_LEVEL", "PROCESSING_BASELINE", "PRODUCT_START_TIME", "SPACECRAFT_NAME")
_BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


@dataclass(frozen=True)
class SafeImage:
    """One image of a product.

    Attributes:
        band: For example ``"B04"``.
        gsd: Ground sampling distance of this file in m: 10, 20 or 60.
        file: Path that GDAL opens.
        size: Bytes of the file.
    """

    band: str
    gsd: int
    file: str
    size: int


@dataclass(frozen=True)
class SafeProduct:
    """A Sentinel-2 product.

    Attributes:
        path: Folder or zip file.
        sensor: ``"sentinel-2-l1c"`` or ``"sentinel-2-l2a"``.
        images: All images of bands.
        tags: What the metadata says of the product, by its own names.
        quantification: DN per unit of reflectance; None if the metadata lacks it.
        offsets: DN to add, by band; None if the metadata does not settle it.
        nodata: Stored number that means "no data".
    """

    path: Path
    sensor: str
    images: tuple[SafeImage, ...]
    tags: dict[str, str] = field(default_factory=dict)
    quantification: float | None = None
    offsets: dict[str, float] | None = None
    nodata: float = 0.0

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that are there, in the order of the product."""
        held = {image.band for image in self.images}
        return tuple(name for name in sensor(self.sensor).band_names if name in held)

    def native_gsd(self, band: str) -> int:
        """The ground sampling distance at which the instrument takes `band`, in m."""
        return next(int(row.gsd) for row in sensor(self.sensor).bands if row.name == band)

    def choose(self, bands: Sequence[str | int] | None, gsd: int | None = None) -> tuple[SafeImage, ...]:
        """The images of bands that go together.

        Args:
            bands: Names (or shared names, or positions in the order of the product); None takes the 10 m bands, or those of `gsd`.
            gsd: Take each band's file of this ground sampling distance in m, instead of the instrument's own.

        Returns:
            One image a band, all of one ground sampling distance.

        Raises:
            InputError: If a band is not there, not at `gsd`, or the bands differ in their ground sampling distance.
        """
        if bands is None:
            at = gsd or min((self.native_gsd(band) for band in self.bands), default=10)
            names = tuple(band for band in self.bands if (band, at) in self._files() and (gsd or self.native_gsd(band) == at))
        else:
            names = tuple(self.bands[position] for position in match_bands(self.bands, bands))
        wanted = {band: gsd or self.native_gsd(band) for band in names}
        if len(set(wanted.values())) > 1:
            listed = ", ".join(f"{band} {at} m" for band, at in wanted.items())
            raise InputError(f"these bands have different pixel sizes ({listed}); ask for bands of one size, or a common one with --gsd")
        for band, at in wanted.items():
            if (band, at) not in self._files():
                there = sorted(image.gsd for image in self.images if image.band == band)
                raise InputError(f"{self.path} has {band} at {', '.join(map(str, there))} m, not at {at} m; ask for another --gsd or band")
        if not wanted:
            raise InputError(f"{self.path} has no band at {gsd} m; it has {', '.join(self.bands)}")
        return tuple(self._files()[band, at] for band, at in wanted.items())

    def radiometry(self, bands: Sequence[str]) -> tuple[Radiometry | None, str]:
        """How the stored numbers of `bands` become reflectance, and what says so; an objection where the first part is None."""
        baseline = self.tags.get("PROCESSING_BASELINE", "unknown")
        if self.quantification is None or self.offsets is None:
            return None, f"the metadata of {self.path} (processing baseline {baseline}) does not tell the quantification and offset"
        offsets = {self.offsets.get(band, 0.0) for band in bands}
        if len(offsets) != 1:
            return None, f"the bands {', '.join(bands)} of {self.path} have different offsets"
        source = f"product metadata: quantification {self.quantification:g}, offset {min(offsets):g}, baseline {baseline}"
        return Radiometry(1.0 / self.quantification, offsets.pop(), self.nodata, "reflectance", "uint16"), source

    def _files(self) -> dict[tuple[str, int], SafeImage]:
        return {(image.band, image.gsd): image for image in self.images}


def is_product(path: Path) -> bool:
    """Whether `path` is read as a Sentinel-2 product: a folder, a zip file, or the metadata file of an unpacked product."""
    return path.is_dir() or path.suffix.lower() == ".zip" or bool(_METADATA.search(path.name))


def read_product(path: Path) -> SafeProduct:
    """Read what a product holds; no image is opened.

    Args:
        path: Folder, zip file, or the metadata file in the folder.

    Returns:
        The product.

    Raises:
        InputError: If it is no Sentinel-2 product, holds several, or is damaged or unsafe.
    """
    if path.is_file() and path.suffix.lower() != ".zip":
        path = path.parent
    members = _folder_members(path) if path.is_dir() else _zip_members(path)
    metadata = [name for name in members if _METADATA.search(name)]
    if not metadata:
        raise InputError(
            f"{path} is no Sentinel-2 product: it has no MTD_MSIL1C.xml or MTD_MSIL2A.xml; give a .SAFE folder, its .zip or a raster"
        )
    if len(metadata) > 1:
        raise InputError(f"{path} holds {len(metadata)} Sentinel-2 products; give one of them")
    found = [(match, name) for name in members if (match := _IMAGE.search(name))]
    granules = {match[1] for match, _ in found}
    if len(granules) != 1:
        raise InputError(f"{path} holds images of {len(granules)} tiles; expected a product of one tile")
    level = "sentinel-2-l2a" if "L2A" in metadata[0].rsplit("/", 1)[-1] else "sentinel-2-l1c"
    native = {band.name: int(band.gsd) for band in sensor(level).bands}
    images = [
        SafeImage(band, int(match[2] or match[4] or native[band]), _gdal_path(path, name), members[name])
        for match, name in found
        if (band := match[3].upper()) in native
    ]
    root = _parse(_read_member(path, metadata[0]), path)
    return SafeProduct(path, level, tuple(images), **_facts(root))  # type: ignore[arg-type]


def _folder_members(folder: Path) -> dict[str, int]:
    """Files below `folder` with their sizes; links are not followed."""
    members: dict[str, int] = {}
    for root, folders, files in os.walk(folder, followlinks=False):
        depth = len(Path(root).relative_to(folder).parts)
        folders[:] = sorted(folders) if depth < 5 else []
        for name in sorted(files):
            file = Path(root, name)
            if not file.is_symlink():
                members[file.relative_to(folder).as_posix()] = file.stat().st_size
        if len(members) > _MAX_MEMBERS:
            raise InputError(f"the folder {folder} holds more than {_MAX_MEMBERS} files; give the .SAFE folder itself")
    return members


def _zip_members(path: Path) -> dict[str, int]:
    """Members of the archive with their sizes; anything that could lead elsewhere or blow up is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} is no readable zip file ({error}); download it again") from error
    if len(entries) > _MAX_MEMBERS:
        raise InputError(f"{path} holds {len(entries)} files, too many for one Sentinel-2 product")
    members: dict[str, int] = {}
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if entry.filename[0] == "/" or ".." in parts or "\\" in entry.filename or "\0" in entry.filename or entry.filename in members:
            raise InputError(f"{path} holds a file with an unsafe name ({entry.filename[:80]!r}); no Sentinel-2 product has one")
        if entry.flag_bits & 1:
            raise InputError(f"{path} is protected by a password; unpack it first")
        if entry.file_size > _MAX_RATIO * max(entry.compress_size, 1024):
            sizes = f"{entry.file_size} bytes from {entry.compress_size}"
            raise InputError(f"{path} holds a file that unpacks to {sizes}; no Sentinel-2 product does")
        members[entry.filename] = entry.file_size
    return members


def _read_member(path: Path, name: str) -> bytes:
    try:
        if path.is_dir():
            with (path / name).open("rb") as file:
                data = file.read(_MAX_XML + 1)
        else:
            with zipfile.ZipFile(path) as archive, archive.open(name) as member:
                data = member.read(_MAX_XML + 1)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise InputError(f"cannot read {name} of {path} ({error}); download the product again") from error
    if len(data) > _MAX_XML:
        raise InputError(f"{name} of {path} is larger than {_MAX_XML // 2**20} MiB; that is no metadata of a Sentinel-2 product")
    return data


def _parse(data: bytes, path: Path) -> ElementTree.Element:
    """Parse XML without document types: no entities, so nothing can expand or reach out."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"the metadata of {path} is no UTF-8 text; download the product again") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"the metadata of {path} declares a document type, which no Sentinel-2 product does; it is not read")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"the metadata of {path} is no valid XML ({error}); download the product again") from error


def _facts(root: ElementTree.Element) -> dict[str, object]:
    """Tags, quantification, offsets and nodata from the metadata."""
    texts: dict[str, str] = {}
    offsets: dict[str, float] = {}
    nodata, special = 0.0, ""
    for element in root.iter():
        name, text = element.tag.rsplit("}", 1)[-1], (element.text or "").strip()
        texts.setdefault(name, text)
        if name in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET"):
            number = element.get("band_id", "")
            if number.isdigit() and int(number) < len(_BAND_IDS):
                offsets[_BAND_IDS[int(number)]] = _number(text, name)
        elif name == "SPECIAL_VALUE_TEXT":
            special = text
        elif name == "SPECIAL_VALUE_INDEX" and special == "NODATA":
            nodata = _number(text, name)
    quantification = texts.get("BOA_QUANTIFICATION_VALUE") or texts.get("QUANTIFICATION_VALUE")
    baseline = texts.get("PROCESSING_BASELINE", "")
    old = bool(re.fullmatch(r"\d\d\.\d\d", baseline)) and baseline < "04.00"
    scale = _number(quantification, "QUANTIFICATION_VALUE") if quantification else None
    return {
        "tags": {name: texts[name] for name in _TAGS if texts.get(name)},
        "quantification": scale if scale and scale > 0 else None,
        "offsets": offsets if offsets or old else None,
        "nodata": nodata,
    }


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"the metadata's {name} is {text[:40]!r}, not a number; download the product again") from error
    if not abs(value) < 1e9:
        raise InputError(f"the metadata's {name} is {text[:40]!r}, which makes no sense; download the product again")
    return value


def _gdal_path(path: Path, name: str) -> str:
    whole = path.resolve()
    return str(whole / name) if path.is_dir() else f"/vsizip/{{{whole}}}/{name}"
