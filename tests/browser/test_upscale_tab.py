"""The Upscale tab in Chromium, end to end, with a tiny model and the network barred."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from earthgen.gen.data.raster_reader import RasterReader
from earthgen.gen.data.sensor_model import SensorModel
from earthgen.pipelines.super_resolution import SuperResolutionPipeline

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]

Visit = Callable[..., Any]
MODEL_BANDS = ["red", "green", "blue", "nir"]


def read(path: Path) -> np.ndarray:
    with RasterReader(path) as reader:
        return reader.read(0, 0, reader.height, reader.width)


def run(visitor: Any, model: Path, *, steps: int = 2, samples: int = 1, seed: int = 0) -> None:
    visitor.choose_model(model)
    visitor.expect("Ready.")
    visitor.set_number("#up-steps", steps)
    visitor.set_number("#up-samples", samples)
    if seed:
        visitor.unfold()
        visitor.set_number("#up-seed", seed)
    visitor.page.locator("#up-run").click()


def test_a_scene_goes_in_and_a_sharper_one_at_the_same_place_comes_out(
    visit: Visit, tiny_model: Path, make_scene: Callable[..., Path], tmp_path: Path
) -> None:
    scene = make_scene()
    visitor = visit()
    visitor.upload(scene)
    for fact in ("scene.tif", "56 x 40 pixels of 10 m", "13: B01, B02", "uint16, reflectance = (DN - 1000) / 10000", "EPSG:32633"):
        visitor.expect(fact, "#up-facts")
    run(visitor, tiny_model, samples=2, seed=5)
    visitor.expect("Output224 x 160 pixels, 4 bands", "#up-facts")
    visitor.expect("Done in")

    image = visitor.download("#up-get-image", tmp_path)
    uncertainty, invented = (visitor.download(f"#up-get-{name}", tmp_path) for name in ("uncertainty", "invented"))
    with rasterio.open(image) as file, rasterio.open(scene) as source:
        assert file.crs == source.crs
        assert file.transform.almost_equals(source.transform @ rasterio.Affine.scale(1 / 4))
        assert (file.count, file.height, file.width) == (4, 160, 224)
        assert file.tags()["EARTHGEN_SYNTHETIC"] == "true"
        assert file.tags()["EARTHGEN_STEPS"] == "2"
    with RasterReader(scene, bands=MODEL_BANDS) as reader:
        low = reader.read(0, 0, 40, 56)
    high = read(image)
    seen = SensorModel(4, 0.3).degrade(torch.from_numpy(high)[None])[0].numpy()
    assert np.abs(seen - low).max() < 2e-3, "the sensor must see the input in the output"
    direct = SuperResolutionPipeline.load(tiny_model)(low, num_inference_steps=2, seed=5, samples=2)
    assert np.abs(direct.images - high).max() < 2e-3, "the page must give what the library gives"
    assert np.abs(direct.uncertainty - read(uncertainty)).max() < 2e-3
    assert np.abs(direct.invented - read(invented)).max() < 2e-3


def test_the_slider_shows_every_layer(visit: Visit, tiny_model: Path, make_scene: Callable[..., Path]) -> None:
    visitor = visit()
    visitor.upload(make_scene())
    visitor.expect("13: B01", "#up-facts")
    run(visitor, tiny_model, samples=2)
    visitor.expect("Done in")
    visitor.expect("B04 B03 B02, black to white", "#up-legend")
    pictures = visitor.page.locator("#up-slider img")
    shown = [pictures.nth(1).get_attribute("src")]
    assert pictures.nth(0).evaluate("image => image.naturalWidth") == 224
    for layer, legend in (("uncertainty", "Standard deviation between the samples"), ("invented", "Distance from plain bicubic")):
        visitor.page.locator("#up-right").get_by_text(layer, exact=True).click()
        visitor.expect(legend, "#up-legend")
        shown.append(pictures.nth(1).get_attribute("src"))
    visitor.page.locator("#up-right").get_by_text("sharper", exact=True).click()
    visitor.choose("#up-composite", "Infrared")
    visitor.expect("B08 B04 B03, black to white", "#up-legend")
    visitor.choose("#up-stretch", "fixed range")
    visitor.expect("0 to 0.3 reflectance", "#up-legend")
    shown.append(pictures.nth(1).get_attribute("src"))
    assert len(set(shown)) == 4
    visitor.shot("layers")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.tif", b"this is no raster at all"),
        ("empty.png", b""),
        ("cut.tif", None),
    ],
)
def test_a_bad_upload_is_answered_by_one_sentence(
    visit: Visit, make_scene: Callable[..., Path], tmp_path: Path, name: str, content: bytes | None
) -> None:
    bad = tmp_path / name
    bad.write_bytes(make_scene().read_bytes()[:700] if content is None else content)
    visitor = visit()
    visitor.upload(bad)
    alert = visitor.page.locator("#up-status [role=alert]")
    alert.wait_for()
    text = alert.inner_text()
    assert name in text
    assert re.fullmatch(r"\S[^\n]*\.", text), "one sentence"
    assert "Traceback" not in visitor.page.content()
    assert str(Path("/tmp")) not in text, "the sentence names the user's file, not where it was put"
    visitor.page.locator("#up-run").click()
    visitor.expect("There is no scene yet")
    visitor.upload(make_scene())
    visitor.expect("13: B01", "#up-facts")


def test_numbers_of_unknown_meaning_and_bands_without_names_are_asked_for(
    visit: Visit, tiny_model: Path, make_scene: Callable[..., Path], tmp_path: Path
) -> None:
    scene = make_scene("bare.tif", told=False, named=False)
    visitor = visit()
    visitor.choose_model(tiny_model)
    visitor.upload(scene)
    visitor.expect("no tag tells what they mean; choose it under 'Meaning of the numbers'.")
    visitor.choose("#up-radiometry", "Sentinel-2, (DN - 1000) / 10000 (since 2022)")
    visitor.expect("Choose which bands of the file are red, green, blue, nir")
    visitor.choose("#up-product", "Sentinel-2 MSI level 1C (top of atmosphere)")
    run(visitor, tiny_model)
    visitor.expect("Done in")
    high = read(visitor.download("#up-get-image", tmp_path))
    with rasterio.open(scene) as file:
        low = (file.read([4, 3, 2, 8]).astype(np.float32) - 1000.0) / 10_000.0
    seen = SensorModel(4, 0.3).degrade(torch.from_numpy(high)[None])[0].numpy()
    assert np.abs(seen - low).max() < 2e-3


def test_cancel_stops_in_the_middle_and_the_page_goes_on(visit: Visit, tiny_model: Path, make_scene: Callable[..., Path]) -> None:
    visitor = visit()
    visitor.upload(make_scene("wide.tif", 320, 320))
    visitor.expect("13: B01", "#up-facts")
    run(visitor, tiny_model, steps=100, samples=4)
    visitor.expect("left")
    visitor.page.locator("#up-cancel").click()
    visitor.expect("Cancelled; nothing was written.")
    assert not visitor.page.locator("#up-get-image").is_visible()
    visitor.upload(make_scene())
    visitor.expect("56 x 40", "#up-facts")
    run(visitor, tiny_model)
    visitor.expect("Done in")


def test_two_users_at_once_get_each_their_own(visit: Visit, tiny_model: Path, make_scene: Callable[..., Path], tmp_path: Path) -> None:
    scenes = [make_scene("one.tif", 64, 64), make_scene("two.tif", 48, 80)]
    visitors = [visit(), visit()]
    for visitor, scene in zip(visitors, scenes, strict=True):
        visitor.upload(scene)
        visitor.expect(scene.name, "#up-facts")
    for seed, visitor in enumerate(visitors):
        run(visitor, tiny_model, steps=10, seed=seed)
    pipeline = SuperResolutionPipeline.load(tiny_model)
    for seed, (visitor, scene) in enumerate(zip(visitors, scenes, strict=True)):
        visitor.expect("Done in")
        high = read(visitor.download("#up-get-image", tmp_path))
        with RasterReader(scene, bands=MODEL_BANDS) as reader:
            low = reader.read(0, 0, reader.height, reader.width)
        assert np.abs(pipeline(low, num_inference_steps=10, seed=seed).images - high).max() < 2e-3


def test_it_fits_a_phone_and_needs_no_mouse(visit: Visit, tiny_model: Path, make_scene: Callable[..., Path]) -> None:
    visitor = visit(width=400, height=800)
    visitor.upload(make_scene())
    visitor.expect("13: B01", "#up-facts")
    visitor.choose_model(tiny_model)
    visitor.expect("Ready.")
    visitor.set_number("#up-steps", 2)
    visitor.page.locator("#up-run").focus()
    visitor.page.keyboard.press("Enter")
    visitor.expect("Done in")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 400
    for control in ("#up-file", "#up-run", "#up-slider", "#up-get-image"):
        box = visitor.page.locator(control).bounding_box()
        assert box is not None, control
        assert box["x"] >= 0, control
        assert box["x"] + box["width"] <= 400, control
    visitor.shot("phone")


def test_a_picture_without_a_place_is_taken_too(visit: Visit, tiny_model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    rows, columns = np.mgrid[0:32, 0:48]
    Image.fromarray(np.stack([rows * 7, columns * 5, rows + columns], axis=-1).astype(np.uint8)).save(picture)
    visitor = visit()
    visitor.choose_model(tiny_model)
    visitor.upload(picture)
    visitor.expect("no georeference", "#up-facts")
    visitor.expect("Choose which bands of the file are red, green, blue, nir")
    visitor.page.locator("#up-run").click()
    visitor.page.locator("#up-status [role=alert]").wait_for()
    assert "nir" in visitor.page.locator("#up-status").inner_text()
