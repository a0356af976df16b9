"""Writing a raster piece by piece: whole or not at all, at the right place, in the right units."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from ..errors import InputError
from .atomic import atomic_path, check_output_path
from .radiometry import Radiometry
from .raster_blocks import BlockBuffer
from .raster_env import gdal_session
from .sensors import sensors
from .tags import radiometry_tags

BLOCK = 512
FORMATS = {".tif": "GTiff", ".tiff": "GTiff", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
COMPRESSIONS = ("deflate", "zstd", "lzw", "none")


class RasterWriter:
    """Writes windows of physical numbers to a GeoTIFF (or a plain PNG or JPEG).

    The file appears under its name only when the `with` block ends without an error; until then, and after an error, nothing is there or
    the old file is. Pixels that are never written have no data.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[str],
        height: int,
        width: int,
        crs: Any,
        transform: Any,
        radiometry: Radiometry,
        tags: Mapping[str, str] | None = None,
        cog: bool = False,
        compress: str = "deflate",
    ) -> None:
        """Check what can be checked; nothing is written before the `with` block is entered.

        Args:
            path: ``.tif``, or ``.png`` or ``.jpg`` for pictures without georeference.
            bands: Names, written as band descriptions.
            height: Rows in pixels.
            width: Columns in pixels.
            crs: Coordinate reference system, or None.
            transform: Affine map from (column, row) to coordinates.
            radiometry: How the numbers are stored.
            tags: Tags of the file. Scale, offset and unit are written in any case.
            cog: Write a Cloud Optimized GeoTIFF, with overviews.
            compress: One of `COMPRESSIONS`.

        Raises:
            InputError: If the path cannot be written, or the format cannot hold the picture.
        """
        self.path, self.bands = Path(path), tuple(bands)
        self.height, self.width, self.crs, self.transform = height, width, crs, transform
        self.radiometry, self.tags, self.cog, self.compress = radiometry, dict(tags or {}), cog, compress.lower()
        check_output_path(self.path)
        self._format = FORMATS.get(self.path.suffix.lower(), "")
        self._check_format()
        self._stack = ExitStack()
        self._dataset: Any = None

    def __enter__(self) -> RasterWriter:
        with suppress_on_error(self._stack):
            self._partial = self._stack.enter_context(atomic_path(self.path))
            direct = self._format == "GTiff" and not self.cog
            self._scratch = self._partial if direct else self._partial.with_suffix(".scratch.tif")
            self._stack.callback(_remove, self._scratch, self._partial)
            with self._session():
                self._dataset = rasterio.open(self._scratch, "w", **self._profile())
                self._describe()
            fill = self.radiometry.nodata if self.radiometry.nodata is not None else math.nan if not self.radiometry.is_integer else 0
            self._buffer = BlockBuffer(len(self.bands), self.height, self.width, BLOCK, self.radiometry.dtype, fill, self._emit)
        return self

    def write(self, row: int, col: int, array: NDArray[Any]) -> None:
        """Write a window.

        Args:
            row: First row.
            col: First column.
            array: ``[C, h, w]``, physical units; NaN means no data.

        Raises:
            InputError: If the window leaves the raster, the bands do not match, nothing can stand for missing pixels, or the disk is full.
        """
        if array.ndim != 3 or array.shape[0] != len(self.bands):
            raise InputError(
                f"a piece of shape {array.shape} was given for {self.path}, which has {len(self.bands)} bands; expected [C, h, w]"
            )
        if row < 0 or col < 0 or row + array.shape[1] > self.height or col + array.shape[2] > self.width:
            raise InputError(f"the piece {array.shape} at row {row}, column {col} leaves {self.path} ({self.height} x {self.width} pixels)")
        with self._session():
            self._buffer.add(row, col, self.radiometry.to_stored(array))

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Add tags that are known only once the picture is made; inside the `with` block."""
        self.tags.update(tags)
        with self._session():
            self._dataset.update_tags(**tags)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            with suppress(Exception), self._session():
                self._dataset.close()
            self._stack.__exit__(kind, error, trace)
            return
        with suppress_on_error(self._stack), self._session():
            self._buffer.finish()
            self._dataset.close()
            _check_blocks(self._scratch, self.path)
            if self._scratch != self._partial:
                self._convert()
                _check_opens(self._partial, self.path, self.tags)
        with self._session():
            self._stack.close()

    def _emit(self, row: int, col: int, stored: NDArray[Any]) -> None:
        self._dataset.write(stored, window=Window(col, row, stored.shape[-1], stored.shape[-2]))

    def _check_format(self) -> None:
        dtype, count = self.radiometry.dtype, len(self.bands)
        if not self._format:
            raise InputError(f"the output {self.path} has an unknown suffix; give a name that ends in .tif, .png or .jpg")
        if self.compress not in COMPRESSIONS:
            raise InputError(f"there is no compression {self.compress!r} here; choose one of {', '.join(COMPRESSIONS)}")
        if min(self.height, self.width, count) < 1:
            raise InputError(
                f"a picture of {count} bands, {self.height} x {self.width} pixels is empty; there is nothing to write to {self.path}"
            )
        if self._format == "GTiff":
            return
        if self.crs is not None or self.cog:
            raise InputError(f"{self.path} would lose the picture's place on Earth: a {self._format} has none; write a .tif")
        if count not in (1, 3) or dtype not in (("uint8", "uint16") if self._format == "PNG" else ("uint8",)):
            raise InputError(f"a {self._format} cannot hold {count} bands of {dtype}; write a .tif")
        if self._format == "JPEG" and self.radiometry.nodata is not None:
            raise InputError(f"{self.path} could not mark pixels without data: a JPEG blurs them; write a .tif or .png")

    def _profile(self) -> dict[str, Any]:
        nodata = self.radiometry.nodata
        if nodata is None and not self.radiometry.is_integer:
            nodata = math.nan
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "height": self.height,
            "width": self.width,
            "count": len(self.bands),
            "dtype": self.radiometry.dtype,
            "crs": self.crs,
            "transform": self.transform,
            "nodata": nodata,
            "tiled": True,
            "blockxsize": BLOCK,
            "blockysize": BLOCK,
            "interleave": "pixel" if len(self.bands) <= 4 else "band",
            "bigtiff": "IF_SAFER",
            "photometric": "MINISBLACK",
        }
        if self.compress != "none":
            profile |= {"compress": self.compress, "predictor": 2 if self.radiometry.is_integer else 3}
        return profile

    def _describe(self) -> None:
        dataset, radiometry, count = self._dataset, self.radiometry, len(self.bands)
        dataset.descriptions = self.bands
        dataset.colorinterp = [_colour(name) for name in self.bands]
        dataset.scales = [radiometry.scale] * count
        dataset.offsets = [radiometry.gdal_offset] * count
        dataset.units = [radiometry.unit] * count
        if self._format == "PNG" and radiometry.nodata is not None:
            self.tags["NODATA_VALUES"] = " ".join([f"{radiometry.nodata:g}"] * count)
        if self._format == "JPEG":  # the one text that GDAL puts into a JPEG as it is
            self.tags["EXIF_ImageDescription"] = "; ".join(f"{name}={value}" for name, value in self.tags.items())[:60_000]
        dataset.update_tags(**{**self.tags, **radiometry_tags(radiometry)})

    def _convert(self) -> None:
        from rasterio.shutil import copy

        if self._format == "PNG":
            copy(self._scratch, self._partial, driver="PNG", WRITE_METADATA_AS_TEXT="YES")
        elif self._format == "JPEG":
            copy(self._scratch, self._partial, driver="JPEG", QUALITY=95)
        else:
            options = {"COMPRESS": self.compress.upper(), "BLOCKSIZE": BLOCK, "BIGTIFF": "IF_SAFER", "OVERVIEW_RESAMPLING": "AVERAGE"}
            if self.compress != "none":
                options["PREDICTOR"] = "YES"
            copy(self._scratch, self._partial, driver="COG", **options)

    @contextmanager
    def _session(self) -> Any:
        try:
            with gdal_session(self.path, "write", GDAL_PAM_ENABLED="NO"):
                yield
        except InputError as error:
            if error.__cause__ is not None and shutil.disk_usage(self.path.parent).free < 2**20:
                raise InputError(full_disk(self.path)) from error
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise InputError(full_disk(self.path)) from error
            raise


def full_disk(path: Path) -> str:
    """The sentence for a disk without room."""
    return f"the disk is full: {path} could not be written; free some space or choose another folder"


@contextmanager
def suppress_on_error(stack: ExitStack) -> Any:
    """Unwind `stack` with the error if the block raises one; do nothing otherwise."""
    try:
        yield
    except BaseException as error:
        stack.__exit__(type(error), error, error.__traceback__)
        raise


def _remove(scratch: Path, partial: Path) -> None:
    if scratch != partial:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
    with suppress(OSError):
        partial.with_name(f"{partial.name}.aux.xml").unlink(missing_ok=True)


def _colour(name: str) -> ColorInterp:
    for row in sensors().values():
        at = row.position(name)
        common = row.bands[at].common if at is not None else name.lower()
        if common in ("red", "green", "blue", "gray"):
            return ColorInterp[common]
    return ColorInterp.undefined


def _check_blocks(file: Path, path: Path) -> None:
    """Read the tables back: a disk that fills up while GDAL closes a file goes unreported otherwise."""
    size = file.stat().st_size
    try:
        with rasterio.open(file) as dataset:
            bands = dataset.indexes if dataset.interleaving.name == "band" else (1,)
            rows, cols = (math.ceil(side / BLOCK) for side in (dataset.height, dataset.width))
            for band in bands:
                for at in np.ndindex(rows, cols):
                    entry = [dataset.get_tag_item(f"BLOCK_{what}_{at[1]}_{at[0]}", "TIFF", bidx=band) for what in ("OFFSET", "SIZE")]
                    if None in entry or int(entry[0]) + int(entry[1]) > size:
                        raise InputError(full_disk(path))
            complete = dataset.tags().get("EARTHGEN_SCALE") is not None
    except rasterio.errors.RasterioError as error:
        raise InputError(full_disk(path)) from error
    if not complete:
        raise InputError(full_disk(path))


def _check_opens(file: Path, path: Path, tags: Mapping[str, str]) -> None:
    try:
        with rasterio.open(file) as dataset:
            dataset.read(1, window=Window(max(0, dataset.width - 1), max(0, dataset.height - 1), 1, 1))
    except rasterio.errors.RasterioError as error:
        raise InputError(full_disk(path)) from error
