"""What each parcel is used for at a date: from terrain, climate, settlements and chance, all taken at the parcel's middle.

Lasting changes are part of it: parcels at the edges of settlements are built up on a day of their own, woods are felled and grow back,
wild land burns. What the seasons
do is not here but in `phenology`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..noise import hash_at
from .lattice import Array, Points, key_of, uniform_at
from .parcels import Division, centres
from .places import Airfield, in_airfield, towns_at
from .terrain import Terrain, line_distance, terrain_at

USES = (
    "crop",
    "pasture",
    "meadow",
    "orchard",
    "vines",
    "wood",
    "heath",
    "fallow",
    "park",
    "houses",
    "centre",
    "industry",
    "depot",
    "solar",
    "parking",
    "site",
    "felled",
    "burnt",
    "quarry",
    "wild",
    "glass",
    "sports",
)
USE = {name: number for number, name in enumerate(USES)}
BUILT = tuple(USE[name] for name in ("houses", "centre", "industry", "depot", "parking"))
_FIRST, _SPAN = 5_100.0, 5_600.0  # lasting changes happen from about 2014 to 2029
_SITE_DAYS, _REGROWTH, _SCAR = 260.0, 2_600.0, 900.0

EVENTS = {1: "construction", 2: "felling", 3: "fire", 4: "flood", 5: "regrowth"}
"""Kinds of lasting change."""


@dataclass(frozen=True)
class Parcels:
    """The parcels of a window at a date; arrays of one value per parcel.

    Attributes:
        use: Code of `USES`.
        before: Use before the parcel's event.
        event: Kind of event that the parcel has in its history, 0 for none.
        event_day: When, in days since 2000-01-01.
        event_end: When it is over: the buildings stand, the wood has grown again.
        crop: Number in 0..1 that picks the crop and other details.
        tone: Number in 0..1 for its brightness.
        key: Hash of each parcel, uint64.
        ground: Natural fields at its middle.
        town: How deep inside a settlement it lies.
        town_radius: Of that settlement, metres.
        middle: Where its middle is.
    """

    use: Array
    before: Array
    event: Array
    event_day: Array
    event_end: Array
    crop: Array
    tone: Array
    key: Array
    ground: Terrain
    town: Array
    town_radius: Array
    middle: Points


class ParcelBook:
    """Everything about a window's parcels that does not depend on the date."""

    def __init__(self, seed: int, division: Division, airfields: list[Airfield]) -> None:
        """Look at every parcel's middle.

        Args:
            seed: Of the world.
            division: The window's parcels.
            airfields: Those near the window.
        """
        table = division.districts
        rows = table.row[division.district] * 4096 + division.row
        cols = table.col[division.district] * 4096 + division.col
        self._draws = {
            name: uniform_at(key_of(seed, f"parcel {name}"), rows, cols) for name in ("use", "crop", "tone", "event", "day", "kind")
        }
        self.key = hash_at(key_of(seed, "parcel"), rows, cols)
        self.middle = centres(seed, division)
        self.ground = terrain_at(seed, self.middle)
        towns = towns_at(seed, self.middle)
        self.town, self.radius = towns.inside, towns.radius
        self.size = np.minimum(division.box[:, 1] - division.box[:, 0], division.box[:, 3] - division.box[:, 2])
        self.culture = uniform_at(key_of(seed, "district culture"), table.row, table.col)[division.district]
        clear = np.ones(rows.shape, bool)
        for field in airfields:
            clear &= ~in_airfield(field, self.middle.x, self.middle.y, 120.0)
        self._clear = clear
        motorway = np.abs(line_distance(seed, "motorway", self.middle))
        self._roadside = (motorway < 260.0) & (self._draws["kind"] < 0.05) & (self.ground.mountain < 0.2)
        self._rural, self._urban, self._fringe = self._country(), self._city(), self.town + 0.22 * (self._draws["kind"] - 0.5)

    def at(self, day: float) -> Parcels:
        """The parcels as they are on a day (since 2000-01-01)."""
        draws = self._draws
        use = self._rural.copy()
        settled = (self._fringe > 0.0) | self._roadside
        settled &= self._clear & (self.ground.shore > 14.0) & (self.ground.arid < 0.9)
        when = _FIRST + _SPAN * draws["day"].astype(np.float64)
        # Centres are old; the farther out, the likelier a parcel was built within the years of change.
        new = settled & (draws["event"] < np.where(self._roadside, 0.75, 0.62 - 1.1 * self.town))
        use = np.where(settled, self._urban, use)
        event = np.where(new, 1, 0)
        use = np.where(new & (day < when), USE["site"], use)
        use = np.where(new & (day < when - _SITE_DAYS), self._rural, use)
        wood = ~settled & (self._rural == USE["wood"]) & (draws["event"] < 0.3)
        fell = wood & (draws["kind"] < 0.72)
        event = np.where(fell, 2, event)
        use = np.where(fell & (day >= when) & (day < when + _REGROWTH), USE["felled"], use)
        burnt = (wood & ~fell) | (~settled & (self._rural == USE["heath"]) & (draws["event"] < 0.2))
        event = np.where(burnt, 3, event)
        use = np.where(burnt & (day >= when) & (day < when + _SCAR), USE["burnt"], use)
        starts = np.where(new, when - _SITE_DAYS, when)
        ends = np.where(new, when, when + np.where(burnt, _SCAR, _REGROWTH))
        return Parcels(
            use, self._rural, event, starts, ends, draws["crop"], draws["tone"], self.key, self.ground, self.town, self.radius, self.middle
        )

    def _country(self) -> Array:
        """Use of each parcel if no settlement were near."""
        chance, ground = self._draws["use"], self.ground
        culture = self.culture
        use = np.full(chance.shape, USE["crop"])
        use = np.where(chance < 0.2 + 0.3 * (culture > 0.62), USE["pasture"], use)
        use = np.where((chance > 0.2) & (chance < 0.27), USE["meadow"], use)
        warm = ground.warmth > 8.5
        use = np.where(warm & (culture < 0.1) & (chance > 0.3), USE["orchard"], use)
        use = np.where(warm & (culture > 0.1) & (culture < 0.2) & (chance > 0.25) & (ground.plain > 14.0), USE["vines"], use)
        use = np.where(chance > 0.965, USE["fallow"], use)
        use = np.where((chance > 0.955) & (chance < 0.962) & (self.size > 80.0), USE["solar"], use)
        use = np.where((chance > 0.948) & (chance < 0.951) & (ground.plain > 20.0), USE["quarry"], use)
        use = np.where(warm & (chance > 0.952) & (chance < 0.9545), USE["glass"], use)
        wet = (ground.plain < 2.5) & (ground.shore < 120.0)
        use = np.where(wet & (chance > 0.35), USE["meadow"], use)
        use = np.where((ground.forest > -0.1) & (chance < 0.3), USE["heath"], use)
        use = np.where(ground.forest > 0.42 - 0.5 * (chance - 0.5), USE["wood"], use)
        use = np.where((ground.arid > 0.45) & (use != USE["wood"]), np.where(chance < 0.3, USE["orchard"], USE["heath"]), use)
        wild = (ground.mountain > 0.33) | (ground.arid > 0.7) | (ground.warmth < 0.5)
        return np.asarray(np.where(wild & self._clear, USE["wild"], np.where(self._clear, use, USE["pasture"])))

    def _city(self) -> Array:
        """Use of each parcel if it lies in a settlement."""
        chance, kind, inside = self._draws["use"], self._draws["kind"], self.town
        big = self.radius > 560.0
        use = np.full(chance.shape, USE["houses"])
        use = np.where(inside + 0.25 * (chance - 0.5) > np.where(big, 0.62, 0.8), USE["centre"], use)
        use = np.where(big & (inside < 0.42) & (self.culture > 0.68), USE["industry"], use)
        use = np.where(big & (inside < 0.42) & (self.culture > 0.9) & (chance < 0.5), USE["depot"], use)
        use = np.where((use == USE["industry"]) & (kind > 0.86), USE["parking"], use)
        use = np.where((use == USE["houses"]) & (kind > 0.93), USE["park"], use)
        use = np.where((use == USE["houses"]) & (kind < 0.035) & big, USE["sports"], use)
        use = np.where((use == USE["houses"]) & (kind > 0.035) & (kind < 0.06) & big, USE["parking"], use)
        use = np.where((inside < 0.2) & (chance > 0.9), self._rural_patch(), use)
        return np.asarray(np.where(self._roadside & (inside < 0.0), USE["industry"], use))

    def _rural_patch(self) -> Array:
        return np.where(self._draws["crop"] < 0.5, USE["pasture"], USE["heath"])
