"""Roads, tracks, railways, hedges and what else is laid over the ground in lines, with exact widths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas
from .landuse import BUILT, USE, Parcels
from .lattice import Array, key_of, uniform_at
from .places import RUNWAY, in_airfield
from .spectra import SPECTRUM

MOTORWAY, MAIN, LANE, TRACK, RAIL = 1, 2, 3, 4, 5
"""Ranks of roads in `Laid.rank`."""
BLOCK, CENTRE_BLOCK = 84.0, 58.0
"""Depth of a built-up block between two streets, metres."""
BLOCK_LENGTH = 165.0
_OPEN = ("crop", "pasture", "meadow", "orchard", "vines", "heath", "fallow", "solar", "wood", "felled")


@dataclass
class Laid:
    """What is laid over the ground, ``[h, w]`` each.

    Attributes:
        cover: Share of the pixel that is covered, 0 to 1.
        material: Row of the spectra.
        rank: Kind of road where `cover` is above one half, else 0.
        hedge: True where hedges grow.
        margin: Distance to the nearest side of the parcel or block, metres.
    """

    cover: Array
    material: Array
    rank: Array
    hedge: Array
    margin: Array

    def part(self, at: Array) -> Laid:
        """The pixels of these numbers."""
        return Laid(*(layer.ravel()[at] for layer in vars(self).values()))

    def put(self, at: Array, part: Laid) -> None:
        """Write a part back."""
        for layer, values in zip(vars(self).values(), vars(part).values(), strict=True):
            layer.ravel()[at] = values

    def lay(self, cover: Array, material: int, rank: int) -> None:
        """Put another road on top where it covers more."""
        over = cover >= np.maximum(self.cover, np.float32(0.01))
        np.copyto(self.cover, cover, where=over)
        np.copyto(self.material, np.uint8(material), where=over)
        np.copyto(self.rank, np.uint8(rank), where=over & (cover > 0.5))


def coverage(distance: Array, half: Array | float) -> Array:
    """Share of a 2.5 m pixel within a band of half-width `half` around a line at `distance` metres."""
    return np.clip((half - distance) * np.float32(0.4) + np.float32(0.5), 0.0, 1.0, dtype=np.float32)


def blocks_of(box: Array, use: Array) -> tuple[Array, Array, Array, Array]:
    """How built-up parcels are cut into blocks: depth and length of a block, and how many lie across and along the parcel."""
    depth, length = box[:, 3] - box[:, 2], box[:, 1] - box[:, 0]
    built = np.isin(use, (*BUILT, USE["park"], USE["sports"]))
    cut = built & ~np.isin(use, (USE["industry"], USE["depot"], USE["parking"], USE["park"], USE["sports"]))
    down = np.where(cut, np.maximum(1.0, np.round(depth / np.where(use == USE["centre"], CENTRE_BLOCK, BLOCK))), 1.0)
    over = np.where(cut, np.maximum(1.0, np.round(length / BLOCK_LENGTH)), 1.0)
    return depth / down, length / over, down.astype(np.int64), over.astype(np.int64)


def lay_roads(canvas: Canvas, parcels: Parcels) -> Laid:
    """All roads and hedges of a canvas at a date."""
    shape = canvas.grid.shape
    laid = Laid(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.uint8),
        np.zeros(shape, bool),
        np.full(shape, np.float32(99)),
    )
    _parcel_sides(canvas, parcels, laid)
    _district_borders(canvas, parcels, laid)
    dry = canvas.bank > 0.0
    tracks = laid.rank == TRACK
    laid.cover[tracks & ~dry] = 0.0
    if (np.abs(canvas.railway) < 8.0).any():
        distance = np.abs(canvas.railway)
        laid.lay(coverage(distance, 4.5), SPECTRUM["ballast"], RAIL)
        # Rails shine a little: two lines of steel on the ballast.
        laid.lay(np.float32(0.55) * coverage(np.abs(distance - 2.0), 0.4), SPECTRUM["slate"], RAIL)
    if (np.abs(canvas.motorway) < 20.0).any():
        distance = np.abs(canvas.motorway)
        over = coverage(distance, 14.0)
        np.copyto(laid.cover, np.maximum(laid.cover * (1 - over), 0), where=over > 0)
        laid.lay(coverage(np.abs(distance - 7.6), 5.8), SPECTRUM["asphalt"], MOTORWAY)
    laid.cover[canvas.still < 0.0] = 0.0
    for field in canvas.airfields:
        inside = in_airfield(field, canvas.grid.x, canvas.grid.y)
        laid.cover[inside], laid.hedge[inside] = 0.0, False
        along, across = field.local(canvas.grid.x, canvas.grid.y)
        dashes = (np.abs(np.mod(along, 60.0) - 30.0) < 15.0) & (np.abs(along) < field.half - 120.0)
        bars = (
            (np.abs(np.abs(along) - field.half + 35.0) < 15.0)
            & (np.mod(np.abs(across - RUNWAY), 6.0) < 3.0)
            & (np.abs(across - RUNWAY) < 20.0)
        )
        paint = np.float32(0.4) * coverage(np.abs(across - RUNWAY).astype(np.float32), 0.5) * dashes + np.float32(0.6) * bars
        laid.lay(paint.astype(np.float32), SPECTRUM["white paint"], 0)
    laid.rank[laid.cover <= 0.5] = 0
    laid.hedge &= (laid.cover < 0.3) & dry
    return laid


def _parcel_sides(canvas: Canvas, parcels: Parcels, laid: Laid) -> None:
    """Streets around built-up blocks, tracks between fields, hedges."""
    division, use = canvas.division, parcels.use
    depth, length, _, _ = blocks_of(division.box, use)
    deep, long = depth.astype(np.float32).take(division.unit), length.astype(np.float32).take(division.unit)
    across, along = np.mod(division.across, deep), np.mod(division.along, long)
    np.minimum(np.minimum(across, deep - across), np.minimum(along, long - along), out=laid.margin)
    near = np.flatnonzero(laid.margin < 7.0)
    unit = division.unit.ravel()[near]
    across, deep, along, long = (layer.ravel()[near] for layer in (across, deep, along, long))
    street = np.isin(use, (*BUILT, USE["park"], USE["sports"])) | (use == USE["site"])
    town = np.where(street, np.where(use == USE["centre"], np.float32(4.2), np.float32(3.5)), np.float32(-9)).take(unit)
    part = laid.part(near)
    for side, distance in enumerate((across, deep - across, along, long - along)):
        track, hedge = _sides(canvas, parcels, side)
        part.lay(coverage(distance, town), SPECTRUM["asphalt"], LANE)
        part.lay(coverage(distance, np.where(track, np.float32(1.7), np.float32(-9)).take(unit)), SPECTRUM["gravel"], TRACK)
        part.hedge |= distance < np.where(hedge, np.float32(3.4), np.float32(-9)).take(unit)
    laid.put(near, part)


def _sides(canvas: Canvas, parcels: Parcels, side: int) -> tuple[Array, Array]:
    """Whether a track, and whether a hedge runs along a side of each parcel: 0, 1 across, 2, 3 along. Both neighbours agree."""
    division, use = canvas.division, parcels.use
    table = division.districts
    open_land = np.isin(use, [USE[name] for name in _OPEN])
    bocage = uniform_at(key_of(canvas.seed, "bocage"), table.row, table.col)[division.district]
    line = (division.row, division.row + 1, division.col, division.col + 1)[side]
    rows = table.row[division.district] * 4096 + (line if side < 2 else division.row * 211 + 1_000_003)
    cols = table.col[division.district] * 4096 + (0 if side < 2 else line)
    chance = uniform_at(key_of(canvas.seed, "side"), rows, cols)
    track = open_land & (chance < (0.34 if side < 2 else 0.05))
    hedge = open_land & (chance > 0.34) & (chance < 0.34 + 0.6 * np.maximum(bocage - 0.35, 0.03))
    return track, hedge


def _district_borders(canvas: Canvas, parcels: Parcels, laid: Laid) -> None:
    """Main roads where paved, tracks or hedges elsewhere."""
    division, seed = canvas.division, canvas.seed
    table = division.districts
    draw = uniform_at(key_of(seed, "border"), table.row, table.col)
    home, rival, edge = division.home, division.rival, division.edge
    near = np.flatnonzero(edge < 12.0)
    if not near.size:
        return
    one, other, distance = home.ravel()[near], rival.ravel()[near], edge.ravel()[near]
    chance = np.mod(draw[one] + draw[other], np.float32(1))
    built = np.isin(parcels.use, BUILT)[division.unit.ravel()[near]]
    remote = table.remote[one] | table.remote[other]
    paved = built | (chance < np.where(remote, 0.12, 0.62))
    track = ~paved & (chance < np.where(remote, 0.3, 0.82))
    half = np.where(built, 4.4, np.where(chance < 0.2, 3.6, 2.7)).astype(np.float32)
    road = laid.part(near)
    road.hedge |= ~paved & ~track & ~remote & (distance < 3.4)
    road.hedge |= paved & ~remote & (chance > 0.4) & (chance < 0.6) & (np.abs(distance - 8.0) < 2.6) & ~built
    road.hedge &= ~(paved & (distance < half + 1.5))
    road.lay(np.where(track, coverage(distance, 1.8), np.float32(0)), SPECTRUM["gravel"], TRACK)
    road.lay(np.where(paved & ~built, coverage(distance, half), np.float32(0)), SPECTRUM["old asphalt"], MAIN)
    road.lay(np.where(built, coverage(distance, half), np.float32(0)), SPECTRUM["asphalt"], MAIN)
    for layer, part in zip(
        (laid.cover, laid.material, laid.rank, laid.hedge), (road.cover, road.material, road.rank, road.hedge), strict=True
    ):
        layer.ravel()[near] = part
    np.minimum(laid.margin, edge, out=laid.margin)
