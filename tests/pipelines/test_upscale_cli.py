"""`earthgen upscale` and `earthgen zoo` as a user types them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from earthgen.cli import main
from earthgen.gen.data.rasters import read_raster
from earthgen.gen.zoo import names as zoo_names

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["earthgen", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


@pytest.fixture
def zoo(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of two tiny models under the names of the real ones."""
    folder = tmp_path / "zoo"
    card = {"task": "tests", "licence": "none", "parameters": 12_345, "training": {"samples": 7_000}}
    card["metrics"] = {"psnr_bicubic": 30.0, "psnr_one_step": 31.25, "psnr_sample": 29.5}
    tiny(4).save_pretrained(folder / "ediffsr-x4-small", card=card)
    tiny(["red", "green", "blue"], unit="display").save_pretrained(folder / "ediffsr-x4-small-rgb")
    monkeypatch.setattr(zoo_names, "ZOO", folder)
    return folder


@pytest.mark.usefixtures("zoo")
def test_a_scene_with_all_its_layers(run: Run, landscape: Any, scene: Any, tmp_path: Path) -> None:
    source, out = scene(landscape(4, 20, 24)), tmp_path / "out.tif"
    doubt, new = tmp_path / "doubt.tif", tmp_path / "new.tif"
    code, said, err = run(
        "upscale", source, out, "--bands", "B04,B03,B02,B08", "--scale", 4, "--steps", 2, "--seed", 5, "--samples", 2, "--dtype", "float32",
        "--uncertainty", doubt, "--invented", new, "--tile", 64, "--device", "cpu", "--cog", "--compress", "lzw",
    )  # fmt: skip
    assert code == 0, err
    assert "taking zoo:ediffsr-x4-small, since 4 bands were asked for" in err
    assert f"wrote {out}: 96 x 80 pixels, B04, B03, B02, B08" in said
    with rasterio.open(out) as made:
        assert made.tags()["EARTHGEN_SEED"] == "5"
        assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert doubt.is_file()
    assert new.is_file()
    code, _, err = run("upscale", source, out, "--steps", 1)
    assert code == 2
    assert "add --overwrite" in err
    assert run("upscale", source, out, "--steps", 1, "--overwrite")[0] == 0
    with rasterio.open(out) as made:
        assert made.tags()["EARTHGEN_STEPS"] == "1"


@pytest.mark.usefixtures("zoo")
def test_a_picture_gets_the_model_for_pictures(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 255, (12, 9, 3), np.uint8)).save(tmp_path / "in.png")
    code, _, err = run("upscale", tmp_path / "in.png", tmp_path / "out.png", "--steps", 1)
    assert code == 0, err
    assert "taking zoo:ediffsr-x4-small-rgb, since the picture has the bands red, green, blue" in err
    with Image.open(tmp_path / "out.png") as made:
        assert made.size == (36, 48)
        assert made.info["EARTHGEN_SYNTHETIC"] == "true"


@pytest.mark.usefixtures("zoo")
def test_ambiguous_numbers_are_settled_by_an_option(run: Run, landscape: Any, scene: Any, tmp_path: Path) -> None:
    pixels, out = landscape(4, 10, 10), tmp_path / "out.tif"
    source = scene(pixels, offset=-1000.0, tagged=False)
    code, _, err = run("upscale", source, out, "--steps", 1)
    assert code == 2
    assert "--radiometry" in err
    assert len(err.strip().splitlines()[-1]) > 20
    for options in (["--radiometry", "s2-offset"], ["--offset", "-1000"], ["--gain", "1e-4", "--offset", "-1000"]):
        assert run("upscale", source, out, "--steps", 1, "--overwrite", *options)[0] == 0
        assert np.abs(read_raster(out).values.mean((1, 2)) - pixels.mean((1, 2))).max() < 0.002


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.tif", "out.tif"], "missing.tif"),
        (["in.tif", "in.tif", "--overwrite"], "is the input"),
        (["in.tif", "out.tif", "--model", "zoo:nothing"], "zoo:ediffsr-x4-small"),
        (["in.tif", "out.tif", "--model", "some/model"], "download"),
        (["in.tif", "out.tif", "--bands", "B04,B03"], "no model of the zoo fits"),
        (["in.tif", "out.tif", "--device", "abacus"], "abacus"),
        (["in.tif", "out.tif", "--dtype", "float8"], "float8"),
        (["in.tif", "out.tif", "--consistency", "fft"], "ibp, none"),
        (["in.tif", "out.tif", "--sampler", "ddim"], "posterior"),
        (["in.tif", "out.tif", "--resume", "--uncertainty", "u.tif"], "2 samples"),
        (["text.tif", "out.tif"], "text.tif"),
    ],
)
@pytest.mark.usefixtures("zoo")
def test_mistakes_end_in_one_sentence_and_code_2(
    run: Run, landscape: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    scene(landscape(4, 8, 8))
    (tmp_path / "text.tif").write_text("not a raster")
    before = sorted(tmp_path.iterdir())
    code, out, err = run("upscale", *arguments)
    assert code == 2
    assert not out
    assert sentence in err.strip().splitlines()[-1]
    assert err.strip().splitlines()[-1].startswith("earthgen: ")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("zoo")
def test_an_interruption_says_how_to_go_on(run: Run, landscape: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from earthgen.pipelines.super_resolution_step import SuperResolutionSceneStep

    source, work = scene(landscape(4, 64, 64)), SuperResolutionSceneStep.run
    options = ["--steps", 1, "--tile", 128, "--dtype", "float32"]
    count = iter(range(100))

    def interrupted(self: Any, tiles: Any) -> Any:
        if next(count) == 2:
            raise KeyboardInterrupt
        return work(self, tiles)

    monkeypatch.setattr(SuperResolutionSceneStep, "run", interrupted)
    code, _, err = run("upscale", source, tmp_path / "out.tif", *options)
    assert code == 130
    assert "--resume goes on from there" in err
    assert not (tmp_path / "out.tif").exists()
    monkeypatch.setattr(SuperResolutionSceneStep, "run", work)
    assert run("upscale", source, tmp_path / "out.tif", "--resume", *options)[0] == 0
    assert run("upscale", source, tmp_path / "whole.tif", *options)[0] == 0
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_zoo_lists_and_prints_cards(run: Run, zoo: Path) -> None:
    code, out, _ = run("zoo")
    assert code == 0
    assert "0.01 M" in out
    assert "31.25" in out
    code, out, _ = run("zoo", "ediffsr-x4-small")
    assert code == 0
    assert 'task = "tests"' in out
    assert run("zoo", zoo / "ediffsr-x4-small")[1] == out
    code, _, err = run("zoo", "ediffsr-x4-small-rgb")
    assert code == 2
    assert "has no card.toml" in err


@pytest.mark.parametrize("command", ["upscale", "zoo"])
def test_help_has_an_example(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"earthgen {command} " in out
