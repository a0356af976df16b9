"""The part of a scene in one strip of latitude: layers as plain arrays, each made when first asked for."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .canvas import Canvas
from .changes import ChangeEvent, compare
from .clouds import cloud_fields, through_clouds
from .lattice import Array, Grid
from .mapping import draw_map
from .moment import Moment
from .optics import observe, reach_of
from .radar import backscatter, speckle
from .render import render
from .spectra import BANDS, BANDS_10M, BANDS_20M, BANDS_60M
from .sunlight import shadow_reach
from .surface import Surface

LARGEST = 36
"""Pixels that no building's corners are farther apart than."""
SCALES = {"s2_10m": 4, "s2_20m": 8, "s2_60m": 24}
"""Fine pixels per pixel of the layers that sensors see."""
SENSOR_BANDS = {"s2_10m": BANDS_10M, "s2_20m": BANDS_20M, "s2_60m": BANDS_60M}
_SNAP = {"s2_10m": 0, "s2_20m": 4, "s2_60m": 20}


def margin_for(layers: tuple[str, ...]) -> int:
    """Fine pixels around a window that these sensor layers see, a multiple of 4."""
    return -(-max(_SNAP[name] + reach_of(SCALES[name]) for name in layers) // 4) * 4


class Strip:
    """A window that lies in one strip of latitude."""

    def __init__(self, seed: int, window: Grid, moment: Moment, margin: int, cloudiness: float | None) -> None:
        """Note what is wanted.

        Args:
            seed: Of the world.
            window: 10 m pixels.
            moment: Date, season and sun.
            margin: From `margin_for`.
            cloudiness: Share of the sky under clouds, or None for the day's weather.
        """
        self.seed, self.window, self.moment, self.margin, self.cloudiness = seed, window, moment, margin, cloudiness
        self.fine = Grid(window.row * 4, window.col * 4, window.height * 4, window.width * 4)

    @cached_property
    def surface(self) -> Surface:
        """The canvas at the moment."""
        return self._surface_at(self.margin)

    def _surface_at(self, margin: int) -> Surface:
        halo = -(-(LARGEST + shadow_reach(self.moment.sun, self.fine.size)) // 4) * 4
        return Surface(Canvas(self.seed, self.fine.grown(margin + halo)), self.moment, self.moment.day)

    @cached_property
    def _image(self) -> Array:
        return render(self.surface)

    def cut(self, layer: Array) -> Array:
        """A layer of the canvas on the window."""
        return np.ascontiguousarray(layer[(..., *self.fine.within(self.surface.canvas.grid))])

    @cached_property
    def truth(self) -> Array:
        """Reflectance at 2.5 m, ``[13, H, W]``."""
        return self.cut(self._image)

    def coarse(self, name: str) -> Grid:
        """The whole pixels of a sensor layer that cover the window."""
        window, side = self.window, SCALES[name] // 4
        top, left = window.row // side, window.col // side
        return Grid(top, left, -(-(window.row + window.height) // side) - top, -(-(window.col + window.width) // side) - left, 10.0 * side)

    def seen(self, name: str) -> Array:
        """A sensor layer without clouds."""
        bands, scale = SENSOR_BANDS[name], SCALES[name]
        need = margin_for((name,))
        if need <= self.margin:
            grid, image = self.surface.canvas.grid, self._image[[BANDS.index(band) for band in bands]]
        else:
            surface = self._surface_at(need)
            grid, image = surface.canvas.grid, render(surface, bands)
        return observe(image, grid, self.coarse(name), scale)

    def cloudy(self, name: str, clear: Array) -> Array:
        """A sensor layer through the clouds."""
        return through_clouds(
            clear, SENSOR_BANDS[name], *cloud_fields(self.seed, self.moment.day, self.coarse(name), self.moment.sun, self.cloudiness)
        )

    @cached_property
    def clouds(self) -> Array:
        """Opacity and shadow, ``[2, h, w]``."""
        return np.stack(cloud_fields(self.seed, self.moment.day, self.window, self.moment.sun, self.cloudiness))

    @cached_property
    def power(self) -> Array:
        """Backscatter without speckle, linear, ``[2, h, w]``."""
        return backscatter(self.surface, self.window)

    def speckled(self) -> Array:
        """Backscatter with speckle, linear."""
        return self.power * speckle(self.seed, self.moment.day, self.window)

    @cached_property
    def landcover(self) -> Array:
        """Codes at 2.5 m, ``[1, H, W]``."""
        return self.cut(self.surface.cover)[None]

    def terrain(self, name: str) -> Array:
        """A natural field, 10 m, ``[1, h, w]``."""
        canvas = self.surface.canvas
        return np.ascontiguousarray(getattr(canvas.terrain, name)[self.window.within(canvas.coarse)])[None]

    def drawn_map(self) -> Array:
        """The map, ``[3, H, W]`` uint8."""
        return self.cut(draw_map(self.surface))

    def changed(self, state: float) -> tuple[Array, Array, Array, list[ChangeEvent]]:
        """Mask and kinds of change to the events of another day, the truth with these, and what happened."""
        other = Surface(self.surface.canvas, self.moment, state)
        mask, kind, events = compare(self.surface, other, self.fine)
        return mask, kind, self.cut(render(other)), events
