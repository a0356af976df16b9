"""Noise keyed by place: the same in every window, and as random as independent normal values are."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr, ndtri

from earthgen.gen.data.noise import hash_at, hash_field, hash_key, noise_field, uniform_field

SIZE = 1024
LIMIT = 5.0  # standard deviations of the statistic itself; a fair field exceeds it once in 1.7 million times


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return noise_field(7, 3, -500, 10_000, SIZE, SIZE).double().numpy()


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """In standard deviations of the estimate for independent standard normal values."""
    return float((a * b).mean() * math.sqrt(a.size))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(-(2**70), 2**70),
    row=st.integers(-(2**40), 2**40),
    col=st.integers(-70, 2**31),
    top=st.integers(0, 39),
    left=st.integers(0, 299),
    height=st.integers(1, 40),
    width=st.integers(1, 300),
)
def test_a_window_is_a_cut_of_the_field(seed: int, row: int, col: int, top: int, left: int, height: int, width: int) -> None:
    whole = noise_field(seed, 2, row, col, 80, 600, draw=3)
    part = noise_field(seed, 1, row + top, col + left, height, width, draw=3)
    assert torch.equal(part[0], whole[0, top : top + height, left : left + width])
    uniform = uniform_field(seed, row, col, 80, 600)
    assert np.array_equal(uniform_field(seed, row + top, col + left, height, width), uniform[top : top + height, left : left + width])


def test_a_wide_window_that_is_worked_on_in_pieces_is_the_same_field() -> None:
    whole = noise_field(1, 1, 0, 0, 3, 40_000)
    assert torch.equal(noise_field(1, 1, 1, 39_000, 1, 1000)[0], whole[0, 1:2, 39_000:])


def test_every_argument_makes_another_field() -> None:
    base = noise_field(5, 2, 0, 0, 64, 64)
    others = [noise_field(6, 2, 0, 0, 64, 64), noise_field(5, 2, 0, 0, 64, 64, draw=1), noise_field(5, 2, 1, 0, 64, 64)]
    others += [noise_field(5, 2, 0, 1, 64, 64), base.flip(0), base.transpose(1, 2)]
    for other in others:
        assert (base == other).float().mean() < 0.05
    assert torch.equal(base, noise_field(5, 2, 0, 0, 64, 64))


def test_moments_are_those_of_the_standard_normal(field: np.ndarray) -> None:
    count = field.size
    assert abs(field.mean()) * math.sqrt(count) < LIMIT
    assert abs(field.var() - 1) / math.sqrt(2 / count) < LIMIT
    assert abs((field**3).mean()) / math.sqrt(15 / count) < LIMIT
    assert abs((field**4).mean() - 3) / math.sqrt(96 / count) < LIMIT


def test_distribution_is_the_standard_normal(field: np.ndarray) -> None:
    assert stats.kstest(field.ravel(), "norm").pvalue > 1e-6
    beyond = np.array([1.0, 2.0, 3.0, 4.0])
    expected = field.size * 2 * ndtr(-beyond)
    counts = np.array([(abs(field) > limit).sum() for limit in beyond])
    assert (abs(counts - expected) < LIMIT * np.sqrt(expected)).all()


def test_neighbours_bands_draws_and_seeds_are_uncorrelated(field: np.ndarray) -> None:
    for row, col in [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (0, 16), (16, 0), (0, 512), (512, 512)]:
        rolled = np.roll(field, (row, col), (1, 2))
        assert abs(correlation(field, rolled)) < LIMIT, (row, col)
        assert abs(correlation(field**2 - 1, rolled**2 - 1)) < 2 * LIMIT, (row, col)
    assert abs(correlation(field[0], field[1])) < LIMIT
    assert abs(correlation(field[0], field[2])) < LIMIT
    for other in (noise_field(8, 1, -500, 10_000, SIZE, SIZE), noise_field(7, 1, -500, 10_000, SIZE, SIZE, draw=1)):
        assert abs(correlation(field[0], other[0].double().numpy())) < LIMIT


def test_spectrum_is_flat(field: np.ndarray) -> None:
    power = abs(np.fft.fft2(field[0])) ** 2 / field[0].size
    rings = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None]) // 0.05
    for ring in range(10):
        inside = power[rings == ring]
        assert abs(inside.mean() - 1) < LIMIT * math.sqrt(2 / inside.size), ring
    # A single frequency that stands out: exponentially distributed powers of half as many independent frequencies.
    assert power.max() < math.log(SIZE * SIZE / 2) + 14


def test_rows_and_columns_hold_no_fixed_pattern(field: np.ndarray) -> None:
    for axis in (1, 2):
        means = field.mean(axis) * math.sqrt(SIZE)
        assert stats.kstest(means.ravel(), "norm").pvalue > 1e-6


def test_normal_is_the_inverse_distribution_function_of_the_hash() -> None:
    hashes = hash_field(3, 0, 0, 512, 512, draw=2, band=1)
    tail = ((hashes >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-53
    expected = -ndtri(tail) * np.where(hashes & np.uint64(1), -1.0, 1.0)
    got = noise_field(3, 2, 0, 0, 512, 512, draw=2)[1].numpy()
    assert np.abs(got - expected).max() < 1e-8 + np.spacing(np.float32(8)) / 2


def test_hash_bits_are_fair_and_change_with_every_bit_of_the_place() -> None:
    hashes = hash_field(11, -100, -100, 512, 512)
    bits = (hashes[..., None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    deviation = abs(bits.mean((0, 1)) - 0.5) * 2 * math.sqrt(hashes.size)
    assert deviation.max() < LIMIT
    key = hash_key(11, 0, 0)
    places = np.arange(4096, dtype=np.int64)
    for bit in range(32):
        flipped = hash_at(key, places, places) ^ hash_at(key, places ^ (1 << bit), places)
        changed = np.bitwise_count(flipped).mean() if hasattr(np, "bitwise_count") else np.unpackbits(flipped.view(np.uint8)).mean() * 64
        assert abs(changed - 32) < LIMIT * 4 / math.sqrt(places.size), bit
    assert len(np.unique(hashes)) == hashes.size


def test_uniform_values_fill_the_unit_interval_evenly() -> None:
    values = uniform_field(2, 0, 0, 1000, 1000)
    assert values.dtype == np.float32
    assert 0 <= values.min() < 1e-5
    assert 1 - 1e-5 < values.max() < 1
    assert stats.chisquare(np.histogram(values, 256, (0, 1))[0]).pvalue > 1e-6


def test_field_is_the_same_on_every_machine() -> None:
    """The digest was written down on one machine; only integer and correctly rounded operations lie behind it."""
    fields = noise_field(2024, 4, -33, 12_345, 200, 300, draw=1).numpy().astype("<f4")
    assert hashlib.sha256(fields.tobytes()).hexdigest() == "161e61f3c1abdcc789320b1413ed63afaf30ecadec332c417e676e66c66b8ac5"


def test_an_empty_window_is_empty() -> None:
    assert noise_field(0, 3, 5, 5, 0, 7).shape == (3, 0, 7)
