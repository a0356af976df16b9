"""Stored numbers to physical ones and back: closed forms, rounding, clipping, nodata, options."""

from __future__ import annotations

import math

import numpy as np
import pytest

from earthgen.gen.data.radiometry import NAMED, Radiometry, radiometry_from_options, radiometry_named
from earthgen.gen.errors import InputError


def test_sentinel_2_offset_by_hand() -> None:
    stored = np.array([[1, 1000, 1001, 3500, 11000, 65535]], np.uint16)
    physical = NAMED["s2-offset"].to_physical(stored)
    assert physical.dtype == np.float32
    np.testing.assert_allclose(physical, [[-0.0999, 0.0, 0.0001, 0.25, 1.0, 6.4535]], rtol=1e-6, atol=1e-9)


def test_two_encodings_of_one_scene_give_the_same_reflectance() -> None:
    old = np.arange(1, 12_000, 7, dtype=np.uint16)
    new = (old + 1000).astype(np.uint16)
    np.testing.assert_allclose(NAMED["s2"].to_physical(old), NAMED["s2-offset"].to_physical(new), atol=1e-9)


def test_landsat_agrees_with_the_handbook() -> None:
    stored = np.array([7273, 18_639, 43_636], np.uint16)
    np.testing.assert_allclose(NAMED["landsat"].to_physical(stored), stored * 0.0000275 - 0.2, atol=1e-6)
    assert NAMED["landsat"].gdal_offset == -0.2


@pytest.mark.parametrize("name", [name for name, row in NAMED.items() if row.is_integer])
def test_every_16_bit_number_survives_the_round_trip(name: str) -> None:
    radiometry = NAMED[name]
    limits = np.iinfo(radiometry.dtype)
    stored = np.arange(limits.min, limits.max + 1).astype(radiometry.dtype)
    np.testing.assert_array_equal(radiometry.to_stored(radiometry.to_physical(stored)), stored)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32"])
def test_rounds_to_the_nearest_before_it_clips(dtype: str) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    radiometry = Radiometry(0.5, 0.0, None, "m", dtype)
    values = np.array([0.24, 0.26, 0.74, 0.76, -1e30, 1e30])
    np.testing.assert_array_equal(radiometry.to_stored(values), np.array([0, 1, 1, 2, low, high]).astype(dtype))


def test_255_and_a_half_is_clipped_not_wrapped() -> None:
    np.testing.assert_array_equal(
        NAMED["display8"].to_stored(np.array([1.002, 1.5, -0.1, 254.6 / 255])), np.array([255, 255, 0, 255], np.uint8)
    )


def test_nodata_becomes_nan_and_comes_back() -> None:
    radiometry = NAMED["s2"]
    stored = np.array([0, 5, 0, 7], np.uint16)
    physical = radiometry.to_physical(stored)
    assert np.isnan(physical).tolist() == [True, False, True, False]
    np.testing.assert_array_equal(radiometry.to_stored(physical), stored)


@pytest.mark.parametrize(
    ("dtype", "nodata", "value", "expected"),
    [
        ("uint16", 0.0, 0.0, 1),
        ("uint16", 0.0, -5.0, 1),
        ("uint16", 65535.0, 1e9, 65534),
        ("int16", -9999.0, -9999.3, -10000),
        ("int16", -9999.0, -9998.7, -9998),
        ("uint8", 255.0, 255.0, 254),
    ],
)
def test_a_valid_number_is_never_stored_as_nodata(dtype: str, nodata: float, value: float, expected: int) -> None:
    radiometry = Radiometry(1.0, 0.0, nodata, "m", dtype)
    assert radiometry.to_stored(np.array([value])).tolist() == [expected]


def test_a_valid_float_moves_to_the_float_beside_nodata() -> None:
    radiometry = Radiometry(1.0, 0.0, -9999.0, "m", "float32")
    stored = radiometry.to_stored(np.array([-9999.0, np.nan, 3.0]))
    assert stored[0] == np.nextafter(np.float32(-9999), np.float32(np.inf))
    assert stored[1] == -9999
    assert np.isnan(radiometry.to_physical(stored)).tolist() == [False, True, False]


def test_floats_without_nodata_keep_nan_and_lose_infinity() -> None:
    radiometry = Radiometry()
    values = np.array([1.5, np.nan, np.inf, -np.inf], np.float32)
    assert np.isnan(radiometry.to_physical(values)).tolist() == [False, True, True, True]
    assert np.isnan(radiometry.to_stored(values)).tolist() == [False, True, True, True]


def test_missing_pixels_without_a_number_for_them_are_refused() -> None:
    with pytest.raises(InputError, match="nodata"):
        NAMED["display8"].to_stored(np.array([np.nan, 0.5]))


def test_32_bit_integers_do_not_pass_through_float32() -> None:
    radiometry = Radiometry(1.0, -2_000_000_000.0, None, "m", "int32")
    assert radiometry.to_physical(np.array([2_000_000_007], np.int32)).tolist() == [7.0]


def test_gdal_and_ours_are_the_same_line() -> None:
    ours = Radiometry.from_gdal(1e-4, -0.1, nodata=0, unit="reflectance", dtype="uint16")
    assert ours.offset == -1000.0
    assert ours.gdal_offset == -0.1
    assert ours == NAMED["s2-offset"]


def test_equal_radiometries_are_equal_also_with_nan() -> None:
    assert Radiometry(nodata=float("nan")) == Radiometry(nodata=np.float64("nan"))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"scale": 0.0}, "scale"),
        ({"scale": math.inf}, "scale"),
        ({"offset": math.nan}, "offset"),
        ({"dtype": "complex64"}, "complex64"),
        ({"dtype": "uint8", "nodata": -9999.0}, "nodata"),
        ({"dtype": "uint8", "nodata": 0.5}, "nodata"),
        ({"dtype": "uint8", "nodata": math.nan}, "nodata"),
    ],
)
def test_nonsense_is_refused(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Radiometry(**arguments)  # type: ignore[arg-type]


def test_options_settle_what_tags_leave_open() -> None:
    assert radiometry_from_options() is None
    assert radiometry_from_options("s2-offset") == NAMED["s2-offset"]
    assert radiometry_from_options(offset=-1000.0) == NAMED["s2-offset"]
    assert radiometry_from_options(offset=0.0) == NAMED["s2"]
    assert radiometry_from_options(scale=0.01, offset=-50.0, unit="dB") == Radiometry(0.01, -50.0, None, "dB")
    assert radiometry_from_options("s2", nodata=65535.0) == Radiometry(1e-4, 0.0, 65535.0, "reflectance", "uint16")


@pytest.mark.parametrize("options", [{"offset": -500.0}, {"unit": "dB"}, {"name": "sentinel"}])
def test_options_that_settle_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"gain|choose one of"):
        radiometry_from_options(**options)  # type: ignore[arg-type]


def test_names_are_listed_when_one_is_wrong() -> None:
    with pytest.raises(InputError, match="s2-offset"):
        radiometry_named("s3")
