"""The world itself: a seed, windows into it, and a way to find places of a kind."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...errors import InputError
from .drainage import low_relief
from .lattice import Array, Grid
from .places import airfields_near, towns_near
from .scene import LAYERS, Scene
from .terrain import dryness, terrain_at

PLACES = ("city", "town", "village", "airfield", "coast", "lake", "river", "woodland", "farmland", "mountains", "desert")
"""Kinds of place that `World.find` knows."""
_PLANS = {"all", "s2", "objects", "change", "metadata", "caption", *LAYERS}
_LIMIT = 1 << 40  # pixels from the origin; beyond, float64 metres are too coarse


class World:
    """An unbounded plane of 10 m pixels; everything on it is a function of the seed and the place."""

    def __init__(self, seed: int = 0) -> None:
        """Choose a world.

        Args:
            seed: Any integer.
        """
        self.seed = int(seed)

    def window(
        self,
        row: int,
        col: int,
        height: int,
        width: int,
        date: str = "2021-06-15",
        modalities: Iterable[str] = ("s2",),
        cloudiness: float | None = None,
    ) -> Scene:
        """Look at a window; nothing is computed yet.

        Args:
            row: First row in 10 m pixels; rows go south and may be negative.
            col: First column; columns go east.
            height: Rows of 10 m pixels; the 2.5 m layers have four times as many.
            width: Columns.
            date: ISO date, 1900 to 2100.
            modalities: What will be asked for: ``all``, ``s2``, names of layers. Other layers can still be asked for; they may then take
            longer.
            cloudiness: Share of the sky under clouds, 0 to 1; None for the weather of the day.

        Returns:
            The scene.

        Raises:
            InputError: If a size, the date, the cloudiness or a modality makes no sense.
        """
        if height < 1 or width < 1:
            raise InputError(f"a window of {height} x {width} pixels has no area; ask for at least one row and one column")
        if max(abs(row), abs(col)) > _LIMIT:
            raise InputError(f"the window at row {row}, column {col} is too far from the origin; stay within {_LIMIT} pixels")
        try:
            year = int(np.datetime64(date, "D").astype("datetime64[Y]").astype(int)) + 1970
        except ValueError as error:
            raise InputError(f"the date {date!r} is no date; write it as 2021-06-15") from error
        if not 1900 <= year <= 2100:
            raise InputError(f"the date {date} lies outside 1900 to 2100; choose one within")
        if cloudiness is not None and not 0.0 <= cloudiness <= 1.0:
            raise InputError(f"the cloudiness is {cloudiness}; it is a share from 0 to 1, or left out for the weather of the day")
        planned = (modalities,) if isinstance(modalities, str) else tuple(modalities)
        unknown = [name for name in planned if name not in _PLANS]
        if unknown:
            raise InputError(f"there is no modality {unknown[0]!r}; choose from {', '.join(sorted(_PLANS))}")
        return Scene(self.seed, Grid(int(row), int(col), int(height), int(width), 10.0), str(np.datetime64(date, "D")), planned, cloudiness)

    def find(self, kind: str, count: int = 1, *, near: tuple[int, int] = (0, 0)) -> list[tuple[int, int]]:
        """Places of a kind.

        Args:
            kind: One of `PLACES`.
            count: How many at most.
            near: Row and column to search around.

        Returns:
            Rows and columns (10 m pixels) of middles of such places, nearest first; fewer than `count` where 500 km around hold no more.

        Raises:
            InputError: If the kind is unknown.
        """
        if kind not in PLACES:
            raise InputError(f"there is no kind of place {kind!r}; choose from {', '.join(PLACES)}")
        found: list[tuple[int, int]] = []
        for reach in (20_000.0, 60_000.0, 180_000.0, 500_000.0):
            found = self._search(kind, near, reach)
            if len(found) >= count:
                break
        return found[:count]

    def _search(self, kind: str, near: tuple[int, int], reach: float) -> list[tuple[int, int]]:
        x, y = near[1] * 10.0, near[0] * 10.0
        low, high = (x - reach, y - reach), (x + reach, y + reach)
        if kind == "airfield":
            if reach > 60_000.0:
                return []
            places = np.array([[field.x, field.y] for field in airfields_near(self.seed, low, high)]).reshape(-1, 2)
        elif kind in ("city", "town", "village"):
            towns = towns_near(self.seed, low, high)
            least, most = {"city": (1_400.0, 1e9), "town": (650.0, 1_200.0), "village": (200.0, 500.0)}[kind]
            places = towns[(towns[:, 2] > least) & (towns[:, 2] < most)][:, :2]
        else:
            places = self._natural(kind, x, y, reach)
        order = np.argsort((places[:, 0] - x) ** 2 + (places[:, 1] - y) ** 2, kind="stable")
        return [(int(places[number, 1] // 10.0), int(places[number, 0] // 10.0)) for number in order]

    def _natural(self, kind: str, x: float, y: float, reach: float) -> Array:
        """Places of a kind of landscape, ``[n, 2]`` x and y; far away only those that the broad relief tells."""
        size = reach / 60.0
        grid = Grid(int(y // size) - 60, int(x // size) - 60, 120, 120, size)
        low, mountain = low_relief(self.seed, grid)
        arid = dryness(self.seed, grid)
        broad = {"mountains": (mountain > 0.8) & (arid < 0.3) & (low > 0), "desert": (arid > 0.9) & (low > 5.0)}
        if kind in broad:
            return _places(grid, broad[kind])
        if reach > 60_000.0:
            near_sea = _places(grid, (np.abs(low) < 25.0) & (arid < 0.4)) if kind == "coast" else np.zeros((0, 2))
            order = np.argsort((near_sea[:, 0] - x) ** 2 + (near_sea[:, 1] - y) ** 2, kind="stable")[:4]
            return np.concatenate(
                [
                    np.zeros((0, 2)),
                    *(self._natural(kind, float(near_sea[number, 0]), float(near_sea[number, 1]), 12_000.0) for number in order),
                ]
            )
        ground = terrain_at(self.seed, grid)
        mild = (ground.arid < 0.3) & (ground.mountain < 0.2)
        land = ground.shore > 60.0
        fits = {
            "coast": (np.abs(ground.sea) < 3.0) & (ground.arid < 0.4),
            "lake": (ground.still < 120.0) & (ground.still > -150.0) & (ground.sea < -5.0),
            "river": (np.abs(ground.bank) < 20.0) & (ground.sea < -2.0) & mild,
            "woodland": (ground.forest > 1.0) & mild & land,
            "farmland": (ground.forest < -0.6) & mild & land,
        }
        return _places(grid, fits[kind])


def _places(grid: Grid, fits: Array) -> Array:
    rows, cols = np.nonzero(fits)
    return np.stack([grid.x[0, cols], grid.y[rows, 0]], 1)
