"""What grows and lies on each kind of ground: the table from which every pixel takes its materials.

A unit is a parcel or one of the fixed kinds of wild ground. Its row says which spectra it mixes at the date, how green it stands, how
coarse its texture is, and how
many trees it carries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .landuse import USE, USES, Parcels
from .lattice import Array, key_of, mix, step
from .moment import Moment
from .phenology import COVER, DEAD_NAMES, GREEN_NAMES, flower_name, season_day, stand
from .spectra import CODE, REFLECTANCE, SPECTRUM, rows_of

# Use: land-cover class, plant cover, ground material, fine texture, stripes, trees per lattice cell.
_USE_ROWS: dict[str, tuple[str, str, str, float, float, float]] = {
    "crop": ("crops", "cereal", "", 0.045, 0.10, 0.0),
    "pasture": ("grass", "pasture", "", 0.085, 0.02, 0.004),
    "meadow": ("grass", "ley", "", 0.05, 0.06, 0.003),
    "orchard": ("orchards and vines", "orchard", "", 0.08, 0.0, 0.0),
    "vines": ("orchards and vines", "vines", "", 0.06, 0.0, 0.0),
    "wood": ("broadleaf trees", "pasture", "litter", 0.1, 0.0, 0.98),
    "heath": ("shrub", "shrub", "", 0.2, 0.0, 0.07),
    "fallow": ("grass", "fallow", "", 0.12, 0.02, 0.006),
    "park": ("grass", "lawn", "", 0.06, 0.0, 0.22),
    "houses": ("built-up ground", "lawn", "paving", 0.14, 0.0, 0.2),
    "centre": ("built-up ground", "lawn", "old asphalt", 0.16, 0.0, 0.1),
    "industry": ("built-up ground", "weeds", "old asphalt", 0.09, 0.0, 0.02),
    "depot": ("built-up ground", "weeds", "gravel", 0.09, 0.0, 0.0),
    "solar": ("solar panels", "pasture", "gravel", 0.05, 0.0, 0.0),
    "parking": ("built-up ground", "none", "asphalt", 0.05, 0.0, 0.02),
    "site": ("bare ground", "none", "soil loess", 0.12, 0.0, 0.0),
    "felled": ("bare ground", "weeds", "litter", 0.22, 0.06, 0.012),
    "burnt": ("bare ground", "weeds", "burnt", 0.2, 0.0, 0.04),
    "quarry": ("bare ground", "none", "stones", 0.16, 0.0, 0.0),
    "wild": ("grass", "alpine", "stones", 0.16, 0.0, 0.0),
    "glass": ("built-up ground", "weeds", "gravel", 0.05, 0.0, 0.0),
    "sports": ("grass", "lawn", "gravel", 0.03, 0.08, 0.02),
}
# Fixed kinds: name, land-cover class, plant cover, ground material, fine texture, trees, how green at most.
_WILD_ROWS: tuple[tuple[str, str, str, str, float, float, float], ...] = (
    ("beach", "bare ground", "none", "sand", 0.04, 0.0, 0.0),
    ("bank", "grass", "reed", "mud", 0.12, 0.3, 0.9),
    ("marsh", "wetland", "reed", "mud", 0.22, 0.03, 0.85),
    ("wood", "broadleaf trees", "pasture", "litter", 0.1, 0.98, 0.35),
    ("conifer wood", "conifers", "pasture", "litter", 0.1, 0.98, 0.3),
    ("alpine", "grass", "alpine", "stones", 0.16, 0.0, 0.85),
    ("scrub", "shrub", "shrub", "stones", 0.24, 0.05, 0.75),
    ("rock", "bare ground", "weeds", "rock", 0.2, 0.0, 0.12),
    ("ice", "permanent snow", "none", "snow", 0.03, 0.0, 0.0),
    ("dunes", "bare ground", "none", "desert sand", 0.05, 0.0, 0.0),
    ("stones", "bare ground", "steppe", "stones", 0.14, 0.0, 0.3),
    ("steppe", "shrub", "steppe", "soil loess", 0.2, 0.012, 1.0),
    ("air grass", "grass", "ley", "soil brown", 0.05, 0.0, 1.0),
    ("runway", "airfield pavement", "none", "asphalt", 0.035, 0.0, 0.0),
    ("apron", "airfield pavement", "none", "concrete", 0.035, 0.0, 0.0),
    ("pivot maize", "crops", "maize", "soil loess", 0.04, 0.0, 1.0),
    ("pivot ley", "crops", "ley", "soil loess", 0.04, 0.0, 1.0),
    ("pivot cereal", "crops", "cereal", "soil loess", 0.04, 0.0, 1.0),
    ("pivot idle", "crops", "fallow", "soil loess", 0.06, 0.0, 0.35),
)
WILD = {row[0]: number for number, row in enumerate(_WILD_ROWS)}
"""Fixed kind of ground to its place behind the parcels."""
_GREENEST = {"houses": 0.88, "centre": 0.34, "industry": 0.3, "solar": 0.4, "wood": 0.35, "felled": 0.8, "quarry": 0.0}
_CROPS = ("cereal", "cereal", "maize", "rape", "beet", "spring cereal", "cereal", "maize", "ley", "sunflower")
_SOILS = ("soil brown", "soil loess", "soil dark", "soil brown", "soil red")


@dataclass(frozen=True)
class Units:
    """Rows of the table, ``[n]`` each unless said; the fixed kinds follow the parcels.

    Attributes:
        cover: Land-cover code, uint8.
        full: Reflectance of full plant cover ``[n, 13]``.
        bare: Reflectance between the plants ``[n, 13]``.
        green: Share of the ground under green plants.
        texture: Relative standard deviation of the fine texture.
        stripe: Relative strength of lines along the parcel.
        trees: Share of the tree lattice that is taken.
        conifer: Share of its trees that are conifers.
        first_wild: Row of the first fixed kind.
    """

    cover: Array
    full: Array
    bare: Array
    green: Array
    texture: Array
    stripe: Array
    trees: Array
    conifer: Array
    first_wild: int


def conifer_share(seed: int, parcels: Parcels) -> Array:
    """How many of a parcel's trees are conifers: more in the cold, and planted woods are of one kind."""
    cool = (9.2 - parcels.ground.warmth) / 3.0 + 0.9 * parcels.middle.smooth(key_of(seed, "conifers"), 2_600.0)
    planted = step(-0.25, 0.25, cool + 1.2 * (parcels.tone - 0.5))
    return np.asarray(0.03 + 0.92 * planted, np.float32)


def make_units(seed: int, parcels: Parcels, moment: Moment) -> Units:
    """The table at a date.

    Args:
        seed: Of the world.
        parcels: Uses of the parcels at the date.
        moment: The date, and where.
    """
    day, year_day = moment.day, moment.year_day
    count, wild = len(parcels.use), len(_WILD_ROWS)
    rows = [_USE_ROWS[name] for name in USES]
    cover = np.array([CODE[row[0]] for row in rows], np.uint8)[parcels.use]
    plant = np.array([COVER[row[1]] for row in rows])[parcels.use]
    soil = _soils(seed, parcels)
    ground = np.array([SPECTRUM[row[2]] if row[2] else -1 for row in rows])[parcels.use]
    ground = np.where(ground >= 0, ground, soil)
    # A field's crop changes with the year.
    turn = np.mod(parcels.crop * 7.31 + 0.381 * np.floor(day / 365.25), 1.0)
    crop = np.array([COVER[name] for name in _CROPS])[(turn * len(_CROPS)).astype(np.int64)]
    plant = np.where(parcels.use == USE["crop"], crop, plant)
    dry = parcels.ground.arid > 0.45
    plant = np.where(dry & np.isin(parcels.use, [USE[n] for n in ("heath", "pasture", "fallow")]), COVER["steppe"], plant)
    conifer = conifer_share(seed, parcels)
    cover = np.where((parcels.use == USE["wood"]) & (conifer > 0.5), CODE["conifers"], cover)
    season = season_day(year_day, parcels.middle.y, parcels.ground.warmth) + 16.0 * (parcels.tone - 0.5)
    wild_warmth = np.array([2.0 if row[0] in ("alpine", "rock") else 9.0 for row in _WILD_ROWS])
    season = np.concatenate([season, season_day(year_day, np.full(wild, moment.strip_y), wild_warmth)])
    plant = np.concatenate([plant, np.array([COVER[row[2]] for row in _WILD_ROWS])])
    green, dead, flower = stand(plant, np.mod(season, 365.0))
    limit = np.ones(count, np.float32)
    for name, most in _GREENEST.items():
        limit[parcels.use == USE[name]] = most
    vigour = 0.86 + 0.2 * parcels.crop
    scale = np.concatenate([limit * vigour, np.array([row[6] for row in _WILD_ROWS])]).astype(np.float32)
    green, dead = np.clip(green * scale, 0.0, 0.98), dead * scale
    ground = np.concatenate([ground, rows_of([row[3] for row in _WILD_ROWS])])
    tone = np.concatenate([0.86 + 0.28 * parcels.tone, np.ones(wild)]).astype(np.float32)
    wet = np.float32(0.9 + 0.1 * np.sin((year_day - 110.0) / 365.0 * 2 * np.pi))
    bare = REFLECTANCE[ground] * (tone * wet)[:, None]
    litter = REFLECTANCE[rows_of([DEAD_NAMES[code] for code in plant])] * (0.9 + 0.1 * tone)[:, None]
    bare = mix(bare, litter, np.clip(dead / np.maximum(1.0 - green, 1e-3), 0.0, 1.0)[:, None])
    names = [flower_name(code) if blooms else GREEN_NAMES[code] for code, blooms in zip(plant, flower, strict=True)]
    full = REFLECTANCE[rows_of(names)].copy()
    turned = np.concatenate([parcels.crop, np.full(wild, 0.5)]).astype(np.float32)[:, None]
    full[:, :5] *= 0.88 + 0.26 * turned  # chlorophyll differs from field to field,
    full[:, 5:10] *= 1.08 - 0.16 * tone[:, None] * turned  # and so does the canopy's structure
    texture = np.concatenate([np.array([row[3] for row in rows])[parcels.use], np.array([row[4] for row in _WILD_ROWS])])
    stripe = np.concatenate([np.array([row[4] for row in rows])[parcels.use], np.zeros(wild)])
    trees = np.concatenate([np.array([row[5] for row in rows])[parcels.use], np.array([row[5] for row in _WILD_ROWS])])
    conifer = np.concatenate([conifer, np.array([0.93 if row[0] == "conifer wood" else 0.06 for row in _WILD_ROWS])])
    cover = np.concatenate([cover, np.array([CODE[row[1]] for row in _WILD_ROWS])]).astype(np.uint8)
    full, bare, green, texture, stripe, trees, conifer = (
        column.astype(np.float32) for column in (full, bare, green, texture, stripe, trees, conifer)
    )
    return Units(cover, full, bare, green, texture, stripe, trees, conifer, count)


def _soils(seed: int, parcels: Parcels) -> Array:
    """Soil of each parcel: one kind over a few kilometres, with exceptions."""
    place = 0.5 + 0.24 * parcels.middle.smooth(key_of(seed, "soil"), 7_000.0) + 0.12 * (parcels.tone - 0.5)
    return rows_of(_SOILS)[np.clip((place * len(_SOILS)).astype(np.int64), 0, len(_SOILS) - 1)]
