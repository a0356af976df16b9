"""Ships on open water, aeroplanes on aprons, cars on roads."""

from __future__ import annotations

import numpy as np

from ..noise import hash_at, hash_key
from .canvas import Canvas
from .lattice import Array, Points, key_of, uniform_at
from .places import APRON, TAXIWAY, Airfield
from .roads import MAIN, MOTORWAY, Laid
from .spectra import rows_of
from .terrain import terrain_at
from .things import AIRFRAME, FLAT, HALL, HULL, KIND, Things, gather, nothing

_BERTH = 230.0  # metres between the places where ships may lie
_STAND = 62.0
_HULLS = rows_of(("red paint", "dark paint", "gravel roof", "slate", "white paint", "brown tiles"))
_CARS = rows_of(("white paint", "dark paint", "slate", "metal", "red paint", "white roof"))


def ships(canvas: Canvas, day: float) -> Things:
    """Ships whose whole length lies on water; each stays for a few days."""
    grid, seed = canvas.grid, canvas.seed
    if not (canvas.terrain.still < -15.0).any():
        return nothing()
    rows, cols = (
        axis.ravel() for axis in np.meshgrid(*(_range(ends, _BERTH) for ends in (grid.y[[0, -1], 0], grid.x[0, [0, -1]])), indexing="ij")
    )
    stay = int(day // 3)

    def draw(name: str) -> Array:
        return uniform_at(hash_key(key_of(seed, name), stay), rows, cols).astype(np.float64)

    x = (cols + 0.5 + 0.7 * (draw("ship x") - 0.5)) * _BERTH
    y = (rows + 0.5 + 0.7 * (draw("ship y") - 0.5)) * _BERTH
    chance, size = draw("ship"), draw("ship size")
    small = size < 0.5
    length = np.where(small, 9.0 + 36.0 * size, 45.0 + 200.0 * np.maximum(size - 0.5, 0.0))
    ground = terrain_at(seed, Points(x, y))
    room = -ground.still - 4.0
    length = np.where(length > 1.6 * room, 9.0 + 12.0 * size, length)
    afloat = (
        (room > 0.5 * length + 3.0) & (chance < np.where(ground.sea > 0.0, np.where(room < 900.0, 0.3, 0.1), 0.22)) & (ground.arid < 0.9)
    )
    anchored = draw("ship swing") < 0.5
    lie = np.where(anchored, 0.35 * (draw("ship lie") - 0.5), 2.0 * np.pi * draw("ship lie")) + stay * 0.7
    width = length * (0.15 + 0.07 * draw("ship beam")) + 1.2
    name = hash_at(hash_key(key_of(seed, "ship name"), stay), rows, cols)
    material = _HULLS[(draw("ship hull") * len(_HULLS)).astype(np.int64)]
    material = np.where(length < 30.0, rows_of(("white paint",)), material)
    count = len(x)
    table = Things(
        np.full(count, KIND["ship"]), np.full(count, HULL), x, y, np.cos(lie), np.sin(lie), length, width, 2.0 + 0.07 * length, material,
        0.85 + 0.3 * draw("ship tone"), np.full(count, 2), name,
    )  # fmt: skip
    return table.take(np.flatnonzero(afloat))


def _range(ends: Array, size: float) -> Array:
    return np.arange(int(np.floor(ends[0] / size)) - 1, int(np.floor(ends[1] / size)) + 2)


def planes(canvas: Canvas, day: float) -> Things:
    """Aeroplanes on the stands of aprons and on taxiways, with terminals and hangars behind them."""
    return gather([part for field in canvas.airfields for part in (_parked(field, int(day)), _terminal(field))])


def _parked(field: Airfield, day: int) -> Things:
    from_along, to_along, from_across, to_across = APRON
    busy = 0.35 + 0.55 * (field.half - 700.0) / 850.0
    number = np.arange(int((to_along - from_along) / _STAND))
    key = hash_key(field.key, day)
    draw = [uniform_at(hash_key(key, salt), number, np.zeros(1, np.int64)).astype(np.float64) for salt in range(6)]
    along = from_along + (number + 0.5) * _STAND
    length = np.where(draw[1] < 0.25, 14.0 + 10.0 * draw[2], 31.0 + 24.0 * draw[2] ** 2)
    across = to_across - 14.0 - 0.5 * length
    turn = np.full(number.shape, np.pi / 2)  # nose towards the terminal
    taken = draw[0] < busy
    # Two aircraft may be rolling: one on the taxiway, one in front of the stands.
    rolling = uniform_at(hash_key(key, 17), np.arange(2), np.zeros(1, np.int64)).astype(np.float64)
    along = np.append(along, (2.0 * rolling - 1.0) * np.array([0.8 * field.half, 250.0]))
    across = np.append(across, [TAXIWAY, from_across + 40.0])
    length = np.append(length, [38.0, 33.0])
    turn = np.append(turn, np.where(rolling * 7.0 % 1.0 < 0.5, 0.0, np.pi))
    taken = np.append(taken, rolling * 13.0 % 1.0 < (0.5, 0.4))
    tones = np.append(draw[3], [0.5, 0.7])
    x, y = field.world(along, across)
    heading_cos, heading_sin = np.cos(turn) * field.cos - np.sin(turn) * field.sin, np.cos(turn) * field.sin + np.sin(turn) * field.cos
    count = len(x)
    name = hash_at(hash_key(key, 99), np.arange(count), np.zeros(1, np.int64))
    table = Things(
        np.full(count, KIND["plane"]), np.full(count, AIRFRAME), x, y, heading_cos, heading_sin, length, 0.94 * length, 0.28 * length,
        rows_of(("white paint",)).repeat(count), 0.85 + 0.25 * tones, np.full(count, 3), name,
    )  # fmt: skip
    return table.take(np.flatnonzero(taken))


def _terminal(field: Airfield) -> Things:
    across = APRON[3] + 22.0
    along = np.array([-60.0, -265.0, 225.0, 300.0])
    length, width = np.array([230.0, 78.0, 62.0, 52.0]), np.array([32.0, 42.0, 40.0, 36.0])
    x, y = field.world(along, np.full(4, across))
    kind = np.full(4, KIND["building"])
    name = hash_at(hash_key(field.key, 5), np.arange(4), np.zeros(1, np.int64))
    material = rows_of(("white roof", "metal", "blue metal", "metal"))
    ones = np.ones(4)
    shape = np.array([FLAT, HALL, HALL, HALL])
    heights = np.array([14.0, 12.0, 11.0, 10.0])
    return Things(kind, shape, x, y, field.cos * ones, field.sin * ones, length, width, heights, material, 0.95 * ones, np.full(4, 1), name)


def cars(canvas: Canvas, laid: Laid, day: float) -> Things:
    """Cars and lorries on the larger roads, pointing along them."""
    grid, seed = canvas.grid, canvas.seed
    cell = 6  # at most one vehicle in a square of so many pixels
    rows = np.arange(-(-grid.row // cell), (grid.row + grid.height - cell) // cell)
    cols = np.arange(-(-grid.col // cell), (grid.col + grid.width - cell) // cell)
    name = hash_at(hash_key(key_of(seed, "car"), int(day)), rows[:, None], cols[None, :])
    down = rows[:, None] * cell + ((name >> np.uint64(8)) % np.uint64(cell)).astype(np.int64)
    over = cols[None, :] * cell + ((name >> np.uint64(16)) % np.uint64(cell)).astype(np.int64)
    at = (down - grid.row) * grid.width + over - grid.col
    rank = laid.rank.ravel()[at]
    chance = ((name >> np.uint64(24)) & np.uint64(1023)).astype(np.float64) / 1024.0
    found = np.nonzero(((rank == MAIN) & (chance < 0.06)) | ((rank == MOTORWAY) & (chance < 0.16)))
    name, at, rank = name[found], at[found], rank[found]
    if not name.size:
        return nothing()
    row, col = np.clip(at // grid.width, 2, grid.height - 3), np.clip(at % grid.width, 2, grid.width - 3)
    field = np.where(rank == MOTORWAY, 0, 1)
    layers = np.stack([canvas.motorway, canvas.division.edge])
    east = layers[field, row, col + 2] - layers[field, row, col - 2]
    south = layers[field, row + 2, col] - layers[field, row - 2, col]
    length = np.sqrt(east * east + south * south).astype(np.float64) + 1e-9
    draw = ((name >> np.uint64(34)) & np.uint64(1023)).astype(np.float64) / 1024.0
    lorry = draw < 0.15
    size = np.where(lorry, 9.0 + 50.0 * draw, 4.4)
    count = len(name)
    return Things(
        np.full(count, KIND["vehicle"]), np.full(count, FLAT), (col + grid.col + 0.5) * grid.size, (row + grid.row + 0.5) * grid.size,
        -south / length, east / length, size, np.where(lorry, 2.5, 1.8), np.where(lorry, 3.8, 1.5),
        _CARS[((name >> np.uint64(44)) % np.uint64(len(_CARS))).astype(np.int64)], np.ones(count), np.full(count, 3), name,
    )  # fmt: skip
