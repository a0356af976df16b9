"""A caption and metadata for a window."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from .lattice import Array
from .spectra import CLASSES

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_PLURAL = {
    "building": "buildings",
    "greenhouse": "greenhouses",
    "storage tank": "storage tanks",
    "plane": "planes",
    "ship": "ships",
    "vehicle": "vehicles",
}


def shares_of(cover: Array) -> dict[str, float]:
    """Share of each land-cover class, largest first; classes below a thousandth are left out."""
    counts = np.bincount(cover.ravel(), minlength=max(CLASSES) + 1) / max(cover.size, 1)
    found = {CLASSES[code]: float(counts[code]) for code in CLASSES if counts[code] >= 0.001}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def season_of(latitude: float, month: int) -> str:
    """Meteorological season."""
    shifted = (month + (6 if latitude < 0 else 0) - 1) % 12 + 1
    return ("winter", "spring", "summer", "autumn")[shifted % 12 // 3]


def caption_of(metadata: dict[str, Any], things: list[str]) -> str:
    """One or two plain sentences.

    Args:
        metadata: Of the scene; ``land_cover``, ``latitude``, ``date``, ``elevation``, ``snow``, ``cloud_cover`` are read.
        things: Class names of the objects in view.
    """
    shares = metadata["land_cover"]
    main = _main_theme(shares, metadata)
    extras = [phrase for phrase, name, least in _EXTRAS if shares.get(name, 0.0) > least and phrase not in main]
    month = int(metadata["date"][5:7])
    text = f"A satellite view of {main}"
    if extras:
        text += " with " + (extras[0] if len(extras) == 1 else ", ".join(extras[:-1][:3]) + " and " + extras[-1])
    text += f" in {season_of(metadata['latitude'], month)} ({_MONTHS[month - 1]})."
    counts = Counter(things)
    named = [f"{count} {_PLURAL[name] if count > 1 else name}" for name, count in counts.most_common() if name != "vehicle"]
    if named:
        text += " It shows " + (named[0] if len(named) == 1 else ", ".join(named[:-1]) + " and " + named[-1]) + "."
    if metadata["snow"] > 0.3:
        text += " Snow lies on the ground."
    return text


_EXTRAS = (
    ("open water", "water", 0.03), ("woods", "broadleaf trees", 0.06), ("conifers", "conifers", 0.06), ("fields", "crops", 0.1),
    ("meadows", "grass", 0.12),
    ("orchards and vines", "orchards and vines", 0.03), ("houses", "building", 0.01), ("roads", "road", 0.03), ("a railway", "railway",
    0.004),
    ("an airfield", "airfield pavement", 0.01), ("solar panels", "solar panels", 0.005), ("a marsh", "wetland", 0.03),
)  # fmt: skip


def _main_theme(shares: dict[str, float], metadata: dict[str, Any]) -> str:
    def share(*names: str) -> float:
        return sum(shares.get(name, 0.0) for name in names)

    themes = {
        "open water": share("water") * 1.2,
        "farmland": share("crops", "grass", "orchards and vines"),
        "woodland": share("broadleaf trees", "conifers") * 1.1,
        "a dense city quarter": share("building") * 4.0 if share("building") > 0.16 else 0.0,
        "a residential area": share("built-up ground", "building", "road") * 1.4 if share("building") <= 0.16 else 0.0,
        "an airfield": share("airfield pavement") * 8.0,
        "barren land": share("bare ground"),
        "scrubland": share("shrub"),
        "snowy peaks": share("permanent snow") * 2.0,
        "wetland": share("wetland") * 1.3,
    }
    name = max(themes, key=lambda theme: themes[theme])
    if name == "barren land":
        return "a desert" if metadata["aridity"] > 0.5 else "bare mountains" if metadata["elevation"] > 900 else "bare land"
    return f"hilly {name}" if metadata["relief"] > 90 and name in ("farmland", "woodland") else name
