"""Stored numbers to physical ones and back.

``physical = (stored + offset) * scale``, with the offset in stored units. GDAL's tags and Landsat's handbook write
``stored * scale + offset`` instead, with the offset in physical units; `Radiometry.from_gdal` and `Radiometry.gdal_offset` translate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Array = NDArray[np.float32]
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class Radiometry:
    """How stored numbers become physical ones.

    Attributes:
        scale: Physical units per stored unit, not 0.
        offset: Added to the stored number first, in stored units (Sentinel-2 since processing baseline 04.00: -1000).
        nodata: Stored number that means "no data"; None if there is none. NaN is allowed for floats.
        unit: What the physical number is: ``"reflectance"`` (0 to 1), ``"display"`` (0 to 1), ``"dB"``, ``"m"``, ...
        dtype: Type of the stored numbers, one of `DTYPES`.
    """

    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    unit: str = "reflectance"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale != 0 and math.isfinite(self.offset)):
            raise InputError(f"a radiometry needs a finite scale other than 0 and a finite offset, not {self.scale:g} and {self.offset:g}")
        if self.dtype not in DTYPES:
            raise InputError(f"stored numbers of type {self.dtype} are not supported; convert the raster to one of {', '.join(DTYPES)}")
        if self.nodata is None:
            return
        if fitting_nodata(self.nodata, self.dtype) is None:
            raise InputError(f"the nodata value {self.nodata:g} cannot be stored as {self.dtype}; choose one that can")
        if math.isnan(self.nodata):
            # One NaN object, so that equal radiometries compare equal.
            object.__setattr__(self, "nodata", math.nan)

    @classmethod
    def from_gdal(cls, scale: float, offset: float, *, nodata: float | None, unit: str, dtype: str) -> Radiometry:
        """From ``physical = stored * scale + offset``, the convention of GDAL's band tags."""
        stored = offset / scale if scale else 0.0
        # 0.1 / 0.0001 is 1000.0000000000001: an offset that is a whole number but for rounding is one.
        whole = round(stored) if math.isfinite(stored) else stored
        return cls(scale, float(whole) if abs(stored - whole) < 1e-6 * max(1.0, abs(stored)) else stored, nodata, unit, dtype)

    @property
    def gdal_offset(self) -> float:
        """The offset in physical units, for ``physical = stored * scale + offset``."""
        return float(f"{self.offset * self.scale:.15g}")

    @property
    def is_integer(self) -> bool:
        """Whether the stored numbers are integers."""
        return np.dtype(self.dtype).kind in "iu"

    @property
    def step(self) -> float:
        """Physical size of one stored unit for integers, 0 for floats."""
        return abs(self.scale) if self.is_integer else 0.0

    def to_physical(self, stored: NDArray[Any]) -> Array:
        """Stored numbers to physical ones.

        Args:
            stored: Any shape, any real type.

        Returns:
            float32 of the same shape; NaN where the stored number is `nodata` or not finite.
        """
        # Stored 16-bit numbers plus an offset are exact in float32; wider ones are not.
        wide = stored.dtype.itemsize > 2 and stored.dtype != np.float32
        physical: NDArray[np.floating[Any]] = stored.astype(np.float64 if wide else np.float32)
        with np.errstate(all="ignore"):  # damaged floats overflow, and signalling NaNs complain
            physical = (physical + physical.dtype.type(self.offset)) * physical.dtype.type(self.scale)
        invalid = ~np.isfinite(physical)
        if self.nodata is not None and not math.isnan(self.nodata):
            invalid |= stored == _as_stored(self.nodata, stored.dtype)
        with np.errstate(over="ignore"):
            result = physical.astype(np.float32, copy=False)
        result[invalid | ~np.isfinite(result)] = np.nan
        return result

    def to_stored(self, physical: NDArray[Any]) -> NDArray[Any]:
        """Physical numbers to stored ones: rounded to the nearest, then clipped to the type's range.

        Args:
            physical: Any shape; NaN (or any number that is not finite) means no data.

        Returns:
            `dtype` of the same shape. A valid number that would be stored as `nodata` is moved to the nearest number beside it.

        Raises:
            InputError: If numbers are missing and the radiometry has no stored number for that.
        """
        target = np.dtype(self.dtype)
        exact = np.asarray(physical, dtype=np.float64) / self.scale - self.offset
        invalid = ~np.isfinite(exact)
        if self.is_integer:
            stored = self._to_integer(exact, invalid, target)
        else:
            limits = np.finfo(target)
            stored = np.clip(exact, limits.min, limits.max).astype(target)
        if self.nodata is not None and not math.isnan(self.nodata):
            self._keep_off_nodata(stored, exact, ~invalid)
        if invalid.any():
            stored[invalid] = self._stored_nodata(target)
        return stored

    def _to_integer(self, exact: NDArray[np.float64], invalid: NDArray[np.bool_], target: np.dtype[Any]) -> NDArray[Any]:
        limits = np.iinfo(target)
        rounded = np.rint(np.where(invalid, 0.0, exact))
        return np.asarray(np.clip(rounded, limits.min, limits.max).astype(target))

    def _keep_off_nodata(self, stored: NDArray[Any], exact: NDArray[np.float64], valid: NDArray[np.bool_]) -> None:
        marker = _as_stored(self.nodata or 0.0, stored.dtype)
        clash = valid & (stored == marker)
        if not clash.any():
            return
        if stored.dtype.kind == "f":
            stored[clash] = np.nextafter(marker, stored.dtype.type(np.inf))
            return
        limits = np.iinfo(stored.dtype)
        up = (exact[clash] >= float(marker)) & (marker < limits.max) | (marker == limits.min)
        stored[clash] = np.where(up, int(marker) + up, int(marker) - 1).astype(stored.dtype)

    def _stored_nodata(self, target: np.dtype[Any]) -> Any:
        if self.nodata is not None:
            return _as_stored(self.nodata, target)
        if target.kind == "f":
            return np.nan
        raise InputError(
            f"the picture has pixels without data, but nothing is declared that {self.dtype} could store for them; "
            "give a nodata value, or write floats"
        )


def fitting_nodata(value: float | None, dtype: str) -> float | None:
    """`value` where `dtype` can hold it exactly, else None: a nodata value that no pixel can have marks nothing."""
    kind = np.dtype(dtype)
    if value is None or kind.kind == "f":
        return value
    limits = np.iinfo(kind)
    return value if limits.min <= value <= limits.max and value == round(value) else None


def _as_stored(value: float, dtype: np.dtype[Any]) -> Any:
    """`value` in `dtype`; for integers that cannot hold it a number that equals none of theirs."""
    if dtype.kind in "iu":
        return np.float64("nan") if fitting_nodata(value, dtype.name) is None else dtype.type(value)
    with np.errstate(over="ignore"):
        return dtype.type(value)


S2_HELP = "s2 is DN / 10000, s2-offset is (DN - 1000) / 10000, which Sentinel-2 uses since processing baseline 04.00 (January 2022)"

NAMED: dict[str, Radiometry] = {
    "s2": Radiometry(1e-4, 0.0, 0.0, "reflectance", "uint16"),
    "s2-offset": Radiometry(1e-4, -1000.0, 0.0, "reflectance", "uint16"),
    "landsat": Radiometry.from_gdal(2.75e-5, -0.2, nodata=0.0, unit="reflectance", dtype="uint16"),
    "planetscope": Radiometry(1e-4, 0.0, 0.0, "reflectance", "uint16"),
    "reflectance": Radiometry(1.0, 0.0, None, "reflectance", "float32"),
    "db": Radiometry(1.0, 0.0, None, "dB", "float32"),
    "display8": Radiometry(1.0 / 255.0, 0.0, None, "display", "uint8"),
    "display16": Radiometry(1.0 / 65535.0, 0.0, None, "display", "uint16"),
}
"""What ``--radiometry`` takes. The file's own nodata and type come before those given here."""


def radiometry_named(name: str) -> Radiometry:
    """A well-known radiometry by its name.

    Args:
        name: A key of `NAMED`.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in NAMED:
        raise InputError(f"there is no radiometry called {name!r}; choose one of {', '.join(NAMED)}, or give --gain and --offset")
    return NAMED[name]


def radiometry_from_options(
    name: str | None = None,
    *,
    scale: float | None = None,
    offset: float | None = None,
    unit: str | None = None,
    nodata: float | None = None,
) -> Radiometry | None:
    """What the command line's options ask for.

    Args:
        name: A key of `NAMED`; the other options override its parts.
        scale: Physical units per stored unit.
        offset: In stored units. Given alone it must be 0 or -1000, and means Sentinel-2 with a scale of 0.0001.
        unit: Unit of the physical numbers.
        nodata: Stored number that means "no data".

    Returns:
        The radiometry; None if nothing was asked for, so that the file's tags decide.

    Raises:
        InputError: If the name is unknown, or the options do not settle the scale.
    """
    if name is None and scale is None and offset is None and unit is None:
        return None
    if name is None and scale is None:
        if offset not in (0.0, -1000.0):
            raise InputError(f"--offset {offset if offset is not None else '(none)'} does not settle the scale; give --gain too")
        name = "s2" if offset == 0.0 else "s2-offset"
    base = radiometry_named(name) if name is not None else Radiometry()
    nodata = base.nodata if nodata is None else nodata
    return replace(
        base,
        scale=base.scale if scale is None else scale,
        offset=base.offset if offset is None else offset,
        unit=base.unit if unit is None else unit,
        nodata=nodata,
        # The file's own type comes before this one; it must only be able to hold the nodata value.
        dtype=base.dtype if fitting_nodata(nodata, base.dtype) == nodata else "float64",
    )
