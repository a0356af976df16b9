"""Places on Earth: map tiles, pixel sizes, unit vectors, spherical harmonics.

Longitude and latitude are degrees, WGS84. Tiles are those of web maps: zoom level z cuts the Mercator square into 2^z by 2^z tiles of 256
pixels, x to the east, y to the south.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..errors import InputError

EQUATOR_GSD = 156543.03392
"""Metres per pixel of a zoom level 0 tile on the equator."""
MERCATOR_LIMIT = 85.05112877980659
"""Latitude at which the Mercator square ends, degrees."""

Convention = Literal["satclip", "orthonormal"]


def gsd_of_zoom(zoom: float, lat: float) -> float:
    """Ground size of a web map's pixel.

    Args:
        zoom: Level; need not be whole.
        lat: Degrees.

    Returns:
        Metres.
    """
    return EQUATOR_GSD * math.cos(math.radians(lat)) / 2.0**zoom


def zoom_of_gsd(gsd: float, lat: float) -> float:
    """The inverse of `gsd_of_zoom`: the level, not rounded, at which a pixel at this latitude has this size in metres."""
    return math.log2(EQUATOR_GSD * math.cos(math.radians(lat)) / gsd)


def tile_at(lon: float, lat: float, zoom: int) -> tuple[int, int]:
    """The tile that a place lies in.

    Args:
        lon: Degrees.
        lat: Degrees, within `MERCATOR_LIMIT`.
        zoom: Level, 0 or more.

    Returns:
        x and y.

    Raises:
        InputError: If the place lies outside the Mercator square.
    """
    if abs(lat) > MERCATOR_LIMIT or abs(lon) > 180 or zoom < 0:
        raise InputError(
            f"longitude {lon:g}, latitude {lat:g}, zoom level {zoom} is no map tile; latitudes end at {MERCATOR_LIMIT:.2f} and levels "
            "begin at 0, so give another place"
        )
    count = 1 << zoom
    x, y = (lon + 180.0) / 360.0, 0.5 - math.asinh(math.tan(math.radians(lat))) / (2.0 * math.pi)
    return min(int(x * count), count - 1), min(max(int(y * count), 0), count - 1)


def lonlat_of_tile(x: float, y: float, zoom: int) -> tuple[float, float]:
    """Longitude and latitude of a point in tile units: (x, y) is a tile's upper-left corner, (x + 0.5, y + 0.5) its centre."""
    count = float(1 << zoom)
    return x / count * 360.0 - 180.0, math.degrees(math.atan(math.sinh(math.pi * (1.0 - 2.0 * y / count))))


def utm_epsg(lon: float, lat: float) -> int:
    """EPSG code of the UTM zone of a place (WGS84), with the wide zones of Norway and Svalbard; near the poles, of the polar grid."""
    if lat > 84.0 or lat < -80.0:
        return 32661 if lat > 0 else 32761
    zone = min(int((lon + 180.0) // 6.0) + 1, 60)
    if 56.0 <= lat < 64.0 and 3.0 <= lon < 12.0:
        zone = 32
    if lat >= 72.0 and 0.0 <= lon < 42.0:
        zone = next(number for limit, number in ((9.0, 31), (21.0, 33), (33.0, 35), (42.0, 37)) if lon < limit)
    return (32600 if lat >= 0 else 32700) + zone


def cartesian(lonlat: Tensor) -> Tensor:
    """Places as points on the unit sphere.

    Args:
        lonlat: ``[..., 2]`` degrees.

    Returns:
        ``[..., 3]`` float64: towards (0 E, 0 N), (90 E, 0 N) and the north pole.
    """
    lon, lat = torch.deg2rad(lonlat.double()).unbind(-1)
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=-1)


def spherical_harmonics(lonlat: Tensor, degree: int, convention: Convention = "satclip") -> Tensor:
    """Real spherical harmonics of places, by recurrence over l for all m at once.

    The angles are SatCLIP's: azimuth = lon + 180 degrees, polar angle = lat + 90 degrees. With the fully normalised Legendre functions
    P (without the Condon-Shortley phase), Y_l^m is ``sqrt(2) P_l^m cos(m azimuth)`` for m > 0, ``sqrt(2) P_l^|m| sin(|m| azimuth)`` for
    m < 0 and P_l^0 for m = 0. The formulas that SatCLIP's released weights were trained with have Y_l^0 pi times too large.

    Args:
        lonlat: ``[B, 2]`` degrees.
        degree: L; l runs from 0 to L - 1.
        convention: ``satclip`` keeps the factor pi of the released weights, ``orthonormal`` has none.

    Returns:
        ``[B, L * L]`` float64, for l = 0, 1, ... and within it m = -l ... l.
    """
    azimuth, polar = torch.deg2rad(lonlat[:, 0].double() + 180.0), torch.deg2rad(lonlat[:, 1].double() + 90.0)
    x, s = polar.cos()[:, None], polar.sin().abs()[:, None]
    orders = torch.arange(degree, dtype=torch.float64, device=lonlat.device)
    turns = azimuth[:, None] * orders
    cosines, sines = turns.cos() * math.sqrt(2.0), turns.sin() * math.sqrt(2.0)
    cosines[:, 0] = math.pi if convention == "satclip" else 1.0
    rows: list[Tensor] = []
    before, last = torch.zeros_like(turns), torch.zeros_like(turns)
    for l in range(degree):  # noqa: E741  the letter that everybody uses
        now = _next_legendre(l, orders, x, s, before, last)
        rows.append(torch.cat([(now * sines)[:, 1 : l + 1].flip(1), (now * cosines)[:, : l + 1]], dim=1))
        before, last = last, now
    return torch.cat(rows, dim=1)


def _next_legendre(degree: int, orders: Tensor, x: Tensor, s: Tensor, before: Tensor, last: Tensor) -> Tensor:
    """Fully normalised P_l^m for all m (zero where m > l), from those of l - 2 (`before`) and l - 1 (`last`)."""
    if degree == 0:
        now = torch.zeros_like(last)
        now[:, 0] = math.sqrt(0.25 / math.pi)
        return now
    m2, l2 = orders.square(), float(degree * degree)
    inner = (l2 - m2).clamp_min(1.0)
    up = ((4.0 * l2 - 1.0) / inner).sqrt()
    down = (((degree - 1.0) ** 2 - m2).clamp_min(0.0) / (4.0 * (degree - 1.0) ** 2 - 1.0)).sqrt() if degree > 1 else torch.zeros_like(m2)
    now = up * (x * last - down * before)
    now[:, degree] = math.sqrt((2.0 * degree + 1.0) / (2.0 * degree)) * s[:, 0] * last[:, degree - 1]
    return now
