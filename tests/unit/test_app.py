"""What the app's buttons do, without a browser."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import rasterio

from earthgen.demos import previews
from earthgen.demos.display import Stretch
from earthgen.demos.previews import DETAIL, Look, detail_window, draw_frame, fitting_products, open_scene, paint_overview, read_window
from earthgen.demos.sessions import Cancelled, Session
from earthgen.demos.upscale_actions import duration, facts, make_look, next_step, progress_status, status, trouble
from earthgen.demos.upscale_job import ModelFacts, Settings, model_facts
from earthgen.demos.worker import Progress
from earthgen.gen.errors import InputError

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
MODEL = ModelFacts("zoo:some", ("red", "green", "blue", "nir"), 4, "reflectance")


def write(path: Path, stored: np.ndarray, *, names: tuple[str, ...] = (), told: bool = True) -> Path:
    count, height, width = stored.shape
    grid = rasterio.transform.from_origin(500_000, 4_000_000, 10, 10)
    shape = {"count": count, "height": height, "width": width}
    with rasterio.open(path, "w", driver="GTiff", dtype=stored.dtype, crs="EPSG:32633", transform=grid, **shape) as file:
        file.write(stored)
        if names:
            file.descriptions = names
        if told:
            file.scales, file.offsets = (1e-4,) * count, (-0.1,) * count
    return path


@pytest.fixture
def scene_path(tmp_path: Path) -> Path:
    stored = np.arange(13 * 30 * 40, dtype=np.uint16).reshape(13, 30, 40) + 1_000
    return write(tmp_path / "scene.tif", stored, names=BANDS)


def test_a_scene_is_described(scene_path: Path) -> None:
    scene = open_scene(scene_path)
    text = facts(scene, MODEL)
    for part in ("scene.tif", "40 x 30 pixels of 10 m", "13: B01, B02", "(DN - 1000) / 10000", "EPSG:32633", "160 x 120 pixels"):
        assert part in text
    assert scene.suggested(MODEL.bands) == ("B04", "B03", "B02", "B08")
    assert "Ready" in next_step(scene, MODEL, scene.suggested(MODEL.bands))


def test_names_in_files_are_text_and_never_markup(tmp_path: Path) -> None:
    path = write(tmp_path / "a&b.tif", np.full((1, 4, 4), 2_000, np.uint16), names=("<b>bold</b>",))
    assert "<b>bold" not in facts(open_scene(path), None)
    assert "<script" not in status("<script>alert(1)</script>")


def test_open_questions_are_asked_and_answered(tmp_path: Path) -> None:
    path = write(tmp_path / "bare.tif", np.full((13, 8, 8), 3_000, np.uint16), told=False)
    scene = open_scene(path)
    assert scene.radiometry is None
    hint = next_step(scene, MODEL, ())
    assert "choose it under" in hint
    assert str(path) not in hint
    assert [row.name for row in fitting_products(scene.info)] == ["sentinel-2-l1c"]
    settled = open_scene(path, chosen="s2-offset", product="sentinel-2-l1c")
    assert settled.names == BANDS
    assert settled.selectors(("B04", "B8A")) == ("B04=4", "B8A=9")
    assert np.allclose(settled.overview(("B04",)), 0.2)
    assert "red, green, blue, nir, in this order" in next_step(open_scene(path, chosen="s2"), MODEL, ())
    with pytest.raises(InputError, match="no radiometry called"):
        open_scene(path, chosen="guess")
    with pytest.raises(InputError):
        open_scene(path, product="landsat-8-9-sr")


def test_numbers_of_unknown_meaning_are_shown_as_stored(tmp_path: Path) -> None:
    path = write(tmp_path / "bare.tif", np.full((3, 8, 8), 3_000, np.uint16), told=False)
    scene = open_scene(path)
    assert (scene.overview(scene.names) == 3_000).all()
    assert paint_overview(scene, Look()).shape == (768, 768, 3)


def test_a_click_in_the_overview_moves_the_detail_view(scene_path: Path) -> None:
    session = Session()
    session.look_at(5, 5)
    assert session.centre == (0.5, 0.5)
    session.scene = open_scene(scene_path)
    picture = paint_overview(session.scene, Look())
    assert picture.shape[:2] == session.scene.shown_size == (30 * 19, 40 * 19)
    session.look_at(29 * 19 + 9, 9)
    assert np.allclose(session.centre, (29.5 / 30, 0.5 / 40))


def test_previews_of_large_rasters_are_small_and_in_the_right_place(tmp_path: Path) -> None:
    stored = np.full((1, 3_000, 2_000), 2_000, np.uint16)
    stored[0, 1_500:, 1_000:] = 5_000
    scene = open_scene(write(tmp_path / "large.tif", stored, names=("B04",)))
    view = scene.overview(("B04", "B04", "B04"))
    assert max(view.shape) <= previews.OVERVIEW
    height, width = view.shape[1:]
    assert np.allclose(view[:, : height // 2 - 1, : width // 2 - 1], 0.1)
    assert np.allclose(view[:, height // 2 + 1 :, width // 2 + 1 :], 0.4)
    assert scene.overview(("B04", "B04", "B04")) is view, "the next change of the stretch must not read again"


def test_windows_are_read_where_they_are_asked_for(scene_path: Path) -> None:
    scene = open_scene(scene_path)
    window = read_window(scene.path, ("B02", "B02", "B01"), scene.radiometry, (5, 7, 3, 4))
    with rasterio.open(scene_path) as file:
        expected = (file.read([2, 2, 1])[:, 5:8, 7:11].astype(np.float64) - 1_000) / 10_000
    assert np.allclose(window, expected, atol=1e-6)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.2, 0.9)])
def test_the_detail_view_stays_inside_and_holds_the_centre(centre: tuple[float, float]) -> None:
    row, column, height, width = detail_window(1_000, 100, 4, centre)
    assert (height, width) == (DETAIL // 4, 100)
    assert 0 <= row <= 1_000 - height
    assert column == 0
    assert row <= min(centre[0] * 1_000, 999) <= row + height
    assert detail_window(3, 5, 8, centre) == (0, 0, 3, 5)


def test_frames_are_drawn_around_their_window_and_nowhere_else() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    draw_frame(picture, (20, 40, 40, 80), (100, 200))
    touched = np.argwhere((picture > 0).any(axis=-1))
    assert touched.min(axis=0).tolist() == [20, 40]
    assert touched.max(axis=0).tolist() == [59, 119]
    assert not picture[25:55, 45:115].any(), "what is framed stays visible"
    draw_frame(picture, (0, 0, 1, 1), (10_000, 10_000))


def test_a_look_falls_back_to_bands_that_are_there(scene_path: Path) -> None:
    scene = open_scene(scene_path)
    assert scene.shown(Look("Infrared")) == ("B08", "B04", "B03")
    assert scene.shown(Look("", ("B12", "B11", "B10"))) == ("B12", "B11", "B10")
    assert scene.shown(Look("", ("gone", "B11", "B10"))) == ("B04", "B03", "B02")
    assert scene.shown(Look("Short-wave infrared"), among=("B04", "B03", "B02", "B08")) == ("B04", "B03", "B02")


def test_look_controls_become_a_stretch() -> None:
    look = make_look("True colour", ("a", "b", "c"), "fixed", True, 0.05, 0.25)
    assert look.stretch == Stretch("fixed", True, 0.05, 0.25)
    assert make_look("", (None, None, None), "minmax", False, None, None).stretch.kind == "minmax"
    with pytest.raises(InputError, match="two numbers"):
        make_look("", (), "fixed", True, None, 0.3)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 101}, {"samples": 17}, {"seed": -1}, {"consistency": "magic"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int | str]) -> None:
    with pytest.raises(InputError):
        Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "  ", "/nowhere/at/all", "zoo:none-of-that-name"])
def test_unknown_models_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        model_facts(name)


def test_errors_become_sentences(caplog: pytest.LogCaptureFixture) -> None:
    upload = Path("/tmp/gradio/0123/scene.tif")
    shown = trouble(InputError(f"the file {upload} is\n no raster; give a GeoTIFF"), upload)
    assert "The file scene.tif is no raster; give a GeoTIFF." in shown
    assert 'role="alert"' in shown
    unknown = trouble(KeyError("surprise"))
    assert "KeyError" in unknown
    assert "surprise" not in unknown
    assert "surprise" in caplog.text, "the terminal has the details"
    assert "memory" in trouble(MemoryError())


def test_progress_is_told_in_parts_and_time() -> None:
    assert "waiting" in progress_status(Progress(0, 0, 2.0, None))
    text = progress_status(Progress(3, 4, 30.0, 10.0))
    assert "3 of 4 parts done, about 10 s left." in text
    assert "width: 75.0%" in text


@pytest.mark.parametrize(("seconds", "text"), [(0.1, "1 s"), (59.6, "60 s"), (150, "2 min"), (9_000, "2.5 h")])
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_session_is_one_thing_and_cleans_up() -> None:
    session = Session()
    assert copy.deepcopy(session) is session
    folder = session.folder
    (folder / "result.tif").write_bytes(b"x")
    assert session.folder == folder
    session.close()
    assert not folder.exists()
    with pytest.raises(Cancelled):
        session.check()


def test_one_run_at_a_time_in_a_session() -> None:
    session = Session()
    session.begin()
    with pytest.raises(InputError, match="going on"):
        session.begin()
    session.cancel()
    session.end()
    session.begin()
    session.check()
    session.end()
