"""A date at a place: season and sun, which are the same over a strip of latitude, as they are over a tile of a real product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sunlight import Sun, sun_at
from .terrain import latitude_of

STRIP = 102_000.0
"""Height of a strip over which the sun is the same, metres; whole pixels of all grids."""
EPOCH = np.datetime64("2000-01-01")


@dataclass(frozen=True)
class Moment:
    """A date in a strip.

    Attributes:
        day: Days since 2000-01-01.
        year_day: Day of the year, 1 to 366.
        strip_y: Middle of the strip, metres south of the origin.
        sun: Where it stands.
    """

    day: float
    year_day: float
    strip_y: float
    sun: Sun


def day_number(date: str) -> float:
    """Days from 2000-01-01 to an ISO date."""
    return float((np.datetime64(date, "D") - EPOCH).astype(np.int64))


def date_of(day: float) -> str:
    """The ISO date of a day since 2000-01-01."""
    return str(EPOCH + np.timedelta64(int(day), "D"))


def strip_of(y: float) -> int:
    """Number of the strip that holds the place `y` metres south of the origin."""
    return int(np.floor(y / STRIP))


def moment_in(date: str, strip: int) -> Moment:
    """The moment of an ISO date in a strip."""
    day = day_number(date)
    start = np.datetime64(date[:4], "Y").astype("datetime64[D]")
    year_day = float((np.datetime64(date, "D") - start).astype(np.int64) + 1)
    middle = (strip + 0.5) * STRIP
    return Moment(day, year_day, middle, sun_at(float(latitude_of(middle)), year_day))
