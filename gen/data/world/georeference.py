"""Where the world's plane lies on Earth: UTM zone 32 north, with a fixed origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import xarray as xr

from .lattice import Array, Grid
from .terrain import NORTHING, latitude_of

CRS = "EPSG:32632"
EASTING = 500_000.0
"""Of the world's origin, metres. Far from it the plane goes on, though the projection there is stretched."""


def on_map(image: Array, grid: Grid, bands: Sequence[str] | None, **attributes: Any) -> xr.DataArray:
    """A georeferenced DataArray.

    Args:
        image: ``[C, h, w]`` with band names, or ``[h, w]`` without.
        grid: Its window.
        bands: Names, or None.
        attributes: Kept in ``attrs``; ``classes`` is a mapping from code to name.
    """
    size = grid.size
    left, top = EASTING + grid.col * size, NORTHING - grid.row * size
    coords: dict[str, Any] = {"x": EASTING + grid.x[0], "y": NORTHING - grid.y[:, 0]}
    dims = ("y", "x") if bands is None else ("band", "y", "x")
    if bands is not None:
        coords["band"] = list(bands)
    classes = attributes.pop("classes", None)
    if isinstance(classes, Mapping):
        attributes["classes"] = {int(code): str(name) for code, name in classes.items()}
    # What `.rio.write_crs` and `.rio.write_transform` would write, at a hundredth of their cost.
    coords["spatial_ref"] = ((), 0, {**_crs_attributes(), "GeoTransform": f"{left} {size} 0.0 {top} 0.0 {-size}"})
    array = xr.DataArray(image, dims=dims, coords=coords, attrs=attributes)
    array.encoding["grid_mapping"] = "spatial_ref"
    return array


@cache
def _crs_attributes() -> dict[str, Any]:
    import rioxarray  # noqa: F401  (registers .rio)

    return dict(xr.DataArray(np.zeros((1, 1)), dims=("y", "x")).rio.write_crs(CRS).spatial_ref.attrs)


def lonlat_of(x: float, y: float) -> tuple[float, float]:
    """Longitude and latitude in degrees of a place on the plane; where the projection ends, the nearest sensible values."""
    from rasterio.warp import transform

    lon, lat = (float(values[0]) for values in transform(CRS, "EPSG:4326", [EASTING + x], [NORTHING - y]))
    if not (np.isfinite(lon) and np.isfinite(lat)):
        return 9.0, float(latitude_of(y))
    return lon, lat
