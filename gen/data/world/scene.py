"""A window of the world on a date, with all its layers, each made when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from .changes import Change
from .clouds import MASK, cloud_mask
from .describe import caption_of, season_of, shares_of
from .georeference import CRS, lonlat_of, on_map
from .lattice import Array, Grid
from .moment import STRIP, day_number, moment_in, strip_of
from .radar import LOOKS, POLARISATIONS, to_decibel
from .spectra import BANDS, CLASSES
from .strip import SCALES, SENSOR_BANDS, Strip, margin_for
from .things import WorldObject, gather, label

LAYERS = (
    "truth",
    *SCALES,
    *(f"{name}_cloudy" for name in SCALES),
    "s1",
    "s1_clean",
    "dem",
    "landcover",
    "landcover_10m",
    "map",
    "clouds",
    "cloud_mask",
)
"""Names of the raster layers."""


class Scene:
    """One window.

    Rasters are DataArrays (dims band, y, x) in a UTM system; reflectance 0 to 1, decibel, metres. Layers: `truth` (13 bands, 2.5 m),
    `s2_10m`, `s2_20m`,
    `s2_60m` (each with its own bands and grid; the coarser ones cover the window and end on whole pixels of their own), the same with
    ``_cloudy``, `s1` (VV, VH,
    10 m), `s1_clean` (without speckle), `dem` (10 m), `landcover` and `map` (2.5 m), `landcover_10m`, `clouds` and `cloud_mask` (10 m).
    """

    def __init__(self, seed: int, window: Grid, date: str, planned: Iterable[str], cloudiness: float | None) -> None:
        """Note what is wanted.

        Args:
            seed: Of the world.
            window: 10 m pixels.
            date: ISO date.
            planned: Layers that will be asked for; only a hint for how much to make at once.
            cloudiness: Share of the sky under clouds, or None for the weather of the day.
        """
        self.seed, self.window, self.date = seed, window, date
        self._fine = Grid(window.row * 4, window.col * 4, window.height * 4, window.width * 4)
        wide = {"s2_60m", "s2_60m_cloudy", "all"} & set(planned)
        margin = margin_for(tuple(SCALES) if wide else ("s2_10m", "s2_20m"))
        self._strips = [Strip(seed, part, moment_in(date, strip), margin, cloudiness) for strip, part in _split(window)]

    def layer(self, name: str) -> xr.DataArray:
        """A raster layer by its name.

        Raises:
            KeyError: If there is none of that name.
        """
        if name not in LAYERS:
            raise KeyError(f"no layer {name!r}; there are {', '.join(LAYERS)}")
        array: xr.DataArray = getattr(self, name)
        return array

    def _all(self, part: Callable[[Strip], Array]) -> Array:
        """A layer of all strips, one below the other."""
        parts = [part(strip) for strip in self._strips]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-2)

    @cached_property
    def truth(self) -> xr.DataArray:
        """Reflectance at 2.5 m, all thirteen bands."""
        return on_map(self._all(lambda strip: strip.truth), self._fine, BANDS, units="reflectance")

    def _coarse(self, name: str) -> Grid:
        first = self._strips[0].coarse(name)
        return replace(first, height=sum(strip.coarse(name).height for strip in self._strips))

    def _clear(self, name: str) -> xr.DataArray:
        return on_map(self._all(lambda strip: strip.seen(name)), self._coarse(name), SENSOR_BANDS[name], units="reflectance")

    @cached_property
    def s2_10m(self) -> xr.DataArray:
        """B02, B03, B04, B08 without clouds."""
        return self._clear("s2_10m")

    @cached_property
    def s2_20m(self) -> xr.DataArray:
        """B05, B06, B07, B8A, B11, B12 without clouds."""
        return self._clear("s2_20m")

    @cached_property
    def s2_60m(self) -> xr.DataArray:
        """B01, B09, B10 without clouds."""
        return self._clear("s2_60m")

    def _cloudy(self, name: str) -> xr.DataArray:
        clear, top, parts = self.layer(name).values, 0, []
        for strip in self._strips:
            height = strip.coarse(name).height
            parts.append(strip.cloudy(name, clear[:, top : top + height]))
            top += height
        return on_map(np.concatenate(parts, axis=1), self._coarse(name), SENSOR_BANDS[name], units="reflectance")

    @cached_property
    def s2_10m_cloudy(self) -> xr.DataArray:
        """`s2_10m` through the day's clouds."""
        return self._cloudy("s2_10m")

    @cached_property
    def s2_20m_cloudy(self) -> xr.DataArray:
        """`s2_20m` through the day's clouds."""
        return self._cloudy("s2_20m")

    @cached_property
    def s2_60m_cloudy(self) -> xr.DataArray:
        """`s2_60m` through the day's clouds."""
        return self._cloudy("s2_60m")

    @cached_property
    def clouds(self) -> xr.DataArray:
        """Bands ``opacity`` and ``shadow``, 0 to 1, 10 m."""
        return on_map(self._all(lambda strip: strip.clouds), self.window, ("opacity", "shadow"), units="1")

    @cached_property
    def cloud_mask(self) -> xr.DataArray:
        """Codes 0 clear, 1 cloud, 2 thin cloud, 3 cloud shadow; 10 m."""
        return on_map(cloud_mask(*self.clouds.values)[None], self.window, ("cloud_mask",), classes=MASK)

    @cached_property
    def s1(self) -> xr.DataArray:
        """VV and VH sigma nought in dB with speckle, 10 m."""
        return on_map(to_decibel(self._all(Strip.speckled)), self.window, POLARISATIONS, units="dB", looks=LOOKS)

    @cached_property
    def s1_clean(self) -> xr.DataArray:
        """`s1` without speckle."""
        return on_map(to_decibel(self._all(lambda strip: strip.power)), self.window, POLARISATIONS, units="dB")

    @cached_property
    def dem(self) -> xr.DataArray:
        """Height of the ground in metres, 10 m."""
        return on_map(self._all(lambda strip: strip.terrain("height")), self.window, ("elevation",), units="m")

    @cached_property
    def landcover(self) -> xr.DataArray:
        """Land-cover codes at 2.5 m, uint8; names are in ``attrs["classes"]``."""
        return on_map(self._all(lambda strip: strip.landcover), self._fine, ("landcover",), classes=CLASSES)

    @cached_property
    def landcover_10m(self) -> xr.DataArray:
        """The class that covers most of each 10 m pixel."""
        height, width = self.window.shape
        fine = self.landcover.values[0].reshape(height, 4, width, 4).transpose(0, 2, 1, 3).reshape(height, width, 16)
        counts = np.stack([(fine == code).sum(-1, dtype=np.uint8) for code in CLASSES])
        codes = np.array(list(CLASSES), np.uint8)
        return on_map(codes[counts.argmax(0)][None], self.window, ("landcover",), classes=CLASSES)

    @cached_property
    def map(self) -> xr.DataArray:
        """The map layer, red, green, blue, uint8, 2.5 m; colours are in `mapping.PALETTE`."""
        return on_map(self._all(Strip.drawn_map), self._fine, ("red", "green", "blue"), units="display")

    @cached_property
    def _labels(self) -> tuple[list[WorldObject], list[WorldObject]]:
        things = gather([strip.surface.things for strip in self._strips])
        first = np.unique(things.name, return_index=True)[1]
        return label(things.take(np.sort(first)), self._fine)

    @property
    def objects(self) -> list[WorldObject]:
        """Labelled rotated boxes that lie wholly inside the window, in pixels of the 2.5 m grid."""
        return self._labels[0]

    @property
    def cut_objects(self) -> list[WorldObject]:
        """Those that the window's border cuts."""
        return self._labels[1]

    def change(self, other_date: str) -> Change:
        """Lasting changes from this scene's date to another (ISO)."""
        parts = [strip.changed(day_number(other_date)) for strip in self._strips]
        mask, kind, after = (np.concatenate([part[number] for part in parts], axis=-2) for number in range(3))
        events, top = [], 0
        for strip, part in zip(self._strips, parts, strict=True):
            events += [replace(event, box=(event.box[0] + top, event.box[1], event.box[2] + top, event.box[3])) for event in part[3]]
            top += strip.fine.height
        appearance = (self.truth.values != after).any(0)
        flat = [on_map(layer, self._fine, None) for layer in (mask, kind, appearance)]
        return Change(flat[0], flat[1], flat[2], self.truth, on_map(after, self._fine, BANDS, units="reflectance"), events)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Place, date, sun, cover: what a product's metadata would say, and some statistics of the window."""
        window, sun = self.window, moment_in(self.date, strip_of(float(self.window.y.mean()))).sun
        lon, lat = lonlat_of(float(window.x.mean()), float(window.y.mean()))
        height = self.dem.values
        return {
            "seed": self.seed, "row": window.row, "col": window.col, "height": window.height, "width": window.width, "crs": CRS,
            "longitude": lon, "latitude": lat, "date": self.date, "season": season_of(lat, int(self.date[5:7])),
            "gsd": {"truth": 2.5, "s2_10m": 10.0, "s2_20m": 20.0, "s2_60m": 60.0, "s1": 10.0, "dem": 10.0},
            "sun_elevation": sun.elevation, "sun_azimuth": sun.azimuth, "cloud_cover": float((self.clouds.values[0] > 0.5).mean()),
            "snow": float(self._all(lambda strip: strip.cut(strip.surface.snow)).mean()),
            "elevation": float(height.mean()), "relief": float(height.max() - height.min()),
            "aridity": float(self._all(lambda strip: strip.terrain("arid")).mean()),
            "temperature": float(self._all(lambda strip: strip.terrain("warmth")).mean()),
            "land_cover": shares_of(self.landcover.values), "synthetic": True,
        }  # fmt: skip

    @cached_property
    def caption(self) -> str:
        """A sentence or two on what is in view."""
        return caption_of(self.metadata, [thing.name for thing in self.objects])


def _split(window: Grid) -> list[tuple[int, Grid]]:
    """The window's parts in each strip of latitude."""
    rows = round(STRIP / window.size)
    first, last = window.row // rows, (window.row + window.height - 1) // rows
    parts = []
    for strip in range(first, last + 1):
        top, bottom = max(window.row, strip * rows), min(window.row + window.height, (strip + 1) * rows)
        parts.append((strip, replace(window, row=top, height=bottom - top)))
    return parts
