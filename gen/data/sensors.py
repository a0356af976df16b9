"""The sensor table `sensors.toml`: band names, wavelengths, ground sampling distances, scale and offset of known products."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from ..errors import InputError

_TABLE = Path(__file__).with_name("sensors.toml")


@dataclass(frozen=True)
class Band:
    """One band of a sensor.

    Attributes:
        name: The product's own name, for example ``"B04"``.
        common: The name that sensors share, for example ``"red"``.
        wavelength: Centre in nm.
        gsd: Ground sampling distance in m.
    """

    name: str
    common: str
    wavelength: float
    gsd: float


@dataclass(frozen=True)
class Sensor:
    """One product of a sensor.

    Attributes:
        name: Key in the table, for example ``"sentinel-2-l2a"``.
        title: What people call it.
        bands: In the order of the product.
        scale: Physical units per stored unit.
        offset: In stored units; None where it depends on the processing, so that tags or the user must tell it.
        unit: Unit of the physical numbers.
        radiometries: Names for ``--radiometry`` that fit this product.
    """

    name: str
    title: str
    bands: tuple[Band, ...]
    scale: float
    offset: float | None
    unit: str
    radiometries: tuple[str, ...] = ()

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands, in the order of the product."""
        return tuple(band.name for band in self.bands)

    @property
    def family(self) -> str:
        """The name without the product level: ``"sentinel-2"``."""
        return self.name.rsplit("-", 1)[0] if self.name.count("-") > 1 else self.name

    @cached_property
    def _aliases(self) -> dict[str, int]:
        found = {band.name.lower(): number for number, band in enumerate(self.bands)}
        if self.family == "sentinel-2":
            # Some exports write B4 for B04.
            found |= {re.sub(r"^b0", "b", name): number for name, number in found.items()}
        return found

    def position(self, name: str) -> int | None:
        """Position from 0 of the band called `name` by this product; None if it has none. Case does not matter, nor does B4 for B04."""
        return self._aliases.get(name.strip().lower())

    def common_position(self, name: str) -> int | None:
        """Position from 0 of the band whose shared name is `name`; None if it has none."""
        wanted = name.strip().lower()
        return next((number for number, band in enumerate(self.bands) if band.common == wanted), None)


@cache
def sensors() -> dict[str, Sensor]:
    """All rows of the table, by name."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {name: _row(name, **row) for name, row in table.items()}


def sensor(name: str) -> Sensor:
    """One row of the table.

    Args:
        name: For example ``"sentinel-2-l2a"``.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in sensors():
        raise InputError(f"there is no sensor called {name!r} in the table; choose one of {', '.join(sensors())}")
    return sensors()[name]


def sensors_with(names: Iterable[str]) -> tuple[Sensor, ...]:
    """The products that have a band for each of `names`; empty if there is none, or no name is given."""
    wanted = tuple(names)
    return tuple(row for row in sensors().values() if wanted and all(row.position(name) is not None for name in wanted))


def _row(name: str, *, title: str, bands: list[dict[str, str | float]], scale: float, unit: str, **rest: object) -> Sensor:
    offset = rest.get("offset")
    named = rest.get("radiometries", [])
    rows = tuple(Band(str(b["name"]), str(b["common"]), float(b["wavelength"]), float(b["gsd"])) for b in bands)
    return Sensor(
        name,
        title,
        rows,
        float(scale),
        float(offset) if isinstance(offset, int | float) else None,
        unit,
        tuple(str(entry) for entry in named) if isinstance(named, list) else (),
    )
