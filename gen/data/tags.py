"""What a file says about itself: how it was made, and what its numbers mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .radiometry import Radiometry

PREFIX = "EARTHGEN_"

# Tags that describe the stored numbers or the file of the input, and would be wrong on another one.
_STALE_PREFIXES = ("STATISTICS_", "TIFFTAG_XRES", "TIFFTAG_YRES", "TIFFTAG_RESOLUTION", PREFIX, "OVR_", "CACHE_")
_STALE_PARTS = ("ADD_OFFSET", "QUANTIFICATION_VALUE")
_STALE = {"scale_factor", "add_offset", "_FillValue", "spec", "resolution"}


def provenance(model: str, model_digest: str, seed: int | list[int] | None, steps: int, sampler: str, **more: object) -> dict[str, str]:
    """Tags that say that a picture is synthetic and how it was made.

    Args:
        model: Name or path of the model.
        model_digest: Digest over its weights.
        seed: Seed, or seeds of an ensemble.
        steps: Sampling steps.
        sampler: Name of the sampler.
        **more: Anything else, by name; written as upper-case tags. None is left out.

    Returns:
        Tags by name, each beginning with ``EARTHGEN_``.
    """
    from ... import __version__

    seeds = ",".join(map(str, seed)) if isinstance(seed, list) else seed
    facts = {
        "synthetic": "true",
        "version": __version__,
        "model": model,
        "model_digest": model_digest,
        "seed": seeds,
        "steps": steps,
        "sampler": sampler,
        **more,
    }
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in facts.items() if value is not None}


def carried_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of an input that are still true of a picture made from it: date, licence; not statistics or how its numbers were stored."""
    return {
        name: value
        for name, value in tags.items()
        if name not in _STALE and not name.upper().startswith(_STALE_PREFIXES) and not any(part in name.upper() for part in _STALE_PARTS)
    }


def radiometry_tags(radiometry: Radiometry) -> dict[str, str]:
    """Tags from which `stored_radiometry` gets exactly this radiometry back. GDAL's own scale, offset and unit are written beside them."""
    return {
        f"{PREFIX}SCALE": repr(float(radiometry.scale)),
        f"{PREFIX}OFFSET": repr(float(radiometry.offset)),
        f"{PREFIX}UNIT": radiometry.unit,
        f"{PREFIX}DTYPE": radiometry.dtype,
    }


def stored_radiometry(tags: Mapping[str, Any], dtype: str, nodata: float | None) -> Radiometry | None:
    """The radiometry that `radiometry_tags` wrote.

    Args:
        tags: Tags of the file.
        dtype: Type of the file's numbers now: if another program has converted them since, the tags are no longer true.
        nodata: The file's nodata value.

    Returns:
        None if the tags are missing, damaged or out of date.
    """
    if tags.get(f"{PREFIX}DTYPE") != dtype:
        return None
    try:
        scale, offset = float(tags[f"{PREFIX}SCALE"]), float(tags[f"{PREFIX}OFFSET"])
    except (KeyError, ValueError):
        return None
    if not (math.isfinite(scale) and scale != 0 and math.isfinite(offset)):
        return None
    return Radiometry(scale, offset, nodata, str(tags.get(f"{PREFIX}UNIT", "reflectance")), dtype)
