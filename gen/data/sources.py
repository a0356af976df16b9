"""Where training pictures come from: declared in a recipe, read into memory as physical float32 arrays.

Each source is a small model checked by pydantic, told apart by ``kind``; a ``stream`` alone is not read into memory (see `stream.py`). All
paths are relative to the recipe's data folder. A picture has a name (``relative/path.tif``, with ``#3`` for a member of a stack; a window
adds ``@r0:r1,c0:c1``), and `only` and `exclude` take shell patterns over those names without the window: that is how held-out places are
kept out of training.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from .collections.opening import Format, open_collection
from .collections.record import Collection, Pixels, UnreadableRecord
from .collections.selected import Selected

Array = NDArray[np.float32]
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Picture:
    """One picture in memory.

    Attributes:
        name: Unique name.
        pixels: ``[C, H, W]`` float32, physical units, NaN where there is no data.
        place: Its name without the window.
        window: Rows and columns ``(r0, r1, c0, c1)`` of the stored picture; None for all of it.
    """

    name: str
    pixels: Array
    place: str
    window: Window | None = None

    def overlaps(self, other: Picture) -> bool:
        """Whether two pictures share pixels of one stored picture."""
        if self.place != other.place:
            return False
        if self.window is None or other.window is None:
            return True
        top, bottom, left, right = self.window
        first, last, start, end = other.window
        return top < last and first < bottom and left < end and start < right


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(1.0, ge=0)
    """Share of the samples drawn from this source, relative to the others."""
    scale: float = 1.0
    """Physical value = (stored + offset) * scale."""
    offset: float = 0.0
    exclude: tuple[str, ...] = ()
    """Names (shell patterns) that are left out."""
    only: tuple[str, ...] = ("*",)
    """Names (shell patterns) that are taken."""
    window: Window | None = None
    """Rows and columns ``(r0, r1, c0, c1)`` to cut from each picture."""
    gain: tuple[float, float] = (1.0, 1.0)
    """Random brightness factor, against learning one place's reflectances by heart."""

    def pictures(self, root: Path) -> Iterator[Picture]:
        """Read everything that this source declares.

        Args:
            root: Data folder.

        Yields:
            Pictures that `only` takes and `exclude` leaves.

        Raises:
            InputError: If nothing is found, or a file does not hold what was declared.
        """
        found = 0
        for name, stored, extra in self._stored(root):
            if not any(fnmatchcase(name, pattern) for pattern in self.only):
                continue
            if any(fnmatchcase(name, pattern) for pattern in self.exclude):
                continue
            found += 1
            yield self._physical(name, stored, extra)
        if not found:
            raise InputError(f"the training source {self._where()} holds no picture under {root}; check its path, 'only' and 'exclude'")

    def _physical(self, name: str, stored: NDArray[np.generic], extra: float) -> Picture:
        place = name
        if self.window is not None:
            top, bottom, left, right = self.window
            if not (0 <= top < bottom <= stored.shape[1] and 0 <= left < right <= stored.shape[2]):
                raise InputError(
                    f"the window {self.window} does not lie in {name}, which has {stored.shape[1]} x {stored.shape[2]} pixels; "
                    "give rows and columns as [r0, r1, c0, c1]"
                )
            stored = stored[:, top:bottom, left:right]
            name = f"{name}@{top}:{bottom},{left}:{right}"
        pixels = (stored.astype(np.float32) + np.float32(self.offset + extra)) * np.float32(self.scale)
        return Picture(name, np.ascontiguousarray(pixels), place, self.window)

    def _where(self) -> str:
        return str(getattr(self, "files", ""))

    def _stored(self, root: Path) -> Iterator[tuple[str, NDArray[np.generic], float]]:
        raise NotImplementedError


class RasterFiles(_Source):
    """GeoTIFFs or plain pictures; `bands` are positions from 1."""

    kind: Literal["raster"] = "raster"
    files: str
    bands: tuple[int, ...]
    offsets: dict[str, float] = Field(default_factory=dict)
    """Offset of single files by pattern, where it differs (Sentinel-2 products since 2022: -1000)."""
    nodata: float | None = None

    def _stored(self, root: Path) -> Iterator[tuple[str, NDArray[np.generic], float]]:
        import rasterio
        from rasterio.errors import RasterioError

        for path in sorted(root.glob(self.files)):
            name = path.relative_to(root).as_posix()
            try:
                with rasterio.open(path) as file:
                    stored = file.read(list(self.bands)).astype(np.float32)
            except (RasterioError, IndexError) as error:
                raise InputError(f"cannot read bands {list(self.bands)} of {path}: {error}") from error
            if self.nodata is not None:
                stored[:, (stored == self.nodata).all(0)] = np.nan
            extra = next((value for pattern, value in self.offsets.items() if fnmatchcase(name, pattern)), 0.0)
            yield name, stored, extra


class ArrayFiles(_Source):
    """Arrays of numpy archives: ``[C, H, W]``, or a stack ``[N, C, H, W]`` whose members are named ``#0``, ``#1``, ..."""

    kind: Literal["array"] = "array"
    files: str
    key: str
    bands: tuple[int, ...] = Field(min_length=1)
    """Positions from 0 along the channel axis."""
    channels_last: bool = False
    nodata: float | None = None

    def _stored(self, root: Path) -> Iterator[tuple[str, NDArray[np.generic], float]]:
        for path in sorted(root.glob(self.files)):
            name = path.relative_to(root).as_posix()
            stack = self._array(path)
            if self.nodata is not None:
                stack[stack == self.nodata] = np.nan
            if stack.ndim == 3:
                yield name, stack[list(self.bands)], 0.0
                continue
            for number, image in enumerate(stack):
                yield f"{name}#{number}", image[list(self.bands)], 0.0

    def _array(self, path: Path) -> Array:
        """The array, channels before rows."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                if self.key not in archive.files:
                    raise InputError(f"{path} has no array {self.key!r}; it has {', '.join(archive.files)}")
                stack = archive[self.key].astype(np.float32)
        except (OSError, ValueError, AttributeError, BadZipFile, zlib.error) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} cannot be read as a numpy archive of numbers ({error}); copy it again or exclude it") from error
        if stack.ndim not in (3, 4):
            raise InputError(f"the array {self.key!r} of {path} has {stack.ndim} axes; expected [C, H, W] or a stack [N, C, H, W]")
        if self.channels_last:
            stack = np.moveaxis(stack, -1, -3)
        if max(self.bands) >= stack.shape[-3]:
            raise InputError(f"the array {self.key!r} of {path} has {stack.shape[-3]} bands; bands {list(self.bands)} count from 0")
        return np.asarray(stack, dtype=np.float32)


class ImageFiles(_Source):
    """8-bit pictures (PNG, JPEG): red, green, blue as display values 0 to 1. Alpha is dropped."""

    kind: Literal["image"] = "image"
    files: str
    scale: float = 1.0 / 255.0
    reduce: int = Field(1, ge=1)
    """Average this many pixels per axis first, for pictures that are blurred at their own scale."""

    def _stored(self, root: Path) -> Iterator[tuple[str, NDArray[np.generic], float]]:
        from PIL import Image

        for path in sorted(root.glob(self.files)):
            try:
                with Image.open(path) as file:
                    rgb = np.asarray(file.convert("RGB"), dtype=np.float32).transpose(2, 0, 1)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise InputError(f"{path} cannot be read as a picture ({error}); copy it again or exclude it") from error
            if self.reduce > 1:
                rgb = _block_mean(rgb, self.reduce)
            yield path.relative_to(root).as_posix(), rgb, 0.0


class WorldWindows(_Source):
    """Windows of the procedural world, made once at the start and kept in memory."""

    kind: Literal["world"] = "world"
    seed: int = 0
    count: int = Field(64, ge=1)
    size: int = Field(256, ge=32)
    layer: str = "s2_10m"
    bands: tuple[str, ...] = ("B04", "B03", "B02", "B08")

    def _stored(self, root: Path) -> Iterator[tuple[str, NDArray[np.generic], float]]:
        from .world import World

        for number in range(self.count):
            rng = np.random.default_rng([self.seed, number])
            row, col = (int(value) for value in rng.integers(0, 400_000, 2))
            month = int(rng.integers(1, 13))
            scene = World(self.seed).window(row, col, self.size, self.size, date=f"2021-{month:02d}-15", modalities=("s2",))
            layer = getattr(scene, self.layer)
            yield f"world-{self.seed}#{number}", layer.sel(band=list(self.bands)).values.astype(np.float32), 0.0

    def _where(self) -> str:
        return "'world'"


class StreamFiles(_Source):
    """A collection larger than memory: tar shards, parquet, a folder of pictures or of map tiles; read while training."""

    kind: Literal["stream"] = "stream"
    format: Format
    files: str
    """Pattern of the shards or parquet files; of an imagefolder or tiles, the folder."""
    scale: float = 1.0 / 255.0
    picture: str | None = None
    """Member (``rgb.npy``) or column that is the picture, where there are several."""
    bands: tuple[int, ...] | None = Field(None, min_length=1)
    """Positions from 0; all bands if left out."""
    channels_last: bool = False
    nodata: float | None = None
    cache: Path | None = None
    """Folder in which the indexes of tar shards are kept."""

    def open(self, root: Path) -> Collection:
        """The records that `only` takes and `exclude` leaves.

        Raises:
            InputError: If there are none, or the collection is damaged.
        """
        settings = {"picture": self.picture, "channels_last": self.channels_last, "cache": self.cache}
        collection = open_collection(self.format, root, self.files, **settings)  # type: ignore[arg-type]
        if self.only != ("*",) or self.exclude:
            collection = Selected(collection, self.only, self.exclude)
        if not len(collection):
            raise InputError(f"the training source {self.files} holds no picture under {root}; check 'only' and 'exclude'")
        return collection

    def physical(self, name: str, stored: Pixels) -> Picture:
        """A stored picture ``[C, H, W]`` in physical units.

        Raises:
            UnreadableRecord: If it has not the bands, or its window lies outside.
        """
        if self.bands is not None and max(self.bands) >= stored.shape[0]:
            raise UnreadableRecord(name, f"it has {stored.shape[0]} bands; bands {list(self.bands)} count from 0")
        chosen = stored if self.bands is None else stored[list(self.bands)]
        if self.nodata is not None:
            chosen = np.where((chosen == self.nodata).all(0), np.float32(np.nan), chosen.astype(np.float32))
        try:
            return self._physical(name, chosen, 0.0)
        except InputError as error:
            raise UnreadableRecord(name, str(error)) from error

    def pictures(self, root: Path) -> Iterator[Picture]:
        """All pictures in turn, as held-out data needs them."""
        collection = self.open(root)
        for index in range(len(collection)):
            record = collection.read(index)
            yield self.physical(record.name, record.picture)


Source = Annotated[RasterFiles | ArrayFiles | ImageFiles | WorldWindows | StreamFiles, Field(discriminator="kind")]


def _block_mean(image: Array, size: int) -> Array:
    bands, height, width = image.shape
    rows, cols = height // size, width // size
    blocks = image[:, : rows * size, : cols * size].reshape(bands, rows, size, cols, size)
    return np.asarray(blocks.mean((2, 4)), dtype=np.float32)
