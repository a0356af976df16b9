"""What OpenStreetMap tags are drawn as: classes, colours and widths, in the order of drawing.

The map's colours are those of the procedural world's map (`gen.data.world.PALETTE`), so that a model trained on its maps reads these. The
segmentation has LoveDA's seven classes and the colours that CRS-Diff was trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..data.world.mapping import PALETTE

LOVEDA: dict[str, tuple[int, int, int]] = {
    "background": (255, 255, 255),
    "building": (255, 0, 0),
    "road": (255, 255, 0),
    "water": (0, 0, 255),
    "barren": (159, 129, 183),
    "forest": (0, 255, 0),
    "agriculture": (255, 195, 128),
}
"""Segmentation class to red, green, blue."""
PAPER = (242, 239, 233)
"""Colour of the map where nothing is drawn."""


@dataclass(frozen=True)
class DrawnClass:
    """A class of the map.

    Attributes:
        colour: Red, green, blue on the map.
        segment: Its class in `LOVEDA`.
    """

    colour: tuple[int, int, int]
    segment: str


CLASSES: dict[str, DrawnClass] = {
    "background": DrawnClass(PAPER, "background"),
    "built-up ground": DrawnClass(PALETTE["built-up ground"], "background"),
    "crops": DrawnClass(PALETTE["crops"], "agriculture"),
    "orchards and vines": DrawnClass(PALETTE["orchards and vines"], "agriculture"),
    "grass": DrawnClass(PALETTE["grass"], "background"),
    "bare ground": DrawnClass(PALETTE["bare ground"], "barren"),
    "wood": DrawnClass(PALETTE["broadleaf trees"], "forest"),
    "wetland": DrawnClass(PALETTE["wetland"], "water"),
    "water": DrawnClass(PALETTE["water"], "water"),
    "track": DrawnClass(PALETTE["track"], "road"),
    "street": DrawnClass(PALETTE["street"], "road"),
    "main road": DrawnClass(PALETTE["main road"], "road"),
    "motorway": DrawnClass(PALETTE["motorway"], "road"),
    "railway": DrawnClass(PALETTE["railway"], "background"),
    "building": DrawnClass(PALETTE["building"], "building"),
}
"""Class to how it is drawn; a later class covers an earlier one."""

ROADS: dict[str, tuple[str, float]] = {
    "motorway": ("motorway", 22.0),
    "trunk": ("motorway", 18.0),
    "motorway_link": ("motorway", 7.0),
    "trunk_link": ("motorway", 7.0),
    "primary": ("main road", 11.0),
    "secondary": ("main road", 9.0),
    "tertiary": ("main road", 7.5),
    "primary_link": ("main road", 6.0),
    "secondary_link": ("main road", 6.0),
    "tertiary_link": ("main road", 6.0),
    "residential": ("street", 6.0),
    "unclassified": ("street", 6.0),
    "living_street": ("street", 5.0),
    "service": ("street", 4.0),
    "pedestrian": ("street", 5.0),
    "road": ("street", 6.0),
    "track": ("track", 3.0),
    "path": ("track", 1.5),
    "footway": ("track", 1.5),
    "cycleway": ("track", 2.0),
    "bridleway": ("track", 2.0),
}
"""``highway`` to class and width in metres."""
WATERWAYS = {"river": 20.0, "canal": 12.0, "stream": 3.0, "ditch": 1.5, "drain": 1.5}
"""``waterway`` drawn as a line to width in metres."""
RAILWAYS = {"rail": 4.0, "light_rail": 3.5, "tram": 3.0, "narrow_gauge": 3.0}
"""``railway`` to width in metres."""
AREAS: dict[tuple[str, str], str] = {
    **{("natural", value): "water" for value in ("water", "bay")},
    **{("landuse", value): "water" for value in ("reservoir", "basin")},
    ("waterway", "riverbank"): "water",
    ("natural", "wetland"): "wetland",
    **{("natural", value): "wood" for value in ("wood", "tree_row")},
    ("landuse", "forest"): "wood",
    **{("landuse", value): "crops" for value in ("farmland", "greenhouse_horticulture")},
    **{("landuse", value): "orchards and vines" for value in ("orchard", "vineyard")},
    **{("landuse", value): "grass" for value in ("grass", "meadow", "village_green", "recreation_ground", "cemetery")},
    **{("natural", value): "grass" for value in ("grassland", "heath", "scrub", "fell")},
    **{("leisure", value): "grass" for value in ("park", "garden", "golf_course", "pitch", "common")},
    **{("natural", value): "bare ground" for value in ("sand", "beach", "bare_rock", "scree", "shingle")},
    **{("landuse", value): "bare ground" for value in ("quarry", "construction", "brownfield", "landfill")},
    **{("landuse", value): "built-up ground" for value in ("residential", "industrial", "commercial", "retail", "garages", "farmyard")},
    ("amenity", "parking"): "built-up ground",
}
"""Key and value of an area to its class."""


def class_of(tags: Mapping[str, str], is_line: bool) -> tuple[str, float] | None:
    """What tags are drawn as.

    Args:
        tags: OpenStreetMap keys and values.
        is_line: Whether the geometry is a line; roads, rails and streams can also be areas.

    Returns:
        Class and width in metres (0 for an area); None for what is not drawn, such as tunnels.
    """
    if tags.get("tunnel", "no") not in ("no", "") or tags.get("location") == "underground":
        return None
    width = _metres(tags.get("width", ""))
    if is_line:
        found: tuple[str, float] | None = None
        if tags.get("highway", "") in ROADS:
            found = ROADS[tags["highway"]]
        elif tags.get("railway", "") in RAILWAYS:
            found = ("railway", RAILWAYS[tags["railway"]])
        elif tags.get("waterway", "") in WATERWAYS:
            found = ("water", WATERWAYS[tags["waterway"]])
        return (found[0], width or found[1]) if found else None
    if tags.get("building", "no") != "no":
        return "building", 0.0
    if tags.get("highway", "") in ROADS:
        return ROADS[tags["highway"]][0], 0.0
    return next(((name, 0.0) for (key, value), name in AREAS.items() if tags.get(key) == value), None)


def _metres(text: str) -> float | None:
    try:
        value = float(text.removesuffix("m").strip())
    except ValueError:
        return None
    return value if 0 < value < 200 else None
