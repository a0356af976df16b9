"""Draws all things of a table at once: every (thing, pixel) pair of their bounding boxes in flat arrays, with soft edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .lattice import Array, Grid
from .spectra import SPECTRUM
from .sunlight import Sun
from .things import AIRFRAME, DISC, GABLE, HALL, HULL, Things

_TILT = {GABLE: 0.62, HALL: 0.1}  # of roofs, radians


@dataclass
class Drawn:
    """Things on a canvas, ``[h, w]`` each.

    Attributes:
        cover: Share of the pixel that they cover.
        which: Row of the thing on top in the table, -1 where there is none.
        material: Row of the spectra.
        tone: Brightness factor.
        lit: Direct sunlight on the surface, as a multiple of that on level ground.
        height: Above ground, metres.
    """

    cover: Array
    which: Array
    material: Array
    tone: Array
    lit: Array
    height: Array


def draw(things: Things, grid: Grid, sun: Sun) -> Drawn:
    """Draw a table of things on a window.

    Args:
        things: In the order in which they lie on one another.
        grid: The window.
        sun: Lights the roofs.
    """
    size = grid.height * grid.width
    flat = Drawn(*(np.full(size, value, kind) for value, kind in ((0, "f4"), (-1, "i4"), (0, "u1"), (1, "f4"), (1, "f4"), (0, "f4"))))
    if len(things):
        thing, pixel = _pairs(things, grid)
        if thing.size:
            _draw_pairs(things, thing, pixel, grid, sun, flat)
    return Drawn(*(layer.reshape(grid.shape) for layer in vars(flat).values()))


def _pairs(things: Things, grid: Grid) -> tuple[Array, Array]:
    """Numbers of things and of pixels inside their bounding boxes."""
    half_x = 0.5 * (np.abs(things.cos) * things.length + np.abs(things.sin) * things.width) + grid.size
    half_y = 0.5 * (np.abs(things.sin) * things.length + np.abs(things.cos) * things.width) + grid.size
    left = np.clip(np.floor((things.x - half_x) / grid.size).astype(np.int64) - grid.col, 0, grid.width)
    right = np.clip(np.floor((things.x + half_x) / grid.size).astype(np.int64) - grid.col + 1, 0, grid.width)
    top = np.clip(np.floor((things.y - half_y) / grid.size).astype(np.int64) - grid.row, 0, grid.height)
    bottom = np.clip(np.floor((things.y + half_y) / grid.size).astype(np.int64) - grid.row + 1, 0, grid.height)
    wide, high = right - left, bottom - top
    counts = wide * high
    thing = np.repeat(np.arange(len(things)), counts)
    place = np.arange(thing.size) - np.repeat(np.cumsum(counts) - counts, counts)
    down, over = np.divmod(place, np.maximum(wide, 1)[thing])
    return thing, (top[thing] + down) * grid.width + left[thing] + over


def _draw_pairs(things: Things, thing: Array, pixel: Array, grid: Grid, sun: Sun, flat: Drawn) -> None:
    dx = ((pixel % grid.width + grid.col + 0.5) * grid.size - things.x[thing]).astype(np.float32)
    dy = ((pixel // grid.width + grid.row + 0.5) * grid.size - things.y[thing]).astype(np.float32)
    cos, sin = things.cos.astype(np.float32)[thing], things.sin.astype(np.float32)[thing]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    length, width = things.length.astype(np.float32)[thing], things.width.astype(np.float32)[thing]
    shape = things.shape[thing]
    cover = _box(along, across, length, width, grid.size)
    for code, form in ((DISC, _disc), (HULL, _hull), (AIRFRAME, _airframe)):
        at = np.flatnonzero(shape == code)
        if at.size:
            cover[at] = form(along[at], across[at], length[at], width[at], grid.size)
    flat.cover[:] = np.minimum(np.bincount(pixel, cover, minlength=flat.cover.size), 1.0)
    lit, rise, tone, material = _surfaces(things, thing, along, across, length, width, sun)
    order = things.order[thing]
    for level in np.unique(things.order):
        for low, high in ((0.0, 0.5), (0.5, 2.0)):
            at = np.flatnonzero((order == level) & (cover > low) & (cover <= high))
            pixels = pixel[at]
            flat.which[pixels], flat.material[pixels] = thing[at], material[at]
            flat.tone[pixels], flat.lit[pixels] = tone[at], lit[at]
            flat.height[pixels] = rise[at] * np.minimum(2.0 * cover[at], 1.0)


def _soft(inside: Array, size: float) -> Array:
    """Share of a pixel that lies inside an edge which is `inside` metres away."""
    return np.clip(inside / np.float32(size) + np.float32(0.5), 0.0, 1.0)


def _box(along: Array, across: Array, length: Array, width: Array, size: float) -> Array:
    ends = _soft(0.5 * length - np.abs(along), size) * np.minimum(length / np.float32(size), 1.0)
    return np.asarray(ends * _soft(0.5 * width - np.abs(across), size) * np.minimum(width / np.float32(size) + 0.1, 1.0))


def _disc(along: Array, across: Array, length: Array, width: Array, size: float) -> Array:
    return _soft(0.5 * length - np.sqrt(along * along + across * across), size)


def _hull(along: Array, across: Array, length: Array, width: Array, size: float) -> Array:
    bow = np.clip((along / length - 0.18) / 0.32, 0.0, 1.0)
    stern = np.clip((-along / length - 0.4) / 0.1, 0.0, 1.0)
    half = 0.5 * width * np.sqrt(np.maximum(1.0 - bow * bow, 0.0)) * (1.0 - 0.25 * stern)
    return np.asarray(_soft(half - np.abs(across), size) * _soft(0.5 * length - np.abs(along), size))


def _airframe(along: Array, across: Array, length: Array, width: Array, size: float) -> Array:
    side = np.abs(across)
    nose = np.clip((along / length - 0.36) / 0.14, 0.0, 1.0)
    body = _soft(0.06 * length * np.sqrt(np.maximum(1.0 - nose * nose, 0.0)) - side, size) * _soft(0.5 * length - np.abs(along), size)
    wing = _soft(0.1 * length * (1.0 - 0.62 * side / (0.5 * width)) - np.abs(along - 0.1 * length + 0.52 * side), size) * _soft(
        0.5 * width - side, size
    )
    tail = _soft(0.05 * length * (1.0 - 1.6 * side / length) - np.abs(along + 0.4 * length + 0.4 * side), size) * _soft(
        0.19 * length - side, size
    )
    return np.asarray(np.maximum(np.maximum(body, wing), tail))


def _surfaces(
    things: Things, thing: Array, along: Array, across: Array, length: Array, width: Array, sun: Sun
) -> tuple[Array, Array, Array, Array]:
    """Sunlight, height, tone and material of each pair."""
    shape = things.shape[thing]
    tilt = np.zeros(6, np.float32)
    for code, angle in _TILT.items():
        tilt[code] = angle
    # The lit side of a roof: its normal leans across the ridge.
    toward = (sun.y * things.cos - sun.x * things.sin).astype(np.float32)[thing] * np.sign(across)
    lean = tilt[shape]
    lit = np.clip(np.cos(lean) + np.sin(lean) * toward / np.float32(sun.z), 0.0, 2.6)
    part = np.clip(1.0 - np.abs(across) / (0.5 * width), 0.0, 1.0)
    height = things.height.astype(np.float32)[thing]
    rise = np.where(shape == GABLE, height * (0.62 + 0.38 * part), height)
    tone = things.tone.astype(np.float32)[thing]
    material = things.material[thing].astype(np.uint8)
    roof = np.flatnonzero(shape == DISC)
    if roof.size:
        # A low cone: the side towards the sun is brighter.
        radius = 0.5 * length[roof] + 1e-6
        east = things.cos.astype(np.float32)[thing[roof]] * along[roof] - things.sin.astype(np.float32)[thing[roof]] * across[roof]
        south = things.sin.astype(np.float32)[thing[roof]] * along[roof] + things.cos.astype(np.float32)[thing[roof]] * across[roof]
        lit[roof] = np.clip(1.0 + 0.16 * (east * sun.x + south * sun.y) / (radius * np.float32(sun.z)), 0.5, 1.5)
    deck = np.flatnonzero(shape == HULL)
    if deck.size:
        place, long = along[deck] / length[deck], length[deck]
        bridge = (place < -0.28) & (place > -0.42) & (long > 30.0) & (np.abs(across[deck]) < 0.36 * width[deck])
        hatch = (
            (np.mod(place * 7.0, 1.0) < 0.6) & (np.abs(across[deck]) < 0.34 * width[deck]) & (np.abs(place + 0.02) < 0.26) & (long > 60.0)
        )
        material[deck] = np.where(bridge, SPECTRUM["white paint"], np.where(hatch, SPECTRUM["brown tiles"], material[deck]))
        rise[deck] = np.where(bridge, 2.2 * rise[deck], rise[deck])
    return lit.astype(np.float32), rise.astype(np.float32), tone, material
