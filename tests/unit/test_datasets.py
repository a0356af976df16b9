"""Sources and pairs: radiometry, patterns, windows, leaks, nodata, and that a pair is a function of its generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from rasterio.transform import from_origin

from earthgen.gen.data.datasets import PairDataset
from earthgen.gen.data.degrade import Decimate, build_degradation
from earthgen.gen.data.sources import ArrayFiles, ImageFiles, Picture, RasterFiles, WorldWindows
from earthgen.gen.errors import InputError

HALVE = build_degradation([Decimate(scale=2)])


def write_tiff(path: Path, array: np.ndarray, **more: object) -> None:
    bands, height, width = array.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": array.dtype.name}
    with rasterio.open(path, "w", **profile, crs="EPSG:32633", transform=from_origin(0, 0, 10, 10), **more) as file:
        file.write(array)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_tiff(tmp_path / f"{name}.tif", rng.integers(1000, 4000, (4, 40, 48)).astype(np.uint16))
    np.savez(tmp_path / "stack.npz", x=rng.integers(0, 10000, (3, 5, 32, 32)).astype(np.uint16))
    np.savez(tmp_path / "last.npz", x=rng.random((32, 32, 3)).astype(np.float32))
    Image.fromarray(rng.integers(0, 256, (32, 36, 4), dtype=np.uint8), "RGBA").save(tmp_path / "photo.png")
    return tmp_path


def test_rasters_become_physical_with_the_offset_of_their_file(root: Path) -> None:
    source = RasterFiles(files="*.tif", bands=(3, 1), scale=1e-4, offsets={"b*": -1000})
    first, second = source.pictures(root)
    with rasterio.open(root / "b.tif") as file:
        expected = (file.read([3, 1]).astype(np.float64) - 1000) / 10000
    assert first.name == "a.tif"
    np.testing.assert_allclose(second.pixels, expected, atol=1e-6)
    assert second.pixels.dtype == np.float32


def test_stacks_channels_last_and_pictures(root: Path) -> None:
    names = [picture.name for picture in ArrayFiles(files="stack.npz", key="x", bands=(0, 4), exclude=("*#1",)).pictures(root)]
    assert names == ["stack.npz#0", "stack.npz#2"]
    (last,) = ArrayFiles(files="last.npz", key="x", bands=(2, 0), channels_last=True).pictures(root)
    np.testing.assert_array_equal(last.pixels[0], np.load(root / "last.npz")["x"][..., 2])
    (photo,) = ImageFiles(files="*.png").pictures(root)
    with Image.open(root / "photo.png") as file:
        expected = np.asarray(file)[..., :3].transpose(2, 0, 1) / 255.0
    np.testing.assert_allclose(photo.pixels, expected, atol=1e-6)
    (small,) = ImageFiles(files="*.png", reduce=2).pictures(root)
    np.testing.assert_allclose(small.pixels[:, 0, 0], expected[:, :2, :2].mean((1, 2)), atol=1e-6)


def test_windows_are_cut_and_may_not_leave_the_picture(root: Path) -> None:
    (cut,) = RasterFiles(files="a.tif", bands=(1,), window=(4, 20, 8, 40)).pictures(root)
    with rasterio.open(root / "a.tif") as file:
        np.testing.assert_array_equal(cut.pixels[0], file.read(1)[4:20, 8:40])
    assert cut.name == "a.tif@4:20,8:40"
    with pytest.raises(InputError, match=r"does not lie in a\.tif"):
        list(RasterFiles(files="a.tif", bands=(1,), window=(0, 41, 0, 10)).pictures(root))


@pytest.mark.parametrize(
    ("one", "two", "shared"),
    [(None, (0, 1, 0, 1), True), ((0, 10, 0, 10), (10, 20, 0, 10), False), ((0, 10, 0, 10), (9, 20, 9, 20), True), (None, None, True)],
)
def test_overlap(one: tuple[int, ...] | None, two: tuple[int, ...] | None, shared: bool) -> None:
    pixels = np.zeros((1, 2, 2), np.float32)
    left, right = (Picture("n", pixels, "a.tif", window) for window in (one, two))  # type: ignore[arg-type]
    assert left.overlaps(right) is right.overlaps(left) is shared
    assert not left.overlaps(Picture("n", pixels, "b.tif", two))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (RasterFiles(files="*.jp2", bands=(1,)), "no picture"),
        (RasterFiles(files="a.tif", bands=(9,)), "cannot read bands"),
        (ArrayFiles(files="stack.npz", key="y", bands=(0,)), "no array 'y'"),
        (ArrayFiles(files="stack.npz", key="x", bands=(7,)), "bands"),
        (ImageFiles(files="*.png", only=("z*",)), "no picture"),
        (ImageFiles(files="stack.npz"), "stack.npz"),
    ],
)
def test_wrong_sources_are_refused_in_a_sentence(root: Path, source: RasterFiles, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        list(source.pictures(root))


def test_a_pair_is_a_function_of_its_generator(root: Path) -> None:
    sources = [RasterFiles(files="*.tif", bands=(1, 2), scale=1e-4, gain=(0.8, 1.2)), ArrayFiles(files="stack.npz", key="x", bands=(0, 1))]
    data = PairDataset(sources, root, 16, HALVE)
    one, two, other = (data.item(np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert torch.equal(one.high, two.high)
    assert torch.equal(one.low, two.low)
    assert one.name == two.name != other.name
    assert one.high.shape == (2, 16, 16)
    assert one.low.shape == (2, 8, 8)
    assert torch.equal(one.low, HALVE(one.high, np.random.default_rng(0)))


def test_sources_are_drawn_by_weight_pictures_by_area_and_all_turns_occur(tmp_path: Path) -> None:
    ramp = np.arange(64, dtype=np.float32).reshape(8, 8)
    np.savez(tmp_path / "a.npz", x=ramp[None])
    np.savez(tmp_path / "b.npz", x=np.full((1, 8, 8), 100, np.float32))
    np.savez(tmp_path / "c.npz", x=np.full((1, 8, 24), 200, np.float32))
    sources = [ArrayFiles(files="a.npz", key="x", bands=(0,), weight=3), ArrayFiles(files="[bc].npz", key="x", bands=(0,), weight=1)]
    data = PairDataset(sources, tmp_path, 8, HALVE)
    rng = np.random.default_rng(0)
    drawn = [data.item(rng) for _ in range(2000)]
    share = {letter: sum(pair.name.startswith(letter) for pair in drawn) / 2000 for letter in "abc"}
    assert share["a"] == pytest.approx(0.75, abs=0.04)
    assert share["b"] == pytest.approx(0.0625, abs=0.02)
    assert share["c"] == pytest.approx(0.1875, abs=0.04)
    turns = {pair.high.numpy().tobytes() for pair in drawn if pair.name.startswith("a")}
    expected = {np.ascontiguousarray(np.rot90(m, k)).tobytes() for m in (ramp, ramp[:, ::-1]) for k in range(4)}
    assert turns == expected


def test_nodata_is_drawn_around_or_refused(tmp_path: Path) -> None:
    half = np.full((1, 16, 64), 500, np.uint16)
    half[:, :, :40] = 0
    write_tiff(tmp_path / "half.tif", half)
    data = PairDataset([RasterFiles(files="half.tif", bands=(1,), nodata=0)], tmp_path, 8, HALVE)
    rng = np.random.default_rng(0)
    assert all(torch.isfinite(data.item(rng).high).all() for _ in range(50))
    write_tiff(tmp_path / "none.tif", np.zeros((1, 16, 16), np.uint16))
    empty = PairDataset([RasterFiles(files="none.tif", bands=(1,), nodata=0)], tmp_path, 8, HALVE)
    with pytest.raises(InputError, match="nodata"):
        empty.item(rng)


def test_impossible_datasets_are_refused(root: Path) -> None:
    tiffs = RasterFiles(files="*.tif", bands=(1,))
    with pytest.raises(InputError, match="at least 64 x 64"):
        PairDataset([tiffs], root, 64, HALVE)
    with pytest.raises(InputError, match="no multiple"):
        PairDataset([tiffs], root, 15, HALVE)
    with pytest.raises(InputError, match="different numbers of bands"):
        PairDataset([tiffs, ImageFiles(files="*.png")], root, 16, HALVE)


@pytest.mark.slow
def test_world_windows_are_reproducible(tmp_path: Path) -> None:
    source = WorldWindows(seed=1, count=2, size=64)
    one, two = list(source.pictures(tmp_path)), list(source.pictures(tmp_path))
    assert [picture.name for picture in one] == ["world-1#0", "world-1#1"]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, two, strict=True))
    assert one[0].pixels.shape == (4, 64, 64)
    assert 0.0 < float(one[0].pixels.mean()) < 1.0
