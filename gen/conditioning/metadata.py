"""What is known about a picture, in natural units. Every field may be unknown."""

from __future__ import annotations

import calendar
import math
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import InputError
from .place import EQUATOR_GSD, MERCATOR_LIMIT, gsd_of_zoom, zoom_of_gsd

NOMINAL_LEVEL = 17.0
"""Level whose pixel is called one metre, wherever it is (Text2Earth: GSD = 2 ** (17 - level))."""
_DATE = re.compile(r"(?:(\d{4})|-)(?:-(\d{2})(?:-(\d{2}))?)?")
_AGREE = math.sqrt(2.0)  # two pixel sizes are the same if they differ by no more than half a zoom level

_EXPECTED = {
    "lat": "a latitude is from -90 to 90 degrees",
    "lon": "a longitude is from -180 to 180 degrees",
    "gsd": "a ground sampling distance is a number of metres per pixel above 0, at most 100000",
    "cloud_cover": "a cloud cover is a share from 0 to 1",
    "zoom_level": "a zoom level is from 0 to 30",
    "temperature": "a temperature is from -100 to 70 degrees Celsius",
    "precipitation": "a precipitation is 0 or more",
    "radiation": "a radiation is 0 or more",
    "date": 'a date is text such as "2021", "2021-06", "2021-06-14", or "--06" for June of any year',
}


class Metadata(BaseModel):
    """What is known about a picture; None is unknown.

    Attributes:
        lat: Latitude of its centre, degrees.
        lon: Longitude of its centre, degrees.
        gsd: Ground sampling distance, metres per pixel.
        date: ``2021``, ``2021-06``, ``2021-06-14``, or ``--06`` where the year is unknown.
        cloud_cover: Share of it that is cloud, 0 to 1.
        zoom_level: Of a web map; another way of giving `gsd`.
        temperature: Of the month, degrees Celsius.
        precipitation: Of the month, in the unit of the model that reads it (EcoMapper: up to 120).
        radiation: Of the month, in the unit of the model that reads it (EcoMapper: up to 40).

    Raises:
        InputError: If a value is none of its field, two contradict each other, or a field does not exist.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    lat: float | None = Field(None, ge=-90.0, le=90.0)
    lon: float | None = Field(None, ge=-180.0, le=180.0)
    gsd: float | None = Field(None, gt=0.0, le=100_000.0)
    date: str | None = None
    cloud_cover: float | None = Field(None, ge=0.0, le=1.0)
    zoom_level: float | None = Field(None, ge=0.0, le=30.0)
    temperature: float | None = Field(None, ge=-100.0, le=70.0)
    precipitation: float | None = Field(None, ge=0.0)
    radiation: float | None = Field(None, ge=0.0)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(_sentence(error)) from None

    @model_validator(mode="after")
    def _check(self) -> Metadata:
        if self.date is not None:
            _parse_date(self.date)
        _check_sizes(self)
        return self

    @property
    def year(self) -> int | None:
        """The year, if known."""
        return _parse_date(self.date)[0] if self.date else None

    @property
    def month(self) -> int | None:
        """The month, 1 to 12, if known."""
        return _parse_date(self.date)[1] if self.date else None

    @property
    def day(self) -> int | None:
        """The day of the month, if known."""
        return _parse_date(self.date)[2] if self.date else None

    @property
    def day_of_year(self) -> int | None:
        """Day of the year, 1 to 366, if month and day are known."""
        if self.month is None or self.day is None:
            return None
        year = self.year or 2000
        return sum(calendar.monthrange(year, month)[1] for month in range(1, self.month)) + self.day

    @property
    def metres(self) -> float | None:
        """Metres per pixel: `gsd`, or that of the zoom level at this latitude (without a latitude, its nominal 2 ** (17 - level))."""
        if self.gsd is not None or self.zoom_level is None:
            return self.gsd
        return 2.0 ** (NOMINAL_LEVEL - self.zoom_level) if self.lat is None else gsd_of_zoom(self.zoom_level, _within(self.lat))

    @property
    def level(self) -> float | None:
        """The zoom level: the given one, or that at which pixels are `gsd` wide at this latitude (without one, 17 - log2 gsd)."""
        if self.zoom_level is not None or self.gsd is None:
            return self.zoom_level
        return NOMINAL_LEVEL - math.log2(self.gsd) if self.lat is None else zoom_of_gsd(self.gsd, _within(self.lat))


def _within(lat: float) -> float:
    return max(-MERCATOR_LIMIT, min(MERCATOR_LIMIT, lat))


def _parse_date(text: str) -> tuple[int | None, int | None, int | None]:
    found = _DATE.fullmatch(text)
    parts = [int(part) if part else None for part in found.groups()] if found else []
    if not found or not any(parts):
        raise ValueError(f"the date {text!r} is none; {_EXPECTED['date']}")
    year, month, day = parts
    if month is not None and not 1 <= month <= 12:
        raise ValueError(f"the date {text!r} has month {month}; months are from 01 to 12")
    if month is not None and day is not None:
        last = calendar.monthrange(year or 2000, month)[1]
        if not 1 <= day <= last:
            raise ValueError(f"the date {text!r} has day {day}; that month has days 01 to {last}")
    return year, month, day


def _check_sizes(data: Metadata) -> None:
    """Zoom level and metres per pixel say the same thing twice; they must agree to half a level."""
    if data.zoom_level is None or data.gsd is None:
        return
    if data.lat is not None:
        wanted = gsd_of_zoom(data.zoom_level, _within(data.lat))
        low = high = wanted
        where = f"at latitude {data.lat:g}"
    else:
        low, high = (gsd_of_zoom(data.zoom_level, lat) for lat in (MERCATOR_LIMIT, 0.0))
        wanted, where = EQUATOR_GSD / 2.0**data.zoom_level, "on the equator"
    if not low / _AGREE <= data.gsd <= high * _AGREE:
        raise ValueError(
            f"zoom level {data.zoom_level:g} and gsd {data.gsd:g} m contradict each other: {where} that level has {wanted:.3g} m "
            "per pixel; give one of the two"
        )


def _sentence(error: ValidationError) -> str:
    """The first complaint of pydantic in our words."""
    first = error.errors(include_url=False)[0]
    if "error" in first.get("ctx", {}):  # of our own checks
        return str(first["ctx"]["error"])
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return f"metadata has no field {name!r}; it has {', '.join(_EXPECTED)}"
    return f"{name} is {first['input']!r}; {_EXPECTED.get(name, first['msg'])}, so give such a value or leave it out"
