"""The map layer: what a street map would print of the same place."""

from __future__ import annotations

import numpy as np

from .lattice import Array
from .roads import LANE, MAIN, MOTORWAY, RAIL, TRACK
from .spectra import CODE
from .surface import Surface
from .things import KIND

PALETTE: dict[str, tuple[int, int, int]] = {
    "water": (170, 211, 223),
    "broadleaf trees": (173, 209, 158),
    "conifers": (157, 202, 138),
    "shrub": (200, 215, 171),
    "grass": (205, 235, 176),
    "crops": (238, 240, 213),
    "orchards and vines": (174, 223, 163),
    "bare ground": (238, 229, 220),
    "permanent snow": (221, 236, 236),
    "built-up ground": (224, 223, 223),
    "airfield pavement": (187, 187, 204),
    "wetland": (207, 230, 205),
    "solar panels": (225, 205, 225),
    "building": (194, 178, 166),
    "motorway": (232, 146, 162),
    "main road": (252, 214, 164),
    "street": (255, 255, 255),
    "track": (172, 131, 70),
    "railway": (112, 112, 112),
}
"""Red, green, blue of each thing on the map. Water, roads and buildings are blended over the ground by their share of the pixel."""
_RANKS = {MOTORWAY: "motorway", MAIN: "main road", LANE: "street", TRACK: "track", RAIL: "railway"}


def draw_map(surface: Surface) -> Array:
    """The map of a canvas, ``[3, h, w]`` uint8."""
    table = np.zeros((256, 3), np.float32)
    for name, code in CODE.items():
        table[code] = PALETTE.get(name, (255, 255, 255))
    image = np.moveaxis(table[surface.units.cover.take(surface.unit)], -1, 0).copy()
    _blend(image, surface.water, "water")
    for rank, name in _RANKS.items():
        _blend(image, surface.laid.cover * (surface.laid.rank == rank), name)
    kinds = np.append(surface.things.kind, -1)[surface.drawn.which]
    fixed = (kinds == KIND["building"]) | (kinds == KIND["greenhouse"]) | (kinds == KIND["storage tank"])
    _blend(image, surface.drawn.cover * fixed, "building")
    return np.asarray(np.floor(image + 0.5), np.uint8)


def _blend(image: Array, share: Array, name: str) -> None:
    if share.any():
        for band, value in enumerate(PALETTE[name]):
            image[band] += share * (np.float32(value) - image[band])
