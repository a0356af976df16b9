"""How green and how dry each kind of plant cover is through the year.

Curves are tables of (day of year, green cover, dead cover) for a temperate northern place of 10 degrees Celsius yearly mean; warmer
places are earlier, and the
southern half is half a year off. Green and dead cover are shares of the ground; the rest shows soil.
"""

from __future__ import annotations

import numpy as np

from .lattice import Array
from .terrain import latitude_of

# Name: green material, material while in flower (and its days), what it looks like dead, and the curve.
_CURVES: dict[str, tuple[str, tuple[str, int, int] | None, str, tuple[tuple[int, float, float], ...]]] = {
    "cereal": (
        "crop",
        None,
        "straw",
        (
            (0, 0.34, 0.05),
            (60, 0.4, 0.05),
            (100, 0.78, 0.02),
            (130, 0.97, 0.0),
            (158, 0.93, 0.05),
            (176, 0.45, 0.5),
            (190, 0.1, 0.88),
            (204, 0.04, 0.92),
            (211, 0.05, 0.55),
            (245, 0.1, 0.3),
            (268, 0.02, 0.08),
            (295, 0.1, 0.04),
            (335, 0.3, 0.05),
        ),
    ),
    "maize": (
        "maize",
        None,
        "straw",
        (
            (0, 0.02, 0.16),
            (100, 0.03, 0.1),
            (120, 0.02, 0.02),
            (142, 0.1, 0.0),
            (168, 0.52, 0.0),
            (194, 0.95, 0.0),
            (245, 0.92, 0.05),
            (266, 0.55, 0.4),
            (284, 0.15, 0.8),
            (294, 0.03, 0.4),
            (330, 0.03, 0.22),
        ),
    ),
    "rape": (
        "crop",
        ("rape flower", 107, 136),
        "straw",
        (
            (0, 0.5, 0.06),
            (60, 0.52, 0.06),
            (95, 0.85, 0.0),
            (150, 0.92, 0.0),
            (174, 0.5, 0.42),
            (193, 0.05, 0.88),
            (201, 0.04, 0.5),
            (232, 0.1, 0.1),
            (262, 0.4, 0.0),
            (310, 0.6, 0.02),
        ),
    ),
    "beet": (
        "beet",
        None,
        "straw",
        ((0, 0.02, 0.1), (105, 0.02, 0.03), (148, 0.28, 0.0), (182, 0.92, 0.0), (262, 0.9, 0.03), (296, 0.6, 0.12), (308, 0.03, 0.1)),
    ),
    "spring cereal": (
        "crop",
        None,
        "straw",
        (
            (0, 0.03, 0.14),
            (85, 0.03, 0.02),
            (118, 0.4, 0.0),
            (150, 0.94, 0.0),
            (170, 0.85, 0.1),
            (190, 0.25, 0.7),
            (212, 0.03, 0.9),
            (219, 0.05, 0.5),
            (258, 0.3, 0.15),
            (320, 0.3, 0.12),
        ),
    ),
    "sunflower": (
        "crop",
        ("sunflower", 182, 206),
        "straw",
        (
            (0, 0.02, 0.12),
            (110, 0.02, 0.03),
            (140, 0.15, 0.0),
            (172, 0.8, 0.0),
            (208, 0.93, 0.02),
            (236, 0.5, 0.4),
            (256, 0.12, 0.8),
            (266, 0.03, 0.4),
        ),
    ),
    "ley": (
        "lawn",
        None,
        "cured grass",
        (
            (0, 0.6, 0.14),
            (85, 0.72, 0.08),
            (130, 0.97, 0.02),
            (138, 0.5, 0.3),
            (162, 0.93, 0.02),
            (186, 0.93, 0.04),
            (193, 0.5, 0.3),
            (226, 0.88, 0.06),
            (300, 0.75, 0.1),
        ),
    ),
    "pasture": (
        "grass",
        None,
        "cured grass",
        ((0, 0.52, 0.3), (80, 0.62, 0.22), (130, 0.95, 0.04), (180, 0.85, 0.13), (220, 0.72, 0.25), (260, 0.8, 0.16), (330, 0.6, 0.28)),
    ),
    "fallow": ("grass", None, "cured grass", ((0, 0.2, 0.3), (110, 0.4, 0.25), (160, 0.6, 0.2), (220, 0.35, 0.5), (300, 0.25, 0.4))),
    "lawn": (
        "lawn",
        None,
        "cured grass",
        ((0, 0.68, 0.16), (90, 0.8, 0.1), (140, 0.94, 0.04), (210, 0.82, 0.15), (260, 0.88, 0.08), (330, 0.75, 0.15)),
    ),
    "vines": (
        "grass",
        None,
        "cured grass",
        ((0, 0.2, 0.15), (110, 0.25, 0.12), (150, 0.55, 0.05), (230, 0.62, 0.08), (280, 0.5, 0.25), (305, 0.22, 0.25)),
    ),
    "orchard": ("lawn", None, "cured grass", ((0, 0.55, 0.18), (110, 0.7, 0.1), (140, 0.9, 0.04), (260, 0.85, 0.1), (320, 0.6, 0.2))),
    "broadleaf": (
        "broadleaf",
        None,
        "autumn leaves",
        (
            (0, 0.03, 0.05),
            (96, 0.05, 0.03),
            (124, 0.88, 0.0),
            (150, 1.0, 0.0),
            (258, 0.97, 0.02),
            (284, 0.5, 0.48),
            (300, 0.15, 0.6),
            (318, 0.04, 0.15),
        ),
    ),
    "conifer": ("conifer", None, "twigs", ((0, 0.93, 0.03), (150, 0.97, 0.02), (300, 0.95, 0.03))),
    "shrub": ("shrub", None, "cured grass", ((0, 0.45, 0.3), (120, 0.7, 0.15), (170, 0.85, 0.08), (240, 0.7, 0.22), (320, 0.5, 0.3))),
    "alpine": ("grass", None, "cured grass", ((0, 0.1, 0.6), (135, 0.15, 0.55), (180, 0.8, 0.12), (225, 0.7, 0.2), (265, 0.3, 0.55))),
    "reed": ("reed", None, "cured grass", ((0, 0.12, 0.65), (120, 0.3, 0.5), (165, 0.9, 0.05), (250, 0.85, 0.1), (300, 0.25, 0.6))),
    "steppe": ("shrub", None, "cured grass", ((0, 0.16, 0.2), (80, 0.25, 0.15), (120, 0.3, 0.2), (170, 0.16, 0.4), (260, 0.1, 0.38))),
    "weeds": ("grass", None, "cured grass", ((0, 0.12, 0.2), (120, 0.3, 0.1), (170, 0.42, 0.1), (230, 0.32, 0.25), (300, 0.2, 0.2))),
    "none": ("grass", None, "straw", ((0, 0.0, 0.0),)),
}
COVERS = tuple(_CURVES)
"""Kinds of plant cover."""
COVER = {name: number for number, name in enumerate(COVERS)}
GREEN_NAMES = tuple(curve[0] for curve in _CURVES.values())
DEAD_NAMES = tuple(curve[2] for curve in _CURVES.values())
DAYS_PER_DEGREE = 3.5


def season_day(day: float, y: Array, warmth: Array) -> Array:
    """The day of the year in a temperate northern place at which plants stand as they do here.

    Args:
        day: Day of the year.
        y: Metres south of the origin.
        warmth: Yearly mean temperature, degrees Celsius.
    """
    south = np.where(latitude_of(y) < 0.0, 182.5, 0.0)
    # Warmth hurries spring and holds autumn back: a shift towards midsummer.
    place = np.mod(day + south, 365.0)
    lead = np.clip(DAYS_PER_DEGREE * (warmth - 10.0), -35.0, 45.0)
    return np.asarray(np.mod(place + lead * np.sin(place / 365.0 * 2.0 * np.pi), 365.0))


def stand(cover: Array, day: Array) -> tuple[Array, Array, Array]:
    """Plants at a date.

    Args:
        cover: Kinds of plant cover (codes of `COVER`), ``[n]``.
        day: Each one's season day, ``[n]``.

    Returns:
        Green share, dead share, and whether it is in flower, each ``[n]``.
    """
    green, dead, flower = np.zeros(cover.shape, np.float32), np.zeros(cover.shape, np.float32), np.zeros(cover.shape, bool)
    for code in np.unique(cover):
        _, bloom, _, curve = _CURVES[COVERS[code]]
        at = cover == code
        days, greens, deads = (list(column) for column in zip(*curve, strict=True))
        green[at] = np.interp(day[at], days, greens, period=365.0)
        dead[at] = np.interp(day[at], days, deads, period=365.0)
        if bloom is not None:
            flower[at] = (day[at] > bloom[1]) & (day[at] < bloom[2])
    return green, dead, flower


def flower_name(cover: int) -> str:
    """Material of a kind of cover while it is in flower."""
    bloom = _CURVES[COVERS[cover]][1]
    return bloom[0] if bloom is not None else GREEN_NAMES[cover]


def snow_share(day: float, y: Array, warmth: Array, aspect: Array) -> Array:
    """Share of the ground under snow.

    Args:
        day: Day of the year.
        y: Metres south of the origin.
        warmth: Yearly mean temperature, degrees Celsius.
        aspect: How much more than level ground a slope is lit, -1 to 1; shaded slopes keep snow longer.
    """
    degrees = latitude_of(y)
    phase = np.cos((day - 200.0) / 365.0 * 2.0 * np.pi) * np.sign(degrees + 1e-9)
    # Snow cover lags the cold by a month.
    late = np.cos((day - 232.0) / 365.0 * 2.0 * np.pi) * np.sign(degrees + 1e-9)
    now = warmth + 0.21 * np.abs(degrees) * (0.5 * phase + 0.5 * late) + 3.0 * aspect
    return np.asarray(np.clip((-1.5 - now) / 2.5, 0.0, 1.0), np.float32)
