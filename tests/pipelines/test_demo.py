"""The demonstration with tiny random models: what is written lies at the right place, says that it is synthetic, and is scored honestly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from earthgen.demos.contact_sheet import CELL, GAP, MARGIN, Panel, Strip, draw_sheet, fitted, wrapped
from earthgen.demos.scenes import GROUPS, RGB, RGBN, DemoScene, demo_scenes
from earthgen.demos.showcase import run_demo
from earthgen.gen.data.sensor_model import SensorModel
from earthgen.gen.errors import InputError
from earthgen.gen.models.eanet import EANet
from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.gen.zoo.folder import write_model_folder

SENSOR = SensorModel(4)


def tiny_model(folder: Path, bands: tuple[str, ...], unit: str, scale: int = 4) -> Path:
    torch.manual_seed(len(bands))
    network = EANet(
        bands=len(bands), width=8, enc_blocks=[1], dec_blocks=[1], scale=scale, pool="local", pool_size=16, cpem_width=8, cpem_blocks=1
    )
    write_model_folder(
        folder,
        pipeline="SuperResolutionPipeline",
        components={"model": network, "scheduler": MeanRevertingScheduler(max_sigma=10, data_scale=5.0)},
        settings={"bands": list(bands), "unit": unit, "scale": scale, "mtf": 0.3},
        card={},
    )
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {"model": tiny_model(root / "four", RGBN, "reflectance"), "rgb_model": tiny_model(root / "three", RGB, "display")}


def test_the_procedural_scene_alone_needs_no_data_and_no_rgb_model(tmp_path: Path, models: dict[str, Path]) -> None:
    calls: list[tuple[int, int]] = []
    result = run_demo(tmp_path / "out", None, model=models["model"], steps=2, samples=2, progress=lambda d, t: calls.append((d, t)))
    assert calls == [(done, 10) for done in range(1, 11)]
    folder = tmp_path / "out" / "world-town"
    assert sorted(path.name for path in folder.iterdir()) == ["low.tif", "mean.tif", "sharp.tif", "truth.tif", "uncertainty.tif"]
    assert result.files == 10
    with (
        rasterio.open(folder / "low.tif") as low,
        rasterio.open(folder / "sharp.tif") as sharp,
        rasterio.open(folder / "truth.tif") as truth,
    ):
        assert sharp.shape == truth.shape == (4 * low.height, 4 * low.width)
        assert sharp.crs == low.crs == truth.crs
        assert sharp.bounds == pytest.approx(low.bounds)
        assert truth.bounds == pytest.approx(low.bounds)
        assert sharp.descriptions == RGBN
        assert sharp.scales[0] == pytest.approx(1e-4)
        for file in (low, sharp, truth):
            assert file.tags()["EARTHGEN_SYNTHETIC"] == "true"
        assert sharp.tags()["EARTHGEN_MODEL"] == "four"
    report = json.loads(result.report.read_text())
    scores = report["tables"][0]["scores"]
    assert {"nearest", "bicubic", "one-step mean", "sample"} <= set(scores)
    assert scores["sample"]["sensor error"]["value"] < 1e-3
    assert [scene["name"] for scene in report["scenes"]] == ["world-village", "world-town"]


def test_real_scenes_are_scored_beside_bicubic(tmp_path: Path, models: dict[str, Path], shared_data: Path) -> None:
    names = ("shanxi", "shanxi-native", "zoom-x2")
    result = run_demo(tmp_path, shared_data, **models, steps=2, samples=2, only=names)
    report = json.loads(result.report.read_text())
    assert [scene["name"] for scene in report["scenes"]] == list(names)
    assert [table["title"] for table in report["tables"]] == [GROUPS["sentinel"].title, GROUPS["tiles-x2"].title]
    sentinel, tiles = report["tables"]
    assert sentinel["setting"]["scale"] == 4
    assert "MTF 0.3" in sentinel["setting"]["degradation"]
    assert tiles["setting"]["scale"] == 2
    assert "sensor error" not in tiles["protocols"], "nobody declared a sensor for these tiles"
    assert all(scene["largest_consistency_error"] < 1e-3 for scene in report["scenes"])
    with (
        rasterio.open(tmp_path / "shanxi" / "sharp.tif") as sharp,
        rasterio.open(shared_data / "s2_multispectral/patch_61808.tif") as given,
    ):
        assert sharp.bounds == pytest.approx(given.bounds)
        assert sharp.crs == given.crs
    with (
        rasterio.open(tmp_path / "shanxi" / "truth.tif") as truth,
        rasterio.open(shared_data / "s2_multispectral/patch_61808.tif") as given,
    ):
        assert np.array_equal(truth.read(1), given.read(4).astype(np.int16))
        assert "EARTHGEN_SYNTHETIC" not in truth.tags(), "a real picture is not called synthetic"
    assert not (tmp_path / "shanxi-native" / "truth.tif").exists()
    sheet = Image.open(result.sheet)
    assert sheet.text["EARTHGEN_SYNTHETIC"] == "true"  # type: ignore[attr-defined]
    assert sheet.width == 2 * MARGIN + 5 * CELL + 4 * GAP


@pytest.fixture(scope="module")
def real_scenes(shared_data: Path) -> list[DemoScene]:
    names = {"shanxi", "tunisia", "yellowknife", "brandenburg", "shanxi-native", "kampala", "sierra", "colorado", "zoom-x2", "zoom-x4"}
    scenes = demo_scenes(shared_data, SENSOR, SENSOR, 0, names)
    assert {scene.name for scene in scenes} == names
    return scenes


def test_low_pictures_are_what_they_are_called(real_scenes: list[DemoScene]) -> None:
    scenes = {scene.name: scene for scene in real_scenes}
    assert {scene.group for scene in scenes.values()} == set(GROUPS) - {"world"}
    degraded = [scene for scene in scenes.values() if scene.group in ("sentinel", "aerial")]
    for scene in degraded:
        assert scene.truth is not None
        seen = SENSOR.degrade(torch.from_numpy(np.ascontiguousarray(scene.truth.values))[None])[0]
        assert np.allclose(seen, scene.low.values, atol=1e-6)
    for scene in scenes.values():
        if scene.truth is not None:
            assert scene.low.rio.bounds() == pytest.approx(scene.truth.rio.bounds())
    # The dark offset of products since 2022 is taken off: water and forest are near zero.
    assert 0 <= float(scenes["yellowknife"].low.quantile(0.01)) < 0.05


def test_zoom_pairs_lie_on_the_same_ground(real_scenes: list[DemoScene]) -> None:
    for scene in real_scenes:
        if not scene.group.startswith("tiles"):
            continue
        assert scene.truth is not None
        factor = scene.truth.sizes["y"] // scene.low.sizes["y"]
        rows, columns = scene.low.sizes["y"], scene.low.sizes["x"]
        coarse = scene.truth.values.reshape(3, rows, factor, columns, factor).mean((2, 4))
        here = np.corrcoef(coarse.ravel(), scene.low.values.ravel())[0, 1]
        away = np.corrcoef(np.roll(coarse, 3, axis=2).ravel(), scene.low.values.ravel())[0, 1]
        assert here > 0.95
        assert away < here - 0.05


def test_bad_wishes_end_in_one_sentence(tmp_path: Path, models: dict[str, Path]) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file; give a folder"):
        run_demo(tmp_path / "file", None, model=models["model"])
    with pytest.raises(InputError, match="no scene is left"):
        run_demo(tmp_path / "out", None, model=models["model"], only=("moon",))
    double = tiny_model(tmp_path / "double", RGBN, "reflectance", scale=2)
    with pytest.raises(InputError, match="works by 2, the demonstration by 4"):
        run_demo(tmp_path / "out", None, model=double)
    assert not (tmp_path / "out").exists()


def test_a_sheet_shows_each_picture_in_its_cell() -> None:
    red, blue = np.zeros((64, 64, 3), np.uint8), np.zeros((128, 256, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 200
    strips = [Strip("One", "first", [Panel(red, "red"), Panel(blue, "blue")]), Strip("Two", "second", [Panel(None, "nothing"), Panel(red)])]
    sheet = np.asarray(draw_sheet("T", "S", ("A", "B"), strips, ["a footer " * 60]))
    assert sheet.shape[1] == 2 * MARGIN + 2 * CELL + GAP
    left, right = MARGIN + CELL // 2, MARGIN + CELL + GAP + CELL // 2
    reds = np.flatnonzero((sheet[:, left] == (200, 0, 0)).all(-1))
    assert len(reds) == CELL
    assert len(np.flatnonzero((sheet[:, right] == (0, 0, 200)).all(-1))) == CELL // 2
    assert len(np.flatnonzero((sheet[:, right] == (200, 0, 0)).all(-1))) == CELL


def test_small_pictures_are_enlarged_by_repeating() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    shown = np.asarray(fitted(picture))
    assert shown.shape == (256, 192, 3)
    assert np.array_equal(shown[::4, ::4], picture)
    assert fitted(np.zeros((600, 300, 3), np.uint8)).size == (128, 256)
    assert fitted(np.zeros((100, 100, 3), np.uint8)).size == (256, 256)


def test_text_is_broken_between_words() -> None:
    lines = wrapped("one two three four five six seven", 80, 14)
    assert len(lines) > 1
    assert " ".join(lines) == "one two three four five six seven"
