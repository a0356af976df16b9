"""Windows of a raster as physical numbers, with memory bounded by the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from ..errors import InputError
from .radiometry import Array, Radiometry
from .raster_env import check_read, gdal_session
from .raster_open import BandHandle, OpenRaster, open_raster
from .raster_radiometry import settle

_Member = tuple[int, BandHandle]


class RasterReader:
    """Reads windows of a GeoTIFF, COG, PNG, JPEG or Sentinel-2 product as physical float32 numbers.

    Attributes:
        path: As given.
        bands: Names of the bands that are read, in order.
        height: Rows in pixels.
        width: Columns in pixels.
        crs: Coordinate reference system of rasterio, or None.
        transform: Affine map from (column, row) to coordinates; the identity where the file has none.
        radiometry: How the stored numbers are understood, ready for writing a picture made from this one: where the file marks missing
            pixels by a mask or transparency, a nodata value is chosen that the file's type can hold.
        radiometry_source: Which tag, convention or option says so.
        tags: The file's tags.
        dtype: Type of the stored numbers.
        sensor: Name of the product, or None.
    """

    def __init__(
        self,
        path: str | Path,
        bands: Sequence[str | int] | None = None,
        radiometry: Radiometry | None = None,
        *,
        sensor: str | None = None,
        gsd: int | None = None,
    ) -> None:
        """Open the raster; use it as a context manager, or call `close`.

        Args:
            path: File, `.SAFE` folder or `.zip`.
            bands: Names or positions from 1, as `match_bands` takes them; None takes all (of a product: its 10 m bands; no transparency).
            radiometry: Overrides what the tags say. Its `dtype` is ignored; its nodata counts beside the file's own.
            sensor: A row of the sensor table that names the file's bands, in its order.
            gsd: For products: take all bands at this ground sampling distance in m.

        Raises:
            InputError: If the file cannot be read, a band is not there, or the radiometry is open and not given.
        """
        self.path = Path(path)
        self._raster: OpenRaster = open_raster(path, bands=bands, sensor_name=sensor, gsd=gsd)
        try:
            self._set_up(radiometry)
        except BaseException:
            self.close()
            raise

    def _set_up(self, radiometry: Radiometry | None) -> None:
        raster = self._raster
        handles, detected = raster.handles, raster.detected
        first = handles[0]
        self.bands = tuple(handle.facts.name for handle in handles)
        self.height, self.width = int(first.dataset.height), int(first.dataset.width)
        with gdal_session(self.path):
            self.crs, self.transform = first.dataset.crs, first.dataset.transform
        self.tags, self.sensor = dict(raster.tags), raster.sensor
        self.dtype = first.facts.dtype
        found = detected.radiometry if radiometry is None else settle(radiometry, self.dtype, first.facts.nodata)
        if found is None:
            raise InputError(detected.ambiguity or f"the radiometry of {self.path} is open; give --radiometry")
        self.radiometry_source = detected.source if radiometry is None else "given by the caller"
        self._stored = found
        self._also_nodata = None if radiometry is None or radiometry.nodata == found.nodata else radiometry.nodata
        self._masked = any(handle.masked for handle in handles)
        self.radiometry = _with_nodata(found) if self._masked and found.nodata is None else found

    def read(self, row: int, col: int, height: int, width: int) -> Array:
        """Read a window.

        Args:
            row: First row.
            col: First column.
            height: Rows; the window must lie inside the raster.
            width: Columns.

        Returns:
            ``[C, height, width]`` float32, physical units, NaN where there is no data.

        Raises:
            InputError: If the window leaves the raster or is too large for memory, or the file is damaged there.
        """
        inside = row >= 0 and col >= 0 and height > 0 and width > 0 and row + height <= self.height and col + width <= self.width
        if not inside:
            raise InputError(
                f"the window {height} x {width} at row {row}, column {col} leaves {self.path} ({self.height} x {self.width} pixels)"
            )
        check_read(len(self.bands), height, width, self.path)
        guard = self._raster.guard
        if guard is not None:
            handles = self._raster.handles
            with gdal_session(self.path):
                guard.check(handles[0].dataset, [handle.index for handle in handles], row, col, height, width)
        return self._read(Window(col, row, width, height), (height, width))

    def preview(self, side: int = 512) -> Array:
        """The whole picture at reduced size, by nearest neighbours.

        Args:
            side: Longest side of the result at most, in pixels.

        Returns:
            ``[C, h, w]`` float32, physical units, NaN where there is no data.

        Raises:
            InputError: If the file is damaged.
        """
        step = max(1.0, max(self.height, self.width) / side)
        shape = (max(1, int(self.height / step)), max(1, int(self.width / step)))
        return self._read(Window(0, 0, self.width, self.height), shape)

    def has_data(self) -> bool:
        """Whether any pixel has data in all bands: looks at a preview first, then at everything, row band by row band."""
        if bool(np.isfinite(self.preview()).all(0).any()):
            return True
        rows = max(1, min(512, 2**24 // (self.width * len(self.bands))))
        starts = range(0, self.height, rows)
        return any(bool(np.isfinite(self.read(at, 0, min(rows, self.height - at), self.width)).all(0).any()) for at in starts)

    def close(self) -> None:
        """Close the files; calling it twice does no harm."""
        self._raster.close()

    def __enter__(self) -> RasterReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _read(self, window: Window, shape: tuple[int, int]) -> Array:
        result = np.empty((len(self.bands), *shape), np.float32)
        with gdal_session(self.path):
            for dataset, members in _by_dataset(self._raster.handles):
                indexes = [handle.index for _, handle in members]
                stored = dataset.read(indexes, window=window, out_shape=(len(indexes), *shape))
                for (at, handle), plane in zip(members, stored, strict=True):
                    if handle.colours is not None:
                        plane = handle.colours[plane]
                    result[at] = self._stored.to_physical(plane)
                    if self._also_nodata is not None:
                        result[at][plane == self._also_nodata] = np.nan
                self._apply_masks(dataset, members, window, shape, result)
        return result

    def _apply_masks(self, dataset: Any, members: list[_Member], window: Window, shape: tuple[int, int], result: Array) -> None:
        if not self._masked:
            return
        for at, handle in members:
            if handle.masked:
                mask: NDArray[np.uint8] = dataset.read_masks(handle.index, window=window, out_shape=shape)
                result[at][mask == 0] = np.nan


def _by_dataset(handles: Sequence[BandHandle]) -> list[tuple[Any, list[_Member]]]:
    groups: dict[int, tuple[Any, list[_Member]]] = {}
    for at, handle in enumerate(handles):
        groups.setdefault(id(handle.dataset), (handle.dataset, []))[1].append((at, handle))
    return list(groups.values())


def _with_nodata(radiometry: Radiometry) -> Radiometry:
    kind = np.dtype(radiometry.dtype)
    lowest = float(np.iinfo(kind).min) if kind.kind in "iu" else float("nan")
    return replace(radiometry, nodata=lowest)
