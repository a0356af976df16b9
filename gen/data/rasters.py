"""Rasters as arrays with names: an `xarray.DataArray` whose place on Earth rioxarray knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (makes DataArray.rio)
import xarray as xr
from affine import Affine
from rasterio.transform import IDENTITY

from ..errors import InputError
from .radiometry import Radiometry
from .raster_reader import RasterReader
from .raster_writer import BLOCK, RasterWriter


def read_raster(
    path: str | Path,
    *,
    bands: Sequence[str | int] | None = None,
    radiometry: Radiometry | None = None,
    sensor: str | None = None,
    gsd: int | None = None,
) -> xr.DataArray:
    """Read a whole raster.

    Args:
        path: GeoTIFF, COG, PNG, JPEG, or a Sentinel-2 `.SAFE` folder or `.zip`.
        bands: Names or positions from 1; None takes all (of a product: its 10 m bands; never transparency).
        radiometry: Overrides what the tags say.
        sensor: A row of the sensor table that names the file's bands, in its order.
        gsd: For products: take all bands at this ground sampling distance in m.

    Returns:
        float32, physical units, NaN where there is no data; dims ``band, y, x`` with the bands' names; CRS and transform in ``.rio``;
        ``attrs["radiometry"]`` is the `Radiometry` used and ``attrs["tags"]`` the file's tags.

    Raises:
        InputError: If it cannot be read, its radiometry is open, it does not fit into memory, or no pixel has data.
    """
    with RasterReader(path, bands, radiometry, sensor=sensor, gsd=gsd) as reader:
        pixels = reader.read(0, 0, reader.height, reader.width)
        if not np.isfinite(pixels).any():
            raise InputError(f"no pixel of {path} has data (bands {', '.join(reader.bands)}); give another file or other bands")
        attrs: dict[str, Any] = {"radiometry": reader.radiometry, "tags": reader.tags, "units": reader.radiometry.unit}
        return located(pixels, reader.bands, reader.crs, reader.transform, attrs)


def located(pixels: Any, bands: Sequence[str], crs: Any, transform: Any, attrs: Mapping[str, Any] | None = None) -> xr.DataArray:
    """An array with its names and its place.

    Args:
        pixels: ``[C, H, W]``.
        bands: Names of the bands.
        crs: Coordinate reference system, or None.
        transform: Affine map from (column, row) to coordinates.
        attrs: Attributes.

    Returns:
        Dims ``band, y, x``. Coordinates ``x`` and ``y`` are pixel centres; a rotated grid has none, only its transform.
    """
    coords: dict[str, Any] = {"band": list(bands)}
    if transform.b == 0 and transform.d == 0:
        coords["x"] = transform.c + (np.arange(pixels.shape[2]) + 0.5) * transform.a
        coords["y"] = transform.f + (np.arange(pixels.shape[1]) + 0.5) * transform.e
    image = xr.DataArray(pixels, dims=("band", "y", "x"), coords=coords, attrs=dict(attrs or {}))
    if crs is not None:
        image = image.rio.write_crs(crs)
    return image.rio.write_transform(transform)


def place_of(image: xr.DataArray) -> tuple[Any, Any]:
    """CRS and transform of an image.

    The transform that was stored is taken where the coordinates agree with it, and is computed from them where they do not, so that a crop
    is at its own place and an untouched image keeps its numbers exactly. A rotated
    grid has no coordinates: there the stored one is taken.
    """
    stored = _stored_transform(image)
    if stored.b or stored.d:  # rotated, by 90 degrees too
        return image.rio.crs, stored
    computed = image.rio.transform(recalc=True)
    scale = max(abs(stored.a), abs(stored.e))
    same = all(abs(one - other) <= 1e-6 * scale for one, other in zip(stored[:6], computed[:6], strict=True))
    return image.rio.crs, stored if same else computed


def _stored_transform(image: xr.DataArray) -> Any:
    """The transform as it was written. rioxarray's own `transform()` loses a turn by 90 degrees, which has b = -d and a = e = 0."""
    name = image.rio.grid_mapping
    text = str(image.coords[name].attrs.get("GeoTransform", "")) if name in image.coords else ""
    numbers = [float(number) for number in text.split()]
    return Affine.from_gdal(*numbers) if len(numbers) == 6 else image.rio.transform()


def write_raster(
    path: str | Path,
    image: xr.DataArray,
    *,
    radiometry: Radiometry | None = None,
    tags: Mapping[str, str] | None = None,
    cog: bool = False,
    compress: str = "deflate",
) -> None:
    """Write a whole raster, atomically.

    Args:
        path: ``.tif``, or ``.png`` or ``.jpg`` for pictures without georeference.
        image: Physical units, dims ``band, y, x``, as `read_raster` gives it.
        radiometry: How to store the numbers; by default that of ``image.attrs["radiometry"]``, else float32 as they are.
        tags: Tags of the file, beside ``image.attrs["tags"]``, which they override.
        cog: Write a Cloud Optimized GeoTIFF, with overviews.
        compress: ``"deflate"``, ``"zstd"``, ``"lzw"`` or ``"none"``.

    Raises:
        InputError: If the dims are others, the path cannot be written, the format cannot hold the picture, or the disk is full.
    """
    if image.dims != ("band", "y", "x"):
        raise InputError(f"an image with dims {', '.join(map(str, image.dims))} cannot be written; expected band, y, x")
    chosen = radiometry or image.attrs.get("radiometry") or Radiometry()
    names = [str(name) for name in image.coords["band"].values] if "band" in image.coords else [str(n + 1) for n in range(image.shape[0])]
    crs, transform = place_of(image)
    writer = RasterWriter(
        path,
        bands=names,
        height=image.sizes["y"],
        width=image.sizes["x"],
        crs=crs,
        transform=transform or IDENTITY,
        radiometry=chosen,
        tags={**dict(image.attrs.get("tags", {})), **dict(tags or {})},
        cog=cog,
        compress=compress,
    )
    with writer:
        for row in range(0, image.sizes["y"], BLOCK):
            writer.write(row, 0, np.asarray(image.isel(y=slice(row, row + BLOCK)).values))
