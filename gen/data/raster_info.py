"""What is in a raster file, without reading its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .radiometry import Radiometry
from .raster_env import gdal_session
from .raster_open import open_raster
from .sensors import sensors


@dataclass(frozen=True)
class RasterInfo:
    """Facts about a raster.

    Attributes:
        path: As given.
        bands: Names of all bands; positions from 1 where the file has no names.
        chosen: Names of the bands that the facts below are about.
        height: Rows in pixels.
        width: Columns in pixels.
        dtype: Type of the stored numbers.
        crs: Coordinate reference system of rasterio, or None.
        transform: Affine map from (column, row) to coordinates.
        radiometry: How the stored numbers become physical; None where the tags leave it open.
        radiometry_source: Which tag or convention says so.
        ambiguity: One sentence on what is missing and which option settles it; None where nothing is.
        nodata: Stored number that means "no data", or None.
        driver: GDAL's name of the format; "SENTINEL2" for products.
        sensor: Name of the product (or its family), or None.
        tags: The file's tags.
        notes: Sentences that the user may want to know.
    """

    path: Path
    bands: tuple[str, ...]
    chosen: tuple[str, ...]
    height: int
    width: int
    dtype: str
    crs: Any
    transform: Any
    radiometry: Radiometry | None
    radiometry_source: str
    ambiguity: str | None
    nodata: float | None
    driver: str
    sensor: str | None
    tags: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Width and height of a pixel in units of the CRS; None without one. Right for rotated grids too."""
        if self.crs is None:
            return None
        t = self.transform
        return (t.a**2 + t.d**2) ** 0.5, (t.b**2 + t.e**2) ** 0.5


def inspect_raster(
    path: str | Path, bands: Sequence[str | int] | None = None, *, sensor: str | None = None, gsd: int | None = None
) -> RasterInfo:
    """Look at a raster. It need not be clear how its numbers are meant: then `radiometry` is None and `ambiguity` says what is missing.

    Args:
        path: File, `.SAFE` folder or `.zip`.
        bands: Names or positions from 1; None takes all (of a product: its 10 m bands).
        sensor: A row of the sensor table that names the file's bands, in its order.
        gsd: For products: take all bands at this ground sampling distance in m.

    Raises:
        InputError: If it cannot be read, or a band is not there.
    """
    with open_raster(path, bands=bands, sensor_name=sensor, gsd=gsd) as raster:
        first = raster.handles[0]
        with gdal_session(path):
            crs, transform = first.dataset.crs, first.dataset.transform
        notes = list(raster.notes)
        if raster.sensor is None and all(name.isdigit() for name in raster.bands):
            notes += _unnamed(len(raster.bands))
        return RasterInfo(
            path=Path(path),
            bands=raster.bands,
            chosen=tuple(handle.facts.name for handle in raster.handles),
            height=int(first.dataset.height),
            width=int(first.dataset.width),
            dtype=first.facts.dtype,
            crs=crs,
            transform=transform,
            radiometry=raster.detected.radiometry,
            radiometry_source=raster.detected.source,
            ambiguity=raster.detected.ambiguity,
            nodata=first.facts.nodata,
            driver=raster.driver,
            sensor=raster.sensor,
            tags=raster.tags,
            notes=tuple(notes),
        )


def _unnamed(count: int) -> list[str]:
    fits = [row.name for row in sensors().values() if len(row.bands) == count]
    note = "the file does not name its bands; ask for them by position from 1"
    if fits:
        note += f", or, if it is one of {', '.join(fits)} with the bands in order, say so with --sensor"
    return [note]
