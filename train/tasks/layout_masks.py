"""Masks of what is painted anew, and how much each pixel counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...gen.conditioning.layout import coverage_of, widened
from .layout_config import LayoutConfig

Floats = NDArray[np.float32]
_TRIES = 12


def object_mask(quads: NDArray[np.float64], size: int, margin: tuple[float, float], rng: np.random.Generator) -> Floats:
    """1 around one or a few objects that lie near each other, ``[S, S]``.

    Args:
        quads: ``[N, 4, 2]`` with N at least 1.
        size: S.
        margin: Least and most room, in shares of an object's sides.
        rng: Decides which and how much.
    """
    chosen = int(rng.integers(len(quads)))
    count = min(len(quads), 1 + int(rng.geometric(0.6) - 1))
    middles = quads.mean(1)
    near = np.argsort(np.linalg.norm(middles - middles[chosen], axis=1), kind="stable")[:count]
    share = float(rng.uniform(*margin))
    mask = _binary(widened(quads[near], share, 2.0), size)
    return mask if mask.any() else np.ones((size, size), np.float32)


def background_mask(quads: NDArray[np.float64], size: int, rng: np.random.Generator) -> Floats:
    """1 in a turned rectangle of the size of an object where there is none, ``[S, S]``; everywhere 1 where there is no room for it."""
    taken = coverage_of(quads, size, size) > 0
    for _ in range(_TRIES):
        long, share, angle = rng.uniform(0.1, 0.5) * size, rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
        middle = rng.uniform(0.08, 0.92, 2) * size
        along, across = np.array([np.cos(angle), np.sin(angle)]) * long / 2, np.array([-np.sin(angle), np.cos(angle)]) * long * share / 2
        quad = np.stack([middle - along - across, middle + along - across, middle + along + across, middle - along + across])
        mask = _binary(quad[None], size)
        if mask.any() and not (taken & (mask > 0)).any():
            return mask
    return np.ones((size, size), np.float32)


def touching(quads: NDArray[np.float64], mask: Floats) -> NDArray[np.bool_]:
    """Which quads lie partly under a mask, ``[N]``."""
    side = len(mask)
    return np.array([bool((coverage_of(quad[None], side, side) * mask > 0).any()) for quad in quads], dtype=bool)


def foreground_weight(quads: NDArray[np.float64], mask: Floats | None, size: int, config: LayoutConfig) -> Floats:
    """How much the squared error of each pixel counts, ``[S, S]``, of mean 1.

    An object's pixels count ``factor / area^power``, the others ``1 / (S S)^power``.

    Args:
        quads: All objects that are seen, listed or not.
        mask: What is painted; None for all.
        size: S.
        config: The task's.
    """
    rule = config.foreground
    ground = float(size * size) ** -rule.power
    weight = np.full((size, size), ground, np.float32)
    for quad in quads:
        edges = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
        area = max(1.0, min(float(edges[0] * edges[1]), float(size * size)))
        share = coverage_of(quad[None], size, size)
        np.maximum(weight, ground + share * np.float32(rule.factor * area**-rule.power - ground), out=weight)
    if mask is not None:
        weight *= np.float32(config.repaint.outside) + np.float32(1 - config.repaint.outside) * mask
    return np.asarray(weight / weight.mean(dtype=np.float64), np.float32)


def _binary(quads: NDArray[np.float64], size: int) -> Floats:
    return (coverage_of(quads, size, size) > 0.01).astype(np.float32)
