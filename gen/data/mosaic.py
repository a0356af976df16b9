"""The finished picture on disk: pieces of it come in tile by tile and go out block by block."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .blend import split_tile
from .radiometry import Radiometry
from .scene_types import Sink
from .spool import Spool
from .tile_plan import Cell, ScenePlan

Array = NDArray[np.float32]

BLOCK = 512
"""Side of the blocks that sinks get: that of our GeoTIFFs, so that each of theirs is written once and whole."""


def packing(sink: Sink) -> Radiometry | None:
    """How a layer is kept, if not as float32: as its sink stores it, where storing twice is the same as storing once.

    Args:
        sink: With an attribute ``radiometry`` or without.

    Returns:
        The sink's radiometry if that is of integers of up to 16 bits.
    """
    radiometry = getattr(sink, "radiometry", None)
    small = isinstance(radiometry, Radiometry) and radiometry.is_integer and np.dtype(radiometry.dtype).itemsize <= 2
    return radiometry if small else None


class Mosaic:
    """All layers of one scene."""

    def __init__(self, plan: ScenePlan, bands: Mapping[str, int], packings: Mapping[str, Radiometry | None], store: Spool) -> None:
        """Begin or go on.

        Args:
            plan: Of the scene.
            bands: The layers, and how many bands each has.
            packings: How each layer is kept, see `packing`.
            store: Where; it knows which tiles are finished.
        """
        self._plan, self._bands, self._packings, self._store = plan, bands, packings, store

    def add(self, number: int, used: Mapping[str, Array] | None) -> None:
        """Take the next tile: blend it with its neighbours and store what is final.

        Args:
            number: Of the tile.
            used: Each layer, ``[C, rows.used, cols.used]``, which is overwritten; None for a tile without data.
        """
        rows, cols = self._plan.cells(number)
        above = number - len(self._plan.cols)
        for layer, bands in self._bands.items():
            array = np.full((bands, _length(rows.used), _length(cols.used)), np.nan, np.float32) if used is None else used[layer]
            pieces = split_tile(
                array,
                rows,
                cols,
                self._store.read(_carry(number - 1, layer, "right"), (bands, _length(rows.used), cols.before)) if cols.before else None,
                self._store.read(_carry(above, layer, "down"), (bands, rows.before, _length(cols.done))) if rows.before else None,
            )
            packed = self._packings[layer]
            empty = packed is None or bool(np.isnan(pieces.done).all())
            self._store.write(_piece(number, layer), pieces.done if packed is None or empty else packed.to_stored(pieces.done))
            if cols.after:
                self._store.write(_carry(number, layer, "right"), pieces.right)
            if rows.after:
                self._store.write(_carry(number, layer, "down"), pieces.down)
        self._store.finish(skipped=used is None)

    def write_to(self, sink: Sink, layer: str) -> None:
        """Give a sink the finished layer in blocks, row by row.

        Args:
            sink: Where it goes.
            layer: Which.
        """
        plan, bands, packed = self._plan, self._bands[layer], self._packings[layer]

        @lru_cache(maxsize=4)
        def piece(number: int) -> Array:
            rows, cols = plan.cells(number)
            shape = (bands, _length(rows.done), _length(cols.done))
            stored = self._store.read(_piece(number, layer), shape, packed.dtype if packed else np.float32)
            return packed.to_physical(stored) if packed and stored.dtype.kind != "f" else stored

        height, width = plan.size
        for top in range(0, height, BLOCK):
            for left in range(0, width, BLOCK):
                block = np.empty((bands, min(BLOCK, height - top), min(BLOCK, width - left)), np.float32)
                for row in _meeting(plan.rows, top, block.shape[1]):
                    for col in _meeting(plan.cols, left, block.shape[2]):
                        _copy(piece(row * len(plan.cols) + col), (plan.rows[row], plan.cols[col]), block, (top, left))
                sink.write(top, left, block)


def _length(span: tuple[int, int]) -> int:
    return span[1] - span[0]


def _piece(number: int, layer: str) -> str:
    return f"{layer}/{number:06d}"


def _carry(number: int, layer: str, where: str) -> str:
    return f"carry/{number:06d}.{layer}.{where}"


def _meeting(cells: tuple[Cell, ...], start: int, size: int) -> range:
    """The cells whose final pixels meet those of a block."""
    first, last = (bisect_right(cells, place, key=lambda cell: cell.done[1]) for place in (start, start + size - 1))
    return range(first, last + 1)


def _copy(piece: Array, cells: tuple[Cell, Cell], block: Array, corner: tuple[int, int]) -> None:
    """Copy what a piece and a block have in common."""
    to, of = [slice(None)], [slice(None)]
    for cell, start, size in zip(cells, corner, block.shape[1:], strict=True):
        first, last = max(cell.done[0], start), min(cell.done[1], start + size)
        to.append(slice(first - start, last - start))
        of.append(slice(first - cell.done[0], last - cell.done[0]))
    block[tuple(to)] = piece[tuple(of)]
