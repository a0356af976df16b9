"""Where the sun stands when the satellite passes, and the shadows it casts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .lattice import Array

OVERPASS = 10.5
"""Local solar time of the pictures, hours."""
LOWEST = 12.0
"""The sun is never taken lower than this, degrees, so that shadows stay within the canvas's margin."""
TALLEST = 28.0
"""Nothing that casts a shadow is taken to be higher, metres."""


@dataclass(frozen=True)
class Sun:
    """Direction to the sun.

    Attributes:
        elevation: Above the horizon, degrees.
        azimuth: Clockwise from north, degrees.
    """

    elevation: float
    azimuth: float

    @property
    def x(self) -> float:
        """East component of the unit vector."""
        return math.cos(math.radians(self.elevation)) * math.sin(math.radians(self.azimuth))

    @property
    def y(self) -> float:
        """South component."""
        return -math.cos(math.radians(self.elevation)) * math.cos(math.radians(self.azimuth))

    @property
    def z(self) -> float:
        """Upward component."""
        return math.sin(math.radians(self.elevation))


def sun_at(latitude: float, year_day: float, hour: float = OVERPASS) -> Sun:
    """The sun's place in the sky, within about half a degree.

    Args:
        latitude: Degrees.
        year_day: Day of the year.
        hour: Local solar time.
    """
    declination = math.radians(-23.44 * math.cos(2 * math.pi * (year_day + 10.0) / 365.25))
    phi, angle = math.radians(latitude), math.radians(15.0 * (hour - 12.0))
    up = math.sin(phi) * math.sin(declination) + math.cos(phi) * math.cos(declination) * math.cos(angle)
    east = -math.cos(declination) * math.sin(angle)
    north = math.cos(phi) * math.sin(declination) - math.sin(phi) * math.cos(declination) * math.cos(angle)
    return Sun(max(math.degrees(math.asin(up)), LOWEST), math.degrees(math.atan2(east, north)) % 360.0)


def shadow_reach(sun: Sun, size: float) -> int:
    """How many pixels of `size` metres the longest shadow can have."""
    return math.ceil(TALLEST / (math.tan(math.radians(sun.elevation)) * size))


def cast_shadows(height: Array, sun: Sun, size: float) -> Array:
    """How much each pixel is shaded by what stands between it and the sun.

    Args:
        height: Of things above the ground, metres, ``[h, w]``, at most `TALLEST`.
        sun: Its direction.
        size: Side of a pixel, metres.

    Returns:
        ``[h, w]`` float32, 0 in the sun to 1 in full shadow; right farther than `shadow_reach` from the border.
    """
    horizontal = math.hypot(sun.x, sun.y)
    step_x, step_y = sun.x / horizontal, sun.y / horizontal
    drop = size * sun.z / horizontal
    over = np.zeros_like(height)
    rows, cols = height.shape
    tallest = float(height.max(initial=0.0))
    for distance in range(1, shadow_reach(sun, size) + 1):
        if distance * drop >= tallest:
            break
        down, right = round(step_y * distance), round(step_x * distance)
        here = slice(max(0, -down), rows - max(0, down)), slice(max(0, -right), cols - max(0, right))
        there = slice(max(0, down), rows + min(0, down)), slice(max(0, right), cols + min(0, right))
        np.maximum(over[here], height[there] - np.float32(distance * drop), out=over[here])
    return np.clip((over - height) * np.float32(0.5), 0.0, 1.0)
