"""Stretches, composites and heat colours against values worked out by hand or by another library."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from earthgen.demos.display import (
    NODATA_COLOUR,
    Stretch,
    enlarge,
    heat_gradient,
    heat_top,
    named_composites,
    stretch_limits,
    to_heat,
    to_picture,
)
from earthgen.gen.errors import InputError


def ramp(bands: int = 3, height: int = 7, width: int = 11) -> np.ndarray:
    values = np.linspace(0.0, 0.5, bands * height * width, dtype=np.float32)
    return values.reshape(bands, height, width)


def test_percentile_limits_ignore_invalid_pixels() -> None:
    image = np.full((1, 10, 101), np.nan, dtype=np.float32)
    image[0, 3] = np.arange(101) / 100.0
    assert np.allclose(stretch_limits(image, Stretch("percentile")), [[0.02, 0.98]], atol=1e-6)


def test_limits_per_band_keep_each_bands_range_and_joint_ones_the_colour() -> None:
    image = np.stack([ramp(1)[0], 10.0 * ramp(1)[0]])
    assert np.allclose(stretch_limits(image, Stretch("minmax", joint=False)), [[0.0, 0.5], [0.0, 5.0]])
    assert np.allclose(stretch_limits(image, Stretch("minmax", joint=True)), [[0.0, 5.0], [0.0, 5.0]])


def test_fixed_limits_are_those_given_whatever_the_data() -> None:
    assert np.array_equal(stretch_limits(ramp() * 9.0, Stretch("fixed", low=0.1, high=0.4)), np.tile([0.1, 0.4], (3, 1)))


def test_limits_of_constant_and_of_wholly_invalid_bands_can_be_divided_by() -> None:
    image = np.stack([np.full((4, 4), 0.2), np.zeros((4, 4)), np.full((4, 4), np.nan)]).astype(np.float32)
    limits = stretch_limits(image, Stretch("minmax", joint=False))
    assert (limits[:, 1] > limits[:, 0]).all()
    picture = to_picture(image[:2].repeat(2, axis=0)[:3], limits[[0, 0, 1]])
    assert (picture == 128).all(), "a constant band is shown mid-grey"


def test_picture_is_linear_between_black_and_white_and_clips_beyond() -> None:
    image = np.array([[[-1.0, 0.0, 0.15, 0.3, 7.0]]], dtype=np.float32)
    picture = to_picture(image, np.array([[0.0, 0.3]]))
    assert picture.dtype == np.uint8
    assert picture.shape == (1, 5, 3)
    assert picture[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert (picture == picture[..., :1]).all()


def test_a_pixel_invalid_in_one_band_gets_the_nodata_colour_and_leaves_its_neighbours() -> None:
    image = np.full((3, 5, 5), 0.3, dtype=np.float32)
    image[1, 2, 2] = np.nan
    image[2, 0, 0] = np.inf
    picture = to_picture(image, np.tile([0.0, 0.3], (3, 1)))
    assert tuple(picture[2, 2]) == NODATA_COLOUR
    assert tuple(picture[0, 0]) == NODATA_COLOUR
    assert (picture == 255).all(axis=-1).sum() == 23


def test_heat_rises_in_brightness_and_saturates() -> None:
    row = np.append(np.linspace(0.0, 0.02, 200, dtype=np.float32), [0.5, np.nan])
    picture = to_heat(row[None], 0.02)
    brightness = picture[0, :200] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) > -1.0).all(), "rounding to 8 bits may take at most one step back"
    assert brightness[-1] - brightness[0] > 200
    assert (picture[0, 200] == picture[0, 199]).all()
    assert tuple(picture[0, 201]) == NODATA_COLOUR
    assert "rgb(13, 8, 52)" in heat_gradient()


def test_heat_top_is_a_short_positive_number() -> None:
    assert heat_top(np.linspace(0, 1, 10001)) == 0.99
    assert heat_top(np.zeros((3, 3))) > 0
    assert heat_top(np.full((3, 3), np.nan)) > 0


def test_enlarging_keeps_places() -> None:
    rng = np.random.default_rng(0)
    image = scipy.ndimage.gaussian_filter(rng.normal(size=(2, 24, 30)), (0, 2, 2)).astype(np.float32)
    pixels, smooth = enlarge(image, 4, "pixels"), enlarge(image, 4, "bicubic")
    assert np.array_equal(pixels[:, ::4, ::4], image)
    assert np.array_equal(pixels[:, 3::4, 3::4], image)
    # A second implementation: cubic spline values at the fine pixels' centres.
    rows, columns = np.meshgrid((np.arange(96) + 0.5) / 4 - 0.5, (np.arange(120) + 0.5) / 4 - 0.5, indexing="ij")
    spline = np.stack([scipy.ndimage.map_coordinates(band, [rows, columns], order=3, mode="nearest") for band in image])
    inside = (slice(None), slice(8, -8), slice(8, -8))
    assert np.abs(smooth - spline)[inside].max() < 0.2 * np.abs(pixels - spline)[inside].max()
    with pytest.raises(InputError, match="bicubic"):
        enlarge(image, 4, "magic")


def test_enlarging_leaves_holes_where_they_are() -> None:
    image = ramp(2, 6, 6).astype(np.float32)
    image[0, 2, 3] = np.nan
    for how in ("pixels", "bicubic"):
        large = enlarge(image, 2, how)
        hole = ~np.isfinite(large).all(axis=0)
        assert hole.sum() == 4
        assert hole[4:6, 6:8].all()


def test_composites_name_what_the_bands_show() -> None:
    found = named_composites(["B02", "B03", "B04", "B08"])
    assert found == {"True colour": ("B04", "B03", "B02"), "Infrared": ("B08", "B04", "B03")}
    assert named_composites(["red", "green", "blue"]) == {"True colour": ("red", "green", "blue")}
    assert named_composites([f"SR_B{n}" for n in range(1, 8)])["Short-wave infrared"] == ("SR_B7", "SR_B5", "SR_B4")
    assert named_composites(["VV", "VH"]) == {"First bands": ("VV", "VH", "VH")}
    assert named_composites(["DEM"]) == {"Grey": ("DEM", "DEM", "DEM")}


@pytest.mark.parametrize("wrong", [{"kind": "loud"}, {"kind": "fixed", "low": 1.0, "high": 1.0}, {"kind": "fixed", "high": float("nan")}])
def test_stretches_that_show_nothing_are_refused(wrong: dict[str, float | str]) -> None:
    with pytest.raises(InputError):
        Stretch(**wrong)  # type: ignore[arg-type]
