"""Pictures with what is known of them: caption, place, date, ground sampling distance, masks of what lies where.

Held as bytes: a display picture needs no more, and a collection of some hundred scenes then fits into a quarter of a gigabyte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

COVER = ("water", "trees", "fields", "bare", "snow", "building", "paved")
"""What a mask can say lies somewhere: crops, grass and shrubs are `fields`, roads and yards are `paved`."""
UNKNOWN = 255
"""Code of a pixel of which a mask says nothing."""

_COORDINATES = re.compile(r"(\d+(?:\.\d+)?)([NS]) (\d+(?:\.\d+)?)([EW])")


@dataclass(frozen=True)
class Described:
    """A picture and what is known of it.

    Attributes:
        name: Unique name.
        pixels: ``[3, H, W]`` uint8, red, green, blue as displayed.
        place: Name of the place, for dividing into training and test.
        gsd: Metres per pixel; None where unknown.
        lat: Degrees north.
        lon: Degrees east.
        date: ``2021``, ``2021-06`` or ``2021-06-14``.
        cloud_cover: Share of the picture under clouds, 0 to 1.
        captions: Sentences that all fit the picture.
        mask: Codes ``[H, W]`` uint8: position in `COVER`, or `UNKNOWN`; None without a mask.
        quality: A score that a collection gives its pictures; None where it gives none.
        hints: Pictures ``[C, H, W]`` uint8 of the same place by name: maps, edges, depths.
    """

    name: str
    pixels: Bytes
    place: str
    gsd: float | None = None
    lat: float | None = None
    lon: float | None = None
    date: str | None = None
    cloud_cover: float | None = None
    captions: tuple[str, ...] = ()
    mask: Bytes | None = None
    quality: float | None = None
    hints: Mapping[str, Bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What is said in the captions of a picture."""

    subject: str = ""
    place: str = ""
    view: str = "satellite image"
    month: str = ""
    own: tuple[str, ...] = field(default=())


def captions_of(facts: Facts) -> tuple[str, ...]:
    """Sentences from facts: the picture's own captions, then plain ones of several lengths.

    Args:
        facts: What is known; empty texts are left out.

    Returns:
        Different sentences, none where nothing is known.
    """
    where = f" in {facts.place}" if facts.place else ""
    when = f" in {facts.month}" if facts.month else ""
    made: list[str] = list(facts.own)
    if facts.subject:
        made += [facts.subject, f"{facts.subject}{when}", f"{facts.view} of {facts.subject}{where}", f"{facts.subject}{where}{when}"]
        made += [f"{_article(facts.view)} {facts.view} of {facts.subject}{when}"]
    return tuple(dict.fromkeys(text.strip() for text in made if text.strip()))


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"


def coordinates_in(text: str) -> tuple[float, float] | None:
    """Latitude and longitude written like ``36.681N 111.548W``, or None."""
    found = _COORDINATES.search(text)
    if found is None:
        return None
    north, east = float(found[1]), float(found[3])
    return (north if found[2] == "N" else -north), (east if found[4] == "E" else -east)


def cover_of_reflectance(red: NDArray[np.float32], near: NDArray[np.float32], green: NDArray[np.float32], wooded: bool) -> Bytes:
    """A weak mask from reflectances: what the common indices tell apart without doubt, `UNKNOWN` elsewhere.

    Water where NDWI is above 0.1 and the near infrared below 0.15; vegetation where NDVI is above 0.45; bare ground where NDVI is below
    0.2 and NDWI below -0.05; snow where green and near infrared are above 0.45.

    Args:
        red: ``[H, W]``, 0 to 1.
        near: Near infrared, ``[H, W]``.
        green: ``[H, W]``.
        wooded: Whether vegetation here is trees; else it is `fields`.

    Returns:
        Codes ``[H, W]``.
    """
    vegetation = (near - red) / np.maximum(near + red, 1e-3)
    water = (green - near) / np.maximum(green + near, 1e-3)
    codes = np.full(red.shape, UNKNOWN, np.uint8)
    codes[(vegetation < 0.2) & (water < -0.05)] = COVER.index("bare")
    codes[vegetation > 0.45] = COVER.index("trees" if wooded else "fields")
    codes[(water > 0.1) & (near < 0.15)] = COVER.index("water")
    codes[(green > 0.45) & (near > 0.45) & (vegetation < 0.2)] = COVER.index("snow")
    return codes


def cover_from_codes(codes: Bytes, names: Mapping[int, str], classes: Mapping[str, str]) -> Bytes:
    """Another legend's codes in ours.

    Args:
        codes: ``[H, W]``.
        names: Its codes and class names.
        classes: From its class names to ours; a class that is not listed is unknown.
    """
    table = np.full(256, UNKNOWN, np.uint8)
    for code, name in names.items():
        if name in classes:
            table[code] = COVER.index(classes[name])
    return np.asarray(table[codes], np.uint8)
