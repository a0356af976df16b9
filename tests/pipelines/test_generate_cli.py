"""`earthgen generate`: files, seeds, places, scenes, and one sentence for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from typer.testing import CliRunner

from earthgen.cli import app, main
from earthgen.cli.generate import output_paths, read_guidance, read_hint_options, read_size
from earthgen.gen.errors import InputError


@pytest.fixture(scope="module")
def model(earth: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny-earth"
    earth().save_pretrained(folder)
    return str(folder)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["generate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr("sys.argv", ["earthgen", "generate", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_pictures_without_a_place_are_pngs_with_their_seeds(model: str, tmp_path: Path) -> None:
    Image.fromarray(np.full((24, 40), 255, np.uint8)).save(tmp_path / "mask.png")
    said = run("a bay", "--model", model, "--hint", f"road={tmp_path / 'mask.png'}*0.5", "--size", "40x24", "--num", 2, "--seed", 7,
               "--steps", 1, "-o", tmp_path / "out", "--dtype", "float32")  # fmt: skip
    assert said.count("wrote") == 2
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["000007.png", "000008.png"]
    with Image.open(tmp_path / "out" / "000008.png") as image:
        assert image.size == (40, 24)
        assert (image.info["EARTHGEN_SEED"], image.info["EARTHGEN_HINTS"]) == ("8", "road 0.5")
        second = np.asarray(image)
    run("a bay", "--model", model, "--hint", f"road={tmp_path / 'mask.png'}*0.5", "--size", "40x24", "--seed", 8, "--steps", 1,
        "-o", tmp_path / "one.png", "--dtype", "float32")  # fmt: skip
    alone = np.asarray(Image.open(tmp_path / "one.png")).astype(int)
    assert np.abs(alone - second.astype(int)).max() <= 1


def test_with_a_place_it_is_a_geotiff(model: str, tmp_path: Path) -> None:
    run("a bay", "--model", model, "--gsd", 10, "--lat", -33.9, "--lon", 18.4, "--date", "2021-06", "--cloud", 0, "--steps", 1,
        "--guidance", "text=2,metadata=3", "-o", tmp_path / "out")  # fmt: skip
    with rasterio.open(tmp_path / "out" / "000000.tif") as file:
        assert file.crs.to_epsg() == 32734
        assert file.res == (10.0, 10.0)
        tags = file.tags()
    assert tags["EARTHGEN_SYNTHETIC"] == "true"
    assert tags["EARTHGEN_GUIDANCE"] == "hints 1, metadata 3, text 2"
    assert '"date":"2021-06"' in tags["EARTHGEN_METADATA"]


def test_an_interrupted_scene_goes_on(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from earthgen.gen.data.spool import Spool

    given = ("a bay", "--model", model, "--extend", "70x90", "--steps", 2, "--num", 2, "--dtype", "float32")
    run(*given, "-o", tmp_path / "whole")
    finish, left = Spool.finish, 10

    def interrupted(spool: Spool, **more: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        finish(spool, **more)

    monkeypatch.setattr(Spool, "finish", interrupted)
    stopped = CliRunner().invoke(app, ["generate", *map(str, given), "-o", str(tmp_path / "part")])
    assert stopped.exit_code != 0
    assert "the same command with --resume goes on" in stopped.output
    monkeypatch.undo()
    assert "finished already" in run(*given, "-o", tmp_path / "part", "--resume")
    for name in ("000000.png", "000001.png"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(list((tmp_path / "part").iterdir())) == 2


def test_resuming_is_about_scenes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for more in ((), ("--extend", "64x64", "--overwrite")):
        said = refused(capsys, monkeypatch, "a", "--resume", *more, "-o", tmp_path / "a.png")
        assert "give it with --extend, without --overwrite" in said


def test_extending_a_picture_and_a_scene_from_nothing(model: str, tmp_path: Path) -> None:
    given = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(given).save(tmp_path / "in.png")
    run("a bay", "--model", model, "--init", tmp_path / "in.png", "--extend", "72x48", "--steps", 1, "-o", tmp_path / "out.png")
    made = np.asarray(Image.open(tmp_path / "out.png"))
    assert made.shape == (48, 72, 3)
    assert np.array_equal(made[8:40, 20:52], given)
    run("--model", model, "--extend", "80x64", "--steps", 1, "-o", tmp_path / "scene.tif")
    with rasterio.open(tmp_path / "scene.tif") as file:
        assert (file.width, file.height, file.crs) == (80, 64, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--lat", "91"], "lat is 91"),
        (["--gsd", "0"], "gsd is 0"),
        (["--hint", "road"], "give NAME=FILE"),
        (["--hint", "rail=x.png"], "takes no hint 'rail'; it takes water, road"),
        (["--hint", "road=nowhere.png"], "no file nowhere.png"),
        (["--size", "512"], "--size is '512'; give width x height"),
        (["--size", "32x32", "--extend", "64x64"], "give one of them"),
        (["--strength", "0.5"], "give it with --init"),
        (["--guidance", "text"], "--guidance is 'text'"),
        (["--mask", "m.png"], "a mask was given without a picture"),
        (["--date", "2021-13"], "has month 13"),
        (["--model", "zoo:nothing"], "no model 'nothing' in the zoo"),
        (["--model", "owner/model"], "to fetch a model of this name from the hub, allow the download"),
    ],
)
def test_what_is_wrong_gets_one_sentence_and_leaves_nothing(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    models = [] if "--model" in arguments else ["--model", model]
    said = refused(capsys, monkeypatch, "a bay", *models, "--steps", 1, "-o", tmp_path / "out", *arguments)
    assert sentence in said
    assert not list(tmp_path.iterdir())


def test_options_in_their_parts(tmp_path: Path) -> None:
    assert read_size("512x768", "--size") == (512, 768)
    assert read_size("", "--size") == (None, None)
    assert read_guidance("4.5") == 4.5
    assert read_guidance("") is None
    files, weights = read_hint_options(["road=a=b.png*0.5", "water=c.png"])
    assert (files, weights) == ({"road": Path("a=b.png"), "water": Path("c.png")}, {"road": 0.5})
    with pytest.raises(InputError, match="given twice"):
        read_hint_options(["road=a.png", "road=b.png"])
    (tmp_path / "000003.png").touch()
    with pytest.raises(InputError, match=r"000003.png exists already; add --overwrite"):
        output_paths(tmp_path, 4, 0, ".png", False)
    assert len(output_paths(tmp_path, 4, 0, ".png", True)) == 4
    with pytest.raises(InputError, match="2 pictures do not go into one file"):
        output_paths(tmp_path / "a.png", 2, 0, ".png", False)
