"""The Generate tab in Chromium, end to end, with the zoo's generator and the network barred."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from earthgen.demos.generate_job import DEFAULT_MODEL, generator_facts, generator_names

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]

Visit = Callable[..., Any]
STATUS = "#gen-status"


@pytest.fixture
def tab(visit: Visit) -> Any:
    """A window on the tab, two pictures of four steps a run."""
    if DEFAULT_MODEL not in generator_names():
        pytest.skip(f"{DEFAULT_MODEL} is not in the zoo")
    visitor = visit()
    visitor.page.get_by_role("tab", name="Generate").click()
    visitor.set_number("#gen-count", 2)
    visitor.page.locator("#gen-more button").first.click()
    visitor.set_number("#gen-steps", 4)
    return visitor


def pictures(visitor: Any) -> int:
    """Different pictures in the gallery, however it lays them out."""
    shown = visitor.page.locator("#gen-gallery img")
    shown.first.wait_for()
    return len({shown.nth(number).get_attribute("src") for number in range(shown.count())})


def test_text_a_month_and_a_place_on_the_map_give_geotiffs_at_that_place(tab: Any, tmp_path: Path) -> None:
    tab.page.locator("#gen-prompt textarea").fill("a satellite image of farmland")
    tab.page.get_by_label("month", exact=True).check()
    box = tab.page.locator("#gen-map img").bounding_box()
    # 16.25 E, 48.25 N, as shares of the map.
    tab.page.locator("#gen-map img").click(position={"x": box["width"] * 196.25 / 360, "y": box["height"] * 41.75 / 180})
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(tab.page.get_by_label("place", exact=True)).to_be_checked(timeout=60_000)  # the click is answered
    tab.expect("° N, 16", "#gen-map")
    tab.page.locator("#gen-run").click()
    tab.expect("2 pictures in", STATUS)
    assert pictures(tab) == 2
    tab.shot("generate")
    with zipfile.ZipFile(tab.download("#gen-download", tmp_path)) as packed:
        assert packed.namelist() == ["000000.tif", "000001.tif"]
        packed.extractall(tmp_path)
    height, width = generator_facts(DEFAULT_MODEL).size
    seen = []
    for name in ("000000.tif", "000001.tif"):
        with rasterio.open(tmp_path / name) as raster:
            assert raster.crs.to_epsg() == 32633
            assert (raster.width, raster.height, raster.res) == (width, height, (10.0, 10.0))
            assert raster.tags()["EARTHGEN_SYNTHETIC"] == "true"
            seen.append(raster.read())
    assert not np.array_equal(*seen)


def test_one_click_extends_the_chosen_picture_and_keeps_it(tab: Any, tmp_path: Path) -> None:
    tab.page.locator("#gen-run").click()
    tab.expect("2 pictures in", STATUS)
    with zipfile.ZipFile(tab.download("#gen-download", tmp_path)) as packed:
        before = np.asarray(Image.open(packed.open("000000.png"))).astype(int)
    tab.page.locator("#gen-extend").click()
    tab.expect("1 picture in", STATUS)
    with zipfile.ZipFile(tab.download("#gen-download", tmp_path)) as packed:
        after = np.asarray(Image.open(packed.open("000000.png"))).astype(int)
    side = before.shape[0]
    assert after.shape == (2 * side, 2 * side, 3)
    kept = after[side // 2 : side // 2 + side, side // 2 : side // 2 + side]
    assert np.abs(kept - before).max() <= 1
    tab.shot("generate-extended")


def test_what_is_painted_over_is_made_anew_and_the_rest_stays(tab: Any, tmp_path: Path) -> None:
    tab.page.locator("#gen-run").click()
    tab.expect("2 pictures in", STATUS)
    with zipfile.ZipFile(tab.download("#gen-download", tmp_path)) as packed:
        before = np.asarray(Image.open(packed.open("000000.png"))).astype(int)
    tab.page.locator("#gen-edit").click()
    canvas = tab.page.locator("#gen-canvas canvas").first
    canvas.wait_for()
    tab.page.wait_for_timeout(1500)
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.mouse.move(*middle)
    tab.page.mouse.down()
    tab.page.mouse.move(middle[0] + 20, middle[1] + 10, steps=8)
    tab.page.mouse.up()
    tab.set_number("#gen-count", 1)
    tab.page.locator("#gen-fill").click()
    tab.expect("1 picture in", STATUS)
    with zipfile.ZipFile(tab.download("#gen-download", tmp_path)) as packed:
        after = np.asarray(Image.open(packed.open("000000.png"))).astype(int)
    changed = np.abs(after - before).max(-1) > 1
    assert 0 < changed.mean() < 0.6
    assert not changed[:4].any()
    assert not changed[-4:].any()


def test_a_hint_is_shown_as_the_model_reads_it(tab: Any, tmp_path: Path) -> None:
    facts = generator_facts(DEFAULT_MODEL)
    mask = np.zeros(facts.size, np.uint8)
    mask[: facts.size[0] // 2] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    tab.page.locator("#gen-hints button").first.click()
    tab.page.set_input_files("#gen-hint-file input[type=file]", str(tmp_path / "mask.png"))
    tab.page.locator("#gen-hint-view img").wait_for()
    tab.page.locator("#gen-run").click()
    tab.expect("2 pictures in", STATUS)


def test_vectors_are_drawn_as_hints_and_a_picture_of_them_is_made(tab: Any, tmp_path: Path) -> None:
    """A lake and a wood around 48.2 N, 16.4 E, nothing ticked but the pixel size: drawn around their middle, shown as a map."""
    ring = [[16.397, 48.199], [16.4, 48.199], [16.4, 48.201], [16.397, 48.201], [16.397, 48.199]]
    wood = [[2 * 16.4 - lon, lat] for lon, lat in ring]
    features = [
        {"type": "Feature", "properties": tags, "geometry": {"type": "Polygon", "coordinates": [corners]}}
        for tags, corners in (({"natural": "water"}, ring), ({"natural": "wood"}, wood))
    ]
    (tmp_path / "lake.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    tab.page.locator("#gen-hints button").first.click()
    tab.expect("From OpenStreetMap vectors: water, trees", "#gen-hint-made")
    tab.page.get_by_label("OpenStreetMap vectors (GeoJSON)").check()
    tab.page.set_input_files("#gen-hint-file input[type=file]", str(tmp_path / "lake.geojson"))
    tab.expect("water, trees drawn from lake.geojson around the middle of the vectors", STATUS)
    tab.page.locator("#gen-hint-view img").wait_for()
    tab.shot("generate-vectors")
    tab.page.locator("#gen-run").click()
    tab.expect("2 pictures in", STATUS)
    tab.page.get_by_label("a picture to make it from").check()
    tab.expect("is drawn, not read off a picture", STATUS)


def test_a_model_that_is_not_there_is_named(tab: Any) -> None:
    box = tab.page.locator("#gen-model input")
    box.click()
    box.fill("/nowhere/model")
    box.press("Enter")
    tab.expect("/nowhere/model", STATUS)
