"""Sentinel-2 products as folders and zips: the right numbers, the right place, and nothing unsafe."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earthgen.gen.data.radiometry import NAMED
from earthgen.gen.data.raster_info import inspect_raster
from earthgen.gen.data.raster_reader import RasterReader
from earthgen.gen.data.rasters import read_raster, write_raster
from earthgen.gen.data.safe import read_product
from earthgen.gen.errors import InputError

Product = Callable[..., Path]
_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


def reflectance(band: str, side: int, offset: float) -> np.ndarray:
    """What the fixture stored, by hand."""
    rows, cols = np.mgrid[:side, :side]
    values = (1500 + 100 * _IDS.index(band) + 3 * rows + 2 * cols + offset) / 10_000
    values[0, 0] = np.nan
    return values


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("level", ["1C", "2A"])
def test_10_m_bands_by_name(make_product: Product, level: str, zipped: bool) -> None:
    image = read_raster(make_product(level, zipped=zipped), bands=["B04", "B03", "B02", "B08"])
    assert list(image.band.values) == ["B04", "B03", "B02", "B08"]
    for band in image.band.values:
        np.testing.assert_allclose(image.sel(band=band).values, reflectance(band, 60, -1000), atol=1e-7)
    assert image.rio.crs.to_epsg() == 32632
    assert image.rio.transform()[:6] == (10, 0, 600_000, 0, -10, 5_000_040)
    assert image.attrs["radiometry"] == NAMED["s2-offset"]
    assert image.attrs["tags"]["PROCESSING_BASELINE"] == "05.09"


def test_without_bands_it_takes_those_of_10_m(make_product: Product) -> None:
    with RasterReader(make_product("2A")) as reader:
        assert reader.bands == ("B02", "B03", "B04", "B08")
        assert (reader.height, reader.width) == (60, 60)
        assert reader.sensor == "sentinel-2-l2a"


def test_shared_names_work_too(make_product: Product) -> None:
    with RasterReader(make_product("1C"), ["red", "nir"]) as reader:
        assert reader.bands == ("B04", "B08")


def test_windows_are_windows_of_the_whole(make_product: Product) -> None:
    with RasterReader(make_product("2A", zipped=True), ["B04", "B08"]) as reader:
        whole = reader.read(0, 0, 60, 60)
        np.testing.assert_array_equal(reader.read(7, 11, 20, 30), whole[:, 7:27, 11:41])


@pytest.mark.parametrize(("bands", "side"), [(["B05", "B8A", "B12"], 30), (["B01", "B09"], 10)])
def test_20_and_60_m_bands_on_their_own_grid(make_product: Product, bands: list[str], side: int) -> None:
    image = read_raster(make_product("1C"), bands=bands)
    assert image.shape == (len(bands), side, side)
    np.testing.assert_allclose(image.values[0], reflectance(bands[0], side, -1000), atol=1e-7)


def test_bands_of_different_size_are_refused_unless_asked_for(make_product: Product) -> None:
    product = make_product("2A")
    with pytest.raises(InputError, match=r"B04 10 m, B05 20 m.*--gsd"):
        read_raster(product, bands=["B04", "B05"])
    image = read_raster(product, bands=["B04", "B05"], gsd=20)
    np.testing.assert_allclose(image.sel(band="B04").values, reflectance("B04", 30, -1000), atol=1e-7)
    with pytest.raises(InputError, match="B08 at 10 m, not at 20 m"):
        read_raster(product, bands=["B08", "B05"], gsd=20)


def test_a_band_that_is_not_there(make_product: Product) -> None:
    with pytest.raises(InputError, match="no band 'B10'"):
        read_raster(make_product("2A"), bands=["B10"])


@pytest.mark.parametrize("level", ["1C", "2A"])
def test_before_baseline_4_there_is_no_offset(make_product: Product, level: str) -> None:
    product = make_product(level, "03.01", offsets=False)
    image = read_raster(product, bands=["B04"])
    np.testing.assert_allclose(image.values[0], reflectance("B04", 60, 0), atol=1e-7)
    assert "03.01" in inspect_raster(product).radiometry_source


def test_a_new_baseline_without_offsets_is_ambiguous(make_product: Product) -> None:
    product = make_product("2A", "04.00", offsets=False)
    with pytest.raises(InputError, match=r"--radiometry s2 .*s2-offset"):
        read_raster(product, bands=["B04"])
    np.testing.assert_allclose(
        read_raster(product, bands=["B04"], radiometry=NAMED["s2-offset"]).values[0], reflectance("B04", 60, -1000), atol=1e-7
    )


def test_without_quantification_it_is_ambiguous(make_product: Product) -> None:
    info = inspect_raster(make_product("2A", quantification=False))
    assert info.radiometry is None
    assert info.ambiguity is not None
    assert "quantification" in info.ambiguity


def test_the_metadata_file_stands_for_its_folder(make_product: Product) -> None:
    product = make_product("1C")
    assert inspect_raster(product / "MTD_MSIL1C.xml").bands == inspect_raster(product).bands
    assert "B10" in inspect_raster(product).bands


def test_from_product_to_geotiff_and_back(make_product: Product, tmp_path: Path) -> None:
    image = read_raster(make_product("2A"), bands=["B04", "B08"])
    write_raster(tmp_path / "out.tif", image)
    again = read_raster(tmp_path / "out.tif")
    np.testing.assert_array_equal(again.values, image.values)
    assert again.rio.transform() == image.rio.transform()
    assert inspect_raster(tmp_path / "out.tif").sensor == "sentinel-2-l2a"


def rezipped(source: Path, target: Path, change: Callable[[zipfile.ZipFile], None]) -> Path:
    """A copy of a product's zip with something added."""
    shutil.copy(source, target)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
        change(archive)
    return target


@pytest.mark.parametrize("name", ["../../etc/evil.txt", "/etc/evil.txt", "a/../../b.jp2", "a\\..\\b.jp2"])
def test_names_that_lead_elsewhere_are_refused(make_product: Product, tmp_path: Path, name: str) -> None:
    bad = rezipped(make_product("2A", zipped=True), tmp_path / "bad.zip", lambda archive: archive.writestr(name, b"x"))
    with pytest.raises(InputError, match="unsafe name"):
        read_product(bad)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.zip"]


def test_a_bomb_is_refused_unread(make_product: Product, tmp_path: Path) -> None:
    zeros = bytes(20 * 2**20)
    bad = rezipped(make_product("2A", zipped=True), tmp_path / "bad.zip", lambda archive: archive.writestr("x/bomb.bin", zeros))
    assert bad.stat().st_size < 2**20
    with pytest.raises(InputError, match="unpacks to"):
        read_product(bad)


def test_two_members_of_one_name_are_refused(make_product: Product, tmp_path: Path) -> None:
    source = make_product("2A", zipped=True)
    with zipfile.ZipFile(source) as archive:
        name = next(entry for entry in archive.namelist() if entry.endswith("B04_10m.jp2"))
    with pytest.warns(UserWarning, match="Duplicate"):
        bad = rezipped(source, tmp_path / "bad.zip", lambda archive: archive.writestr(name, b"other"))
    with pytest.raises(InputError, match="unsafe name"):
        read_product(bad)


def test_a_damaged_zip_is_one_sentence(make_product: Product, tmp_path: Path) -> None:
    data = make_product("2A", zipped=True).read_bytes()
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="no readable zip file"):
        read_product(tmp_path / "cut.zip")


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="no Sentinel-2 product"):
        read_raster(tmp_path / "other.zip")


def test_entities_are_not_expanded(make_product: Product, tmp_path: Path) -> None:
    product = tmp_path / "copy.SAFE"
    shutil.copytree(make_product("2A"), product)
    metadata = product / "MTD_MSIL2A.xml"
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>'
    head, rest = metadata.read_text().split("\n", 1)
    metadata.write_text(f"{head}\n{laughs}\n{rest}")
    with pytest.raises(InputError, match="document type"):
        read_product(product)


@pytest.mark.parametrize("text", ["", "<a>", "\x00\x01", "<a/>"])
def test_metadata_that_says_nothing(make_product: Product, tmp_path: Path, text: str) -> None:
    product = tmp_path / "copy.SAFE"
    shutil.copytree(make_product("2A"), product)
    (product / "MTD_MSIL2A.xml").write_text(text)
    with pytest.raises(InputError):
        read_raster(product, bands=["B04"])


def test_a_number_that_is_none(make_product: Product, tmp_path: Path) -> None:
    product = tmp_path / "copy.SAFE"
    shutil.copytree(make_product("2A"), product)
    metadata = product / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace(">-1000<", ">minus<", 1))
    with pytest.raises(InputError, match="BOA_ADD_OFFSET"):
        read_product(product)


def test_offsets_that_differ_between_the_chosen_bands(make_product: Product, tmp_path: Path) -> None:
    product = tmp_path / "copy.SAFE"
    shutil.copytree(make_product("2A"), product)
    metadata = product / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace('band_id="3">-1000<', 'band_id="3">-900<'))
    assert read_raster(product, bands=["B04"]).attrs["radiometry"].offset == -900
    with pytest.raises(InputError, match="different offsets"):
        read_raster(product, bands=["B04", "B03"])


def test_a_damaged_image_is_one_sentence(make_product: Product, tmp_path: Path) -> None:
    product = tmp_path / "copy.SAFE"
    shutil.copytree(make_product("2A"), product)
    image = next(product.rglob("*_B04_10m.jp2"))
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot read"):
        read_raster(product, bands=["B04"])
    assert read_raster(product, bands=["B03"]).shape == (1, 60, 60)


def test_links_that_leave_the_folder_are_not_followed(make_product: Product, tmp_path: Path) -> None:
    product = tmp_path / "copy.SAFE"
    shutil.copytree(make_product("2A"), product)
    image = next(product.rglob("*_B04_10m.jp2"))
    outside = tmp_path / "outside.jp2"
    image.rename(outside)
    image.symlink_to(outside)
    with pytest.raises(InputError, match=r"B04 at 20 m, not at 10 m"):
        read_raster(product, bands=["B04"])
