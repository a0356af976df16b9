"""Pieces of any place and size, gathered into the whole blocks of a tiled file.

A compressed block that is written twice is stored twice; so a block waits here until all its pixels are there, and is written once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Emit = Callable[[int, int, NDArray[Any]], None]


class BlockBuffer:
    """Gathers pieces and hands on whole blocks; memory is that of the unfinished blocks."""

    def __init__(self, bands: int, height: int, width: int, block: int, dtype: str, fill: float, emit: Emit) -> None:
        """Start with nothing written.

        Args:
            bands: Bands of a piece.
            height: Rows of the raster.
            width: Columns of the raster.
            block: Side of a block in pixels.
            dtype: Type of the stored numbers.
            fill: What a pixel holds that is never given.
            emit: Called with row, column and ``[C, h, w]`` of each finished block.
        """
        self._bands, self._height, self._width, self._block = bands, height, width, block
        self._dtype, self._fill, self._emit = np.dtype(dtype), fill, emit
        self._waiting: dict[tuple[int, int], tuple[NDArray[Any], NDArray[np.bool_]]] = {}

    def add(self, row: int, col: int, piece: NDArray[Any]) -> None:
        """Take a piece ``[C, h, w]`` whose upper-left pixel is at (`row`, `col`); it must lie inside the raster."""
        height, width = piece.shape[-2:]
        size = self._block
        for top in range(row - row % size, row + height, size):
            for left in range(col - col % size, col + width, size):
                first = (max(row, top), max(col, left))
                last = (min(row + height, top + size), min(col + width, left + size))
                part = piece[:, first[0] - row : last[0] - row, first[1] - col : last[1] - col]
                self._add_to_block(top, left, first[0] - top, first[1] - left, part)

    def finish(self) -> None:
        """Hand on what still waits, filled up."""
        for (top, left), (pixels, _) in sorted(self._waiting.items(), key=lambda entry: entry[0]):
            self._emit(top, left, pixels)
        self._waiting.clear()

    def _add_to_block(self, top: int, left: int, row: int, col: int, part: NDArray[Any]) -> None:
        shape = (min(self._block, self._height - top), min(self._block, self._width - left))
        waiting = self._waiting.pop((top, left), None)
        if waiting is None and part.shape[-2:] == shape:
            self._emit(top, left, part)
            return
        pixels, given = waiting or (np.full((self._bands, *shape), self._fill, self._dtype), np.zeros(shape, bool))
        inside = (slice(row, row + part.shape[-2]), slice(col, col + part.shape[-1]))
        pixels[(slice(None), *inside)] = part
        given[inside] = True
        if given.all():
            self._emit(top, left, pixels)
        else:
            self._waiting[top, left] = (pixels, given)
