"""Where people settled: villages, towns, cities, and the airfields beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .drainage import low_relief
from .lattice import Array, Points, Site, key_of, length_of, octaves, uniform_at
from .terrain import LINES, dryness, line_distance, terrain_at

TOWN_CELL = 4_800.0
AIR_CELL = 11_000.0
APRON = (-340.0, 340.0, 95.0, 215.0)
"""Of an airfield: from, to along the runway and from, to across it, metres from its centre."""
TAXIWAY, RUNWAY = 60.0, -110.0
"""Where both lie across the airfield."""
RUNWAY_HALF, TAXIWAY_HALF = 22.5, 11.5
FIELD_HALF = 265.0


@dataclass(frozen=True)
class Town:
    """How built-up places are.

    Attributes:
        inside: 1 in the centre of a settlement, 0 at its edge, negative outside.
        radius: Of the settlement that counts there, metres.
    """

    inside: Array
    radius: Array


def towns_at(seed: int, site: Site) -> Town:
    """The settlement that counts most at each place."""
    low, high = (float(site.x.min()), float(site.y.min())), (float(site.x.max()), float(site.y.max()))
    centres = towns_near(seed, low, high)
    wobble = octaves(site, key_of(seed, "town edge"), (900.0, 300.0), (0.17, 0.09))
    inside, radius = np.full(wobble.shape, -9.0, np.float32), np.full(wobble.shape, 300.0, np.float32)
    for x, y, size in centres:
        near = (1.0 - length_of(site.x - x, site.y - y) / size).astype(np.float32) + wobble * np.float32(min(1.0, 700.0 / size + 0.4))
        radius = np.where(near > inside, np.float32(size), radius)
        inside = np.maximum(inside, near)
    return Town(inside, radius)


def towns_near(seed: int, low: tuple[float, float], high: tuple[float, float]) -> Array:
    """Rows of x, y, radius of the settlements that can count between two corners."""
    rows, cols = _cells(low, high, TOWN_CELL, 1)
    x = (cols + 0.5 + 0.6 * (uniform_at(key_of(seed, "town x"), rows, cols).astype(np.float64) - 0.5)) * TOWN_CELL
    y = (rows + 0.5 + 0.6 * (uniform_at(key_of(seed, "town y"), rows, cols).astype(np.float64) - 0.5)) * TOWN_CELL
    chance, spread = uniform_at(key_of(seed, "town size"), rows, cols), uniform_at(key_of(seed, "town spread"), rows, cols)
    radius = np.where(chance < 0.5, 260.0 + 260.0 * spread, np.where(chance < 0.82, 620.0 + 520.0 * spread, 1_500.0 + 1_300.0 * spread))
    places = Points(x, y)
    height, mountain = low_relief(seed, places)
    radius = radius * (1.0 - 0.75 * mountain) * (1.0 - 0.7 * dryness(seed, places))
    keep = (height > -12.0) & (height < 1_500.0)
    return np.stack([x, y, radius], 1)[keep]


def _cells(low: tuple[float, float], high: tuple[float, float], size: float, ring: int) -> tuple[Array, Array]:
    rows = np.arange(int(np.floor(low[1] / size)) - ring, int(np.floor(high[1] / size)) + ring + 1)
    cols = np.arange(int(np.floor(low[0] / size)) - ring, int(np.floor(high[0] / size)) + ring + 1)
    grid = np.meshgrid(rows, cols, indexing="ij")
    return grid[0].ravel(), grid[1].ravel()


@dataclass(frozen=True)
class Airfield:
    """One airfield: a runway, a taxiway beside it, and an apron with a terminal.

    Attributes:
        x: Centre, metres east.
        y: Centre, metres south.
        cos: Of the runway's direction.
        sin: Of the runway's direction; angles turn from east to south.
        half: Half the runway's length, metres.
        key: Hash key of what stands on it.
    """

    x: float
    y: float
    cos: float
    sin: float
    half: float
    key: int

    def local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Metres along and across the runway."""
        dx, dy = x - self.x, y - self.y
        return dx * self.cos + dy * self.sin, dy * self.cos - dx * self.sin

    def world(self, along: Array, across: Array) -> tuple[Array, Array]:
        """The inverse of `local`."""
        return self.x + along * self.cos - across * self.sin, self.y + along * self.sin + across * self.cos


def airfields_near(seed: int, low: tuple[float, float], high: tuple[float, float]) -> list[Airfield]:
    """The airfields that can touch the rectangle between two corners (x, y): on even land, off the mountains and away from water."""
    reach = 2_300.0
    rows, cols = _cells((low[0] - reach, low[1] - reach), (high[0] + reach, high[1] + reach), AIR_CELL, 0)
    x = (cols + 0.5 + 0.5 * (uniform_at(key_of(seed, "air x"), rows, cols).astype(np.float64) - 0.5)) * AIR_CELL
    y = (rows + 0.5 + 0.5 * (uniform_at(key_of(seed, "air y"), rows, cols).astype(np.float64) - 0.5)) * AIR_CELL
    angle = uniform_at(key_of(seed, "air angle"), rows, cols).astype(np.float64) * np.pi
    half = 700.0 + 850.0 * uniform_at(key_of(seed, "air size"), rows, cols).astype(np.float64)
    near = (x > low[0] - reach) & (x < high[0] + reach) & (y > low[1] - reach) & (y < high[1] + reach)
    found = []
    for number in np.flatnonzero(near):
        key = key_of(seed, f"airfield {rows[number]} {cols[number]}")
        field = Airfield(
            float(x[number]), float(y[number]), float(np.cos(angle[number])), float(np.sin(angle[number])), float(half[number]), key
        )
        if _is_even(seed, field):
            found.append(field)
    return found


def _is_even(seed: int, field: Airfield) -> bool:
    """Whether land and towns leave room for an airfield."""
    along, across = np.meshgrid(np.linspace(-1.0, 1.0, 9) * (field.half + 150.0), np.array([-260.0, 0.0, 260.0]))
    places = Points(*field.world(along.ravel(), across.ravel()))
    ground = terrain_at(seed, places)
    dry = bool((ground.shore > 40.0).all()) and float(ground.height.max() - ground.height.min()) < 45.0
    crossed = min(float(np.abs(line_distance(seed, name, places)).min()) for name in LINES) < 420.0
    return dry and not crossed and float(ground.mountain.max()) < 0.15 and float(towns_at(seed, places).inside.max()) < 0.1


def in_airfield(field: Airfield, x: Array, y: Array, margin: float = 0.0) -> Array:
    """True on the airfield's ground, grown by `margin` metres."""
    along, across = field.local(x, y)
    return np.asarray((np.abs(along) < field.half + 160.0 + margin) & (np.abs(across) < FIELD_HALF + margin))
