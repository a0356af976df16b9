"""Layouts as a network takes them: corners, classes and a raster, padded to the largest number of objects in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..annotations.box import Layout
from ..annotations.coverage import covered, rasterize


def layout_tensors(layouts: Sequence[Layout], names: Sequence[str]) -> dict[str, Tensor]:
    """Layouts of pictures of one size.

    Args:
        layouts: B of them.
        names: The network's classes, in its order.

    Returns:
        ``quads`` float32 ``[B, N, 4, 2]`` in pictures (0 to 1; objects that reach out go beyond), ``labels`` int64 ``[B, N]``, ``valid``
        bool ``[B, N]`` with N the most objects of a layout, and ``raster`` float32 ``[B, K + 2, H, W]``.

    Raises:
        InputError: If a class is none of the network's.
    """
    count = max((len(layout.boxes) for layout in layouts), default=0)
    quads, labels = torch.zeros(len(layouts), count, 4, 2), torch.zeros(len(layouts), count, dtype=torch.int64)
    valid = torch.zeros(len(layouts), count, dtype=torch.bool)
    rasters = [torch.from_numpy(rasterize(layout, names, layout.height, layout.width)) for layout in layouts]
    for row, layout in enumerate(layouts):
        number = len(layout.boxes)
        if number:
            quads[row, :number] = torch.from_numpy((layout.quads / [layout.width, layout.height]).astype(np.float32))
            labels[row, :number] = torch.tensor([names.index(name) for name in layout.names])
            valid[row, :number] = True
    return {"quads": quads, "labels": labels, "valid": valid, "raster": torch.stack(rasters)}


def coverage_of(quads: np.ndarray, height: int, width: int) -> np.ndarray:
    """Share of each pixel under any of the quads ``[N, 4, 2]`` (pixels), ``[H, W]`` float32, 0 to 1; overlaps saturate."""
    total = np.zeros((height, width), np.float32)
    for quad in quads:
        for rows, cols, share in covered(quad, height, width):
            total[rows, cols] += share
    return np.minimum(total, 1.0, out=total)


def widened(quads: np.ndarray, share: float, least: float = 0.0) -> np.ndarray:
    """Quads whose edges are moved outwards.

    Args:
        quads: ``[N, 4, 2]`` pixels, rectangles.
        share: Of each edge's length that is added at both of its ends.
        least: Pixels that are added at least.

    Returns:
        ``[N, 4, 2]``.
    """
    middle = quads.mean(1, keepdims=True)
    first, second = (quads[:, 1] - quads[:, 0] + quads[:, 2] - quads[:, 3]) / 4, (quads[:, 3] - quads[:, 0] + quads[:, 2] - quads[:, 1]) / 4
    grown = []
    for half in (first, second):
        length = np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
        grown.append(half * (1 + np.maximum(2 * share, least / length)))
    a, b = grown
    return np.asarray(middle + np.stack([-a - b, a - b, a + b, b - a], 1))


@dataclass(frozen=True)
class LayoutGuidance:
    """Which predictions are needed, and how `guidance.guide` puts them together.

    Attributes:
        stages: For each prediction whether text and layout are on.
        scales: One fewer.
    """

    stages: tuple[tuple[bool, bool], ...]
    scales: tuple[float, ...]


def plan_layout_guidance(text: float, layout: float, *, has_text: bool = True, has_layout: bool = True) -> LayoutGuidance:
    """Text is switched on first, then the layout: ``e0 + text (e1 - e0) + layout (e2 - e1)``, with the fewest predictions that give it.

    Args:
        text: Scale of the text; 1 is as trained.
        layout: Scale of the layout.
        has_text: Whether there is any text; without one it has no scale.
        has_layout: Whether there is a layout.
    """
    stages: list[tuple[bool, bool]] = [(False, False)]
    scales: list[float] = []
    for on, scale, state in ((has_text, text, (True, False)), (has_layout, layout, (has_text, True))):
        if not on:
            continue
        if scales and scales[-1] == scale:
            stages[-1] = state
        else:
            stages.append(state)
            scales.append(scale)
    if scales and scales[0] == 1.0:
        stages, scales = stages[1:], scales[1:]
    if scales and scales[-1] == 0.0:
        stages, scales = stages[:-1], scales[:-1]
    return LayoutGuidance(tuple(stages), tuple(scales))
