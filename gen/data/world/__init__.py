"""One procedural world: a seeded, georeferenced, physically sensible Earth for demos, tests and pre-training.

``World(seed).window(row, col, height, width, date)`` is a `Scene`: land cover, relief and rivers, roads, buildings, ships, planes and
tanks with rotated boxes,
reflectance in thirteen bands, radar, a height model, a map, clouds, and lasting changes. A place is the same from whatever window it is
seen, to the last bit.
"""

from __future__ import annotations

from .changes import Change, ChangeEvent
from .clouds import MASK
from .landuse import EVENTS
from .mapping import PALETTE
from .scene import LAYERS, Scene
from .spectra import BANDS, CLASSES
from .things import KINDS, WorldObject
from .world import World

__all__ = ["BANDS", "CLASSES", "EVENTS", "KINDS", "LAYERS", "MASK", "PALETTE", "Change", "ChangeEvent", "Scene", "World", "WorldObject"]
