"""The same place is the same from whatever window, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from earthgen import World
from earthgen.gen.data.world import LAYERS
from earthgen.gen.data.world.lattice import Grid, Points, enlarge, octaves
from earthgen.gen.data.world.terrain import terrain_at

# A town; an airfield; a coast; mountains in winter; across the line where the sun changes; far away with negative rows; a desert latitude.
PLACES = [
    (1, 105, 350, "2021-05-15"),
    (1, 448, -566, "2021-08-01"),
    (1, 1210, -1357, "2021-06-15"),
    (1, -804, 1553, "2021-01-20"),
    (5, -24, 33, "2021-09-15"),
    (3, -121_237, -95_003, "2021-12-21"),
    (5, 370_001, 250_003, "2021-03-15"),
]


@pytest.mark.parametrize(("seed", "row", "col", "date"), PLACES)
def test_overlapping_windows_agree_in_every_layer(seed: int, row: int, col: int, date: str) -> None:
    world = World(seed)
    one = world.window(row, col, 34, 46, date, ("all",), 0.4)
    other = world.window(row + 13, col + 17, 39, 27, date, ("s2",), 0.4)
    for name in LAYERS:
        first, second = one.layer(name), other.layer(name)
        x, y = np.intersect1d(first.x, second.x), np.intersect1d(first.y, second.y)
        assert x.size * y.size >= 9
        np.testing.assert_array_equal(first.sel(x=x, y=y).values, second.sel(x=x, y=y).values, err_msg=name)
    # Objects in the part that both see: columns 17 to 44, rows 13 to 34 of the first window.
    seen = {
        item.number: item
        for item in one.objects
        if all(17 * 4 <= x <= 44 * 4 and 13 * 4 <= y <= 34 * 4 for x, y in item.corners)
    }  # fmt: skip
    others = {item.number: item for item in other.objects}
    for number, item in seen.items():
        np.testing.assert_allclose(np.array(item.corners) - (68, 52), others[number].corners, atol=1e-6)


def test_the_same_seed_gives_the_same_place_and_another_does_not() -> None:
    first, again, other = (World(seed).window(40, 40, 16, 16).truth.values for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 1e-3


def test_points_see_what_windows_see() -> None:
    grid = Grid(-31, 1_200, 9, 14, 10.0)
    points = Points(np.broadcast_to(grid.x, grid.shape).ravel(), np.broadcast_to(grid.y, grid.shape).ravel())
    np.testing.assert_allclose(grid.smooth(99, 47.0).ravel(), points.smooth(99, 47.0), atol=2e-6)
    window, single = terrain_at(1, grid), terrain_at(1, points)
    for name in vars(window):
        np.testing.assert_allclose(getattr(window, name).ravel(), getattr(single, name), rtol=1e-4, atol=2e-3, err_msg=name)


def test_smooth_noise_has_mean_zero_unit_variance_and_its_wavelength() -> None:
    field = Grid(0, 0, 600, 600, 10.0).smooth(5, 40.0)
    assert abs(field.mean()) < 0.03
    assert abs(field.std() - 1.0) < 0.03
    near, far = field[:, 1:] * field[:, :-1], field[:, 40:] * field[:, :-40]
    assert near.mean() > 0.9
    assert abs(far.mean()) < 0.05


def test_octaves_add_up_in_variance() -> None:
    field = octaves(Grid(0, 0, 500, 500, 10.0), 3, (60.0, 25.0), (0.8, 0.6))
    assert abs(field.std() - 1.0) < 0.04


def test_enlarging_keeps_straight_lines() -> None:
    rows, cols = np.mgrid[-1:6, -1:8].astype(np.float32)
    fine = enlarge(2 * rows - 3 * cols, 4)
    down, right = np.mgrid[0:20, 0:28]
    np.testing.assert_allclose(fine, 2 * ((down + 0.5) / 4 - 0.5) - 3 * ((right + 0.5) / 4 - 0.5), atol=1e-5)
