"""What a file's tags say about its numbers; where they leave it open, the sentence that names the option which settles it.

Nothing is ever concluded from pixel values. In order: our own tags; GDAL's scale and offset; Sentinel-2's offset or processing baseline;
the convention that 8-bit red, green, blue are display values; a unit on floats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from .radiometry import DTYPES, S2_HELP, Radiometry, fitting_nodata
from .sensors import sensors
from .tags import stored_radiometry


@dataclass(frozen=True)
class BandFacts:
    """What a file says of one band.

    Attributes:
        name: As chosen.
        dtype: Type of the stored numbers.
        nodata: Nodata value, if any.
        scale: GDAL's scale tag; 1 where there is none.
        offset: GDAL's offset tag, in physical units; 0 where there is none.
        unit: GDAL's unit tag; empty where there is none.
        colour: GDAL's colour interpretation, lower case.
    """

    name: str
    dtype: str
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    colour: str = "undefined"


@dataclass(frozen=True)
class Detected:
    """What was found.

    Attributes:
        radiometry: None where the tags leave it open.
        source: Which tag or convention says so.
        ambiguity: One sentence on what is missing and which option settles it; None where nothing is.
    """

    radiometry: Radiometry | None
    source: str = ""
    ambiguity: str | None = None


def detect_radiometry(path: object, bands: Sequence[BandFacts], tags: Mapping[str, str], driver: str) -> Detected:
    """Find the radiometry that bands of a file share.

    Args:
        path: Named in the sentence.
        bands: The bands that are to be read.
        tags: The file's tags.
        driver: GDAL's name of the format.

    Returns:
        The radiometry, or the reason why it is open.

    Raises:
        InputError: If the type of the numbers cannot be read at all.
    """
    dtypes = {band.dtype for band in bands}
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        raise InputError(f"{path} holds numbers of type {', '.join(sorted(dtypes))}; convert it to one of {', '.join(DTYPES)}")
    dtype, nodata = bands[0].dtype, bands[0].nodata
    found = [
        ("EARTHGEN_* tags", stored_radiometry(tags, dtype, nodata)),
        _by_gdal_tags(bands, dtype, nodata),
        _by_sentinel_tags(tags, dtype, nodata),
    ]
    if len({(band.scale, band.offset, band.unit) for band in bands}) > 1:
        reason = (
            f"the bands of {path} have different scales, offsets or units in their tags; read them one by one, or give --gain, --offset"
        )
        return Detected(None, "", reason)
    told = [(source, radiometry) for source, radiometry in found if radiometry is not None]
    if told and any(not _agree(radiometry, told[0][1]) for _, radiometry in told):
        listed = " but ".join(f"{source}: scale {found.scale:g}, offset {found.offset:g}" for source, found in told)
        return Detected(None, "", f"the tags of {path} contradict each other ({listed}); {_options(dtype)}")
    if told:
        return Detected(told[0][1], told[0][0])
    return _by_convention(path, bands, dtype, nodata, driver)


def settle(explicit: Radiometry, dtype: str, nodata: float | None) -> Radiometry:
    """The caller's radiometry on a file: the file's own type and, where it has one, its own nodata value."""
    return replace(explicit, dtype=dtype, nodata=fitting_nodata(explicit.nodata, dtype) if nodata is None else nodata)


def _agree(one: Radiometry, other: Radiometry) -> bool:
    return abs(one.scale - other.scale) <= 1e-9 * abs(other.scale) and abs(one.offset - other.offset) <= 1e-6 * max(1.0, abs(other.offset))


def _by_gdal_tags(bands: Sequence[BandFacts], dtype: str, nodata: float | None) -> tuple[str, Radiometry | None]:
    scale, offset, unit = bands[0].scale, bands[0].offset, bands[0].unit
    source = f"scale and offset tags ({scale:g}, {offset:g})"
    if (scale, offset) == (1.0, 0.0) or scale == 0:
        return source, None
    try:
        return source, Radiometry.from_gdal(scale, offset, nodata=nodata, unit=unit or _unit_of(scale), dtype=dtype)
    except (InputError, OverflowError):
        return source, None


def _unit_of(scale: float) -> str:
    """The unit that every product of the table with this scale has; "unknown" if none has."""
    units = {row.unit for row in sensors().values() if row.scale != 1 and abs(row.scale - scale) <= 1e-6 * abs(row.scale)}
    return units.pop() if len(units) == 1 else "unknown"


def _by_sentinel_tags(tags: Mapping[str, str], dtype: str, nodata: float | None) -> tuple[str, Radiometry | None]:
    upper = {name.upper(): value for name, value in tags.items()}
    added = {name: value for name, value in upper.items() if re.match(r"(?:BOA|RADIO)_ADD_OFFSET", name)}
    quantification = upper.get("BOA_QUANTIFICATION_VALUE") or upper.get("QUANTIFICATION_VALUE")
    baseline = upper.get("PROCESSING_BASELINE", "")
    said = " ".join(upper.get(name, "") for name in ("PRODUCT_URI", "PRODUCT_TYPE", "SPACECRAFT_NAME")).upper()
    is_msi = bool(re.search(r"MSI ?L?[12][AC]|SENTINEL-?2", said))
    if not re.fullmatch(r"u?int(?:16|32)", dtype) or not (quantification or is_msi):
        return "", None
    try:
        scale = 1.0 / float(quantification or 10_000)
        if added:
            offsets = {float(value) for value in added.values()}
            if len(offsets) == 1:
                return f"tag {min(added)}", Radiometry(scale, offsets.pop(), nodata, "reflectance", dtype)
        elif re.fullmatch(r"\d\d\.\d\d", baseline):
            offset = -1000.0 if baseline >= "04.00" else 0.0
            return f"tag PROCESSING_BASELINE ({baseline})", Radiometry(scale, offset, nodata, "reflectance", dtype)
    except (ValueError, ZeroDivisionError):
        pass
    return "", None


def _by_convention(path: object, bands: Sequence[BandFacts], dtype: str, nodata: float | None, driver: str) -> Detected:
    colours = [band.colour for band in bands]
    coloured = bool({"red", "green", "blue"} & set(colours)) or {"red", "green", "blue"} & {band.name for band in bands}
    picture = driver in ("PNG", "JPEG")
    if dtype == "uint8" and (coloured or picture):
        return Detected(Radiometry(1.0 / 255.0, 0.0, nodata, "display", dtype), "convention: 8-bit colours are display values / 255")
    if dtype == "uint16" and picture and coloured:
        return Detected(Radiometry(1.0 / 65535.0, 0.0, nodata, "display", dtype), "convention: 16-bit colours are display values / 65535")
    if dtype.startswith("float") and bands[0].unit:
        return Detected(Radiometry(1.0, 0.0, nodata, bands[0].unit, dtype), f"unit tag ({bands[0].unit})")
    if "palette" in colours:
        return Detected(None, "", f"{path} holds indexes of a colour table, not measurements; give --radiometry display8 to insist")
    return Detected(None, "", f"{path} holds {dtype} numbers, and no tag tells what they mean; {_options(dtype)}")


def _options(dtype: str) -> str:
    if dtype.startswith("float"):
        return "give --radiometry reflectance (0 to 1) or db, or --gain and --offset"
    if dtype == "uint8":
        return "give --radiometry display8 (value / 255), or --gain and --offset"
    return f"give --radiometry s2 or s2-offset (or --offset 0 or -1000; {S2_HELP}), landsat, planetscope, or --gain and --offset"
