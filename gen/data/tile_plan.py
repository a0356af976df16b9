"""How a scene is cut into tiles, along each axis on its own.

Input pixels::

    window   |------------------------------------|     what the step sees: the core and a halo, cut at the scene's border
    core              |------------------|              the cores cover the scene without overlap
    used          |--------------------------|          the core and `blend` pixels more: blended with the neighbours
    done          |------------------|                  what is final once the next tile's turn comes

The halo's outer part is thrown away: a pixel there saw too little of its surroundings. The inner part is blended across the border between
two cores with a raised cosine, whose values are multiples of 2^-12, so that products of a row's and a column's weight, and all sums of
them, are exact in float32: they are one at every pixel, not nearly one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Span = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """One tile along one axis: half-open spans.

    Attributes:
        core: Input pixels that are this tile's own.
        window: Input pixels that the step sees; the first is on a multiple.
        used: Output pixels at which the tile's result has a weight.
        done: Output pixels that are final with this tile.
        before: Output pixels shared with the tile before, at the start of `used`; 0 for the first.
        after: Output pixels shared with the tile after, at the end of `used`; 0 for the last.
    """

    core: Span
    window: Span
    used: Span
    done: Span
    before: int
    after: int

    def weights(self) -> NDArray[np.float32]:
        """Weight of the tile at each pixel of `used`: exact multiples of 2^-12."""
        weights = np.ones(self.used[1] - self.used[0], np.float32)
        if self.before:
            weights[: self.before] = ramp(self.before)
        if self.after:
            weights[len(weights) - self.after :] = 1 - ramp(self.after)
        return weights


@dataclass(frozen=True)
class ScenePlan:
    """All tiles of a scene, numbered row by row.

    Attributes:
        rows: Down the scene.
        cols: Across it.
        scale: Output pixels per input pixel along an axis.
        blend: Half the width, in output pixels, of the strip that is blended at a border between cores.
    """

    rows: tuple[Cell, ...]
    cols: tuple[Cell, ...]
    scale: int
    blend: int

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def cells(self, number: int) -> tuple[Cell, Cell]:
        """Row and column of a tile."""
        row, col = divmod(number, len(self.cols))
        return self.rows[row], self.cols[col]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the output."""
        return self.rows[-1].done[1], self.cols[-1].done[1]

    @property
    def largest_window(self) -> tuple[int, int]:
        """Height and width, in input pixels, of the largest window along each axis."""
        heights, widths = ([cell.window[1] - cell.window[0] for cell in cells] for cells in (self.rows, self.cols))
        return max(heights), max(widths)


def plan_scene(height: int, width: int, *, scale: int, halo: int, multiple: int = 1, tile: int = 512, blend: float = 0.5) -> ScenePlan:
    """Cut a scene into tiles.

    Args:
        height: Of the scene, input pixels.
        width: Of the scene, input pixels.
        scale: Output pixels per input pixel along an axis.
        halo: Input pixels around a core that the step sees too; rounded up to `multiple`.
        multiple: The first pixel of every window is on a multiple of this, input pixels.
        tile: Side of a core in output pixels; rounded down to ``scale * multiple``, but not to 0.
        blend: Share of the halo, 0 to 1, over which neighbours are blended; the rest is thrown away. Used pixels are at least
            ``(1 - blend) * halo`` away from a window's edge: a step whose reach is no more gives the same picture for every tiling.

    Returns:
        The plan. A remainder no wider than the halo goes to the last core, whose window is then no larger than the others; any other
        remainder is a tile of its own.

    Raises:
        InputError: If a number is out of range.
    """
    if min(height, width) < 1:
        raise InputError(f"a scene of {width} x {height} pixels has nothing in it; give one with at least one pixel")
    if tile < 1:
        raise InputError(f"a tile of {tile} pixels is too small; give 1 or more, for example 512")
    if scale < 1 or halo < 0 or multiple < 1 or not 0 <= blend <= 1:
        raise InputError(f"scale {scale}, halo {halo}, multiple {multiple}, blend {blend}; they are at least 1, 0, 1 and between 0 and 1")
    halo = math.ceil(halo / multiple) * multiple
    core = max(tile // (scale * multiple), 1) * multiple
    borders = [_borders(size, core, max(halo, multiple - 1)) for size in (height, width)]
    narrowest = min((b - a for axis in borders if len(axis) > 2 for a, b in pairwise(axis)), default=core)
    radius = min(int(blend * halo * scale), narrowest * scale // 2)
    rows, cols = (_axis(axis, scale, halo, radius) for axis in borders)
    return ScenePlan(rows, cols, scale, radius)


def ramp(length: int) -> NDArray[np.float32]:
    """Rising half of a raised cosine at pixel centres, ``[length]`` float32, multiples of 2^-12 from 0 to 1."""
    cosine = np.cos(np.pi * (np.arange(length) + 0.5) / length)
    return (np.round((0.5 - 0.5 * cosine) * 4096) / 4096).astype(np.float32)


def _borders(size: int, core: int, small: int) -> list[int]:
    """Where cores begin, and the end."""
    starts = list(range(0, size, core))
    if len(starts) > 1 and size - starts[-1] <= small:
        starts.pop()
    return [*starts, size]


def _axis(borders: list[int], scale: int, halo: int, radius: int) -> tuple[Cell, ...]:
    size, cells = borders[-1], []
    for start, stop in pairwise(borders):
        before, after = (radius if start > 0 else 0), (radius if stop < size else 0)
        first, last = start * scale - before, stop * scale
        cells.append(
            Cell(
                core=(start, stop),
                window=(max(start - halo, 0), min(stop + halo, size)),
                used=(first, last + after),
                done=(first, last - after),
                before=2 * before,
                after=2 * after,
            )
        )
    return tuple(cells)
