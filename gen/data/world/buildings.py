"""Houses, blocks, halls, tanks, greenhouses, farms and parked cars, placed on the lots of built-up parcels."""

from __future__ import annotations

import numpy as np

from ..noise import hash_at
from .canvas import Canvas
from .landuse import USE, Parcels
from .lattice import Array, key_of
from .parcels import to_plane
from .roads import Laid, blocks_of
from .spectra import rows_of
from .things import DISC, FLAT, GABLE, HALL, KIND, Things, gather, nothing

_ROOFS = rows_of(("red tiles", "red tiles", "brown tiles", "brown tiles", "slate", "slate", "gravel roof"))
_FLATS = rows_of(("gravel roof", "slate", "metal", "red tiles", "brown tiles", "gravel roof", "white roof"))
_HALLS = rows_of(("metal", "metal", "gravel roof", "white roof", "blue metal", "slate"))
_CARS = rows_of(("white paint", "dark paint", "slate", "metal", "red paint", "dark paint", "white roof"))


class Lots:
    """Places inside parcels: the parcel, a running number, and position and size in the district's directions."""

    def __init__(self, seed: int, parcel: Array, number: Array, names: Array) -> None:
        """Name the lots by hashes of (parcel, number)."""
        self.parcel, self.number = parcel, number
        rows = (names[parcel] >> np.uint64(2)).astype(np.int64)
        self.name = hash_at(key_of(seed, "lot"), rows, number)

    def draw(self, which: int) -> Array:
        """The lot's `which`-th number in 0..1, float64; 0 to 5."""
        return ((self.name >> np.uint64(10 * which)) & np.uint64(1023)).astype(np.float64) / 1024.0


def lots_of(canvas: Canvas, parcels: Parcels, chosen: Array, counts: Array, salt: int) -> Lots:
    """`counts` lots for each of the `chosen` parcels."""
    parcel = np.repeat(chosen, counts)
    start = np.repeat(np.cumsum(counts) - counts, counts)
    return Lots(canvas.seed, parcel, np.arange(len(parcel)) - start + 100_000 * salt, parcels.key)


def stand_buildings(canvas: Canvas, parcels: Parcels, laid: Laid, unit: Array) -> Things:
    """Everything built on parcels; nothing stands on roads, in water, or across a parcel's border."""
    parts = [_houses(canvas, parcels), _centres(canvas, parcels), _halls(canvas, parcels), _tanks(canvas, parcels), _glass(canvas, parcels)]
    parts += [_farms(canvas, parcels), _cars(canvas, parcels)]
    return gather([_standing(canvas, laid, unit, *part) for part in parts])


def _standing(canvas: Canvas, laid: Laid, unit: Array, things: Things, parcel: Array) -> Things:
    """Those whose middle and corners are on free ground of their own parcel."""
    grid = canvas.grid
    x, y = things.corners(1.3)
    x, y = np.concatenate([x, things.x[:, None]], 1), np.concatenate([y, things.y[:, None]], 1)
    cols, rows = np.floor(x / grid.size).astype(np.int64) - grid.col, np.floor(y / grid.size).astype(np.int64) - grid.row
    inside = ((rows >= 0) & (rows < grid.height) & (cols >= 0) & (cols < grid.width)).all(1)
    keep = np.flatnonzero(inside)
    at = rows[keep] * grid.width + cols[keep]
    fine = (unit.ravel()[at] == parcel[keep, None]).all(1) & (laid.cover.ravel()[at] < 0.35).all(1)
    fine &= (np.minimum(canvas.bank.ravel()[at], canvas.still.ravel()[at]) > 4.0).all(1)
    return things.take(keep[fine])


def _place(canvas: Canvas, lots: Lots, along: Array, across: Array, turned: Array) -> tuple[Array, Array, Array, Array]:
    """True position and direction of places given in their district's directions; `turned` ones lie across."""
    division, grid = canvas.division, canvas.grid
    district = division.district[lots.parcel]

    def straight(a: Array, b: Array) -> tuple[Array, Array]:
        x, y = to_plane(division, district, a, b)
        place_x, place_y = x, y
        for _ in range(2):
            col = np.clip(np.floor(place_x / grid.size).astype(np.int64) - grid.col, 0, grid.width - 1)
            row = np.clip(np.floor(place_y / grid.size).astype(np.int64) - grid.row, 0, grid.height - 1)
            place_x, place_y = x - division.shift_x[row, col], y - division.shift_y[row, col]
        return place_x, place_y

    x, y = straight(along, across)
    ahead_x, ahead_y = straight(along + np.where(turned, 0.0, 12.0), across + np.where(turned, 12.0, 0.0))
    length = np.sqrt((ahead_x - x) ** 2 + (ahead_y - y) ** 2)
    return x, y, (ahead_x - x) / length, (ahead_y - y) / length


def _build(
    canvas: Canvas,
    lots: Lots,
    kind: str,
    shape: Array | int,
    along: Array,
    across: Array,
    size: tuple[Array, Array, Array],
    material: Array,
    turned: Array,
) -> tuple[Things, Array]:
    """A table out of lots, positions in the district's directions, and (length, width, height)."""
    count = len(lots.parcel)
    if not count:
        return nothing(), lots.parcel
    x, y, cos, sin = _place(canvas, lots, along, across, turned)
    tone = 0.82 + 0.36 * lots.draw(5)
    number = KIND[kind]
    order = np.full(count, 3 if kind == "vehicle" else 1)
    return Things(
        np.full(count, number), np.broadcast_to(shape, count), x, y, cos, sin, *size, material, tone, order, lots.name
    ), lots.parcel


def _rows_of_lots(canvas: Canvas, parcels: Parcels, use: str, width: float, salt: int) -> tuple[Lots, tuple[Array, ...]]:
    """Lots of a use in two rows per block along its two long streets: lot width, middle along, street line across, and which side."""
    chosen = np.flatnonzero(parcels.use == USE[use])
    box = canvas.division.box[chosen]
    depth, length, down, over = blocks_of(box, parcels.use[chosen])
    style = 1.0 + 0.7 * (parcels.tone[chosen].astype(np.float64) - 0.5)
    each = np.maximum(1, ((length - 13.0) / (width * style)).astype(np.int64))
    counts = down * over * 2 * each
    lots = lots_of(canvas, parcels, chosen, counts, salt)
    of = np.repeat(np.arange(len(chosen)), counts)
    number = lots.number - 100_000 * salt
    each_of = each[of]
    place, side, block = number % each_of, number // each_of % 2, number // (2 * each_of)
    wide = (length[of] - 13.0) / each_of
    along = box[of, 0] + (block % over[of]) * length[of] + 6.5 + (place + 0.5) * wide
    first = box[of, 2] + (block // over[of]) * depth[of]
    return lots, (wide, along, first, side, depth[of])


def _houses(canvas: Canvas, parcels: Parcels) -> tuple[Things, Array]:
    lots, (wide, along, first, side, depth) = _rows_of_lots(canvas, parcels, "houses", 21.0, 1)
    terrace = parcels.crop[lots.parcel] > 0.78
    deep = np.where(terrace, 9.5, 8.0 + 3.2 * lots.draw(1))
    long = np.where(terrace, wide * 1.001, np.minimum(9.5 + 6.0 * lots.draw(0), 0.78 * wide))
    setback = np.where(terrace, 7.5, 6.5 + 5.5 * lots.draw(2)) + 0.5 * deep
    across = first + np.where(side == 0, setback, depth - setback)
    along = along + np.where(terrace, 0.0, 0.18 * wide * (lots.draw(3) - 0.5))
    turned = ~terrace & (lots.draw(4) < 0.22)
    material = _ROOFS[((0.55 * parcels.crop[lots.parcel] + 0.45 * lots.draw(3)) * len(_ROOFS)).astype(np.int64)]
    empty = (lots.draw(2) * 7.3 % 1.0 < 0.05) | (depth < 34.0)
    height = 5.5 + 3.0 * lots.draw(1)
    things, parcel = _build(canvas, lots, "building", GABLE, along, across, (long, deep, height), material, turned)
    keep = np.flatnonzero(~empty)
    return things.take(keep), parcel[keep]


def _centres(canvas: Canvas, parcels: Parcels) -> tuple[Things, Array]:
    lots, (wide, along, first, side, depth) = _rows_of_lots(canvas, parcels, "centre", 20.0, 2)
    big = parcels.town_radius[lots.parcel] > 1_400.0
    deep = np.minimum(11.0 + 6.0 * lots.draw(1), 0.36 * depth)
    setback = 6.6 + 0.5 * deep
    across = first + np.where(side == 0, setback, depth - setback)
    height = np.where(big, 11.0 + 13.0 * lots.draw(2), 7.0 + 5.0 * lots.draw(2))
    shape = np.where(big & (lots.draw(4) < 0.6), FLAT, GABLE)
    pick = (0.4 * parcels.crop[lots.parcel] + 0.6 * lots.draw(3)) * len(_FLATS)
    material = np.where(shape == FLAT, _FLATS[pick.astype(np.int64)], _ROOFS[(pick / len(_FLATS) * len(_ROOFS)).astype(np.int64)])
    return _build(canvas, lots, "building", shape, along, across, (wide * 1.001, deep, height), material, np.zeros(len(along), bool))


def _cells(
    canvas: Canvas, parcels: Parcels, chosen: Array, pitch: tuple[float, float], inset: float, salt: int
) -> tuple[Lots, Array, Array, Array, Array]:
    """A grid of cells in parcels: middles along and across, and the cell's size."""
    box = canvas.division.box[chosen]
    length, depth = box[:, 1] - box[:, 0] - 2 * inset, box[:, 3] - box[:, 2] - 2 * inset
    over, down = np.maximum(0, np.round(length / pitch[0])).astype(np.int64), np.maximum(0, np.round(depth / pitch[1])).astype(np.int64)
    lots = lots_of(canvas, parcels, chosen, over * down, salt)
    of = np.repeat(np.arange(len(chosen)), over * down)
    number = lots.number - 100_000 * salt
    wide, high = length[of] / np.maximum(over[of], 1), depth[of] / np.maximum(down[of], 1)
    along = box[of, 0] + inset + (number % np.maximum(over[of], 1) + 0.5) * wide
    across = box[of, 2] + inset + (number // np.maximum(over[of], 1) + 0.5) * high
    return lots, along, across, wide, high


def _halls(canvas: Canvas, parcels: Parcels) -> tuple[Things, Array]:
    lots, along, across, wide, high = _cells(canvas, parcels, np.flatnonzero(parcels.use == USE["industry"]), (85.0, 62.0), 9.0, 3)
    long = np.minimum(wide * (0.5 + 0.36 * lots.draw(0)), 72.0)
    size = long, np.minimum(high * (0.45 + 0.36 * lots.draw(1)), 48.0), 6.0 + 7.0 * lots.draw(2)
    shape = np.where(lots.draw(3) < 0.5, HALL, FLAT)
    return _build(
        canvas, lots, "building", shape, along, across, size, _HALLS[(lots.draw(4) * len(_HALLS)).astype(np.int64)], size[1] > size[0]
    )


def _tanks(canvas: Canvas, parcels: Parcels) -> tuple[Things, Array]:
    chosen = np.flatnonzero(parcels.use == USE["depot"])
    lots, along, across, wide, high = _cells(canvas, parcels, chosen, (44.0, 40.0), 8.0, 4)
    farm = parcels.crop[lots.parcel].astype(np.float64)
    across_all = np.minimum(wide, high) * (0.42 + 0.34 * farm + 0.06 * lots.draw(1))
    material = rows_of(("white paint", "white roof", "metal", "gravel roof"))[(lots.draw(2) * 4).astype(np.int64)]
    size = across_all, across_all, 9.0 + 7.0 * farm
    things, parcel = _build(canvas, lots, "storage tank", DISC, along, across, size, material, np.zeros(len(along), bool))
    keep = np.flatnonzero(lots.draw(0) < 0.88)
    return things.take(keep), parcel[keep]


def _glass(canvas: Canvas, parcels: Parcels) -> tuple[Things, Array]:
    lots, along, across, wide, high = _cells(canvas, parcels, np.flatnonzero(parcels.use == USE["glass"]), (95.0, 28.0), 7.0, 5)
    size = np.minimum(wide * 0.94, 84.0), high * 0.82, np.full(len(along), 4.5)
    return _build(canvas, lots, "greenhouse", HALL, along, across, size, rows_of(("glass",)).repeat(len(along)), np.zeros(len(along), bool))


def _farms(canvas: Canvas, parcels: Parcels) -> tuple[Things, Array]:
    """A house, barns and a silo in the corner of some fields."""
    rural = np.isin(parcels.use, [USE[name] for name in ("crop", "pasture", "meadow", "orchard")])
    chosen = np.flatnonzero(rural & (parcels.key % np.uint64(1000) < np.uint64(45)))
    box = canvas.division.box[chosen]
    lots = lots_of(canvas, parcels, chosen, np.full(len(chosen), 5), 6)
    of = np.repeat(np.arange(len(chosen)), 5)
    part = lots.number % 5
    along = box[of, 0] + np.array([18.0, 44.0, 44.0, 20.0, 66.0])[part] + 3.0 * (lots.draw(0) - 0.5)
    across = box[of, 2] + np.array([16.0, 17.0, 42.0, 40.0, 28.0])[part] + 3.0 * (lots.draw(1) - 0.5)
    long = np.array([15.0, 26.0, 32.0, 7.0, 22.0])[part] * (0.85 + 0.3 * lots.draw(2))
    wide = np.where(part == 3, long, np.array([10.0, 12.0, 15.0, 7.0, 11.0])[part] * (0.9 + 0.2 * lots.draw(3)))
    shape = np.where(part == 3, DISC, np.where(part == 0, GABLE, HALL))
    material = np.where(
        part == 0,
        _ROOFS[(lots.draw(4) * 5).astype(np.int64)],
        np.where(part == 3, rows_of(("metal",)), rows_of(("brown tiles", "slate", "metal", "slate"))[(lots.draw(4) * 4).astype(np.int64)]),
    )
    size = long, wide, 5.0 + 4.0 * lots.draw(1)
    return _build(canvas, lots, "building", shape, along, across, size, material, (part == 4) | (part == 0))


def _cars(canvas: Canvas, parcels: Parcels) -> tuple[Things, Array]:
    """Rows of cars on parking places."""
    lots, along, across, _, high = _cells(canvas, parcels, np.flatnonzero(parcels.use == USE["parking"]), (2.9, 16.0), 7.0, 7)
    parts = []
    for row in (0, 1):
        taken = np.flatnonzero(lots.draw(row) < 0.62 + 0.3 * (parcels.tone[lots.parcel] - 0.5))
        some = Lots(canvas.seed, lots.parcel[taken], lots.number[taken] + 50_000_000 * (row + 1), parcels.key)
        offset = (-1.0 if row == 0 else 1.0) * 0.18 * high[taken]
        size = 4.1 + 0.9 * some.draw(1), np.full(len(taken), 1.9), np.full(len(taken), 1.5)
        material = _CARS[(some.draw(0) * len(_CARS)).astype(np.int64)]
        parts.append(_build(canvas, some, "vehicle", FLAT, along[taken], across[taken] + offset, size, material, np.ones(len(taken), bool)))
    both = [part for part in parts if len(part[0])]
    if not both:
        return nothing(), np.zeros(0, np.int64)
    whole = Things(*(np.concatenate([getattr(part[0], name) for part in both]) for name in Things.__dataclass_fields__))
    return whole, np.concatenate([part[1] for part in both])
