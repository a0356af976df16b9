"""The natural ground: height, water, climate, and the fields that decide what grows where."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .drainage import Network, find_network, find_waters, low_relief
from .lattice import Array, Grid, Points, Site, key_of, length_of, mix, octaves, step

SEA_SLOPE = 0.012
"""Metres of depth per metre from the shore, by which heights near sea level are turned into distances."""
VALLEY = 620.0
"""Half the width of a valley, metres."""
NORTHING = 5_450_000.0
"""UTM northing of the world's origin, metres."""
LINES = {"motorway": 17_000.0, "railway": 23_000.0}
"""Wavelengths of the fields whose zeros are the motorways and railways, metres."""
_METRES_PER_DEGREE = 110_950.0


@dataclass(frozen=True)
class Terrain:
    """Natural fields at a site's places, all float32 of the site's shape.

    Attributes:
        height: Of the ground or of the water's surface above sea level, metres.
        shore: Signed distance to the nearest bank or shore, metres, negative in water.
        sea: Depth of the sea, metres; negative on land.
        bank: Signed distance to the nearest stream's bank.
        ripple: The part of `bank` that roughens it.
        still: Signed distance to the nearest shore of a lake or the sea.
        plain: Height above the nearest river bed, metres.
        mountain: Share of mountain, 0 to 1.
        arid: Dryness, 0 to 1.
        forest: Wooded where positive; about unit variance.
        warmth: Yearly mean temperature at the height, degrees Celsius.
    """

    height: Array
    shore: Array
    sea: Array
    bank: Array
    ripple: Array
    still: Array
    plain: Array
    mountain: Array
    arid: Array
    forest: Array
    warmth: Array


def latitude_of(y: Array | float) -> Array:
    """Approximate latitude in degrees of places `y` metres south of the origin; what climate and sun need, within 0.2 degrees on land."""
    return np.asarray(np.clip((NORTHING - np.asarray(y)) / _METRES_PER_DEGREE, -70.0, 72.0))


def network_for(seed: int, site: Site, margin: float = 0.0) -> Network:
    """The network that `terrain_at` needs for a site."""
    if math.prod(site.shape) == 0:
        return find_network(seed, (0.0, 0.0), (1.0, 1.0))
    low = (float(site.x.min()) - margin, float(site.y.min()) - margin)
    high = (float(site.x.max()) + margin, float(site.y.max()) + margin)
    return find_network(seed, low, high)


def dryness(seed: int, site: Site) -> Array:
    """0 where rain is plenty, 1 in deserts, which are more frequent around 25 degrees of latitude."""
    belt = 1.0 - np.abs(np.abs(latitude_of(site.y)) - 24.0) / 22.0
    return step(0.45, 1.25, 0.75 * site.smooth(key_of(seed, "rain"), 90_000.0) + np.float32(1.3) * belt.astype(np.float32) - 0.25)


def warmth_at(y: Array, height: Array) -> Array:
    """Yearly mean temperature, degrees Celsius."""
    degrees = latitude_of(y)
    return np.asarray(27.5 - 0.0077 * degrees * degrees - 0.0062 * np.maximum(height, 0.0), np.float32)


def terrain_at(seed: int, site: Site, network: Network | None = None) -> Terrain:
    """The natural fields.

    Args:
        seed: Of the world.
        site: A grid (best with pixels of about 10 m) or points.
        network: From `network_for`, covering the site.

    Returns:
        The fields at the site's places.
    """
    waters = find_waters(seed, site, network or network_for(seed, site))
    low, mountain = low_relief(seed, site)
    rolling = step(-0.6, 1.6, site.smooth(key_of(seed, "rolling"), 14_000.0))
    swing = np.float32(2.2) + 13.0 * rolling + 165.0 * mountain
    hills = octaves(site, key_of(seed, "hills"), (1_900.0, 850.0, 390.0, 170.0, 75.0), (1.0, 0.42, 0.2, 0.085, 0.035))
    free = low + swing * hills
    open_land = step(0.0, VALLEY, waters.valley)
    above = free - waters.bed
    rise = 0.5 * (above + np.sqrt(above * above + 60.0))  # a smooth maximum with 0
    height = waters.bed + np.float32(0.6) + open_land * rise
    flat = 1.0 - step(0.0, 260.0, waters.lake)
    height = mix(height, waters.level + 0.4, flat)
    height = np.where(waters.lake < 0.0, waters.level, height)
    ripple = np.float32(1.2) * site.smooth(key_of(seed, "bank"), 37.0)
    bank = waters.bank + ripple
    depth = -(np.minimum(free, height) + 0.9 * octaves(site, key_of(seed, "coast"), (240.0, 80.0), (0.8, 0.3)))
    still = np.minimum(waters.lake, -depth / np.float32(SEA_SLOPE))
    shore = np.minimum(bank, still)
    height = np.where(depth > 0.0, 0.0, np.maximum(height, 0.05))
    wood = octaves(site, key_of(seed, "forest"), (5_200.0, 1_700.0, 560.0, 190.0), (0.75, 0.55, 0.38, 0.2))
    near_stream = 0.9 * (1.0 - step(4.0, 26.0, np.abs(bank - 6.0))) * step(0.0, 2.0, bank)
    arid = dryness(seed, site)
    forest = wood + near_stream + 0.75 * mountain - 1.9 * arid - 0.35
    plain = height - waters.bed
    warmth = warmth_at(site.y, height)
    forest = forest - 3.0 * (1.0 - step(1.0, 2.6, warmth + 0.5 * wood))
    fields = (height, shore, depth, bank, ripple, still, plain, mountain, arid, forest, warmth)
    return Terrain(*(np.asarray(field, np.float32) for field in fields))


def slope_of(height: Array, size: float) -> tuple[Array, Array]:
    """Rise per metre eastward and southward of a grid, inside its outermost ring.

    Args:
        height: ``[h + 2, w + 2]``.
        size: Side of a pixel in metres.

    Returns:
        Two ``[h, w]`` arrays.
    """
    scale = np.float32(0.5 / size)
    return (height[1:-1, 2:] - height[1:-1, :-2]) * scale, (height[2:, 1:-1] - height[:-2, 1:-1]) * scale


def line_distance(seed: int, name: str, site: Site) -> Array:
    """Signed distance in metres to a long smooth curve: the places where a field of `LINES` is zero."""
    key, gap, wavelength = key_of(seed, name), 8.0, LINES[name]
    value = site.smooth(key, wavelength)
    if isinstance(site, Grid):
        wide = Grid(site.row - 1, site.col - 1, site.height + 2, site.width + 2, site.size).smooth(key, wavelength)
        east, south = slope_of(wide, site.size)
    else:
        east = (Points(site.x + gap, site.y).smooth(key, wavelength) - Points(site.x - gap, site.y).smooth(key, wavelength)) / (2 * gap)
        south = (Points(site.x, site.y + gap).smooth(key, wavelength) - Points(site.x, site.y - gap).smooth(key, wavelength)) / (2 * gap)
    return np.asarray(value / (length_of(east, south) + 1e-6), np.float32)
