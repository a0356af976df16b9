"""Procedural close-ups with labelled objects: houses, trees, ships and aeroplanes on fitting ground, lit by one sun.

The shapes are those of the procedural world (`world.stamp`), seen at any pixel size; trees are drawn here. A scene is a pure function of
the generator that it is handed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .objects import ObjectPicture, Quads
from .objects_ground import LOOKS, Array, colour, ground, rough_noise
from .objects_place import Placed, place_objects
from .world.lattice import Grid
from .world.spectra import REFLECTANCE
from .world.stamp import draw
from .world.sunlight import Sun

NAMES = ("building", "tree", "ship", "plane")
"""What is labelled."""
_SCENES = (("village", 0.24), ("suburb", 0.14), ("woodland", 0.22), ("sea", 0.2), ("airfield", 0.2))
_WORDS = {
    "village": ("a village with houses", "houses on bare ground", "aerial image of a village with trees"),
    "suburb": ("houses with gardens", "aerial image of a suburb", "a suburb with houses and trees"),
    "woodland": ("trees on open ground", "aerial image of trees", "savanna with trees"),
    "sea": ("ships on the water", "satellite image of ships", "a harbour with ships"),
    "airfield": ("planes on an airfield", "satellite image of parked planes", "an apron with planes"),
}
_CROWNS = ("broadleaf", "broadleaf", "conifer", "shrub", "autumn leaves", "grass")


@dataclass
class _Canvas:
    """What is seen so far: reflectance ``[3, H, W]`` and height above ground ``[H, W]`` in metres."""

    seen: Array
    height: Array
    gsd: float
    sun: Sun


def object_scene(rng: np.random.Generator, size: int = 160, kinds: tuple[str, ...] = ()) -> ObjectPicture:
    """One scene.

    Args:
        rng: Decides everything.
        size: Side in pixels.
        kinds: Of `LOOKS`, to choose from; all if empty.

    Returns:
        The picture; boxes are rotated where the object has a direction, horizontal for trees, and in some pictures horizontal for all.
    """
    chosen = [(kind, share) for kind, share in _SCENES if not kinds or kind in kinds]
    shares = np.array([share for _, share in chosen])
    kind = chosen[int(rng.choice(len(chosen), p=shares / shares.sum()))][0]
    placed = place_objects(rng, kind, size)
    sun = Sun(float(rng.uniform(28, 65)), float(rng.uniform(90, 270)))
    canvas = _Canvas(ground(rng, LOOKS[kind], size, placed.gsd), np.zeros((size, size), np.float32), placed.gsd, sun)
    if kind == "sea":
        _wakes(rng, canvas, placed)
    _draw_things(canvas, placed)
    for tree in placed.trees:
        _draw_tree(rng, canvas, tree)
    _shade(canvas)
    quads, labels = _labels(placed)
    if rng.random() < 0.25:
        quads = _upright(quads)
    captions = (*_WORDS[kind], "") if len(labels) else ("",)
    pixels = _shown(rng, canvas.seen)
    return ObjectPicture(f"scene {kind}", pixels, quads, labels, "procedural", placed.gsd, captions)


def captions_of_scenes() -> tuple[str, ...]:
    """All captions that scenes may have."""
    return tuple(caption for words in _WORDS.values() for caption in words)


def _labels(placed: Placed) -> tuple[Quads, tuple[str, ...]]:
    x, y = placed.things.corners()
    boxes = np.stack([x, y], -1)[: placed.labelled] / placed.gsd
    crowns = [[[cx - r, cy - r], [cx + r, cy - r], [cx + r, cy + r], [cx - r, cy + r]] for cx, cy, r in placed.trees]
    quads = np.concatenate([boxes.reshape(-1, 4, 2), np.array(crowns, np.float64).reshape(-1, 4, 2)])
    return quads, (*(placed.label,) * placed.labelled, *("tree",) * len(crowns))


def _upright(quads: Quads) -> Quads:
    low, high = quads.min(1), quads.max(1)
    return np.stack([low, np.stack([high[:, 0], low[:, 1]], -1), high, np.stack([low[:, 0], high[:, 1]], -1)], 1)


def _draw_things(canvas: _Canvas, placed: Placed) -> None:
    if not len(placed.things):
        return
    side = canvas.height.shape[0]
    drawn = draw(placed.things, Grid(0, 0, side, side, canvas.gsd), canvas.sun)
    surface = REFLECTANCE[drawn.material][..., [3, 2, 1]].transpose(2, 0, 1) * (drawn.tone * drawn.lit)
    canvas.seen += (surface - canvas.seen) * drawn.cover
    np.maximum(canvas.height, drawn.height * (drawn.cover > 0.4), out=canvas.height)


def _draw_tree(rng: np.random.Generator, canvas: _Canvas, tree: tuple[float, float, float]) -> None:
    """A crown: an uneven dome with leaves, brighter towards the sun."""
    x, y, radius = tree
    side = canvas.height.shape[0]
    left, right = max(0, int(x - radius) - 2), min(side, int(x + radius) + 3)
    top, bottom = max(0, int(y - radius) - 2), min(side, int(y + radius) + 3)
    phases, powers = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0, 0.11, 4)
    material, tone = _CROWNS[int(rng.integers(len(_CROWNS)))], rng.uniform(0.75, 1.3)
    leaves = rough_noise(rng, max(8, 2 * int(radius) + 6), max(3.0, radius / 2.5), 3, 0.8)
    if right - left < 2 or bottom - top < 2:
        return
    dy, dx = (np.mgrid[top:bottom, left:right].astype(np.float32) + np.float32(0.5)) - np.array([y, x], np.float32)[:, None, None]
    distance, angle = np.sqrt(dx * dx + dy * dy), np.arctan2(dy, dx)
    rim = radius * (0.9 + sum(p * np.cos((n + 2) * angle + f) for n, (p, f) in enumerate(zip(powers, phases, strict=True))))
    cover = np.clip(np.minimum(rim, radius) - distance + 0.5, 0, 1).astype(np.float32)
    dome = np.sqrt(np.clip(1 - (distance / np.maximum(rim, 1.0)) ** 2, 0, 1)).astype(np.float32)
    rows = np.clip(np.arange(top, bottom) - int(y - radius) + 1, 0, len(leaves) - 1)
    cols = np.clip(np.arange(left, right) - int(x - radius) + 1, 0, len(leaves) - 1)
    tuft = leaves[rows][:, cols]
    toward = (dx * canvas.sun.x + dy * canvas.sun.y) / max(radius, 1.0)
    light = (0.62 + 0.45 * dome + 0.55 * toward + 0.22 * tuft).clip(0.15, 2.0) * tone
    window = (slice(top, bottom), slice(left, right))
    canvas.seen[:, *window] += (colour(material)[:, None, None] * light.astype(np.float32) - canvas.seen[:, *window]) * cover
    rise = np.float32(1.6 * radius * canvas.gsd) * (0.35 + 0.65 * dome)
    np.maximum(canvas.height[window], rise * (cover > 0.5), out=canvas.height[window])


def _shade(canvas: _Canvas) -> None:
    """Darken what lies in the shadow of something higher towards the sun."""
    flat = np.hypot(canvas.sun.x, canvas.sun.y)
    climb = canvas.sun.z / flat * canvas.gsd
    reach = int(min(40.0, float(canvas.height.max()) / climb)) if canvas.height.size else 0
    dark = np.zeros_like(canvas.height)
    side = canvas.height.shape[0]
    for step in range(1, reach + 1):
        right, down = round(step * canvas.sun.x / flat), round(step * canvas.sun.y / flat)
        rows, cols = np.clip(np.arange(side) + down, 0, side - 1), np.clip(np.arange(side) + right, 0, side - 1)
        higher = canvas.height[rows][:, cols] - canvas.height - np.float32(step * climb)
        np.maximum(dark, np.clip(higher / np.float32(climb) + np.float32(0.2), 0, 1), out=dark)
    sky = np.array([0.3, 0.36, 0.45], np.float32)[:, None, None]
    canvas.seen *= 1 - dark * (1 - sky)


def _wakes(rng: np.random.Generator, canvas: _Canvas, placed: Placed) -> None:
    """Foam behind some of the ships, and waves."""
    side = canvas.height.shape[0]
    canvas.seen *= np.float32(1) + np.float32(0.06) * rough_noise(rng, side, 30.0, 3)
    y, x = (np.mgrid[:side, :side].astype(np.float32) + np.float32(0.5)) * np.float32(canvas.gsd)
    foam = colour("foam")[:, None, None]
    things = placed.things
    for number in range(placed.labelled):
        if rng.random() > 0.35:
            continue
        dx, dy = x - np.float32(things.x[number]), y - np.float32(things.y[number])
        along = -(dx * np.float32(things.cos[number]) + dy * np.float32(things.sin[number])) - np.float32(0.45 * things.length[number])
        across = np.abs(dy * np.float32(things.cos[number]) - dx * np.float32(things.sin[number]))
        long = np.float32(rng.uniform(1.0, 3.0) * things.length[number])
        width = np.float32(0.4 * things.width[number]) + np.float32(0.09) * np.maximum(along, 0)
        strength = np.clip(1 - along / long, 0, 1) * np.clip((width - across) / np.float32(canvas.gsd), 0, 1) * (along > 0)
        canvas.seen += (foam - canvas.seen) * strength * np.float32(rng.uniform(0.3, 0.8))


def _shown(rng: np.random.Generator, seen: Array) -> NDArray[np.uint8]:
    """As a camera shows it: exposure, cast, gamma, blur and a little noise."""
    white = np.float32(rng.uniform(0.28, 0.5))
    cast = rng.uniform(0.92, 1.08, 3).astype(np.float32)[:, None, None]
    haze = np.array([0.01, 0.014, 0.022], np.float32)[:, None, None] * np.float32(rng.uniform(0, 1.6))
    bright = np.clip((seen + haze) * cast / white, 0, 1) ** np.float32(rng.uniform(0.6, 1.0))
    soft = np.float32(rng.uniform(0, 0.6))
    for axis in (1, 2):
        around = 0.5 * (np.roll(bright, 1, axis) + np.roll(bright, -1, axis))
        bright = bright + (around - bright) * soft * np.float32(0.6)
    bright = bright + np.float32(rng.uniform(0.002, 0.012)) * rng.standard_normal(bright.shape).astype(np.float32)
    return np.clip(bright * 255 + 0.5, 0, 255).astype(np.uint8)
