"""How the land is divided: districts around jittered centres, each ruled into rows and parcels of its own direction.

Geometry only; `landuse` says what a parcel is used for. Distances are exact, so that roads along the borders keep their width. The plane
is bent a little
first, so that borders and roads curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .drainage import low_relief
from .lattice import Array, Grid, Points, Site, enlarge, key_of, length_of, octaves, uniform_at
from .places import towns_at
from .terrain import dryness

DISTRICT = 620.0
"""Mean distance between district centres, metres."""
_ROWS, _COLS = 64, 128  # parcels of a district are numbered in a box of this size around its centre
_JITTER = 512  # a power of two
_BORDER = 30.0  # metres from a border within which distances are exact


@dataclass(frozen=True)
class Districts:
    """The districts around a window, as arrays of one value each.

    Attributes:
        row: Lattice row.
        col: Lattice column.
        x: Centre in the bent plane.
        y: Centre in the bent plane.
        cos: Of the direction of its rows.
        sin: Of the direction of its rows.
        depth: Mean height of a row of parcels, metres.
        length: Mean length of a parcel along the row, metres.
        salt: Start in the table of jitters.
        remote: Whether it lies in mountains or desert, where roads are rare.
    """

    row: Array
    col: Array
    x: Array
    y: Array
    cos: Array
    sin: Array
    depth: Array
    length: Array
    salt: Array
    remote: Array


@dataclass(frozen=True)
class Division:
    """Parcels of a window.

    Attributes:
        unit: Number of each pixel's parcel in the arrays below, ``[h, w]`` int32.
        edge: Distance in metres to the district's border, ``[h, w]``.
        rival: Number of the district beyond that border, ``[h, w]``.
        home: Number of the own district, ``[h, w]``.
        across: Metres from the parcel's first long side, ``[h, w]``.
        along: Metres from its first short side, ``[h, w]``.
        district: Of each parcel.
        row: Of each parcel within its district.
        col: Of each parcel within its row.
        box: Each parcel's rectangle in the district's directions: along from, to; across from, to; ``[n, 4]``.
        districts: Their table.
        shift_x: Offset of each pixel into the bent plane, metres, ``[h, w]``.
        shift_y: Offset of each pixel into the bent plane, metres, ``[h, w]``.
    """

    unit: Array
    edge: Array
    rival: Array
    home: Array
    across: Array
    along: Array
    district: Array
    row: Array
    col: Array
    box: Array
    districts: Districts
    shift_x: Array
    shift_y: Array


def bend(seed: int, site: Site) -> tuple[Array, Array]:
    """Offset that takes a place into the bent plane, metres."""
    lengths, gains = (900.0, 380.0), (17.0, 4.0)
    return octaves(site, key_of(seed, "bend x"), lengths, gains), octaves(site, key_of(seed, "bend y"), lengths, gains)


def unbend(seed: int, x: Array, y: Array, rounds: int = 3) -> tuple[Array, Array]:
    """The place whose bent position is (x, y), within a few centimetres after three rounds."""
    place_x, place_y = x, y
    for _ in range(rounds):
        shift_x, shift_y = bend(seed, Points(place_x, place_y))
        place_x, place_y = x - shift_x, y - shift_y
    return place_x, place_y


def find_districts(seed: int, grid: Grid) -> Districts:
    """All districts that a pixel of the grid can belong to, or border on."""
    ring = 2
    rows = np.arange(int(np.floor(grid.y[0, 0] / DISTRICT)) - ring, int(np.floor(grid.y[-1, 0] / DISTRICT)) + ring + 1)
    cols = np.arange(int(np.floor(grid.x[0, 0] / DISTRICT)) - ring, int(np.floor(grid.x[0, -1] / DISTRICT)) + ring + 1)
    row, col = (axis.ravel() for axis in np.meshgrid(rows, cols, indexing="ij"))

    def draw(name: str) -> Array:
        return uniform_at(key_of(seed, name), row, col).astype(np.float64)

    x = (col + 0.5 + 0.72 * (draw("district x") - 0.5)) * DISTRICT
    y = (row + 0.5 + 0.72 * (draw("district y") - 0.5)) * DISTRICT
    lie = octaves(Points(x, y), key_of(seed, "lie of the land"), (6_000.0,), (1.1,)).astype(np.float64)
    angle = lie + 0.9 * (draw("district angle") - 0.5)
    town = towns_at(seed, Points(x, y)).inside
    style = draw("district style")
    depth = np.where(town > -0.2, 72.0 + 22.0 * style, np.where(style < 0.3, 70.0 + 60.0 * style, 120.0 + 160.0 * style))
    length = np.where(town > -0.2, 110.0 + 110.0 * draw("district length"), 110.0 + 330.0 * draw("district length"))
    salt = np.floor(draw("district salt") * _JITTER).astype(np.int64)
    remote = (low_relief(seed, Points(x, y))[1] > 0.33) | (dryness(seed, Points(x, y)) > 0.7)
    return Districts(row, col, x, y, np.cos(angle), np.sin(angle), depth, length, salt, remote)


def divide(seed: int, grid: Grid) -> Division:
    """Number the parcels of a window.

    Args:
        seed: Of the world.
        grid: 2.5 m pixels, aligned to multiples of 4.

    Returns:
        Parcel numbers, distances to borders, and the parcels' geometry.
    """
    table = find_districts(seed, grid)
    coarse = grid.coarser(4).grown(1)
    shift_x, shift_y = (enlarge(shift) for shift in bend(seed, coarse))
    borders = _Borders(table, grid, shift_x, shift_y)
    cos, sin = borders.spread(table.cos), borders.spread(table.sin)
    along = borders.dx * cos + borders.dy * sin
    across = borders.dy * cos - borders.dx * sin
    salts = borders.spread(table.salt, np.int32)
    row, across = _ruled(across, borders.spread(table.depth), salts, 0.22)
    salts += 101 * row
    stretch = np.float32(0.55) + _jitter_table().take((salts + 57) & (_JITTER - 1))
    stretch *= borders.spread(table.length)
    col, along = _ruled(along, stretch, salts, 0.28)
    code = (borders.home * _ROWS + (row + _ROWS // 2)) * _COLS + (col + _COLS // 2)
    present = np.zeros(len(table.x) * _ROWS * _COLS, bool)
    present[code] = True
    codes = np.flatnonzero(present)
    number = np.zeros(present.size, np.int32)
    number[codes] = np.arange(codes.size)
    parcel_col, parcel_row, district = codes % _COLS - _COLS // 2, codes // _COLS % _ROWS - _ROWS // 2, codes // (_ROWS * _COLS)
    box = _boxes(table, district, parcel_row, parcel_col)
    whole = (number.take(code), borders.edge, borders.rival, borders.home, across, along)
    return Division(*whole, district, parcel_row, parcel_col, box, table, shift_x, shift_y)


def centres(seed: int, division: Division) -> Points:
    """The true places of the parcels' middles."""
    middle = 0.5 * (division.box[:, 0] + division.box[:, 1]), 0.5 * (division.box[:, 2] + division.box[:, 3])
    return Points(*unbend(seed, *to_plane(division, division.district, *middle)))


def to_plane(division: Division, district: Array, along: Array, across: Array) -> tuple[Array, Array]:
    """From a district's own directions to the bent plane."""
    table = division.districts
    cos, sin = table.cos[district], table.sin[district]
    return table.x[district] + along * cos - across * sin, table.y[district] + along * sin + across * cos


class _Borders:
    """Own district, the one beyond the nearest border, the distance to it (exact below `_BORDER`), the offset from the own centre."""

    def __init__(self, table: Districts, grid: Grid, shift_x: Array, shift_y: Array) -> None:
        self._grid, self._inner = grid, grid.coarser(4)
        bent = [shift.reshape(self._inner.height, 4, self._inner.width, 4)[:, 1, :, 1] for shift in (shift_x, shift_y)]
        best, self._ranked = _three_nearest(table, self._inner, bent[0], bent[1])
        edge = (best[1] - best[0]) / (2 * _apart(table, self._ranked[0], self._ranked[1]))
        # Only the pixels of cells near a border need a look of their own.
        near = np.flatnonzero(_spread(edge < _BORDER + 12.0, np.bool_))
        rows, cols = near // grid.width, near % grid.width
        cells = rows // 4 * self._inner.width + cols // 4
        names = np.stack([layer.ravel()[cells] for layer in self._ranked])
        x, y = grid.x[0, cols], grid.y[rows, 0]
        bent_x, bent_y = shift_x.ravel()[near], shift_y.ravel()[near]
        dx, dy = (x - table.x[names]).astype(np.float32) + bent_x, (y - table.y[names]).astype(np.float32) + bent_y
        square = dx * dx + dy * dy
        order = np.argsort(square, axis=0, kind="stable")[:2]
        first, second = (np.take_along_axis(names, order[rank][None], 0)[0] for rank in (0, 1))
        low, high = (np.take_along_axis(square, order[rank][None], 0)[0] for rank in (0, 1))
        self._near, self._first = near, first
        self.home = _spread(self._ranked[0], np.int32)
        self.rival = _spread(self._ranked[1], np.int32)
        self.edge = _spread(edge, np.float32)
        self.home.ravel()[near], self.rival.ravel()[near] = first, second
        self.edge.ravel()[near] = (high - low) / (2 * _apart(table, first, second))
        self.dx, self.dy = self._offsets(table, shift_x, shift_y)

    def spread(self, values: Array, kind: Any = np.float32) -> Array:
        """Each pixel's value of a table over districts."""
        values = values.astype(kind)
        out = _spread(values[self._ranked[0]], kind)
        out.ravel()[self._near] = values[self._first]
        return out

    def _offsets(self, table: Districts, shift_x: Array, shift_y: Array) -> tuple[Array, Array]:
        grid, inner, home = self._grid, self._inner, self._ranked[0]
        phase = ((np.arange(4) - 1.5) * grid.size).astype(np.float32)
        dx = _spread((inner.x - table.x[home]).astype(np.float32), np.float32).reshape(grid.height, inner.width, 4) + phase
        dy = _spread((inner.y - table.y[home]).astype(np.float32), np.float32).reshape(inner.height, 4, grid.width) + phase[:, None]
        offset_x, offset_y = dx.reshape(grid.shape), dy.reshape(grid.shape)
        rows, cols = self._near // grid.width, self._near % grid.width
        offset_x.ravel()[self._near] = (grid.x[0, cols] - table.x[self._first]).astype(np.float32)
        offset_y.ravel()[self._near] = (grid.y[rows, 0] - table.y[self._first]).astype(np.float32)
        return offset_x + shift_x, offset_y + shift_y


def _spread(cells: Array, kind: Any) -> Array:
    """Repeat each value over 4 x 4 pixels."""
    out = np.empty((cells.shape[0], 4, cells.shape[1], 4), kind)
    out[...] = cells[:, None, :, None]
    return out.reshape(cells.shape[0] * 4, cells.shape[1] * 4)


def _apart(table: Districts, first: Array, second: Array) -> Array:
    return length_of(table.x[first] - table.x[second], table.y[first] - table.y[second]).astype(np.float32)


def _three_nearest(table: Districts, inner: Grid, bent_x: Array, bent_y: Array) -> tuple[Array, Array]:
    """Squared distances to the three nearest district centres at each 10 m cell, and their numbers, ``[3, h, w]`` each."""
    best = np.full((3, *inner.shape), np.float32(9e9), np.float32)
    which = np.zeros((3, *inner.shape), np.int32)
    reach = 2.3 * DISTRICT
    for number, (x, y) in enumerate(zip(table.x, table.y, strict=True)):
        rows = np.flatnonzero(np.abs(inner.y[:, 0] - y) < reach)
        cols = np.flatnonzero(np.abs(inner.x[0] - x) < reach)
        if not rows.size or not cols.size:
            continue
        cut = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        dx, dy = (inner.x[:, cut[1]] - x).astype(np.float32) + bent_x[cut], (inner.y[cut[0]] - y).astype(np.float32) + bent_y[cut]
        square = dx * dx + dy * dy
        one, two, three = best[0][cut], best[1][cut], best[2][cut]
        name_one, name_two, name_three = which[0][cut], which[1][cut], which[2][cut]
        beats_one, beats_two, beats_three = square < one, square < two, square < three
        np.copyto(three, np.where(beats_two, two, square), where=beats_three)
        np.copyto(name_three, np.where(beats_two, name_two, number), where=beats_three)
        np.copyto(two, np.where(beats_one, one, square), where=beats_two)
        np.copyto(name_two, np.where(beats_one, name_one, number), where=beats_two)
        np.copyto(one, square, where=beats_one)
        np.copyto(name_one, np.int32(number), where=beats_one)
    return best, which


@cache
def _jitter_table() -> Array:
    return uniform_at(key_of(0, "jitter"), np.zeros(_JITTER, np.int64), np.arange(_JITTER))


def _line(number: Array, salt: Array, jitter: float) -> Array:
    """Where the line before cell `number` lies, in cells."""
    return number + np.float32(2 * jitter) * (_jitter_table().take((salt + 37 * number) & (_JITTER - 1)) - np.float32(0.5))


def _ruled(place: Array, pitch: Array, salt: Array, jitter: float) -> tuple[Array, Array]:
    """Cell number along an irregular ruler, int32, and the distance from the cell's start."""
    cells = place / pitch
    line = np.floor(cells + np.float32(0.5)).astype(np.int32)
    number = line - (cells < _line(line, salt, jitter)).astype(np.int32)
    return number, (cells - _line(number, salt, jitter)) * pitch


def _boxes(table: Districts, district: Array, row: Array, col: Array) -> Array:
    depth, salt = table.depth[district], table.salt[district]
    along_salt = salt + 101 * row
    stretch = table.length[district] * (0.55 + _jitter_table()[(along_salt + 57) % _JITTER].astype(np.float64))
    sides = [_line(col, along_salt, 0.28) * stretch, _line(col + 1, along_salt, 0.28) * stretch]
    sides += [_line(row, salt, 0.22) * depth, _line(row + 1, salt, 0.22) * depth]
    return np.stack(sides, 1)
