"""The Generate tab without a browser: what its controls mean, and what a wrong wish is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthgen.demos import generate_actions as actions
from earthgen.demos.generate_job import Generated, Wishes
from earthgen.demos.sessions import Session
from earthgen.demos.world_map import HEIGHT, WIDTH, paint_map, place_at
from earthgen.gen.errors import InputError


@pytest.mark.parametrize("place", [(48.25, 16.25), (-33.75, 151.25), (0.25, -0.25), (89.75, -179.75)])
def test_a_click_on_the_mark_gives_the_place_of_the_mark(place: tuple[float, float]) -> None:
    difference = np.abs(paint_map(place).astype(int) - paint_map().astype(int)).sum(-1)
    rows, cols = np.nonzero(difference)
    inside = (slice(max(0, rows.min()), rows.max() + 1), slice(max(0, cols.min()), cols.max() + 1))
    assert difference[inside].size < 16 * 16
    x, y = (place[1] + 180) * WIDTH / 360 - 0.5, (90 - place[0]) * HEIGHT / 180 - 0.5
    assert rows.min() <= y <= rows.max()
    assert cols.min() <= x <= cols.max()
    assert place_at(x, y) == pytest.approx(place)


def test_land_and_sea_lie_where_they_lie() -> None:
    world = paint_map()

    def colour(lat: float, lon: float) -> tuple[int, ...]:
        return tuple(world[int((90 - lat) * HEIGHT / 180), int((lon + 180) * WIDTH / 360)])

    sea, land = colour(-40, -100), colour(48, 100)
    assert sea != land
    assert colour(-20, 80) == colour(35, -40) == sea  # Indian Ocean, North Atlantic
    assert colour(-10, -55) == colour(5, 22) == colour(-25, 133) == land  # Brazil, Central Africa, Australia


def test_only_what_is_ticked_is_known() -> None:
    assert actions.metadata_of((), 9, 6, 30, (1.0, 2.0)) == {}
    every = actions.metadata_of(actions.KNOWN, 9, 6, 30, (1.0, 2.0))
    assert every == {"gsd": 10.0, "date": "--06", "cloud_cover": 0.3, "lat": 1.0, "lon": 2.0}
    assert actions.pixel_size(9) == "10 m a pixel"
    assert actions.place_name((-33.5, -70.25)) == "33.5° S, 70.25° W"


def test_the_mask_is_what_is_painted() -> None:
    layer = np.zeros((4, 5, 4), np.uint8)
    layer[1:3, 2] = 255
    mask = actions.painted_mask({"layers": [np.zeros_like(layer), layer]})
    assert np.argwhere(mask).tolist() == [[1, 2], [2, 2]]
    for empty in (None, {"layers": []}, {"layers": [np.zeros_like(layer)]}):
        with pytest.raises(InputError, match="nothing is painted"):
            actions.painted_mask(empty)


def test_a_picture_grows_by_half_on_each_side(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (70, 40)).save(path)
    assert actions.borders(path, 4) == (32, 20, 32, 20)
    assert actions.borders(path, 64) == (64, 64, 64, 64)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"count": 0}, "pictures is 0"),
        ({"steps": 1000}, "steps is 1000"),
        ({"seed": -1}, "seed is -1"),
        ({"width": 9999}, "width is 9999"),
        ({"mask": np.ones((2, 2), bool)}, "no picture to fill"),
    ],
)
def test_a_wrong_wish_is_told(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Wishes(**wrong)  # type: ignore[arg-type]


def test_pictures_of_a_run_make_way_for_those_of_the_next() -> None:
    session = Session()
    made = []
    for number in range(2):
        folder = session.folder / f"run-{number}"
        folder.mkdir()
        (folder / "pictures.zip").write_bytes(b"zip")
        made.append(Generated((), (), folder / "pictures.zip", (), (), 1.0))
        session.keep_generated(made[-1])
    assert not made[0].archive.exists()
    assert made[1].archive.exists()
    session.close()
    assert not made[1].archive.exists()
