"""Random rasters come back as they were; random damage ends in one sentence or in the right numbers, never in a crash."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from earthgen.gen.data.radiometry import DTYPES, Radiometry
from earthgen.gen.data.raster_info import inspect_raster
from earthgen.gen.data.raster_reader import RasterReader
from earthgen.gen.data.raster_writer import RasterWriter
from earthgen.gen.data.rasters import located, read_raster, write_raster
from earthgen.gen.errors import InputError

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
INTEGERS = [name for name in DTYPES if np.dtype(name).kind in "iu"]
CRS = [None, "EPSG:4326", "EPSG:32633", "EPSG:3857", "EPSG:2056", "ESRI:54009", "+proj=laea +lat_0=52 +lon_0=10"]


@st.composite
def radiometries(draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES) -> Radiometry:
    dtype = draw(st.sampled_from(dtypes))
    if np.dtype(dtype).kind == "f":
        marks = [None, math.nan, -9999.0, 0.0]
    else:
        marks = [None, float(np.iinfo(dtype).min), float(np.iinfo(dtype).max), 0.0, 1.0, 100.0]
    nodata = draw(st.sampled_from(marks))
    scale = draw(st.sampled_from([1.0, 1e-4, 2.75e-5, 1 / 255, 0.5, -0.01, 37.0]))
    offset = draw(st.sampled_from([0.0, -1000.0, 0.5, 7273.0]))
    return Radiometry(scale, offset, nodata, draw(st.sampled_from(["reflectance", "dB", "m", "unknown"])), dtype)


@st.composite
def grids(draw: st.DrawFn) -> Affine:
    size = draw(st.sampled_from([0.1, 10.0, 30.0, 1e-4]))
    corner = Affine.translation(draw(st.sampled_from([0.0, 399_960.0, -179.9])), draw(st.sampled_from([0.0, 5_300_040.5, 89.0])))
    turn = Affine.rotation(draw(st.sampled_from([0.0, 0.0, 30.0, 90.0, -3.3])))
    return corner @ turn @ Affine.scale(size, size * draw(st.sampled_from([-1.0, 1.0, -0.5])))


@st.composite
def stored_numbers(draw: st.DrawFn, radiometry: Radiometry) -> np.ndarray:
    """What a file may hold, including the ends of the type's range and nodata."""
    shape = (draw(st.sampled_from([1, 1, 2, 3, 4, 5, 13, 20])), draw(st.integers(1, 65)), draw(st.integers(1, 65)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = np.dtype(radiometry.dtype)
    if kind.kind == "f":
        stored = (rng.normal(0, 10.0 ** draw(st.integers(-3, 3)), shape)).astype(np.float32).astype(kind)
    else:
        limits = np.iinfo(kind)
        low, high = max(limits.min, -(2**22)), min(limits.max, 2**22)  # beyond, float32 cannot tell neighbours apart
        stored = rng.integers(low, high + 1, shape).astype(kind)
        stored.flat[0], stored.flat[-1] = low, high
    if radiometry.nodata is not None:
        stored[rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.9]))] = radiometry.nodata
    return stored


def profile_of(radiometry: Radiometry, stored: np.ndarray, crs: str | None, place: Affine) -> dict[str, Any]:
    count, height, width = stored.shape
    common = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": radiometry.dtype}
    return {**common, "crs": crs, "transform": place, "nodata": radiometry.nodata, "photometric": "MINISBLACK"}


@quick
@given(data=st.data(), radiometry=radiometries(), place=grids(), crs=st.sampled_from(CRS), cog=st.booleans())
def test_any_file_comes_back(data: st.DataObject, radiometry: Radiometry, place: Affine, crs: str | None, cog: bool) -> None:
    stored = data.draw(stored_numbers(radiometry))
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first.tif"), Path(folder, "second.tif")
        with rasterio.open(first, "w", **profile_of(radiometry, stored, crs, place)) as file:
            file.write(stored)
            crs_there, place_there = file.crs, file.transform
        explicit = Radiometry(radiometry.scale, radiometry.offset, None, radiometry.unit)
        image, refusal = attempt(lambda: read_raster(first, radiometry=explicit))
        if image is None:
            assert "no pixel" in refusal
            assert radiometry.nodata is not None
            return
        bands = [f"band {n}" for n in range(len(stored))]
        image = image.assign_coords(band=bands)
        write_raster(second, image, cog=cog)
        with rasterio.open(second) as file:
            # Physical numbers are float32: stored floats that an offset dwarfs come back as well as that allows, all else exactly.
            exact = radiometry.is_integer or (radiometry.scale, radiometry.offset) == (1.0, 0.0)
            slack = 0.0 if exact else 3e-7
            np.testing.assert_allclose(file.read(), stored, rtol=slack, atol=slack * abs(radiometry.offset))
            assert file.crs == crs_there
            np.testing.assert_allclose(file.transform[:6], place_there[:6], rtol=1e-9, atol=1e-9)
            assert list(file.descriptions) == bands
        again = read_raster(second)
        around = slack * abs(radiometry.offset * radiometry.scale)
        np.testing.assert_allclose(again.values, image.values, rtol=slack, atol=around)
        found = again.attrs["radiometry"]
        expected = (radiometry.scale, radiometry.offset, radiometry.unit, radiometry.dtype)
        assert (found.scale, found.offset, found.unit, found.dtype) == expected
        info = inspect_raster(second)
        assert (info.height, info.width, len(info.bands)) == (stored.shape[1], stored.shape[2], stored.shape[0])


@quick
@given(data=st.data(), radiometry=radiometries())
def test_stored_to_physical_is_the_formula(data: st.DataObject, radiometry: Radiometry) -> None:
    stored = data.draw(stored_numbers(radiometry))
    physical = radiometry.to_physical(stored)
    expected = (stored.astype(np.float64) + radiometry.offset) * radiometry.scale
    missing = np.isnan(expected) if radiometry.nodata is None else np.isnan(expected) | (stored == radiometry.nodata)
    np.testing.assert_array_equal(np.isnan(physical), missing)
    scale = abs(radiometry.offset * radiometry.scale)
    np.testing.assert_allclose(physical[~missing], expected[~missing], rtol=3e-7, atol=3e-7 * scale)


@quick
@given(
    radiometry=radiometries(tuple(INTEGERS)),
    values=st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=40),
)
def test_physical_to_stored_is_the_nearest_number_that_is_not_nodata(radiometry: Radiometry, values: list[float]) -> None:
    physical = np.array(values, np.float32)
    missing = ~np.isfinite(physical)
    assume(radiometry.nodata is not None or not missing.any())
    stored = radiometry.to_stored(physical)
    limits = np.iinfo(radiometry.dtype)
    for number, value, hole in zip(stored.tolist(), physical.tolist(), missing.tolist(), strict=True):
        if hole:
            assert number == radiometry.nodata
            continue
        assert number != radiometry.nodata
        exact = min(max(value / radiometry.scale - radiometry.offset, limits.min), limits.max)
        near = range(max(limits.min, math.floor(exact) - 1), min(limits.max, math.ceil(exact) + 1) + 1)
        best = min(abs(candidate - exact) for candidate in near if candidate != radiometry.nodata)
        assert abs(number - exact) <= best + 1e-9 * max(1.0, abs(exact))


@quick
@given(data=st.data(), height=st.integers(1, 1100), width=st.integers(1, 600), seed=st.integers(0, 2**32 - 1))
def test_any_pieces_make_the_whole(data: st.DataObject, height: int, width: int, seed: int) -> None:
    rows, cols = data.draw(st.integers(1, 700)), data.draw(st.integers(1, 700))
    assume((height / rows) * (width / cols) < 200)
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, 1, (1, height, width)).astype(np.float32)
    corners = [(row, col) for row in range(0, height, rows) for col in range(0, width, cols)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.tif")
        where = {"height": height, "width": width, "crs": None, "transform": Affine.identity(), "compress": "none"}
        with RasterWriter(path, bands=["a"], radiometry=Radiometry(), **where) as writer:
            for at in rng.permutation(len(corners)):
                row, col = corners[at]
                writer.write(row, col, pixels[:, row : row + rows, col : col + cols])
        with RasterReader(path) as reader:
            np.testing.assert_array_equal(reader.read(0, 0, height, width), pixels)
            top, left = int(rng.integers(height)), int(rng.integers(width))
            window = reader.read(top, left, height - top, width - left)
            np.testing.assert_array_equal(window, pixels[:, top:, left:])


def attempt(read: Callable[[], Any]) -> tuple[Any, str]:
    """What `read` returns, or None and the sentence with which it refused; any other error is a failure."""
    try:
        return read(), ""
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) > 20
    return None, refusal


def read_everything(path: Path) -> np.ndarray:
    """All ways in, as the command line uses them."""
    info = inspect_raster(path)
    with RasterReader(path, radiometry=info.radiometry or Radiometry()) as reader:
        reader.preview(32)
        reader.has_data()
        return reader.read(0, 0, reader.height, reader.width)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One small sound file of each kind."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(5)
    image = located(rng.uniform(0, 1, (3, 40, 33)).astype(np.float32), ["B04", "B03", "B02"], "EPSG:32633", Affine(10, 0, 4e5, 0, -10, 5e6))
    picture = Image.fromarray(rng.integers(0, 256, (40, 33, 3), dtype=np.uint8))
    write_raster(folder / "deflate.tif", image, radiometry=Radiometry(1e-4, -1000, 0, dtype="uint16"))
    write_raster(folder / "float.tif", image)
    write_raster(folder / "cog.tif", image, radiometry=Radiometry(1e-4, 0, 0, dtype="uint16"), cog=True)
    write_raster(folder / "lzw.tif", image, radiometry=Radiometry(1 / 255, 0, 0, "display", "uint8"), compress="lzw")
    write_raster(folder / "zstd.tif", image, compress="zstd")
    write_raster(folder / "plain.tif", image, radiometry=Radiometry(1e-4, 0, 0, dtype="int16"), compress="none")
    picture.save(folder / "rgb.png")
    picture.convert("P").save(folder / "palette.png")
    picture.save(folder / "rgb.jpg")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


NAMES = ["deflate.tif", "float.tif", "cog.tif", "lzw.tif", "zstd.tif", "plain.tif", "rgb.png", "palette.png", "rgb.jpg"]


@settings(quick, max_examples=25)
@given(share=st.floats(0.0, 0.999))
@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_anywhere(samples: dict[str, bytes], name: str, share: float) -> None:
    whole = samples[name]
    with tempfile.TemporaryDirectory() as folder:
        sound, cut = Path(folder, f"sound-{name}"), Path(folder, name)
        sound.write_bytes(whole)
        cut.write_bytes(whole[: int(len(whole) * share)])
        pixels, _ = attempt(lambda: read_everything(cut))
        # What was cut off was not needed: padding, or a trailer.
        assert pixels is None or np.array_equal(pixels, read_everything(sound), equal_nan=True)


@settings(quick, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), flips=st.integers(1, 12), head=st.booleans())
@pytest.mark.parametrize("name", NAMES)
def test_flipped_bits_anywhere(samples: dict[str, bytes], name: str, seed: int, flips: int, head: bool) -> None:
    """Never a crash, never another kind of error, never an array of the wrong kind. Values are checked where the format has a checksum."""
    data, rng = bytearray(samples[name]), np.random.default_rng(seed)
    for at in rng.integers(0, min(len(data), 600) if head else len(data), flips):
        data[at] ^= 1 << int(rng.integers(8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        pixels, _ = attempt(lambda: read_everything(path))
        assert pixels is None or (pixels.dtype == np.float32 and pixels.ndim == 3)


@settings(quick, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("name", ["deflate.tif", "float.tif", "cog.tif"])
def test_flipped_bits_in_deflated_pixels_are_always_noticed(samples: dict[str, bytes], name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(samples[name])
        sound = read_everything(path)
        with rasterio.open(path) as file:
            start, size = (int(file.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
        data = bytearray(samples[name])
        data[start + int(rng.integers(size))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        pixels, refusal = attempt(lambda: read_everything(path))
        assert "cannot read" in refusal if pixels is None else np.array_equal(pixels, sound, equal_nan=True)


STARTS = [
    b"",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"II+\0\x08\0\0\0",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"PK\x03\x04",
]


@settings(quick, max_examples=60)
@given(data=st.binary(min_size=1, max_size=3000), start=st.sampled_from(STARTS), suffix=st.sampled_from([".tif", ".png", ".zip", ".jp2"]))
def test_bytes_that_are_no_raster(data: bytes, start: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x{suffix}")
        path.write_bytes(start + data)
        pixels, _ = attempt(lambda: read_everything(path))
        assert pixels is None or pixels.dtype == np.float32
