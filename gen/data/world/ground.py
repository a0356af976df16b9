"""Which unit each pixel belongs to: parcels, and the wild ground that does not keep to them."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .landuse import USE, USES, Parcels
from .lattice import Array, key_of, octaves, uniform_at
from .places import APRON, FIELD_HALF, RUNWAY, RUNWAY_HALF, TAXIWAY, TAXIWAY_HALF
from .units import WILD

# Woods grow over a parcel of this use where the forest field exceeds the value.
_OVERGROWN = {"pasture": 0.75, "meadow": 1.1, "heath": 0.15, "fallow": 0.8, "crop": 1.4}
_PIVOT = 880.0  # metres between the centres of round irrigated fields


def assign_units(canvas: Canvas, parcels: Parcels) -> Array:
    """The row in the unit table of each pixel, ``[h, w]`` int32."""
    unit = canvas.division.unit.copy()
    first = len(parcels.use)
    terrain = canvas.terrain
    forest = canvas.fine(terrain.forest)
    level = np.full(len(USES), 99.0, np.float32)
    for name, value in _OVERGROWN.items():
        level[USE[name]] = value
    wild = (parcels.use == USE["wild"]).take(unit)
    overgrown = forest > level[parcels.use].take(unit)
    cool = canvas.fine((9.2 - terrain.warmth) / 3.0 + 0.9 * canvas.coarse.smooth(key_of(canvas.seed, "conifers"), 2_600.0))
    trees = np.where(cool > 0.0, np.int32(first + WILD["conifer wood"]), np.int32(first + WILD["wood"]))
    if wild.any():
        np.copyto(unit, _wild_kinds(canvas, forest, trees, first), where=wild)
    np.copyto(unit, trees, where=overgrown)
    _shores(canvas, parcels, unit, first)
    _pave_airfields(canvas, unit, first)
    return unit


def _wild_kinds(canvas: Canvas, forest: Array, trees: Array, first: int) -> Array:
    """Kinds of wild ground as if it were everywhere."""
    terrain, seed = canvas.terrain, canvas.seed
    ragged = canvas.fine(octaves(canvas.coarse, key_of(seed, "ragged"), (420.0, 160.0, 60.0), (0.7, 0.55, 0.4)))
    ragged += np.float32(0.25) * canvas.grid.smooth(key_of(seed, "ragged fine"), 16.0)
    warmth = canvas.fine(terrain.warmth) + np.float32(0.7) * ragged
    east, south = canvas.slope
    steep = np.sqrt(east * east + south * south) + np.float32(0.12) * ragged

    def kind(name: str) -> np.int32:
        return np.int32(first + WILD[name])

    out = np.where(ragged > 0.35, kind("scrub"), kind("alpine"))
    out = np.where((warmth < 1.2) & (ragged > -0.3), kind("rock"), out)
    out = np.where(steep > 0.72, kind("rock"), out)
    out = np.where((warmth < -2.6) & (steep < 0.85), kind("ice"), out)
    out = np.where((forest + 0.2 * ragged > 0.35) & (warmth > 2.2), trees, out)
    arid = canvas.fine(terrain.arid)
    if (arid > 0.45).any():
        dry = np.where(ragged + canvas.fine(canvas.coarse.smooth(key_of(seed, "dunes"), 4_000.0)) > 0.5, kind("dunes"), kind("stones"))
        dry = np.where((ragged < -0.5) | (canvas.bank < 40.0 + 30.0 * ragged), kind("steppe"), dry)
        dry = np.where(steep > 0.55, kind("rock"), dry)
        out = np.where(arid > 0.45, _pivots(canvas, dry, arid, steep, first), out)
    return np.asarray(out, np.int32)


def _pivots(canvas: Canvas, ground: Array, arid: Array, steep: Array, first: int) -> Array:
    """Round irrigated fields in groups on dry plains."""
    farm = canvas.fine(canvas.coarse.smooth(key_of(canvas.seed, "pivots"), 9_000.0))
    grid = canvas.grid
    rows, cols = np.floor(grid.y / _PIVOT).astype(np.int64), np.floor(grid.x / _PIVOT).astype(np.int64)
    dx, dy = grid.x - (cols + 0.5) * _PIVOT, grid.y - (rows + 0.5) * _PIVOT
    names = ("maize", "ley", "cereal", "idle", "idle")
    choice = np.array([first + WILD[f"pivot {name}"] for name in names], np.int32)
    pick = uniform_at(key_of(canvas.seed, "pivot"), np.arange(rows[0, 0], rows[-1, 0] + 1)[:, None], np.arange(cols[0, 0], cols[0, -1] + 1))
    radius = (0.36 + 0.12 * pick) * _PIVOT
    kind = choice[(pick * 97.0 % 1.0 * len(names)).astype(np.int64)]
    at_row, at_col = (rows - rows[0, 0])[:, 0], (cols - cols[0, 0])[0]
    inside = dx * dx + dy * dy < (radius * radius)[at_row][:, at_col]
    return np.where(inside & (farm > 0.5) & (steep < 0.2) & (arid > 0.6), kind[at_row][:, at_col], ground)


def _shores(canvas: Canvas, parcels: Parcels, unit: Array, first: int) -> None:
    """Beaches, banks and marshes, in place."""
    terrain = canvas.terrain
    shore = np.minimum(canvas.bank, canvas.still)
    if not (shore < 90.0).any():
        return
    urban = np.isin(
        parcels.use, [USE[name] for name in ("houses", "centre", "industry", "depot", "parking", "site", "glass", "solar", "sports")]
    )
    rural = ~np.concatenate([urban, np.zeros(len(WILD), bool)]).take(unit)
    ragged = canvas.grid.smooth(key_of(canvas.seed, "bank width"), 33.0)
    arid = canvas.fine(terrain.arid)
    plain = canvas.fine(terrain.plain) + ragged
    marsh = (plain < 1.6) & (shore < 80.0 + 40.0 * ragged) & (canvas.fine(terrain.forest) < 0.3) & rural & (arid < 0.3)
    marsh &= canvas.fine(canvas.coarse.smooth(key_of(canvas.seed, "marsh"), 1_500.0)) > 0.7
    unit[marsh] = first + WILD["marsh"]
    unit[(canvas.bank < 7.0 + 4.0 * ragged) & rural] = first + WILD["bank"]
    sandy = (canvas.fine(terrain.sea) > -0.42 - 0.1 * ragged) & rural
    unit[sandy | ((canvas.still < 2.5 + 2.0 * ragged) & rural)] = first + WILD["beach"]


def _pave_airfields(canvas: Canvas, unit: Array, first: int) -> None:
    """Runways, taxiways, aprons and the grass around them, in place."""
    grid = canvas.grid
    for field in canvas.airfields:
        along, across = field.local(grid.x, grid.y)
        unit[(np.abs(along) < field.half + 160.0) & (np.abs(across) < FIELD_HALF)] = first + WILD["air grass"]
        links = np.zeros(along.shape, bool)
        for place in (-field.half + 20.0, -0.45 * field.half, 0.0, 0.45 * field.half, field.half - 20.0):
            links |= (np.abs(along - place) < TAXIWAY_HALF) & (across > RUNWAY) & (across < TAXIWAY)
        taxi = (np.abs(across - TAXIWAY) < TAXIWAY_HALF) & (np.abs(along) < field.half)
        runway = (np.abs(across - RUNWAY) < RUNWAY_HALF) & (np.abs(along) < field.half)
        unit[links | taxi | runway] = first + WILD["runway"]
        from_along, to_along, from_across, to_across = APRON
        apron = (along > from_along) & (along < to_along) & (across > from_across) & (across < to_across)
        ways = (np.abs(np.abs(along) - 250.0) < TAXIWAY_HALF) & (across > TAXIWAY) & (across < from_across + 1.0)
        unit[apron | ways] = first + WILD["apron"]
