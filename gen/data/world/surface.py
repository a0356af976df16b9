"""What a canvas looks like on a date, before any light falls on it: units, roads, water, things, trees, land cover."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .buildings import stand_buildings
from .canvas import Canvas
from .floods import flood_reach
from .ground import assign_units
from .landuse import Parcels
from .lattice import Array
from .moment import Moment
from .phenology import snow_share
from .roads import RAIL, Laid, lay_roads
from .spectra import CODE
from .stamp import Drawn, draw
from .sunlight import TALLEST, cast_shadows
from .things import KIND, Things, gather
from .trees import Crowns, grow_trees
from .units import WILD, Units, make_units
from .vessels import cars, planes, ships


class Surface:
    """The canvas at a moment, with the lasting changes of `state` (days since 2000-01-01), which may be another day."""

    def __init__(self, canvas: Canvas, moment: Moment, state: float) -> None:
        """Note what is wanted; layers are made when first asked for."""
        self.canvas, self.moment, self.state = canvas, moment, state

    @cached_property
    def parcels(self) -> Parcels:
        """Uses of the parcels."""
        return self.canvas.book.at(self.state)

    @cached_property
    def units(self) -> Units:
        """The table of materials."""
        return make_units(self.canvas.seed, self.parcels, self.moment)

    @cached_property
    def unit(self) -> Array:
        """Row of the table of each pixel."""
        return assign_units(self.canvas, self.parcels)

    @cached_property
    def laid(self) -> Laid:
        """Roads and hedges."""
        return lay_roads(self.canvas, self.parcels)

    @cached_property
    def shore(self) -> Array:
        """Signed distance to the water's edge, metres, negative in water; floods move it."""
        canvas = self.canvas
        reach = flood_reach(canvas, self.state)
        bank = canvas.bank if reach is None else np.minimum(canvas.bank, canvas.bank - reach)
        return np.minimum(bank, canvas.still)

    @cached_property
    def water(self) -> Array:
        """Share of water, without what lies or floats on it."""
        return np.clip(np.float32(0.5) - self.shore * np.float32(0.4), 0.0, 1.0)

    @cached_property
    def things(self) -> Things:
        """Buildings, vehicles, ships, planes."""
        canvas, day = self.canvas, self.moment.day
        static = stand_buildings(canvas, self.parcels, self.laid, self.unit)
        return gather([static, planes(canvas, day), ships(canvas, day), cars(canvas, self.laid, day)])

    @cached_property
    def drawn(self) -> Drawn:
        """The things as pixels."""
        return draw(self.things, self.canvas.grid, self.moment.sun)

    @cached_property
    def crowns(self) -> Crowns:
        """Trees; none on roads, in water, or through roofs."""
        density = self.units.trees.take(self.unit)
        # Woods are thinner here and there.
        density *= np.clip(np.float32(1.2) - np.float32(0.2) * self.canvas.texture[2], 0.35, 1.0)
        density[self.laid.hedge] = 0.82
        density[(self.laid.cover > 0.25) | (self.water > 0.2) | (self.drawn.cover > 0.05)] = 0.0
        near_track = (np.abs(self.canvas.motorway) < 17.0) | (np.abs(self.canvas.railway) < 8.0)
        density[near_track] = 0.0
        crowns = grow_trees(self.canvas.seed, self.canvas.grid, density, self.units.conifer.take(self.unit))
        # What stands on the ground is not overgrown, and neither is the middle of a road.
        crowns.cover *= (1.0 - self.drawn.cover) * (1.0 - np.float32(0.7) * self.laid.cover) * (1.0 - self.water)
        crowns.height *= crowns.cover > 0.0
        return crowns

    @cached_property
    def height(self) -> Array:
        """Of trees and things above the ground, metres."""
        return np.minimum(np.maximum(self.crowns.height, self.drawn.height), np.float32(TALLEST))

    @cached_property
    def shadow(self) -> Array:
        """0 in the sun to 1 in the shadow of trees and things."""
        return cast_shadows(self.height, self.moment.sun, self.canvas.grid.size)

    @cached_property
    def snow(self) -> Array:
        """Share of the open ground under snow."""
        canvas = self.canvas
        east, south = canvas.slope
        aspect = np.clip(-(east * np.float32(self.moment.sun.x) + south * np.float32(self.moment.sun.y)), -1.0, 1.0)
        warmth = canvas.fine(canvas.terrain.warmth)
        patch = canvas.texture[2]
        share = snow_share(self.moment.year_day, canvas.grid.y, warmth + np.float32(0.35) * patch, aspect)
        return np.where(
            self.unit >= self.units.first_wild + WILD["ice"], np.maximum(share, self.unit == self.units.first_wild + WILD["ice"]), share
        )

    @cached_property
    def cover(self) -> Array:
        """Land cover, codes of `spectra.CLASSES`, uint8."""
        cover = self.units.cover.take(self.unit)
        tall = self.crowns.cover > 0.5
        np.copyto(cover, np.where(self.crowns.conifer, np.uint8(CODE["conifers"]), np.uint8(CODE["broadleaf trees"])), where=tall)
        cover[(self.laid.hedge) & ~tall] = CODE["shrub"]
        cover[self.water > 0.5] = CODE["water"]
        cover[self.laid.rank > 0] = CODE["road"]
        cover[self.laid.rank == RAIL] = CODE["railway"]
        kinds = np.append(self.things.kind, -1)[self.drawn.which]
        cover[
            (self.drawn.cover > 0.5) & ((kinds == KIND["building"]) | (kinds == KIND["greenhouse"]) | (kinds == KIND["storage tank"]))
        ] = CODE["building"]
        return cover
