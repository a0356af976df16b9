"""From file to file: the same picture whatever the tiles, at the right place, in the right units, with what is known about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from earthgen.gen.data.radiometry import radiometry_named
from earthgen.gen.data.rasters import read_raster
from earthgen.gen.data.sensor_model import SensorModel
from earthgen.gen.errors import InputError
from earthgen.pipelines.scene_consistency import ConsistencyMeter
from earthgen.pipelines.super_resolution_scene import upscale_scene

QUICK = {"steps": 2, "tile": 128}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_tiles_and_batches_do_not_show(tiny: Any, landscape: Any, scene: Any, tmp_path: Path) -> None:
    """Acceptance test 1 of the spec: within 1 DN; and equal to the picture made in memory, in one piece."""
    pipeline, source = tiny(2), scene(landscape(2, 71, 90))
    whole = pipeline(source, seed=3, num_inference_steps=2).images.values
    for tile, batch in ((96, 1), (128, 8), (192, 1)):
        target = tmp_path / f"{tile}.tif"
        report = upscale_scene(pipeline, source, target, seed=3, steps=2, tile=tile, batch=batch)
        assert report.tiles > 3
        stored = read_raster(target).values
        assert np.abs(stored - whole).max() < 1.0e-4
    assert files(tmp_path) == {"in.tif", "96.tif", "128.tif", "192.tif"}


def test_a_scene_has_the_place_units_and_tags_of_its_input(tiny: Any, landscape: Any, scene: Any, tmp_path: Path) -> None:
    pixels = landscape(4, 40, 50)
    pixels[:, :20, 30:] = np.nan
    source = scene(pixels, offset=-1000.0)
    outputs = {name: tmp_path / f"{name}.tif" for name in ("image", "uncertainty", "invented")}
    report = upscale_scene(
        tiny(2), source, outputs["image"], samples=3, seed=11, uncertainty=outputs["uncertainty"], invented=outputs["invented"], **QUICK
    )
    with rasterio.open(source) as given, rasterio.open(outputs["image"]) as made:
        assert made.crs == given.crs
        assert made.bounds == given.bounds
        assert (made.transform.c, made.transform.f) == (given.transform.c, given.transform.f)
        assert (made.width, made.height, made.count) == (200, 160, 2)
        assert made.dtypes == ("uint16", "uint16")
        assert made.nodata == 0
        assert made.descriptions == ("B04", "B03")
        assert made.scales == pytest.approx((1e-4, 1e-4))
        assert made.offsets == pytest.approx((-0.1, -0.1))
        tags = made.tags()
    wanted = {"SYNTHETIC": "true", "SEED": "11", "STEPS": "2", "SAMPLES": "3", "REDUCE": "mean", "LAYER": "image", "UNIT": "reflectance"}
    assert {name: tags[f"EARTHGEN_{name}"] for name in wanted} == wanted
    assert tags["ACQUIRED"] == "2024-07-01"
    assert float(tags["EARTHGEN_CONSISTENCY_ERROR"]) == pytest.approx(report.consistency_error, rel=0.01)
    layers = {name: read_raster(path).values for name, path in outputs.items()}
    hole = np.kron(np.isnan(pixels[0]), np.ones((4, 4))).astype(bool)
    assert all(np.array_equal(np.isnan(layer[band]), hole) for layer in layers.values() for band in (0, 1))
    assert layers["uncertainty"][:, ~hole].min() >= 0
    assert layers["uncertainty"][:, ~hole].mean() > 1e-4
    low = read_raster(source, bands=["B04", "B03"]).values
    result = tiny(2)(low, samples=3, seed=11, num_inference_steps=2)
    for name, wanted_layer in (("image", result.images), ("uncertainty", result.uncertainty), ("invented", result.invented)):
        assert np.nanmax(np.abs(layers[name] - wanted_layer)) < 1e-4, name


def test_the_consistency_error_is_that_of_the_stored_picture(tiny: Any, landscape: Any, scene: Any, tmp_path: Path) -> None:
    """Acceptance test 3: below 1e-3 wherever valid, across tile borders too; and what is reported is what is there."""
    pixels = landscape(2, 160, 151)  # an output of more than one block in both directions
    source = scene(pixels)
    reports = {name: upscale_scene(tiny(2), source, tmp_path / f"{name}.tif", consistency=name, steps=1) for name in ("ibp", "none")}
    low = torch.from_numpy(read_raster(source).values)[None]
    for name, report in reports.items():
        high = torch.from_numpy(read_raster(report.path).values)[None]
        error = (SensorModel(4, 0.3).degrade(high) - low).abs().max()
        assert report.consistency_error == pytest.approx(float(error), abs=2e-6)
        assert (error < 1e-3) == (name == "ibp")


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_meter_measures_every_pixel(scale: int) -> None:
    """One wrong coarse pixel is found wherever it lies, also at the corners of blocks."""
    low = np.full((1, 40, 33), 0.5, np.float32)

    class Source:
        height, width, bands = 40, 33, ("a",)

        def read(self, row: int, col: int, height: int, width: int) -> np.ndarray:
            return low[:, row : row + height, col : col + width]

    class Sink:
        def write(self, row: int, col: int, array: np.ndarray) -> None:
            pass

    block = 16 * scale + 5  # not a multiple of the scale
    high = np.full((1, 40 * scale, 33 * scale), 0.5, np.float32)
    rng = np.random.default_rng(scale)
    for at in [(0, 0), (39, 32), (16, 16), (15, 17), *zip(rng.integers(0, 40, 25), rng.integers(0, 33, 25), strict=True)]:
        low[:] = 0.5
        low[0, at[0], at[1]] = 0.75
        meter = ConsistencyMeter(Sink(), Source(), SensorModel(scale, 0.3))
        for row in range(0, high.shape[1], block):
            for col in range(0, high.shape[2], block):
                meter.write(row, col, high[:, row : row + block, col : col + block])
        assert meter.largest == pytest.approx(0.25, abs=1e-5), at


def test_two_encodings_give_the_same_reflectance(tiny: Any, landscape: Any, scene: Any, tmp_path: Path) -> None:
    """Acceptance test 7: with the offset of -1000 and without."""
    pixels = landscape(2, 20, 24)
    made = []
    for name, offset in (("old", 0.0), ("new", -1000.0)):
        source = scene(pixels, f"{name}-in.tif", offset=offset)
        upscale_scene(tiny(2), source, tmp_path / f"{name}.tif", **QUICK)
        made.append(read_raster(tmp_path / f"{name}.tif").values)
        options = scene(pixels, f"{name}-bare.tif", offset=offset, tagged=False)
        given = radiometry_named("s2" if offset == 0 else "s2-offset")
        upscale_scene(tiny(2), options, tmp_path / f"{name}-bare-out.tif", radiometry=given, **QUICK)
        made.append(read_raster(tmp_path / f"{name}-bare-out.tif").values)
    assert all(np.abs(other - made[0]).max() <= 1.01e-4 for other in made[1:])  # one step of rounding
    assert np.mean(made[2] != made[0]) < 0.001


def test_an_interrupted_run_resumes_to_the_same_bytes(tiny: Any, landscape: Any, scene: Any, tmp_path: Path) -> None:
    """Acceptance test 8."""
    pipeline, source = tiny(2), scene(landscape(2, 70, 70))
    upscale_scene(pipeline, source, tmp_path / "whole.tif", **QUICK)

    def stop_half_way(done: int, total: int) -> None:
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale_scene(pipeline, source, tmp_path / "out.tif", progress=stop_half_way, **QUICK)
    assert files(tmp_path) == {"in.tif", "whole.tif", ".out.tif.work"}  # finished tiles, and no file of the output's name
    with pytest.raises(InputError, match="seed was 0 and is 1"):
        upscale_scene(pipeline, source, tmp_path / "out.tif", resume=True, seed=1, **QUICK)
    report = upscale_scene(pipeline, source, tmp_path / "out.tif", resume=True, **QUICK)
    assert 0 < report.resumed < report.tiles
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    assert files(tmp_path) == {"in.tif", "whole.tif", "out.tif"}


def test_bands_are_found_by_name_and_put_in_order(tiny: Any, landscape: Any, scene: Any, tmp_path: Path) -> None:
    pixels = landscape(4, 16, 16)
    named, bare = scene(pixels), scene(pixels, "bare.tif", bands=())
    made = []
    for source, bands in ((named, None), (named, ["B03", "B04"]), (named, ["2", "1"]), (named, ["red", "green"]), (bare, [1, 2])):
        upscale_scene(tiny(2), source, tmp_path / "out.tif", bands=bands, **QUICK)
        made.append(read_raster(tmp_path / "out.tif").values)
    assert all(np.array_equal(other, made[0]) for other in made[1:])
    with pytest.raises(InputError, match="no names: give positions"):
        upscale_scene(tiny(2), bare, tmp_path / "out.tif", **QUICK)


def test_a_picture_stays_a_picture(tiny: Any, landscape: Any, tmp_path: Path) -> None:
    pixels = (landscape(3, 20, 30) * 600).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    pipeline = tiny(["red", "green", "blue"], unit="display")
    report = upscale_scene(pipeline, tmp_path / "in.png", tmp_path / "out.png", **QUICK)
    with Image.open(tmp_path / "out.png") as made:
        assert made.size == (120, 80)
        assert made.mode == "RGB"
        small = np.asarray(made.resize((30, 20), Image.Resampling.BOX), float)
    assert np.abs(small - pixels).mean() < 3
    assert report.bands == ("red", "green", "blue")
    assert report.tags["EARTHGEN_SYNTHETIC"] == "true"


def test_progress_counts_network_evaluations(tiny: Any, landscape: Any, scene: Any, tmp_path: Path) -> None:
    counted: list[tuple[int, int]] = []
    source = scene(landscape(2, 60, 40))
    report = upscale_scene(
        tiny(2), source, tmp_path / "out.tif", samples=2, batch=2, progress=lambda done, total: counted.append((done, total)), **QUICK
    )
    assert {total for _, total in counted} == {report.tiles * 4}
    assert counted[0][0] == 0
    assert counted[-1][0] == report.tiles * 4
    assert [done for done, _ in counted] == sorted(done for done, _ in counted)
    assert len({done for done, _ in counted}) > report.tiles  # within tiles too


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scale": 2}, "upscales 4 times, not 2 times"),
        ({"bands": ["B04"]}, "1 bands were asked for; the model .* takes 2"),
        ({"bands": ["B04", "B77"]}, "no band 'B77'"),
        ({"uncertainty": "doubt.tif"}, "2 samples or more"),
        ({"invented": "out.tif"}, "two outputs"),
        ({"target": "in.tif"}, "is the input"),
        ({"target": "missing/out.tif"}, "does not exist"),
        ({"target": "out.jp2"}, "suffix"),
        ({"target": "out.png"}, "place on Earth"),
        ({"compress": "zip9"}, "zip9"),
        ({"source": "missing.tif"}, "missing.tif"),
        ({"source": "empty.tif"}, "has data"),
        ({"source": "bare.tif"}, "no tag tells what they mean"),
        ({"source": "bare.tif", "radiometry": "reflectance"}, "median is"),
    ],
)
def test_bad_requests_get_one_sentence_and_leave_nothing(
    tiny: Any, landscape: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    scene(landscape(2, 8, 8))
    scene(np.full((2, 8, 8), np.nan), "empty.tif")
    scene(landscape(2, 8, 8), "bare.tif", tagged=False)
    before = files(tmp_path)
    given = {"source": "in.tif", "target": "out.tif", **options}
    if "radiometry" in given:
        given["radiometry"] = radiometry_named(given["radiometry"])
    with pytest.raises(InputError, match=sentence) as caught:
        upscale_scene(tiny(2), given.pop("source"), given.pop("target"), **given, **QUICK)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before
