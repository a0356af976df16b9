"""Reading and writing rasters: values, place, units, names, tags; checked with plain rasterio and, for the tags, with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from PIL import Image
from rasterio.enums import ColorInterp

from earthgen.gen.data.radiometry import NAMED, Radiometry
from earthgen.gen.data.raster_info import inspect_raster
from earthgen.gen.data.raster_reader import RasterReader
from earthgen.gen.data.raster_writer import RasterWriter
from earthgen.gen.data.rasters import located, read_raster, write_raster
from earthgen.gen.data.tags import carried_tags, provenance
from earthgen.gen.errors import InputError

PLACE = Affine(10, 0, 399_960, 0, -10, 5_300_040)
BANDS = ("B04", "B03", "B02", "B08")


def scene(height: int = 70, width: int = 50, place: Affine = PLACE, crs: str | None = "EPSG:32633") -> xr.DataArray:
    """Reflectance with a nodata corner, stored as Sentinel-2 does it now."""
    rng = np.random.default_rng(7)
    pixels = rng.uniform(-0.05, 1.1, (4, height, width)).astype(np.float32)
    pixels[:, :5, :9] = np.nan
    return located(pixels, BANDS, crs, place, {"radiometry": NAMED["s2-offset"], "tags": {"licence": "CC BY 4.0"}})


@pytest.mark.parametrize("cog", [False, True])
def test_a_plain_reader_finds_everything(tmp_path: Path, cog: bool) -> None:
    image = scene()
    write_raster(tmp_path / "out.tif", image, tags={"AREA_OR_POINT": "Point"}, cog=cog)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.dtypes == ("uint16",) * 4
        assert file.crs.to_epsg() == 32633
        assert file.transform == PLACE
        assert file.nodata == 0
        assert file.descriptions == BANDS
        assert file.units == ("reflectance",) * 4
        assert file.tags()["AREA_OR_POINT"] == "Point"
        assert file.tags()["licence"] == "CC BY 4.0"
        assert file.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
        assert file.block_shapes == [(512, 512)] * 4
        assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        assert (file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG") == cog
        stored = file.read()
        # GDAL's convention: stored * scale + offset.
        physical = stored * np.array(file.scales)[:, None, None] + np.array(file.offsets)[:, None, None]
    expected = np.clip(np.rint(image.values.astype(np.float64) * 10_000 + 1000), 1, 65535)
    holes = np.isnan(image.values)
    np.testing.assert_array_equal(stored, np.where(holes, 0, expected))
    assert np.abs(physical - image.values)[~holes].max() <= 0.5e-4 + 1e-7


def test_pillow_finds_the_place_and_the_numbers(tmp_path: Path) -> None:
    """A second TIFF reader, which knows nothing of GDAL."""
    image = scene().isel(band=[0])
    write_raster(tmp_path / "out.tif", image)
    with Image.open(tmp_path / "out.tif") as file:
        tags = file.tag_v2
        assert tuple(tags[33550])[:2] == (10.0, 10.0)
        assert tuple(tags[33922]) == (0.0, 0.0, 0.0, 399_960.0, 5_300_040.0, 0.0)
        assert tags[42113].strip("\0 ") == "0"
        assert 'name="EARTHGEN_OFFSET">-1000.0<' in tags[42112]
        assert '"SCALE" sample="0" role="scale">0.0001<' in tags[42112].replace("'", '"')
        assert (tags[322], tags[323], tags[317]) == (512, 512, 2)


@pytest.mark.parametrize("cog", [False, True])
def test_round_trip_is_exact(tmp_path: Path, cog: bool) -> None:
    write_raster(tmp_path / "once.tif", scene())
    once = read_raster(tmp_path / "once.tif")
    write_raster(tmp_path / "twice.tif", once, cog=cog)
    twice = read_raster(tmp_path / "twice.tif")
    xr.testing.assert_identical(once.drop_attrs(), twice.drop_attrs())
    assert once.attrs["radiometry"] == twice.attrs["radiometry"] == NAMED["s2-offset"]
    assert inspect_raster(tmp_path / "twice.tif").radiometry_source == "EARTHGEN_* tags"


def test_floats_keep_their_bits_and_nan(tmp_path: Path) -> None:
    image = scene()
    write_raster(tmp_path / "out.tif", image, radiometry=Radiometry())
    np.testing.assert_array_equal(read_raster(tmp_path / "out.tif").values, image.values)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert np.isnan(file.nodata)
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"


@pytest.mark.parametrize("place", [Affine(8, 6, 500_000, 6, -8, 4_000_000), Affine(10, 0, 0, 0, 10, 0), Affine(0.5, 0, -180, 0, -0.25, 90)])
def test_any_grid_stays_where_it_is(tmp_path: Path, place: Affine) -> None:
    write_raster(tmp_path / "out.tif", scene(place=place))
    again = read_raster(tmp_path / "out.tif")
    assert again.rio.transform().almost_equals(place, 1e-9)
    np.testing.assert_allclose(again.rio.transform()[:6], place[:6], rtol=1e-12)


def test_a_crop_is_written_at_its_own_place(tmp_path: Path) -> None:
    write_raster(tmp_path / "out.tif", scene().isel(y=slice(11, 40), x=slice(20, 45)))
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.transform == PLACE * Affine.translation(20, 11)


def test_windows_are_windows_of_the_whole(tmp_path: Path) -> None:
    write_raster(tmp_path / "out.tif", scene(600, 530))
    with RasterReader(tmp_path / "out.tif", ["nir", "B02"]) as reader:
        whole = reader.read(0, 0, 600, 530)
        assert reader.bands == ("B08", "B02")
        np.testing.assert_array_equal(reader.read(500, 3, 77, 520), whole[:, 500:577, 3:523])
        assert reader.preview(64).shape == (2, 64, 56)


def test_pieces_in_any_order_make_the_same_file(tmp_path: Path) -> None:
    image = scene(1100, 700)
    settings = {"bands": BANDS, "height": 1100, "width": 700, "crs": image.rio.crs, "transform": PLACE, "radiometry": NAMED["s2-offset"]}
    with RasterWriter(tmp_path / "whole.tif", **settings) as writer:
        writer.write(0, 0, image.values)
    with RasterWriter(tmp_path / "pieces.tif", **settings) as writer:
        corners = [(row, col) for row in range(0, 1100, 170) for col in range(0, 700, 130)]
        for row, col in np.random.default_rng(0).permutation(corners):
            writer.write(int(row), int(col), image.values[:, row : row + 170, col : col + 130])
    with rasterio.open(tmp_path / "whole.tif") as one, rasterio.open(tmp_path / "pieces.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())
    # Each block was written once: the pieces cost no room.
    assert (tmp_path / "pieces.tif").stat().st_size == (tmp_path / "whole.tif").stat().st_size


def test_what_is_never_written_has_no_data(tmp_path: Path) -> None:
    settings = {"bands": BANDS, "height": 600, "width": 1200, "crs": None, "transform": PLACE}
    for name, radiometry in (("a", NAMED["s2-offset"]), ("b", Radiometry())):
        with RasterWriter(tmp_path / f"{name}.tif", **settings, radiometry=radiometry) as writer:
            writer.write(550, 100, np.full((4, 20, 30), 0.5, np.float32))
        pixels = read_raster(tmp_path / f"{name}.tif").values
        assert np.isfinite(pixels).sum() == 4 * 20 * 30
        assert np.isfinite(pixels[:, 550:570, 100:130]).all()


def test_many_bands_are_stored_band_by_band(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).uniform(0, 1, (13, 30, 40)).astype(np.float32)
    write_raster(tmp_path / "out.tif", located(pixels, [f"x{n}" for n in range(13)], "EPSG:3857", PLACE), radiometry=NAMED["s2"])
    again = read_raster(tmp_path / "out.tif", bands=["x12", "x0"])
    assert np.abs(again.values - pixels[[12, 0]]).max() <= 0.51e-4


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "RGB"), ("a.png", "L"), ("a.png", "RGBA"), ("a.png", "P"), ("a.jpg", "RGB"), ("a.jpg", "L")]
)
def test_pictures_without_a_place(tmp_path: Path, name: str, mode: str) -> None:
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(1, 256, (20, 31, 3), dtype=np.uint8)).convert(mode)
    if mode == "RGBA":
        alpha = np.full((20, 31), 255, np.uint8)
        alpha[3:6, 4] = 0
        picture.putalpha(Image.fromarray(alpha))
    picture.save(tmp_path / name, **({"quality": 95, "subsampling": 0} if name == "a.jpg" else {}))
    image = read_raster(tmp_path / name)
    assert image.attrs["radiometry"].unit == "display"
    assert image.rio.crs is None
    assert list(image.band.values) == (["gray"] if mode == "L" else ["red", "green", "blue"])
    with Image.open(tmp_path / name) as file:
        expected = np.atleast_3d(np.asarray(file.convert("L" if mode == "L" else "RGB"), np.float32)).transpose(2, 0, 1) / 255
    holes = np.isnan(image.values)
    assert holes.sum() == (9 if mode == "RGBA" else 0)
    np.testing.assert_allclose(image.values[~holes], expected[~holes], atol=1.5 / 255 if name == "a.jpg" else 1e-6)


def test_transparency_is_kept_when_a_picture_is_written_again(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[2:5, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "in.png")
    image = read_raster(tmp_path / "in.png")
    write_raster(tmp_path / "out.tif", image)
    write_raster(tmp_path / "out.png", image)
    again = read_raster(tmp_path / "out.tif")
    np.testing.assert_array_equal(np.isnan(again.values), np.isnan(image.values))
    assert np.nanmax(again.values) <= 1 / 255  # black moved one step off the value that now means no data
    np.testing.assert_array_equal(np.isnan(read_raster(tmp_path / "out.png").values), np.isnan(image.values))


def test_png_says_how_it_was_made(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).uniform(0, 1, (3, 9, 7)).astype(np.float32)
    image = located(pixels, ["red", "green", "blue"], None, Affine.identity(), {"radiometry": NAMED["display8"]})
    tags = provenance("zoo:x", "0123", [1, 2], 20, "dpmpp_2m")
    for name in ("a.png", "a.jpg"):
        write_raster(tmp_path / name, image, tags=tags)
        assert sorted(file.name for file in tmp_path.iterdir() if file.name.startswith("a")) == sorted({"a.png", name})
    with Image.open(tmp_path / "a.png") as file:
        assert file.text["EARTHGEN_SYNTHETIC"] == "true"
        np.testing.assert_array_equal(np.asarray(file), np.rint(pixels.transpose(1, 2, 0) * 255))
    with Image.open(tmp_path / "a.jpg") as file:
        assert "EARTHGEN_SYNTHETIC=true" in file.getexif()[270]


def test_an_internal_mask_is_no_data(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "height": 8, "width": 9, "count": 3, "dtype": "uint8", "photometric": "RGB", "crs": "EPSG:4326"}
    mask = np.full((8, 9), 255, np.uint8)
    mask[1, 2:4] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "in.tif", "w", **profile) as file:
        file.write(np.full((3, 8, 9), 40, np.uint8))
        file.write_mask(mask)
    image = read_raster(tmp_path / "in.tif")
    np.testing.assert_array_equal(np.isnan(image.values[1]), mask == 0)
    assert image.attrs["radiometry"].nodata == 0


def test_a_band_marked_as_transparency_is_data_when_asked_for(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "height": 8, "width": 9, "count": 4, "dtype": "uint8", "photometric": "RGB", "alpha": "yes"}
    values = np.random.default_rng(0).integers(0, 3, (4, 8, 9), dtype=np.uint8)
    with rasterio.open(tmp_path / "in.tif", "w", **profile) as file:
        file.write(values)
    masked = read_raster(tmp_path / "in.tif")
    assert list(masked.band.values) == ["red", "green", "blue"]
    np.testing.assert_array_equal(np.isnan(masked.values[0]), values[3] == 0)
    for image in (read_raster(tmp_path / "in.tif", bands=[1, 2, 3, 4]), read_raster(tmp_path / "in.tif", sensor="naip")):
        np.testing.assert_allclose(image.values * 255, values, atol=1e-4)
    assert list(image.band.values) == ["red", "green", "blue", "nir"]


def test_the_callers_nodata_counts_beside_the_files_own(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "height": 1, "width": 4, "count": 1, "dtype": "uint16", "nodata": 65535}
    with rasterio.open(tmp_path / "in.tif", "w", **profile) as file:
        file.write(np.array([[[0, 65535, 2000, 3000]]], np.uint16))
    image = read_raster(tmp_path / "in.tif", radiometry=NAMED["s2"])
    assert np.isnan(image.values[0, 0]).tolist() == [True, True, False, False]
    assert image.attrs["radiometry"].nodata == 65535


def test_provenance_says_synthetic_and_carried_tags_drop_what_is_no_longer_true() -> None:
    tags = provenance("zoo:ediffsr-x4-small", "abc", 3, 20, "dpmpp_2m", consistency="ibp", nothing=None)
    assert tags["EARTHGEN_SYNTHETIC"] == "true"
    assert tags["EARTHGEN_CONSISTENCY"] == "ibp"
    assert "EARTHGEN_NOTHING" not in tags
    assert all(isinstance(value, str) for value in tags.values())
    old = {"STATISTICS_MEAN": "3", "BOA_ADD_OFFSET": "-1000", "EARTHGEN_SCALE": "1", "datetime": "2020", "AREA_OR_POINT": "Point"}
    assert carried_tags(old) == {"datetime": "2020", "AREA_OR_POINT": "Point"}


def test_stale_tags_of_an_input_do_not_change_how_the_output_is_read(tmp_path: Path) -> None:
    """Sentinel-2's offset in carried tags, and another one in the new file's own."""
    image = scene()
    tags = {"BOA_ADD_OFFSET": "-1000", "BOA_QUANTIFICATION_VALUE": "10000"}
    write_raster(tmp_path / "out.tif", image, radiometry=Radiometry(1e-4, 0.0, 65535.0, "reflectance", "int32"), tags=carried_tags(tags))
    again = read_raster(tmp_path / "out.tif")
    assert np.nanmax(np.abs(again.values - image.values)) < 0.51e-4


class TestRealFiles:
    def test_rgb_with_a_nodata_border(self, shared_data: Path, tmp_path: Path) -> None:
        path = shared_data / "geotiff_io" / "RGB.byte.deflate.tif"
        image = read_raster(path)
        assert image.shape == (3, 718, 791)
        assert image.rio.crs.to_epsg() == 32618
        with rasterio.open(path) as file:
            stored, place = file.read(), file.transform
        np.testing.assert_array_equal(np.isnan(image.values), stored == 0)
        assert np.isnan(image.values).mean() == pytest.approx(0.3, abs=0.1)
        write_raster(tmp_path / "out.tif", image)
        with rasterio.open(tmp_path / "out.tif") as file:
            np.testing.assert_array_equal(file.read(), stored)
            assert file.transform == place

    def test_sentinel_2_patches(self, shared_data: Path, tmp_path: Path) -> None:
        paths = sorted((shared_data / "s2_multispectral").glob("*.tif"))
        assert len(paths) == 8
        for path in paths:
            with pytest.raises(InputError, match=r"--radiometry s2 or s2-offset \(or --offset 0 or -1000"):
                read_raster(path)
            with pytest.raises(InputError, match=r"no names: give positions, or say which sensor"):
                read_raster(path, bands=["B04"], radiometry=NAMED["s2"])
            named = read_raster(path, bands=["red", "nir"], sensor="sentinel-2-l2a", radiometry=NAMED["s2"])
            placed = read_raster(path, bands=[4, 8], radiometry=NAMED["s2"])
            np.testing.assert_array_equal(named.values, placed.values)
            with rasterio.open(path) as file:
                stored = file.read([4, 8])
            np.testing.assert_allclose(named.values, np.where(stored == 0, np.nan, stored / 10_000), atol=1e-6)
            write_raster(tmp_path / path.name, named, cog=True)
            with rasterio.open(tmp_path / path.name) as file:
                np.testing.assert_array_equal(file.read(), stored)

    def test_naip(self, shared_data: Path) -> None:
        folder = shared_data / "more" / "aerial" / "naip"
        for path in sorted(folder.glob("*.tif")):
            image = read_raster(path, sensor="naip")
            assert list(image.band.values) == ["red", "green", "blue", "nir"]
            assert image.attrs["radiometry"].unit == "display"
            with rasterio.open(path) as file:
                stored, nodata = file.read(), file.nodata
                assert image.rio.transform() == file.transform
            valid = np.isfinite(image.values)
            assert valid.all() or nodata == 0
            np.testing.assert_allclose(image.values[valid] * 255, stored[valid], atol=1e-3)

    def test_drone_tiles_have_transparent_specks(self, shared_data: Path) -> None:
        path = next((shared_data / "maps_buildings" / "oam_uganda" / "images").glob("OAM-1238454-1046529-21.png"))
        image = read_raster(path)
        with Image.open(path) as file:
            alpha = np.asarray(file.convert("RGBA"))[..., 3]
        np.testing.assert_array_equal(np.isnan(image.values[0]), alpha == 0)
