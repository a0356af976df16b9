"""`earthgen evaluate` on small pairs of files: baselines, protocol, JSON, and one sentence for each bad input."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from PIL import Image

from earthgen.gen.data.radiometry import Radiometry
from earthgen.gen.data.rasters import located, write_raster
from earthgen.gen.data.resample import upsample
from earthgen.gen.data.sensor_model import SensorModel
from earthgen.gen.errors import InputError
from earthgen.gen.models.eanet import EANet
from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.gen.zoo.folder import write_model_folder
from earthgen.metrics.fidelity import psnr
from earthgen.metrics.pair_folder import PairFolder
from earthgen.metrics.pixels import without_border

Run = Callable[..., tuple[int, str, str]]
NAMES = ("B04", "B03", "B02", "B08")
STORED = Radiometry(1e-4, 0.0, None, "reflectance", "uint16")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network for two bands, far smaller than a useful one."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    network = EANet(
        bands=4, width=8, enc_blocks=[1, 1], dec_blocks=[1, 1], scale=4, pool="local", pool_size=16, cpem_width=8, cpem_blocks=1
    )
    scheduler = MeanRevertingScheduler(max_sigma=10, data_scale=5.0)
    write_model_folder(
        folder,
        pipeline="SuperResolutionPipeline",
        components={"model": network, "scheduler": scheduler},
        settings={"bands": list(NAMES), "unit": "reflectance", "scale": 4, "mtf": 0.3},
        card={},
    )
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three pairs of GeoTIFFs of a field with soft structure, low by the sensor model."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        high = upsample(torch.from_numpy(rng.random((1, 4, 12, 16)).astype(np.float32)), 4) * 0.1 + 0.2
        save(tmp_path / "pairs" / "high" / f"{name}.tif", high[0].numpy(), 10.0)
        save(tmp_path / "pairs" / "low" / f"{name}.tif", SensorModel(4).degrade(high)[0].numpy(), 40.0)
    return tmp_path / "pairs"


def save(path: Path, pixels: np.ndarray, gsd: float, names: tuple[str, ...] = NAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    place = Affine(gsd, 0, 500_000, 0, -gsd, 5_000_000)
    write_raster(path, located(pixels, names, "EPSG:32633", place), radiometry=STORED)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`earthgen evaluate ...` in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        from earthgen.cli import main

        monkeypatch.setenv("COLUMNS", "140")
        monkeypatch.setattr(sys, "argv", ["earthgen", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return int(stop.value.code or 0), output.out, output.err

    return call


def test_the_table_has_the_baselines_both_rows_of_the_model_and_the_protocol(run: Run, pairs: Path, model: Path, tmp_path: Path) -> None:
    code, out, err = run(
        "--pairs", pairs, "--model", model, "--steps", 2, "--metrics", "psnr,ssim,sam,sensor-error", "--json", tmp_path / "report.json"
    )
    assert code == 0, err
    for words in ("nearest", "bicubic", "one-step mean", "sample", "PSNR", "SAM", "n = 3 images", "x4", "border 4 px", "range 1", "seed 0"):
        assert words in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["scores"]) == ["nearest", "bicubic", "back-projected", "one-step mean", "sample"]
    assert report["facts"]["steps"] == 2
    assert re.fullmatch("[0-9a-f]{12}", report["facts"]["digest"])
    assert report["images"] == ["a", "b", "c"]
    pair = PairFolder(pairs)[1]
    low, high = (torch.from_numpy(np.ascontiguousarray(p.values))[None] for p in (pair.low, pair.high))
    expected = float(psnr(without_border(upsample(low, 4), 4), without_border(high, 4), data_range=1.0))
    assert report["scores"]["bicubic"]["PSNR"]["each"][1] == pytest.approx(expected)
    assert report["scores"]["sample"]["sensor error"]["value"] < 1e-4, "samples are back-projected onto the low picture"


def test_the_seed_decides_and_the_ensemble_is_a_row_of_its_own(run: Run, pairs: Path, model: Path, tmp_path: Path) -> None:
    def scores(seed: int, *more: object) -> dict[str, dict[str, dict[str, float]]]:
        code, _, err = run(
            "--pairs", pairs, "--model", model, "--steps", 2, "--metrics", "psnr", "--seed", seed, "--json", tmp_path / "r.json", *more
        )
        assert code == 0, err
        return json.loads((tmp_path / "r.json").read_text())["scores"]

    first = scores(0)
    assert scores(0)["sample"] == first["sample"]
    other = scores(7, "--samples", 3)
    assert other["sample"] != first["sample"]
    assert other["bicubic"] == first["bicubic"]
    assert other["mean of 3"]["PSNR"]["value"] > other["sample"]["PSNR"]["value"], "averaging draws lowers their error"


def test_published_folder_names_pngs_and_mixed_endings_work(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for folder, side in (("dataroot_LQ", 10), ("dataroot_GT", 40)):
        (tmp_path / folder).mkdir()
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(tmp_path / folder / "x.png")
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(
            tmp_path / folder / ("y.png" if side == 10 else "y.jpg")
        )
    found = PairFolder(tmp_path, scale=4)
    assert found.names == ("x", "y")
    assert found[0].low.coords["band"].values.tolist() == ["red", "green", "blue"]
    assert float(found[0].high.max()) <= 1.0
    assert [pair.name for pair in found[:2]] == ["x", "y"]


def test_progress_and_length_do_not_open_pictures(pairs: Path) -> None:
    (pairs / "low" / "a.tif").write_bytes(b"")
    folder = PairFolder(pairs)
    assert len(folder) == 3
    with pytest.raises(InputError, match=r"a\.tif"):
        folder[0]


def break_missing(pairs: Path) -> str:
    (pairs / "high").rename(pairs / "sharp")
    return "expected the sub-folders low and high"


def break_absent(pairs: Path) -> str:
    pairs.rename(pairs.with_name("elsewhere"))
    return "there is no folder .*pairs; give one with the sub-folders low and high"


def break_names(pairs: Path) -> str:
    (pairs / "low" / "b.tif").rename(pairs / "low" / "z.tif")
    return "z.tif has no partner in .*high; both folders must hold files of equal names"


def break_empty(pairs: Path) -> str:
    for path in (pairs / "low").iterdir():
        path.unlink()
    return "holds no picture"


def break_factor(pairs: Path) -> str:
    save(pairs / "low" / "a.tif", np.full((4, 24, 32), 0.2, np.float32), 20.0)
    return "a factor of 2, but the model works by 4"


def break_size(pairs: Path) -> str:
    save(pairs / "low" / "a.tif", np.full((4, 11, 16), 0.2, np.float32), 40.0)
    return "no whole factor; crop both to the same ground"


def break_bands(pairs: Path) -> str:
    save(pairs / "low" / "a.tif", np.full((3, 12, 16), 0.2, np.float32), 40.0, ("B04", "B03", "B02"))
    return "there is no band 'B08'"


def break_twice(pairs: Path) -> str:
    (pairs / "low" / "a.png").write_bytes((pairs / "low" / "a.tif").read_bytes())
    return "holds both a.png and a.tif; keep one"


@pytest.mark.parametrize(
    "damage", [break_missing, break_absent, break_names, break_empty, break_factor, break_size, break_bands, break_twice]
)
def test_a_bad_folder_ends_in_one_sentence(run: Run, pairs: Path, model: Path, tmp_path: Path, damage: Callable[[Path], str]) -> None:
    words = damage(pairs)
    code, out, err = run("--pairs", pairs, "--model", model, "--steps", 2, "--metrics", "psnr", "--json", tmp_path / "r.json")
    sentence = err.strip().splitlines()[-1]
    assert code == 2
    assert sentence.startswith("earthgen: ")
    assert re.search(words, sentence), sentence
    assert "Traceback" not in err
    assert not (tmp_path / "r.json").exists()
    assert "PSNR" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--metrics", "psnr,fidelity"), "unknown metric fidelity; choose from PSNR"),
        (("--metrics", "lpips"), "LPIPS needs weights"),
        (("--metrics", "psnr", "--border", 400), "a border of 400 px leaves nothing"),
        (("--metrics", "psnr", "--on", "B11"), "no band B11"),
        (("--metrics", "psnr", "--json", "/nowhere/at/all.json"), "does not exist"),
        (("--metrics", "psnr", "--radiometry", "guess"), "no radiometry called 'guess'"),
    ],
)
def test_a_bad_option_ends_in_one_sentence(run: Run, pairs: Path, model: Path, arguments: tuple[object, ...], words: str) -> None:
    code, _, err = run("--pairs", pairs, "--model", model, "--steps", 2, *arguments)
    assert code == 2
    assert words in err.strip().splitlines()[-1]
    assert "Traceback" not in err


def test_an_unknown_model_is_named(run: Run, pairs: Path) -> None:
    code, _, err = run("--pairs", pairs, "--model", "zoo:nothing")
    assert code == 2
    assert "nothing" in err
