"""A window with everything about it that no date changes: terrain, parcels, airfields, banks, fine texture.

All layers of a scene are made on one canvas, which is larger than the scene by what shadows and the sensors' blur reach.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..noise import hash_key, uniform_field
from .drainage import Network, banks_at, meanders
from .landuse import ParcelBook
from .lattice import Array, Grid, enlarge, key_of
from .parcels import Division, divide
from .places import Airfield, airfields_near
from .terrain import Terrain, line_distance, network_for, slope_of, terrain_at

COARSE = 4
"""Fine pixels per pixel of the terrain's grid."""


class Canvas:
    """A window of 2.5 m pixels, aligned to multiples of 4."""

    def __init__(self, seed: int, grid: Grid) -> None:
        """Note the window; fields are made when first asked for."""
        self.seed, self.grid = seed, grid
        self.coarse = grid.coarser(COARSE).grown(2)

    @cached_property
    def terrain(self) -> Terrain:
        """Natural fields on the 10 m grid, two pixels wider than the canvas on every side."""
        return terrain_at(self.seed, self.coarse, self._network)

    @cached_property
    def _network(self) -> Network:
        return network_for(self.seed, self.coarse)

    @cached_property
    def division(self) -> Division:
        """The parcels."""
        return divide(self.seed, self.grid)

    @cached_property
    def airfields(self) -> list[Airfield]:
        """Those that can touch the canvas."""
        grid = self.grid
        return airfields_near(self.seed, (float(grid.x[0, 0]), float(grid.y[0, 0])), (float(grid.x[0, -1]), float(grid.y[-1, 0])))

    @cached_property
    def book(self) -> ParcelBook:
        """What the parcels are used for."""
        return ParcelBook(self.seed, self.division, self.airfields)

    def fine(self, coarse: Array) -> Array:
        """A field of the terrain's grid on the canvas."""
        return enlarge(coarse[1:-1, 1:-1], COARSE)

    @cached_property
    def slope(self) -> tuple[Array, Array]:
        """Rise per metre to the east and to the south."""
        east, south = slope_of(self.terrain.height, self.coarse.size)
        return enlarge(east, COARSE), enlarge(south, COARSE)

    @cached_property
    def bank(self) -> Array:
        """Signed distance to the nearest stream's bank; exact near it, since streams are narrower than the terrain's pixels."""
        bank = self.fine(self.terrain.bank)
        near = np.flatnonzero(bank < 24.0)
        if near.size:
            rows, cols = near // self.grid.width, near % self.grid.width
            bends = (self.fine(shift).ravel()[near] for shift in meanders(self.seed, self.coarse))
            x, y = (place + bent for place, bent in zip((self.grid.x[0, cols], self.grid.y[rows, 0]), bends, strict=True))
            bank.ravel()[near] = banks_at(self._network, x, y) + self.fine(self.terrain.ripple).ravel()[near]
        return bank

    @cached_property
    def still(self) -> Array:
        """Signed distance to the nearest shore of a lake or the sea."""
        return self.fine(self.terrain.still)

    @cached_property
    def motorway(self) -> Array:
        """Signed distance to the nearest motorway's middle."""
        return self.fine(line_distance(self.seed, "motorway", self.coarse))

    @cached_property
    def railway(self) -> Array:
        """Signed distance to the nearest railway."""
        return self.fine(line_distance(self.seed, "railway", self.coarse))

    def white(self, name: str) -> Array:
        """Independent values per pixel, uniform with unit variance."""
        grid = self.grid
        field = uniform_field(hash_key(self.seed, *name.encode()), grid.row, grid.col, grid.height, grid.width)
        return (field - np.float32(0.5)) * np.float32(12**0.5)

    @cached_property
    def texture(self) -> tuple[Array, Array, Array]:
        """Fine texture of about unit variance, one twin of it that is half independent, and patches of about 150 m."""
        grain, clump = self.white("grain"), self.grid.smooth(key_of(self.seed, "clump"), 8.0)
        broad = self.fine(self.coarse.smooth(key_of(self.seed, "broad"), 42.0))
        patch = self.fine(self.coarse.smooth(key_of(self.seed, "patch"), 150.0))
        return (
            np.float32(0.5) * grain + np.float32(0.6) * clump + np.float32(0.55) * broad,
            np.float32(0.75) * grain + np.float32(0.6) * broad,
            patch,
        )
