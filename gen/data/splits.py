"""One rule for what is trained on and what is held out: by place, never by file, so that two looks at one place stay on one side.

A place's split is a hash of its name, hence the same for every model of the zoo, whatever else is in the collection: a network that scores
generated pictures has then not seen the places that the generator is tested on.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Literal

from ..errors import InputError

Split = Literal["train", "validation", "test"]
SHARES: dict[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Share of the places in each split."""
WORLD_BLOCK = 1024
"""Side of the squares of the procedural world that are one place, in 10 m pixels."""
_COORDINATES = re.compile(r"([\d.]+)\s*([NS])\s+([\d.]+)\s*([EW])")
_NUMBERED = ("ecomapper",)
"""Folders whose files begin with the number of their place."""


def split_of(place: str) -> Split:
    """The split of a place.

    Args:
        place: Its name; letter case and spaces at the ends do not count.

    Returns:
        ``train``, ``validation`` or ``test``.

    Raises:
        InputError: If the name is empty.
    """
    name = " ".join(place.lower().split())
    if not name:
        raise InputError("a picture without the name of a place belongs to no split; give its place, or the folder that it is from")
    draw = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    for split, share in SHARES.items():
        if draw < share:
            return split
        draw -= share
    return "test"


def place_of(path: str, place: str = "") -> str:
    """Name of a picture's place for `split_of`, from what an index says.

    Plots and tiles of one named area are one place. A place that has only coordinates is named after its cell of one degree; without a
    name and coordinates it is the folder.

    Args:
        path: Path of the picture inside its collection, with forward slashes.
        place: The index's words, such as ``Las Vegas, USA (36.2N 115.2W)`` or ``44.035N 28.559E``.

    Returns:
        The name.
    """
    *folders, file = path.split("/")
    for folder in _NUMBERED:
        if folder in folders:
            return f"{folder} {re.split('[_.]', file)[0]}"
    found = _COORDINATES.search(place)
    named = re.sub(r"\(.*?\)", "", place).strip() if found is None or found.group(0) != place.strip() else ""
    if named:
        return named
    if found is not None:
        return cell_of(*_degrees(found))
    return "/".join(folders)


def cell_of(lat: float, lon: float) -> str:
    """Name of the cell of one degree in which a place lies.

    Args:
        lat: Latitude in degrees.
        lon: Longitude in degrees.
    """
    return f"cell {math.floor(lat)} {math.floor(lon)}"


def world_place(seed: int, row: int, col: int) -> str:
    """Name of the square of the procedural world in which a pixel lies.

    Args:
        seed: Of the world.
        row: Row of 10 m pixels; of a window take its middle.
        col: Column.
    """
    return f"world {seed} {row // WORLD_BLOCK} {col // WORLD_BLOCK}"


def _degrees(found: re.Match[str]) -> tuple[float, float]:
    lat, north, lon, east = found.groups()
    return float(lat) * (1 if north == "N" else -1), float(lon) * (1 if east == "E" else -1)
