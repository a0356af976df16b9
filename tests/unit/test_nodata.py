"""Holes are filled locally, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.gen.data.nodata import fill_holes, valid_pixels
from earthgen.gen.data.noise import noise_field


def scene(height: int, width: int, seed: int = 0, bands: int = 3, holes: float = 0.3) -> torch.Tensor:
    image = noise_field(seed, bands, 0, 0, height, width)[None] * 0.1 + 0.3
    rng = np.random.default_rng(seed)
    image[0, :, torch.from_numpy(rng.random((height, width)) < holes)] = torch.nan
    top, left = rng.integers(0, height), rng.integers(0, width)
    image[0, :, top : top + 9, left : left + 11] = torch.nan
    return image


def plain_fill(image: np.ndarray, reach: int) -> np.ndarray:
    """The same rule, pixel by pixel in float64."""
    bands, height, width = image.shape
    known = np.isfinite(image).all(0)
    filled = np.where(known, image, 0.0).astype(np.float64)
    for _ in range(reach):
        before, known_before = filled.copy(), known.copy()
        for row in range(height):
            for col in range(width):
                if known_before[row, col]:
                    continue
                rows, cols = slice(max(row - 1, 0), row + 2), slice(max(col - 1, 0), col + 2)
                near = known_before[rows, cols]
                if near.any():
                    filled[:, row, col] = [before[band, rows, cols][near].mean() for band in range(bands)]
                    known[row, col] = True
    return filled


@pytest.mark.parametrize("reach", [0, 1, 3, 30])
def test_values_are_those_of_the_rule(reach: int) -> None:
    image = scene(17, 23, seed=reach)
    filled, valid = fill_holes(image, reach)
    np.testing.assert_allclose(filled[0].numpy(), plain_fill(image[0].numpy(), reach), rtol=1e-5, atol=1e-7)
    assert torch.equal(valid, torch.isfinite(image).all(1))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_bad_band_makes_the_pixel_a_hole(bad: float) -> None:
    image = torch.full((1, 2, 5, 5), 0.25)
    image[0, 0, 2, 2] = bad
    image[0, 1, 2, 2] = 99.0
    filled, valid = fill_holes(image, 2)
    assert torch.equal(filled, torch.full_like(image, 0.25))
    assert not valid[0, 2, 2]
    assert valid.sum() == 24


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), reach=st.integers(0, 9), top=st.integers(0, 30), left=st.integers(0, 30))
def test_windows_agree_bit_for_bit_beyond_the_reach_of_their_edges(seed: int, reach: int, top: int, left: int) -> None:
    image = scene(64, 60, seed, holes=0.8)
    whole, _ = fill_holes(image, reach)
    window, _ = fill_holes(image[..., top : top + 33, left : left + 29], reach)
    inner = (..., slice(reach, 33 - reach), slice(reach, 29 - reach))
    assert torch.equal(window[inner], whole[..., top : top + 33, left : left + 29][inner])


def test_valid_pixels_keep_their_bits_and_batch_members_do_not_meet() -> None:
    images = torch.cat([scene(40, 41, 1), scene(40, 41, 2), torch.full((1, 3, 40, 41), torch.nan)])
    filled, valid = fill_holes(images, 4)
    assert torch.isfinite(filled).all()
    kept = valid[:, None].expand_as(images)
    assert torch.equal(filled[kept].view(torch.int32), images[kept].view(torch.int32))
    assert torch.equal(filled[0], fill_holes(images[:1], 4)[0][0])
    assert (filled[2] == 0).all()


def test_filled_values_lie_within_the_range_of_what_surrounds_them() -> None:
    image = scene(50, 50, 3)
    filled, valid = fill_holes(image, 50)
    assert filled.min() >= image[valid[:, None].expand_as(image)].min() - 1e-6
    assert filled.max() <= image[valid[:, None].expand_as(image)].max() + 1e-6


def test_a_whole_picture_comes_back_itself() -> None:
    image = torch.rand(2, 4, 8, 8)
    filled, valid = fill_holes(image, 3)
    assert filled is image
    assert valid.all()
    assert valid_pixels(image).shape == (2, 8, 8)
