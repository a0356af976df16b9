"""A finer grid with the same upper-left corner, bounds and CRS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from ..gen.data.rasters import place_of
from ..gen.data.tags import carried_tags


def finer_transform(transform: Affine, scale: int) -> Affine:
    """The transform of a grid with `scale` times the pixels a side and the same upper-left corner."""
    return transform * Affine.scale(1.0 / scale)


def finer_grid(template: xr.DataArray, values: NDArray[Any], scale: int, tags: Mapping[str, str]) -> xr.DataArray:
    """Put values on the grid of `template`, made finer.

    Args:
        template: Dims ``[time,] band, y, x``.
        values: The same with `scale` times the pixels a side.
        scale: Ratio of the grids.
        tags: Added to those of the template.

    Returns:
        A DataArray with the template's name, bands, other coordinates, CRS and attributes.
    """
    coords = {name: coord for name, coord in template.coords.items() if not {"x", "y"} & set(coord.dims)}
    attrs = {**template.attrs, "tags": {**carried_tags(template.attrs.get("tags", {})), **tags}}
    finer = xr.DataArray(values, dims=template.dims, coords=coords, attrs=attrs, name=template.name)
    if not {"x", "y", "spatial_ref"} & set(template.coords):
        return finer
    transform = finer_transform(place_of(template)[1], scale)
    if not (transform.b or transform.d):
        height, width = values.shape[-2:]
        ys = transform.f + (np.arange(height) + 0.5) * transform.e
        xs = transform.c + (np.arange(width) + 0.5) * transform.a
        finer = finer.assign_coords(y=("y", ys, _attrs(template, "y")), x=("x", xs, _attrs(template, "x")))
    return finer.rio.write_transform(transform)


def _attrs(template: xr.DataArray, name: str) -> dict[Any, Any]:
    return dict(template[name].attrs) if name in template.coords else {}
