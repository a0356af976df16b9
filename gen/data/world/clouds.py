"""Clouds over a window on a date, their shadows, and what a picture through them shows."""

from __future__ import annotations

import numpy as np

from ..noise import hash_key
from .lattice import Array, Grid, Points, key_of, octaves, step, uniform_number
from .spectra import BANDS, SKY_SHARE
from .sunlight import Sun

MASK = {0: "clear", 1: "cloud", 2: "thin cloud", 3: "cloud shadow"}
"""Codes of the cloud mask."""
_LENGTHS, _GAINS = (7_000.0, 2_800.0, 1_100.0, 430.0, 170.0, 70.0), (0.72, 0.5, 0.36, 0.24, 0.15, 0.09)
# Reflectance of thick cloud by band.
_CLOUD = np.array((0.66, 0.65, 0.63, 0.64, 0.66, 0.68, 0.69, 0.69, 0.70, 0.42, 0.09, 0.46, 0.36), np.float32)


def cloud_fields(seed: int, day: float, grid: Grid, sun: Sun, cloudiness: float | None = None) -> tuple[Array, Array]:
    """How opaque the clouds are, and how dark their shadows.

    Args:
        seed: Of the world.
        day: Days since 2000-01-01; every day has its own clouds.
        grid: Pixels whose size divides 60 m.
        sun: Casts the shadows.
        cloudiness: About the share of the sky that is covered, 0 to 1; the region's weather where it is None.

    Returns:
        Two ``[h, w]`` float32 arrays, 0 to 1.
    """
    key = hash_key(key_of(seed, "cloud"), int(day))
    base = 700.0 + 1_600.0 * uniform_number(key, 0, 0)
    # The shift from a cloud to its shadow, in steps of 60 m so that it is the same on every grid.
    right, down = (round(base * part / sun.z / 60.0) * 60 for part in (sun.x, sun.y))
    shadow_grid = Grid(grid.row + int(down / grid.size), grid.col + int(right / grid.size), grid.height, grid.width, grid.size)
    opacity, over = (_opacity(key, window, cloudiness) for window in (grid, shadow_grid))
    shadow = np.float32(0.75) * over * (np.float32(1) - opacity)
    return opacity, np.asarray(shadow, np.float32)


def _opacity(key: int, grid: Grid, cloudiness: float | None) -> Array:
    if cloudiness is None:
        weather = grid.smooth(hash_key(key, 1), 55_000.0) * np.float32(0.85) + np.float32(0.75)
    else:
        weather = np.full(grid.shape, _threshold(min(max(cloudiness, 0.0), 1.0)), np.float32)
    field = octaves(grid, hash_key(key, 2), _LENGTHS, _GAINS)
    thick = step(0.0, 0.3, field - weather)
    thin = np.float32(0.22) * step(0.2, 1.6, grid.smooth(hash_key(key, 3), 11_000.0) - np.float32(0.55) * weather)
    if cloudiness == 0.0:
        thin = np.zeros(grid.shape, np.float32)
    return np.asarray(np.clip(thick + (1.0 - thick) * thin, 0.0, 1.0) * np.float32(0.97), np.float32)


def _threshold(share: float) -> float:
    """The value that the cloud field exceeds with a probability, from a fixed sample of it."""
    grid = np.linspace(0.0, 4_000_000.0, 61)
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    sample = octaves(Points(x, y), key_of(0, "cloud sample"), _LENGTHS, _GAINS)
    return 99.0 if share == 0.0 else float(np.quantile(sample, 1.0 - share)) - 0.15


def through_clouds(image: Array, bands: tuple[str, ...], opacity: Array, shadow: Array) -> Array:
    """A picture with its clouds: shadows take the sun's share of the light, clouds hide and shine.

    Args:
        image: ``[C, h, w]`` reflectance without clouds.
        bands: Their names.
        opacity: ``[h, w]``.
        shadow: ``[h, w]``.
    """
    rows = [BANDS.index(name) for name in bands]
    sky, cloud = SKY_SHARE[rows][:, None, None], _CLOUD[rows][:, None, None]
    dark = image * (1.0 - shadow * (1.0 - sky))
    white = cloud * (np.float32(0.72) + np.float32(0.4) * opacity)
    return np.asarray(dark + opacity * (white - dark), np.float32)


def cloud_mask(opacity: Array, shadow: Array) -> Array:
    """Codes of `MASK`, uint8."""
    mask = np.where(shadow > 0.2, np.uint8(3), np.uint8(0))
    mask = np.where(opacity > 0.06, np.uint8(2), mask)
    return np.where(opacity > 0.5, np.uint8(1), mask)
