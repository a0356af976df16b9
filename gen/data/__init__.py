"""Rasters, radiometry, tiles, datasets and the procedural world. Each name is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Radiometry": ".radiometry",
    "radiometry_named": ".radiometry",
    "radiometry_from_options": ".radiometry",
    "Sensor": ".sensors",
    "sensor": ".sensors",
    "match_bands": ".band_names",
    "read_raster": ".rasters",
    "write_raster": ".rasters",
    "inspect_raster": ".raster_info",
    "RasterInfo": ".raster_info",
    "RasterReader": ".raster_reader",
    "RasterWriter": ".raster_writer",
    "provenance": ".tags",
    "World": ".world",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
