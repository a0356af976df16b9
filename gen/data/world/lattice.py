"""Smooth noise as a function of the place: cubic B-splines over hashed lattices, on windows and at single points alike.

Everything in the world is built from these fields and from hashes of whole numbers, so that no value depends on the window through which
it is seen. Only
element-wise operations in a fixed order touch a value: matrix products and library convolutions may round differently for other sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..noise import hash_at, hash_key

Array = NDArray[Any]

_SPLINE_STD = 0.479  # standard deviation of a cubic B-spline over white noise: mean over the cell of the sum of squared weights


@lru_cache(maxsize=4096)
def key_of(seed: int, name: str) -> int:
    """The hash key of a named field of one world."""
    return hash_key(seed, *name.encode())


def uniform_at(key: int, rows: Array, cols: Array) -> Array:
    """Uniform values in [0, 1) at whole-number places, float32, of the common shape."""
    hashes = hash_at(key, np.asarray(rows, np.int64), np.asarray(cols, np.int64))
    return np.asarray((hashes >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24))


def uniform_number(key: int, row: int, col: int) -> float:
    """`uniform_at` for one place."""
    return float(uniform_at(key, np.array([row]), np.array([col]))[0])


def step(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    place = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(place * place * (3.0 - 2.0 * place))


def mix(first: Array | float, second: Array | float, share: Array) -> Array:
    """`first` where `share` is 0, `second` where it is 1."""
    return np.asarray(first + (second - first) * share)


def length_of(x: Array, y: Array) -> Array:
    """Length of vectors, by correctly rounded operations only."""
    return np.asarray(np.sqrt(x * x + y * y))


@dataclass(frozen=True)
class Grid:
    """A window of square pixels on the world's plane.

    Attributes:
        row: First row; rows go south and may be negative.
        col: First column; columns go east.
        height: Rows.
        width: Columns.
        size: Side of a pixel in metres.
    """

    row: int
    col: int
    height: int
    width: int
    size: float = 2.5

    @property
    def x(self) -> Array:
        """Metres east of the origin at the pixel centres, ``[1, width]`` float64."""
        return np.asarray((np.arange(self.col, self.col + self.width) + 0.5)[None, :] * self.size)

    @property
    def y(self) -> Array:
        """Metres south of the origin at the pixel centres, ``[height, 1]`` float64."""
        return np.asarray((np.arange(self.row, self.row + self.height) + 0.5)[:, None] * self.size)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    def grown(self, pixels: int) -> Grid:
        """The same window with `pixels` more on every side."""
        return Grid(self.row - pixels, self.col - pixels, self.height + 2 * pixels, self.width + 2 * pixels, self.size)

    def coarser(self, factor: int) -> Grid:
        """The window of pixels `factor` times larger that covers this one, which must be aligned to them."""
        return Grid(self.row // factor, self.col // factor, self.height // factor, self.width // factor, self.size * factor)

    def within(self, outer: Grid) -> tuple[slice, slice]:
        """Slices that cut this window out of `outer`."""
        top, left = self.row - outer.row, self.col - outer.col
        return slice(top, top + self.height), slice(left, left + self.width)

    def smooth(self, key: int, wavelength: float) -> Array:
        """Noise of about unit variance whose lattice has `wavelength` metres between nodes, ``[height, width]`` float32."""
        rows, down = _spline(self.y[:, 0] / wavelength)
        cols, across = _spline(self.x[0] / wavelength)
        top, left = int(rows[0]), int(cols[0])
        nodes = _nodes(key, np.arange(top, int(rows[-1]) + 4)[:, None], np.arange(left, int(cols[-1]) + 4)[None, :])
        half = sum_of(down[k][:, None] * nodes[rows - top + k] for k in range(4))
        return sum_of(across[k] * half.take(cols - left + k, axis=1) for k in range(4))


@dataclass(frozen=True)
class Points:
    """Single places on the world's plane; fields at them equal those on a `Grid` up to rounding.

    Attributes:
        x: Metres east of the origin, ``[n]`` float64.
        y: Metres south of the origin, ``[n]`` float64.
    """

    x: Array
    y: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the coordinates."""
        return self.x.shape

    def smooth(self, key: int, wavelength: float) -> Array:
        """As `Grid.smooth`, at the points."""
        rows, down = _spline(self.y / wavelength)
        cols, across = _spline(self.x / wavelength)
        steps = np.arange(4)
        nodes = _nodes(key, rows[:, None, None] + steps[:, None], cols[:, None, None] + steps)
        half = sum_of(down[k][:, None] * nodes[:, k] for k in range(4))
        return sum_of(across[k] * half[:, k] for k in range(4))


Site = Grid | Points


def octaves(site: Site, key: int, wavelengths: Sequence[float], gains: Sequence[float]) -> Array:
    """Sum of smooth fields; the variance is the sum of the squared gains."""
    return sum_of(
        np.float32(gain) * site.smooth(hash_key(key, number), length)
        for number, (length, gain) in enumerate(zip(wavelengths, gains, strict=True))
    )


def sum_of(parts: Any) -> Array:
    """Sum in the order given, in place."""
    total = None
    for part in parts:
        if total is None:
            total = np.array(part)
        else:
            total += part
    return np.asarray(total)


def enlarge(field: Array, factor: int = 4) -> Array:
    """Bilinear enlargement with half-pixel centres of a field that has one more pixel on each side than wanted.

    Args:
        field: ``[h + 2, w + 2]`` float32.
        factor: Fine pixels per coarse pixel side.

    Returns:
        ``[h * factor, w * factor]`` float32.
    """
    return _enlarge_rows(_enlarge_rows(field, factor).T, factor).T.copy()


def _enlarge_rows(field: Array, factor: int) -> Array:
    height = field.shape[0] - 2
    out = np.empty((height, factor, field.shape[1]), np.float32)
    for phase in range(factor):
        place = (phase + 0.5) / factor - 0.5
        first = 0 if place < 0 else 1
        share = np.float32(place - (first - 1))
        out[:, phase] = field[first : first + height] * (np.float32(1) - share) + field[first + 1 : first + 1 + height] * share
    return out.reshape(height * factor, -1)


def _nodes(key: int, rows: Array, cols: Array) -> Array:
    return (uniform_at(key, rows, cols) - np.float32(0.5)) * np.float32(12**0.5 / _SPLINE_STD)


def _spline(places: Array) -> tuple[Array, list[Array]]:
    """First node and the four weights of a cubic B-spline at each place."""
    whole = np.floor(places)
    t = (places - whole).astype(np.float32)
    u = 1 - t
    tt, uu = t * t, u * u
    weights = [uu * u / 6, (3 * tt * t - 6 * tt + 4) / 6, (3 * uu * u - 6 * uu + 4) / 6, tt * t / 6]
    return whole.astype(np.int64) - 1, weights
