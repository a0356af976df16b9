"""Where the objects of a procedural scene stand, and what they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .world.spectra import rows_of
from .world.things import AIRFRAME, FLAT, GABLE, HALL, HULL, KIND, Things, nothing

_ROOFS = ("metal", "metal", "red tiles", "brown tiles", "slate", "gravel roof", "white roof", "blue metal", "red paint")
_HULLS = ("red paint", "dark paint", "white paint", "white paint", "brown tiles", "gravel roof")
_CARS = ("white paint", "dark paint", "slate", "metal", "red paint")


@dataclass(frozen=True)
class Placed:
    """The objects of a scene.

    Attributes:
        things: Labelled ones first, then others.
        labelled: How many are labelled.
        label: Their class.
        trees: Middle and radius of crowns in pixels.
        gsd: Metres per pixel.
    """

    things: Things
    labelled: int
    label: str
    trees: list[tuple[float, float, float]]
    gsd: float


def place_objects(rng: np.random.Generator, kind: str, size: int) -> Placed:
    """Fill a scene.

    Args:
        rng: Decides everything.
        kind: Of `objects_ground.LOOKS`.
        size: Side in pixels.
    """
    span = {"village": (0.12, 0.4), "suburb": (0.22, 0.5), "woodland": (0.08, 0.3), "sea": (1.5, 4.0), "airfield": (0.8, 2.8)}[kind]
    gsd = float(np.exp(rng.uniform(*np.log(span))))
    room = _Room(size * gsd)
    if kind == "woodland":
        return Placed(nothing(), 0, "tree", _trees(rng, room, size, gsd, int(rng.integers(2, 26)), (1.0, 4.0)), gsd)
    table, label = {"sea": (_ships, "ship"), "airfield": (_planes, "plane")}.get(kind, (_houses, "building"))
    things = table(rng, room)
    trees: list[tuple[float, float, float]] = []
    if kind in ("village", "suburb"):
        cars = _cars(rng, room, int(rng.integers(0, 5)))
        trees = _trees(rng, room, size, gsd, int(rng.integers(0, 14)), (1.0, 3.5))
        return Placed(_joined([things, cars]), len(things), label, trees, gsd)
    if kind == "airfield" and rng.random() < 0.25:
        trucks = _cars(rng, room, int(rng.integers(1, 6)))
        return Placed(_joined([things, trucks]), len(things), label, trees, gsd)
    return Placed(things, len(things), label, trees, gsd)


class _Room:
    """What is taken of a square of `side` metres, as circles of middle and radius along their axes."""

    def __init__(self, side: float) -> None:
        self.side = side
        self.taken: list[NDArray[np.float64]] = []

    def take(self, x: float, y: float, length: float, width: float, angle: float, gap: float) -> bool:
        """Claim a box; False where something stands already. A long box is tested as a chain of circles."""
        count = max(1, min(8, round(length / max(width, 1e-6))))
        spots = (np.arange(count) + 0.5) / count - 0.5
        radius = 0.5 * float(np.hypot(length / count, width))
        chain = np.stack([x + spots * length * np.cos(angle), y + spots * length * np.sin(angle), np.full(count, radius)], 1)
        if self.taken:
            others = np.concatenate(self.taken)
            apart = np.hypot(chain[:, None, 0] - others[None, :, 0], chain[:, None, 1] - others[None, :, 1])
            if (apart < 0.92 * (chain[:, None, 2] + others[None, :, 2]) + gap).any():
                return False
        self.taken.append(chain)
        return True


def _table(kind: str, rows: list[tuple[float, ...]]) -> Things:
    """Rows of (shape, x, y, angle, length, width, height, material, tone, order)."""
    if not rows:
        return nothing()
    shape, x, y, angle, length, width, height, material, tone, order = np.array(rows, np.float64).T
    whole = (part.astype(np.int64) for part in (shape, material, order))
    forms, stuff, orders = whole
    names = np.arange(len(x), dtype=np.uint64)
    kinds = np.full(len(x), KIND[kind])
    return Things(kinds, forms, x, y, np.cos(angle), np.sin(angle), length, width, height, stuff, tone, orders, names)


def _joined(parts: list[Things]) -> Things:
    parts = [part for part in parts if len(part)]
    return (
        Things(*(np.concatenate([getattr(part, name) for part in parts]) for name in Things.__dataclass_fields__)) if parts else nothing()
    )


def _material(rng: np.random.Generator, names: tuple[str, ...]) -> int:
    return int(rows_of((names[int(rng.integers(len(names)))],))[0])


def _houses(rng: np.random.Generator, room: _Room) -> Things:
    """Houses along common directions, some by themselves."""
    rows: list[tuple[float, ...]] = []
    base, wanted = rng.uniform(0, np.pi), int(rng.integers(1, 16))
    common = _ROOFS[int(rng.integers(len(_ROOFS)))]
    for _ in range(wanted * 6):
        if len(rows) >= wanted:
            break
        long = float(np.exp(rng.uniform(np.log(5.0), np.log(22.0))))
        width = long * rng.uniform(0.45, 1.0)
        turn = base + (np.pi / 2) * int(rng.integers(2)) + rng.normal(0, 0.05) if rng.random() < 0.75 else rng.uniform(0, np.pi)
        x, y = rng.uniform(0, room.side, 2)
        if not room.take(x, y, long, width, turn, 0.3):
            continue
        shape = (GABLE, GABLE, FLAT, HALL)[int(rng.integers(4))]
        roof = _material(rng, (common,) if rng.random() < 0.4 else _ROOFS)
        rows.append((shape, x, y, turn, long, width, rng.uniform(2.5, 7.0), roof, rng.uniform(0.6, 1.25), 1))
    return _table("building", rows)


def _ships(rng: np.random.Generator, room: _Room) -> Things:
    """Ships at anchor, which lie alike, or under way; some lie side by side."""
    rows: list[tuple[float, ...]] = []
    base, wanted, alike = rng.uniform(0, 2 * np.pi), int(rng.integers(1, 9)), rng.random() < 0.5
    for _ in range(wanted * 6):
        if len(rows) >= wanted:
            break
        long = float(np.exp(rng.uniform(np.log(22.0), np.log(260.0))))
        long = min(max(long, room.side / 18), 0.55 * room.side)
        width = long * rng.uniform(0.14, 0.24) + 1.0
        turn = base + rng.normal(0, 0.06) if alike else rng.uniform(0, 2 * np.pi)
        x, y = rng.uniform(0, room.side, 2)
        if not room.take(x, y, long, width, turn, 0.1 * width):
            continue
        rows.append((HULL, x, y, turn, long, width, 2.0 + 0.06 * long, _material(rng, _HULLS), rng.uniform(0.8, 1.2), 2))
    return _table("ship", rows)


def _planes(rng: np.random.Generator, room: _Room) -> Things:
    """Aeroplanes in rows on stands, or anywhere."""
    rows: list[tuple[float, ...]] = []
    base, wanted = rng.uniform(0, 2 * np.pi), int(rng.integers(1, 16))
    typical, parked = float(np.exp(rng.uniform(np.log(22.0), np.log(58.0)))), rng.random() < 0.6
    spread, origin = 1.12 * typical, rng.uniform(-0.2, 0.2, 2) * room.side
    for number in range(wanted * 6):
        if len(rows) >= wanted:
            break
        long = typical * rng.uniform(0.8, 1.1)
        turn = base + rng.normal(0, 0.04) + (np.pi if rng.random() < 0.1 else 0.0)
        x, y = rng.uniform(0, room.side, 2)
        if parked:
            across, along = (number % 6 - 2.5) * spread, (number // 6 - 1) * 1.6 * spread
            x = room.side / 2 + origin[0] - across * np.sin(base) + along * np.cos(base)
            y = room.side / 2 + origin[1] + across * np.cos(base) + along * np.sin(base)
            if rng.random() < 0.25:
                continue
        else:
            turn = turn + rng.normal(0, 1.0)
        # Wings overlap the free corners of neighbours' boxes; the body's circle keeps the aircraft themselves apart.
        if not room.take(x, y, 0.8 * long, 0.75 * long, turn, 0.0):
            continue
        rows.append(
            (
                AIRFRAME,
                x,
                y,
                turn,
                long,
                0.94 * long,
                0.22 * long,
                _material(rng, ("white paint", "white roof", "metal")),
                rng.uniform(0.7, 1.1),
                3,
            )
        )
    return _table("plane", rows)


def _cars(rng: np.random.Generator, room: _Room, count: int) -> Things:
    rows: list[tuple[float, ...]] = []
    for _ in range(count):
        turn, long = rng.uniform(0, np.pi), rng.uniform(3.8, 5.2)
        x, y = rng.uniform(0, room.side, 2)
        if room.take(x, y, long, 1.9, turn, 0.2):
            rows.append((FLAT, x, y, turn, long, 1.9, 1.5, _material(rng, _CARS), 1.0, 3))
    return _table("vehicle", rows)


def _trees(
    rng: np.random.Generator, room: _Room, size: int, gsd: float, count: int, radii: tuple[float, float]
) -> list[tuple[float, float, float]]:
    made: list[tuple[float, float, float]] = []
    for _ in range(count * 4):
        if len(made) >= count:
            break
        radius = float(np.exp(rng.uniform(*np.log(radii))))
        x, y = rng.uniform(0, room.side, 2)
        if room.take(x, y, 1.4 * radius, 1.4 * radius, 0.0, 0.0):
            made.append((x / gsd, y / gsd, radius / gsd))
    return made
