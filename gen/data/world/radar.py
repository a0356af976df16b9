"""C-band backscatter as Sentinel-1 sees it (VV and VH, ground range, 10 m), with and without speckle.

Levels by kind of surface follow what is typical at 38 degrees of incidence: still water darkest, bare fields by roughness, crops
brighter in VH as they grow, woods
steady, walls that face the radar brightest. The speckle is multiplicative, of mean 1 and gamma distributed with `LOOKS` looks,
independent from pixel to pixel.
"""

from __future__ import annotations

import math

import numpy as np

from ..noise import hash_key, uniform_field
from .lattice import Array, Grid, key_of, uniform_number
from .optics import observe
from .spectra import CLASSES, CODE
from .surface import Surface
from .things import KIND

POLARISATIONS = ("VV", "VH")
LOOKS = 4
"""Equivalent number of looks of the speckle."""
LOOK_AZIMUTH, INCIDENCE = 77.0, 38.0
"""Where the radar looks, degrees clockwise from north (ascending pass, to the right), and the angle to the vertical on level ground."""
FLOOR = 1e-3
"""Noise floor, linear: -30 dB."""

# dB of VV and VH by land-cover class.
_LEVELS = {
    "water": (-22.0, -29.0), "broadleaf trees": (-8.6, -14.2), "conifers": (-9.3, -14.8), "shrub": (-11.8, -18.2), "grass": (-13.2, -20.3),
    "crops": (-12.6, -21.5), "orchards and vines": (-10.6, -16.8), "bare ground": (-14.0, -22.5), "permanent snow": (-12.5, -20.5),
    "built-up ground": (-11.0, -18.5), "road": (-16.5, -24.5), "building": (-5.5, -13.5), "railway": (-8.5, -16.5), "airfield pavement":
    (-19.0, -27.0),
    "wetland": (-10.8, -18.4), "solar panels": (-9.0, -19.0),
}  # fmt: skip
_METAL = (4.0, -6.0)


def backscatter(surface: Surface, target: Grid) -> Array:
    """Noise-free backscatter.

    Args:
        surface: The canvas at a date.
        target: The 10 m window, within the canvas.

    Returns:
        ``[2, h, w]`` sigma nought of VV and VH, linear, float32.
    """
    canvas, cover = surface.canvas, surface.cover
    table = np.full((2, max(CLASSES) + 1), 1e-3, np.float32)
    for name, levels in _LEVELS.items():
        table[:, CODE[name]] = [10.0 ** (level / 10.0) for level in levels]
    wind = 7.0 * uniform_number(key_of(canvas.seed, "wind"), int(surface.moment.day), 0) ** 2
    table[0, CODE["water"]] *= np.float32(10.0 ** (wind / 10.0))
    table[1, CODE["water"]] *= np.float32(10.0 ** (0.5 * wind / 10.0))
    power = table.take(cover, axis=1)
    green = surface.units.green.take(surface.unit)
    rough = np.float32(1) + np.float32(0.16) * canvas.texture[0] + np.float32(0.1) * canvas.texture[2]
    fields = (cover == CODE["crops"]) | (cover == CODE["grass"])
    # Leaves damp the soil's echo in VV and add their own in VH; every field has its own roughness.
    own = np.float32(0.75) + np.float32(0.6) * np.append(surface.parcels.tone, np.full(64, 0.5, np.float32)).take(surface.unit)
    power[0] *= np.where(fields, own * (np.float32(1.25) - np.float32(0.5) * green), 1)
    power[1] *= np.where(fields, own * (np.float32(0.7) + np.float32(2.2) * green * green), 1)
    power *= np.clip(rough, 0.3, 2.0)
    snow = surface.snow * (cover != CODE["water"])
    power *= np.float32(1) - np.float32(0.35) * snow
    _hard_targets(surface, power)
    power *= _relief(surface)
    return np.maximum(observe(power, canvas.grid, target, 4), np.float32(FLOOR))


def _hard_targets(surface: Surface, power: Array) -> None:
    """Walls and hulls, in place."""
    drawn = surface.drawn
    if not drawn.cover.any():
        return
    kinds = np.append(surface.things.kind, -1)[drawn.which]
    metal = (kinds == KIND["ship"]) | (kinds == KIND["plane"]) | (kinds == KIND["vehicle"])
    # Towards the radar: a wall is where the height falls away in that direction.
    angle = math.radians(LOOK_AZIMUTH)
    right, down = round(-math.sin(angle) * 1.4), round(math.cos(angle) * 1.4)
    wall = np.maximum(drawn.height - np.roll(drawn.height, (-down, -right), (0, 1)), 0.0)
    for band, share in enumerate((1.0, 0.13)):
        power[band] += np.float32(share * 0.085) * np.minimum(wall, 25.0)
        level = np.float32(10.0 ** (_METAL[band] / 10.0))
        power[band] += np.where(metal, drawn.cover * (level - power[band]), 0)


def _relief(surface: Surface) -> Array:
    """Slopes that face the radar are brighter."""
    east, south = surface.canvas.slope
    angle = math.radians(LOOK_AZIMUTH)
    towards = np.float32(-math.sin(angle)) * east + np.float32(math.cos(angle)) * south  # rise in the direction of the radar
    local = np.float32(math.cos(math.radians(INCIDENCE))) - towards * np.float32(math.sin(math.radians(INCIDENCE)))
    ratio = np.clip(local / np.float32(math.cos(math.radians(INCIDENCE))), 0.08, 2.5) / np.sqrt(np.float32(1) + east * east + south * south)
    return np.asarray(ratio * np.sqrt(ratio))


def speckle(seed: int, day: float, target: Grid) -> Array:
    """Gamma distributed factors of mean 1 and variance 1 / `LOOKS`, ``[2, h, w]`` float32, of their own on every date."""
    key = hash_key(key_of(seed, "speckle"), int(day))
    out = np.empty((2, *target.shape), np.float32)
    for band in range(2):
        product = np.ones(target.shape, np.float64)
        for look in range(LOOKS):
            product *= 1.0 - uniform_field(key, target.row, target.col, *target.shape, draw=look, band=band).astype(np.float64)
        out[band] = -np.log(product) / LOOKS
    return out


def to_decibel(power: Array) -> Array:
    """Linear to dB."""
    return np.asarray(10.0 * np.log10(np.maximum(power.astype(np.float64), 1e-6)), np.float32)
