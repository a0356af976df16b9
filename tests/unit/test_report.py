"""Evaluations of pairs and their reports: baselines always there, the same pixels for all, protocol in words and JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from rich.console import Console
from torch import Tensor

from earthgen.gen.data.resample import upsample
from earthgen.gen.data.sensor_model import SensorModel
from earthgen.gen.errors import InputError
from earthgen.metrics.evaluate import Options, Pair, as_batch, back_projected, band_names, evaluate_pairs, nearest
from earthgen.metrics.fidelity import psnr
from earthgen.metrics.measures import MEASURES, OPENSR, STANDARD, measures_named
from earthgen.metrics.pixels import without_border
from earthgen.metrics.report import Report

SENSOR = SensorModel(4)


def pair(seed: int, side: int = 48, bands: tuple[str, ...] = ("B04", "B03", "B02", "B08")) -> Pair:
    truth = torch.rand(1, len(bands), side, side, generator=torch.Generator().manual_seed(seed)) * 0.4
    low = SENSOR.degrade(truth)

    def named(picture: Tensor) -> xr.DataArray:
        return xr.DataArray(picture[0].numpy(), dims=("band", "y", "x"), coords={"band": list(bands)})

    return Pair(f"scene {seed}", named(low), named(truth))


def sharpened(low: xr.DataArray) -> Tensor:
    picture = as_batch(low)
    return SENSOR.back_project(upsample(picture, 4), picture)[0]


def evaluated(**options: object) -> Report:
    chosen = Options(degradation="SensorModel(4)", sensor=SENSOR, **options)  # type: ignore[arg-type]
    return evaluate_pairs({"ours": sharpened}, [pair(0), pair(1), pair(2)], chosen, title="Three scenes")


def printed(report: Report) -> str:
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.table())
    return console.export_text()


def test_baselines_stand_first_and_figures_are_the_functions_own() -> None:
    report = evaluated()
    assert list(report.methods) == ["nearest", "bicubic", "back-projected", "ours"]
    assert report.metrics == STANDARD
    low, high = as_batch(pair(1).low), as_batch(pair(1).high)
    expected = psnr(without_border(upsample(low, 4), 4), without_border(high, 4), data_range=1.0)
    assert report.methods["bicubic"]["PSNR"].each[1] == pytest.approx(float(expected))
    assert report.methods["ours"]["largest sensor error"].value < 1e-4
    assert report.methods["nearest"]["largest sensor error"].value > 1e-2
    # What the "method" of these tests does is that baseline.
    assert report.methods["back-projected"]["PSNR"].each == pytest.approx(report.methods["ours"]["PSNR"].each)
    assert set(report.seconds) == set(report.methods)


def test_the_gain_is_the_paired_difference() -> None:
    report = evaluated(metrics=("PSNR",))
    gain = report.gain("ours", "PSNR")
    ours, bicubic = report.methods["ours"]["PSNR"], report.methods["bicubic"]["PSNR"]
    assert gain.value == pytest.approx(ours.value - bicubic.value)
    assert gain.each == pytest.approx([a - b for a, b in zip(ours.each, bicubic.each, strict=True)])


def test_json_has_the_protocol_beside_every_number(tmp_path: Path) -> None:
    evaluated(metrics=("psnr", "sam", "power-ratio"), bands="RGB").write(tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["protocols"]) == {"PSNR", "SAM", "power ratio"}
    assert report["protocols"]["PSNR"]["bands"] == "RGB"
    assert report["protocols"]["PSNR"]["data_range"] == 1.0
    assert report["protocols"]["SAM"]["bands"] == "all (B04, B03, B02, B08)"
    assert report["setting"]["scale"] == 4
    assert "Keys" in report["setting"]["baselines"]
    for scores in report["scores"].values():
        assert set(scores) == set(report["protocols"])
        assert all(score["n"] == 3 and len(score["each"]) == 3 for score in scores.values())
    assert set(report["gain_over_bicubic"]) == {"ours"}


def test_the_table_prints_the_protocol_and_marks_the_best() -> None:
    text = printed(evaluated(metrics=("PSNR", "SSIM", "LPIPS", "power ratio")))
    for words in (
        "Three scenes",
        "PSNR ↑",
        "power ratio →1",
        "nearest",
        "bicubic",
        "ours",
        "n = 3 images",
        "SensorModel(4)",
        "border 4 px",
        "range 1",
    ):
        assert words in text
    assert "LPIPS" not in text, "a metric without any figure is not shown"


def test_the_same_pixels_count_for_every_method() -> None:
    scene = pair(0)
    holed = scene.low.copy()
    holed[:, 5, 5] = np.nan
    broken = Pair("holed", holed, scene.high)

    def patched(low: xr.DataArray) -> Tensor:
        picture = upsample(as_batch(low).nan_to_num(0.1), 4)
        picture[..., 30:36, 30:36] = math.nan
        return picture

    report = evaluate_pairs(patched, [broken], Options(degradation="none", metrics=("PSNR",)), name="patched")
    low = as_batch(holed)
    seen = torch.isfinite(upsample(low, 4)[:, 0]) & torch.isfinite(patched(holed)[:, 0]) & torch.isfinite(nearest(low, 4)[:, 0])
    expected = psnr(*(without_border(p, 4) for p in (nearest(low, 4), as_batch(scene.high))), data_range=1.0, mask=without_border(seen, 4))
    assert report.methods["nearest"]["PSNR"].value == pytest.approx(float(expected))
    assert report.methods["nearest"]["PSNR"].interval is None
    assert "back-projected" not in report.methods, "without a sensor model there is nothing to agree with"


def test_the_back_projected_baseline_knows_nothing_of_holes() -> None:
    low = as_batch(pair(0).low)
    whole = back_projected(low, SENSOR)
    assert torch.allclose(SENSOR.degrade(whole), low, atol=1e-4)
    low[..., 5, 5] = math.nan
    holed = back_projected(low, SENSOR)
    assert int(torch.isnan(holed[0, 0]).sum()) == 16
    assert torch.isfinite(holed[..., 24:, :]).all()


def test_every_metric_of_the_list_can_be_computed_and_groups_expand() -> None:
    report = evaluate_pairs(sharpened, [pair(0, side=96)], Options(degradation="d", sensor=SENSOR, metrics=tuple(MEASURES)))
    defined = {name for name, score in report.methods["model"].items() if not math.isnan(score.value)}
    assert defined == set(MEASURES) - {"LPIPS"}, "LPIPS alone needs weights"
    assert [m.name for m in measures_named(["psnr", "opensr", "PSNR"])] == ["PSNR", *OPENSR]
    with pytest.raises(InputError, match="unknown metric FIDD; choose from PSNR"):
        measures_named(["FIDD"])


def test_pairs_of_another_kind_and_wrong_shapes_are_refused() -> None:
    options = Options(degradation="d", metrics=("PSNR",))
    with pytest.raises(InputError, match="no pairs to evaluate"):
        evaluate_pairs(sharpened, [], options)
    with pytest.raises(InputError, match=r"scene 1 is x4 with bands R, G, B.*evaluate them apart"):
        evaluate_pairs(sharpened, [pair(0), pair(1, bands=("R", "G", "B"))], options)
    with pytest.raises(InputError, match=r"half gave shape \(1, 4, 24, 24\) for scene 0"):
        evaluate_pairs(lambda low: upsample(as_batch(low), 2), [pair(0)], options, name="half")
    with pytest.raises(InputError, match=r"pair scene 0 is x4, the sensor model has scale 2; use SensorModel\(4\)"):
        evaluate_pairs(sharpened, [pair(0)], Options(degradation="d", sensor=SensorModel(2)))
    with pytest.raises(InputError, match="bicubic is the name of a baseline"):
        evaluate_pairs(sharpened, [pair(0)], options, name="bicubic")
    with pytest.raises(InputError, match="a prediction is a str"):
        evaluate_pairs(lambda low: "sharp", [pair(0)], options)
    with pytest.raises(InputError, match=r"expected \[C, H, W\]"):
        as_batch(torch.zeros(2, 3, 4, 4))


def test_names_of_bands_without_names() -> None:
    assert band_names(torch.zeros(3, 8, 8)) == ("R", "G", "B")
    assert band_names(torch.zeros(2, 8, 8)) == ("1", "2")
    assert band_names(xr.DataArray(np.zeros((2, 4, 4)), dims=("band", "y", "x"), coords={"band": ["VV", "VH"]})) == ("VV", "VH")


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    evaluate_pairs(sharpened, [pair(0), pair(1)], Options(degradation="d", metrics=("PSNR",)), progress=lambda d, t: seen.append((d, t)))
    assert seen == [(1, 2), (2, 2)]
