"""`earthgen info`: what it says of sound, ambiguous and bad files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from typer.testing import CliRunner, Result

from earthgen.cli import app, main
from earthgen.gen.data.radiometry import NAMED
from earthgen.gen.data.rasters import located, write_raster
from earthgen.gen.errors import InputError

Product = Callable[..., Path]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["info", *arguments], catch_exceptions=False, env={"COLUMNS": "200"})


def facts(*arguments: str) -> dict[str, object]:
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """100 x 80 pixels of four bands, a quarter of it without data."""
    pixels = np.random.default_rng(0).uniform(0.01, 0.6, (4, 80, 100)).astype(np.float32)
    pixels[:, :40, :50] = np.nan
    path = tmp_path / "scene.tif"
    image = located(pixels, ["B04", "B03", "B02", "B08"], "EPSG:32633", Affine(10, 0, 400_000, 0, -10, 5_000_000))
    write_raster(path, image, radiometry=NAMED["s2-offset"])
    return path


@pytest.fixture
def ambiguous(tmp_path: Path) -> Path:
    """Twelve unnamed bands of 16 bits, as many programs write them."""
    path = tmp_path / "ambiguous.tif"
    with rasterio.open(path, "w", driver="GTiff", height=30, width=20, count=12, dtype="uint16") as file:
        file.write(np.full((12, 30, 20), 1500, np.uint16))
    return path


def test_a_sound_file(scene: Path) -> None:
    found = facts(str(scene))
    assert (found["width"], found["height"], found["dtype"]) == (100, 80, "uint16")
    assert found["bands"] == ["B04", "B03", "B02", "B08"]
    assert found["crs"] == "EPSG:32633"
    assert found["pixel_size"] == [10, 10]
    assert found["upper_left"] == [400_000, 5_000_000]
    assert found["radiometry"] == {"scale": 1e-4, "offset": -1000, "unit": "reflectance", "told_by": "EARTHGEN_* tags"}
    assert found["ambiguity"] is None
    assert found["nodata"] == 0
    assert found["nodata_share"] == pytest.approx(0.25)


def test_the_table_has_the_same(scene: Path) -> None:
    text = run(str(scene)).stdout
    for part in ("100 x 80 pixels, 4 bands, uint16", "EPSG:32633", "10 x 10 metre", "(stored - 1000) x 0.0001", "EARTHGEN_* tags", "25.0%"):
        assert part in text


def test_the_cost_grows_with_what_is_asked(scene: Path) -> None:
    cost = facts(str(scene), "--seconds-per-megapixel", "10", "--steps", "20")["upscale"]
    assert (cost["width"], cost["height"]) == (400, 320)
    # One tile of 400 x 320 output pixels, 20 steps; at x8 two by two tiles, which reach 80 pixels into each other.
    assert cost["seconds"] == pytest.approx(400 * 320 / 1e6 * 10 * 20, abs=0.06)
    assert facts(str(scene), "--seconds-per-megapixel", "10", "--scale", "8")["upscale"]["seconds"] == pytest.approx(
        (800 + 160) * (640 + 160) / 1e6 * 10 * 20, abs=0.06
    )
    assert cost["raw_bytes"] == 400 * 320 * 4 * 2
    assert cost["file_bytes"] < cost["raw_bytes"]
    double = facts(str(scene), "--seconds-per-megapixel", "10", "--samples", "2")["upscale"]
    assert double["seconds"] == pytest.approx(2 * cost["seconds"], abs=0.2)
    assert facts(str(scene), "--bands", "B04")["upscale"]["raw_bytes"] == cost["raw_bytes"] / 4
    assert facts(str(scene), "--scale", "2")["upscale"]["width"] == 200


def test_an_ambiguous_file_is_described_with_the_option_that_settles_it(ambiguous: Path) -> None:
    result = run(str(ambiguous))
    assert result.exit_code == 0
    assert "AMBIGUOUS" in result.stdout
    found = facts(str(ambiguous))
    assert found["radiometry"] is None
    assert "--radiometry s2 or s2-offset" in str(found["ambiguity"])
    assert "sentinel-2-l2a" in str(found["notes"])
    assert found["nodata_share"] == 0


def test_options_settle_it(ambiguous: Path) -> None:
    found = facts(str(ambiguous), "--sensor", "sentinel-2-l2a", "--bands", "red,nir", "--offset", "-1000")
    assert found["chosen"] == ["B04", "B08"]
    assert found["radiometry"] == {"scale": 1e-4, "offset": -1000, "unit": "reflectance", "told_by": "given by option"}
    assert found["ambiguity"] is None
    assert facts(str(ambiguous), "--bands", "4,3,2,8", "--radiometry", "s2")["chosen"] == ["4", "3", "2", "8"]
    assert facts(str(ambiguous), "--gain", "0.5", "--offset", "7")["radiometry"]["scale"] == 0.5


def test_a_product(make_product: Product) -> None:
    found = facts(str(make_product("2A", zipped=True)))
    assert found["format"] == "SENTINEL2"
    assert found["sensor"] == "sentinel-2-l2a"
    assert found["chosen"] == ["B02", "B03", "B04", "B08"]
    assert "B12" in found["bands"]
    assert "baseline 05.09" in found["radiometry"]["told_by"]
    assert facts(str(make_product("2A")), "--bands", "B05,B04", "--gsd", "20")["pixel_size"] == [20, 20]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [(["none.tif"], "no file"), (["scene.tif", "--bands", "B12"], "no band"), (["scene.tif", "--radiometry", "x"], "choose one of")],
)
def test_bad_input_is_an_input_error(scene: Path, arguments: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        run(str(scene.parent / arguments[0]), *arguments[1:])


def test_the_command_ends_with_one_sentence_and_code_2(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = scene.read_bytes()
    scene.write_bytes(data[: len(data) // 2])
    monkeypatch.setattr("sys.argv", ["earthgen", "info", str(scene)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.err.startswith("earthgen: cannot read")


def test_real_files(shared_data: Path) -> None:
    border = facts(str(shared_data / "geotiff_io" / "RGB.byte.deflate.tif"))
    assert border["radiometry"]["unit"] == "display"
    with rasterio.open(shared_data / "geotiff_io" / "RGB.byte.deflate.tif") as file:
        share = float((file.read() == 0).any(0).mean())
    assert border["nodata_share"] == pytest.approx(share, abs=0.01)
    for path in sorted((shared_data / "s2_multispectral").glob("*.tif")):
        assert facts(str(path))["radiometry"] is None
