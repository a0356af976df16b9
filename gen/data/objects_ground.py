"""Ground for procedural scenes of objects: soil, grass, water and pavement with texture, in display colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .world.spectra import REFLECTANCE, SPECTRUM

Array = NDArray[np.float32]
_RED_GREEN_BLUE = (3, 2, 1)


def colour(material: str) -> Array:
    """Reflectance in red, green and blue, ``[3]``."""
    return np.asarray(REFLECTANCE[SPECTRUM[material]][list(_RED_GREEN_BLUE)], np.float32)


def smooth_noise(rng: np.random.Generator, size: int, cells: float) -> Array:
    """Smooth noise ``[size, size]`` of zero mean and about unit spread, with features of ``size / cells`` pixels."""
    from PIL import Image

    count = max(2, round(cells) + 3)
    coarse = Image.fromarray(rng.standard_normal((count, count)).astype(np.float32))
    inner = (0.5, 0.5, 0.5 + (count - 1) * min(1.0, cells / (count - 1)), 0.5 + (count - 1) * min(1.0, cells / (count - 1)))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC, box=inner), np.float32) * np.float32(1.4)


def rough_noise(rng: np.random.Generator, size: int, cells: float, octaves: int = 4, fall: float = 0.6) -> Array:
    """Noise of several octaves, the first with `cells` features across, about unit spread."""
    parts, total = np.zeros((size, size), np.float32), 0.0
    for octave in range(octaves):
        share = fall**octave
        parts += np.float32(share) * smooth_noise(rng, size, min(cells * 2**octave, size / 1.5))
        total += share * share
    return np.asarray(parts / np.float32(np.sqrt(total)), np.float32)


@dataclass(frozen=True)
class Look:
    """What the ground of a scene is made of.

    Attributes:
        bases: Materials, one or two of which lie side by side.
        patches: Materials of patches on them.
        cover: Share of the patches, least and most.
        grain: Spread of the brightness from pixel to pixel.
        lines: Most lines (paths, taxiways) across the scene.
        line: Materials of these.
        width: Of a line in metres.
    """

    bases: tuple[str, ...]
    patches: tuple[str, ...]
    cover: tuple[float, float]
    grain: float
    lines: int = 0
    line: tuple[str, ...] = ("asphalt",)
    width: tuple[float, float] = (3.0, 6.0)


LOOKS = {
    "village": Look(
        ("soil red", "soil brown", "soil loess", "grass"), ("grass", "cured grass", "soil dark", "shrub", "soil red"), (0.2, 0.7), 0.1,
        3, ("soil loess", "soil brown", "gravel"), (2.0, 5.0),
    ),
    "suburb": Look(
        ("grass", "lawn", "paving"), ("lawn", "gravel", "cured grass", "shrub"), (0.1, 0.5), 0.08,
        2, ("asphalt", "old asphalt"), (5.0, 9.0),
    ),
    "woodland": Look(
        ("cured grass", "grass", "soil loess", "litter", "straw"), ("grass", "shrub", "soil brown", "stones", "litter"), (0.1, 0.6), 0.12,
        1, ("gravel", "soil loess"), (1.0, 3.0),
    ),
    "sea": Look(("sea", "lake", "turbid"), ("turbid", "shallow"), (0.0, 0.4), 0.05),
    "airfield": Look(
        ("concrete", "old asphalt", "desert sand", "soil loess", "concrete"), ("concrete", "grass", "old asphalt", "soil brown"),
        (0.0, 0.35), 0.04, 3, ("old asphalt", "concrete", "asphalt"), (12.0, 30.0),
    ),
}  # fmt: skip
"""Kinds of ground by name."""


def ground(rng: np.random.Generator, look: Look, size: int, gsd: float) -> Array:
    """A square of ground.

    Args:
        rng: Decides everything.
        look: What it is made of.
        size: Side in pixels.
        gsd: Metres per pixel.

    Returns:
        Reflectance ``[3, size, size]``.
    """
    base = colour(look.bases[int(rng.integers(len(look.bases)))]) * np.float32(rng.uniform(0.8, 1.2))
    made = np.broadcast_to(base[:, None, None], (3, size, size)).copy()
    for _ in range(2):
        share = rng.uniform(*look.cover)
        field = rough_noise(rng, size, rng.uniform(1.0, 5.0))
        edge = float(np.quantile(field, 1 - share))
        soft = np.clip((field - np.float32(edge)) * np.float32(rng.uniform(1.0, 8.0)) + np.float32(0.5), 0, 1) if share > 0.01 else None
        if soft is not None:
            patch = colour(look.patches[int(rng.integers(len(look.patches)))])[:, None, None]
            made += (patch - made) * soft
    for _ in range(int(rng.integers(look.lines + 1))):
        made = _line(rng, look, made, size, gsd)
    tone = np.float32(1) + np.float32(look.grain) * (
        rough_noise(rng, size, 6.0, 5, 0.75) + np.float32(0.6) * smooth_noise(rng, size, size / 1.5)
    )
    return np.asarray(made * np.clip(tone, 0.3, 2.0), np.float32)


def _line(rng: np.random.Generator, look: Look, made: Array, size: int, gsd: float) -> Array:
    """A straight or slightly bent strip across the scene."""
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.45, 0.45) * size
    y, x = np.mgrid[:size, :size].astype(np.float32) - np.float32(size / 2)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    across = y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle)) - np.float32(offset)
    across = across + np.float32(rng.uniform(-0.12, 0.12) / size) * along * along
    half = np.float32(0.5 * rng.uniform(*look.width) / gsd)
    soft = np.clip(half - np.abs(across) + np.float32(0.5), 0, 1)
    strip = colour(look.line[int(rng.integers(len(look.line)))])[:, None, None] * np.float32(rng.uniform(0.85, 1.15))
    return np.asarray(made + (strip - made) * soft, np.float32)
