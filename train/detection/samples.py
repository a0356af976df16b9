"""What the detector learns from: pictures with their boxes, turned and lit at random, and the maps it should answer with."""

# Letters: B pictures, N objects of one picture, M of a batch, K classes, h w cells.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...gen.annotations.box import Layout
from ...gen.errors import InputError
from ...gen.models.detector import SIZE_UNIT, STRIDE

Floats = NDArray[np.float64]
Sample = tuple[NDArray[np.uint8], Layout]
"""A picture uint8 [H, W, 3] and its boxes."""

SPREAD, LEAST_SPREAD = 0.15, 0.7
"""Spread of a peak: share of the object's sides, and cells at the least."""
REACH = 0.5
"""A cell learns size and direction where its object's peak is at least this high."""


@dataclass(frozen=True)
class Prepared:
    """A sample as arrays.

    Attributes:
        picture: uint8 ``[H, W, 3]``.
        quads: ``[N, 4, 2]`` pixels.
        labels: ``[N]`` indexes of classes.
        ignored: ``[N]`` difficult ones: neither wanted nor forbidden.
    """

    picture: NDArray[np.uint8]
    quads: Floats
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True)
class Targets:
    """What the maps should be.

    Attributes:
        heat: ``[B, K, h, w]`` 0 to 1; 1 at the cells of centres.
        counted: ``[B, K, h, w]`` 0 where an ignored object lies, else 1.
        offset: ``[B, 2, h, w]`` cells.
        size: ``[B, 2, h, w]`` log of sides over 16 pixels.
        turn: ``[B, 4, h, w]`` sin 2t, cos 2t, sin 4t, cos 4t.
        weight: ``[B, 1, h, w]`` of offset and size.
        turn_weight: ``[B, 4, h, w]``: none for horizontal objects, and for the two-fold angle less the nearer to a square.
    """

    heat: Tensor
    counted: Tensor
    offset: Tensor
    size: Tensor
    turn: Tensor
    weight: Tensor
    turn_weight: Tensor


def prepare(samples: Sequence[Sample], names: Sequence[str]) -> list[Prepared]:
    """Check samples and turn them into arrays.

    Args:
        samples: All of one size.
        names: Classes.

    Raises:
        InputError: If there is none, a picture is no uint8 [H, W, 3] of its layout's size or of the first one's, or a class is unknown.
    """
    if not samples:
        raise InputError("there are no pictures to train a detector on; give at least one")
    codes = {name: code for code, name in enumerate(names)}
    shape = samples[0][0].shape
    made = []
    for number, (picture, layout) in enumerate(samples):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.shape[:2] != (layout.height, layout.width):
            raise InputError(
                f"picture {number} is {picture.dtype} {picture.shape} and its layout {layout.height} x {layout.width}; give uint8 [H, W, 3]"
            )
        if picture.shape != shape:
            raise InputError(f"picture {number} is {picture.shape}, the first one {shape}; cut all pictures to one size")
        unknown = sorted(set(layout.names) - set(codes))
        if unknown:
            raise InputError(f"picture {number} has objects of class {unknown[0]!r}; the detector's classes are {list(names)}")
        labels = np.array([codes[name] for name in layout.names], dtype=np.int64)
        ignored = np.array([box.difficult for box in layout.boxes], dtype=bool)
        made.append(Prepared(np.ascontiguousarray(picture), layout.quads, labels, ignored))
    return made


def turned(sample: Prepared, code: int) -> Prepared:
    """One of the eight symmetries of a square: mirrored (swapping left and right) from 4 on, then quarter turns anticlockwise.

    Args:
        sample: Any; a picture that is not square changes its sides by an odd number of turns.
        code: 0 to 7; 0 changes nothing.
    """
    picture, quads = sample.picture, sample.quads
    if code >= 4:
        picture = picture[:, ::-1]
        quads = np.stack([picture.shape[1] - quads[..., 0], quads[..., 1]], -1)[:, [1, 0, 3, 2]]
    for _ in range(code % 4):
        quads = np.stack([quads[..., 1], picture.shape[1] - quads[..., 0]], -1)
        picture = np.rot90(picture)
    return Prepared(picture, quads, sample.labels, sample.ignored)


def drawn(sample: Prepared, rng: np.random.Generator, brightness: float, contrast: float) -> tuple[NDArray[np.float32], Prepared]:
    """A sample turned and lit at random.

    Args:
        sample: Any.
        rng: Where chance comes from.
        brightness: Largest change, of the whole range.
        contrast: Largest relative change about the picture's mean.

    Returns:
        The picture, float ``[H, W, 3]`` 0 to 1, and the turned sample.
    """
    height, width = sample.picture.shape[:2]
    code = int(rng.integers(8)) if height == width else int(rng.integers(4)) * 2
    moved = turned(sample, code)
    picture = moved.picture.astype(np.float32) / 255
    mean = picture.mean()
    factor = np.float32(1 + rng.uniform(-contrast, contrast))
    lit = (picture - mean) * factor + mean + np.float32(rng.uniform(-brightness, brightness))
    return np.clip(lit, 0, 1), moved


def rectangles(quads: Floats, flat: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Centres ``[M, 2]``, sides ``[M, 2]`` and angles ``[M]`` of boxes.

    Args:
        quads: ``[M, 4, 2]``.
        flat: ``[M]``: these have sides along x and y and the angle 0; the others have the longer side first.
    """
    centre = quads.mean(1)
    first = (quads[:, 1] - quads[:, 0] + quads[:, 2] - quads[:, 3]) / 2
    second = (quads[:, 2] - quads[:, 1] + quads[:, 3] - quads[:, 0]) / 2
    lengths = np.stack([np.hypot(*first.T), np.hypot(*second.T)], 1)
    swap = lengths[:, 1] > lengths[:, 0]
    longer = np.where(swap[:, None], second, first)
    sides = np.where(swap[:, None], lengths[:, ::-1], lengths)
    sides = np.where(flat[:, None], quads.max(1) - quads.min(1), sides)
    return centre, np.maximum(sides, 1.0), np.where(flat, 0.0, np.arctan2(longer[:, 1], longer[:, 0]))


def targets(batch: Sequence[Prepared], flat: NDArray[np.bool_]) -> Targets:
    """The maps that a perfect detector answers with.

    Args:
        batch: All of one size.
        flat: ``[K]`` whether a class is horizontal.
    """
    height, width = batch[0].picture.shape[:2]
    cells_y, cells_x = -(-height // STRIDE), -(-width // STRIDE)
    heat = np.zeros((len(batch), len(flat), cells_y, cells_x), np.float32)
    counted = np.ones_like(heat)
    maps = np.zeros((len(batch), 13, cells_y, cells_x), np.float32)
    for index, sample in enumerate(batch):
        if not len(sample.labels):
            continue
        even = flat[sample.labels]
        centre, sides, angle = rectangles(sample.quads, even)
        peaks = _peaks(centre, sides, angle, cells_y, cells_x)
        for label, ignored, peak in zip(sample.labels, sample.ignored, peaks, strict=True):
            if ignored:
                counted[index, label][peak > 0.2] = 0
            else:
                heat[index, label] = np.maximum(heat[index, label], peak)
        wanted = np.where(sample.ignored[:, None, None], 0, peaks)
        owner, height_there = wanted.argmax(0), wanted.max(0)
        where_y, where_x = np.nonzero(height_there >= REACH)
        chosen = owner[where_y, where_x]
        maps[index, :, where_y, where_x] = _learnt(
            centre[chosen], sides[chosen], angle[chosen], even[chosen], np.stack([where_x, where_y], 1), height_there[where_y, where_x]
        )
    counted[heat == 1] = 1
    offset, size, turn, weight, turn_weight = torch.from_numpy(maps).split([2, 2, 4, 1, 4], dim=1)
    return Targets(torch.from_numpy(heat), torch.from_numpy(counted), offset, size, turn, weight, turn_weight)


def class_codes(names: Sequence[str], horizontal: Sequence[str]) -> tuple[Mapping[str, int], NDArray[np.bool_]]:
    """Index of each class, and ``[K]`` whether it is horizontal."""
    return {name: code for code, name in enumerate(names)}, np.array([name in set(horizontal) for name in names], dtype=bool)


def _peaks(centre: Floats, sides: Floats, angle: Floats, cells_y: int, cells_x: int) -> NDArray[np.float32]:
    """Turned bell curves ``[N, h, w]`` over cells, exactly 1 at the cell of the centre where that is inside."""
    y, x = np.mgrid[:cells_y, :cells_x] + 0.5
    dx, dy = x[None] - (centre[:, 0] / STRIDE)[:, None, None], y[None] - (centre[:, 1] / STRIDE)[:, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    spread = np.maximum(LEAST_SPREAD, sides / STRIDE * SPREAD)[:, :, None, None]
    peaks = np.exp(-0.5 * (((cos * dx + sin * dy) / spread[:, 0]) ** 2 + ((cos * dy - sin * dx) / spread[:, 1]) ** 2))
    column, row = np.floor(centre / STRIDE).astype(int).T
    inside = (column >= 0) & (column < cells_x) & (row >= 0) & (row < cells_y)
    peaks[np.nonzero(inside)[0], row[inside], column[inside]] = 1
    result: NDArray[np.float32] = peaks.astype(np.float32)
    return result


def _learnt(
    centre: Floats, sides: Floats, angle: Floats, even: NDArray[np.bool_], cell: NDArray[np.int64], height: NDArray[np.float32]
) -> Floats:
    """Offset, log size, directions and their weights ``[cells, 13]`` of the objects that cells belong to."""
    offset = centre / STRIDE - (cell + 0.5)
    turn = np.stack([np.sin(2 * angle), np.cos(2 * angle), np.sin(4 * angle), np.cos(4 * angle)], 1)
    known = np.where(even, 0.0, height)[:, None]
    oblong = np.clip(2 * (1 - sides[:, 1] / sides[:, 0]), 0, 1)[:, None]
    turn_weight = known * np.concatenate([oblong, oblong, np.ones_like(oblong), np.ones_like(oblong)], 1)
    return np.concatenate([offset, np.log(sides / SIZE_UNIT), turn, height[:, None], turn_weight], 1)
