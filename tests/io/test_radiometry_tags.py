"""Which tags settle how numbers are meant, and that nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from earthgen.gen.data.radiometry import NAMED, Radiometry
from earthgen.gen.data.raster_info import inspect_raster
from earthgen.gen.data.rasters import read_raster
from earthgen.gen.errors import InputError

S2 = {"PRODUCT_URI": "S2B_MSIL2A_20230605T101559_N0509_R065_T32TQM_20230605T132108.SAFE"}


def write(path: Path, dtype: str = "uint16", count: int = 4, tags: dict[str, str] | None = None, **attributes: Any) -> Path:
    """A file as any program might write it."""
    values = (np.arange(count * 30).reshape(count, 5, 6) * 50 + 1).astype(dtype)
    with rasterio.open(
        path, "w", driver="GTiff", height=5, width=6, count=count, dtype=dtype, crs="EPSG:32633", photometric="MINISBLACK"
    ) as file:
        file.write(values)
        file.update_tags(**(tags or {}))
        for name, value in attributes.items():
            setattr(file, name, [value] * count if not isinstance(value, list) else value)
    return path


@pytest.mark.parametrize(
    ("tags", "attributes", "expected", "source"),
    [
        ({}, {"scales": 1e-4, "offsets": -0.1}, (1e-4, -1000.0, "reflectance"), "scale and offset tags"),
        ({}, {"scales": 2.75e-5, "offsets": -0.2}, (2.75e-5, NAMED["landsat"].offset, "reflectance"), "scale and offset tags"),
        ({}, {"scales": 0.01, "units": "dB"}, (0.01, 0.0, "dB"), "scale and offset tags"),
        ({}, {"scales": 0.3}, (0.3, 0.0, "unknown"), "scale and offset tags"),
        ({"BOA_ADD_OFFSET_0": "-1000", "BOA_QUANTIFICATION_VALUE": "10000"}, {}, (1e-4, -1000.0, "reflectance"), "BOA_ADD_OFFSET_0"),
        ({"RADIO_ADD_OFFSET": "-1000", "QUANTIFICATION_VALUE": "10000"}, {}, (1e-4, -1000.0, "reflectance"), "RADIO_ADD_OFFSET"),
        ({"PROCESSING_BASELINE": "04.00", **S2}, {}, (1e-4, -1000.0, "reflectance"), "PROCESSING_BASELINE"),
        ({"PROCESSING_BASELINE": "05.11", **S2}, {}, (1e-4, -1000.0, "reflectance"), "PROCESSING_BASELINE"),
        ({"PROCESSING_BASELINE": "03.01", "QUANTIFICATION_VALUE": "10000"}, {}, (1e-4, 0.0, "reflectance"), "PROCESSING_BASELINE"),
    ],
)
def test_tags_that_settle_it(
    tmp_path: Path, tags: dict[str, str], attributes: dict[str, Any], expected: tuple[float, float, str], source: str
) -> None:
    info = inspect_raster(write(tmp_path / "in.tif", tags=tags, **attributes))
    assert info.radiometry is not None
    assert (info.radiometry.scale, info.radiometry.offset, info.radiometry.unit) == pytest.approx(expected)
    assert source in info.radiometry_source
    assert info.ambiguity is None


@pytest.mark.parametrize(
    ("dtype", "tags", "attributes", "option"),
    [
        ("uint16", {}, {}, "--radiometry s2 or s2-offset"),
        ("uint16", S2, {}, "--offset 0 or -1000"),
        ("uint16", {"BOA_QUANTIFICATION_VALUE": "10000"}, {}, "--radiometry s2"),
        ("uint16", {"PROCESSING_BASELINE": "05.09"}, {}, "--radiometry s2"),
        ("uint16", {"PROCESSING_BASELINE": "new", **S2}, {}, "--radiometry s2"),
        ("uint16", {"BOA_ADD_OFFSET": "none", **S2}, {}, "--radiometry s2"),
        ("uint16", {"BOA_ADD_OFFSET_0": "-1000", "BOA_ADD_OFFSET_1": "0", **S2}, {}, "--radiometry s2"),
        ("int16", {}, {}, "--gain and --offset"),
        ("uint8", {}, {}, "display8"),
        ("float32", {}, {}, "--radiometry reflectance"),
        ("float32", {"BOA_ADD_OFFSET": "-1000", "QUANTIFICATION_VALUE": "10000"}, {}, "--radiometry reflectance"),
        ("float64", {}, {}, "--radiometry reflectance"),
        ("uint16", {}, {"scales": [1e-4, 1e-4, 1e-4, 1.0]}, "read them one by one"),
        ("uint16", {"BOA_ADD_OFFSET": "-1000", **S2}, {"scales": 1e-4}, "contradict each other"),
    ],
)
def test_what_is_open_is_refused_with_the_option_that_settles_it(
    tmp_path: Path, dtype: str, tags: dict[str, str], attributes: dict[str, Any], option: str
) -> None:
    path = write(tmp_path / "in.tif", dtype, tags=tags, **attributes)
    info = inspect_raster(path)
    assert info.radiometry is None
    assert option in (info.ambiguity or "")
    with pytest.raises(InputError) as caught:
        read_raster(path)
    assert str(caught.value) == info.ambiguity
    settled = read_raster(path, radiometry=Radiometry(0.5, -3.0, None, "m"))
    with rasterio.open(path) as file:
        np.testing.assert_allclose(settled.values, (file.read().astype(np.float64) - 3) * 0.5)
    assert settled.attrs["radiometry"].dtype == dtype


def test_pixel_values_never_decide(tmp_path: Path) -> None:
    """Dark and bright files of the same tags are equally ambiguous."""
    for name, low in (("dark", 1), ("bright", 1100)):
        path = tmp_path / f"{name}.tif"
        with rasterio.open(path, "w", driver="GTiff", height=9, width=9, count=12, dtype="uint16") as file:
            file.write(np.full((12, 9, 9), low, np.uint16))
        assert inspect_raster(path).radiometry is None


def test_floats_with_a_unit_are_what_they_say(tmp_path: Path) -> None:
    info = inspect_raster(write(tmp_path / "in.tif", "float32", units="dB"))
    assert info.radiometry == Radiometry(unit="dB")


def test_a_reader_of_one_band_is_not_troubled_by_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "in.tif", scales=[1e-4, 1e-4, 1e-4, 1.0], offsets=[-0.1, -0.1, -0.1, 0.0])
    assert read_raster(path, bands=[1, 2, 3]).attrs["radiometry"] == Radiometry(1e-4, -1000.0, None, "reflectance", "uint16")


def test_our_tags_are_not_believed_once_another_program_has_converted_the_numbers(tmp_path: Path) -> None:
    tags = {"EARTHGEN_SCALE": "0.0001", "EARTHGEN_OFFSET": "-1000.0", "EARTHGEN_UNIT": "reflectance", "EARTHGEN_DTYPE": "uint16"}
    assert inspect_raster(write(tmp_path / "a.tif", "uint16", tags=tags)).radiometry == Radiometry(
        1e-4, -1000.0, None, "reflectance", "uint16"
    )
    assert inspect_raster(write(tmp_path / "b.tif", "float32", tags=tags)).radiometry is None


@pytest.mark.parametrize("value", ["nan", "inf", "0", "x", ""])
def test_damaged_tags_of_ours_settle_nothing(tmp_path: Path, value: str) -> None:
    tags = {"EARTHGEN_SCALE": value, "EARTHGEN_OFFSET": "0", "EARTHGEN_DTYPE": "uint16"}
    assert inspect_raster(write(tmp_path / "a.tif", tags=tags)).radiometry is None


def test_colours_of_8_bits_are_display_values_and_a_colour_table_is_not(tmp_path: Path) -> None:
    with rasterio.open(tmp_path / "rgb.tif", "w", driver="GTiff", height=2, width=2, count=3, dtype="uint8", photometric="RGB") as file:
        file.write(np.full((3, 2, 2), 51, np.uint8))
    assert np.allclose(read_raster(tmp_path / "rgb.tif").values, 0.2)
    with rasterio.open(tmp_path / "classes.tif", "w", driver="GTiff", height=2, width=2, count=1, dtype="uint8") as file:
        file.write(np.ones((1, 2, 2), np.uint8))
        file.write_colormap(1, {0: (0, 0, 0, 255), 1: (9, 9, 9, 255)})
    with pytest.raises(InputError, match="colour table"):
        read_raster(tmp_path / "classes.tif")
