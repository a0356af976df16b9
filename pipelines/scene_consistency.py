"""The consistency of a finished scene: what the sensor model sees in the picture as it is stored, held against the input.

The picture comes in blocks, row by row; strips of the blocks above and to the left are kept, so that nothing is left out at their borders.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from ..gen.data.scene_types import Sink, Source
from ..gen.data.sensor_model import SensorModel

Array = NDArray[np.float32]
Span = tuple[int, int]


class ConsistencyMeter:
    """A sink that passes blocks on and measures them on the way.

    Attributes:
        largest: Largest ``|input - sensor(picture)|`` so far, physical units, over pixels whose surroundings all have data.
        radiometry: That of the sink behind.
    """

    def __init__(self, sink: Sink, source: Source, sensor: SensorModel) -> None:
        """Stand before a sink.

        Args:
            sink: Gets everything.
            source: The input.
            sensor: The sensor model.
        """
        self.largest = 0.0
        self.radiometry = getattr(sink, "radiometry", None)
        self._sink, self._source, self._sensor = sink, source, sensor
        self._size = (source.height * sensor.scale, source.width * sensor.scale)
        self._reach = sensor.reach * sensor.scale
        self._strip = math.ceil(2 * self._reach) + 2 * sensor.scale  # so that neighbouring windows leave no pixel between them
        self._above = self._coming = np.zeros((0, 0, 0), np.float32)
        self._left = np.zeros((0, 0, 0), np.float32)

    def write(self, row: int, col: int, array: Array) -> None:
        """Take a block, ``[C, h, w]``; the blocks come row by row and cover the picture."""
        self._sink.write(row, col, array)
        (bands, height, width), strip = array.shape, self._strip
        if col == 0:
            self._above, self._left = self._coming, np.zeros((bands, 0, 0), np.float32)
            self._coming = np.full((bands, min(strip, height), self._size[1]), np.nan, np.float32)
        self._coming[:, :, col : col + width] = array[:, max(0, height - strip) :]
        window = np.concatenate([self._above[:, :, col : col + width], array], axis=1) if row else array
        window = np.concatenate([self._left, window], axis=2) if col else window
        self._left = window[:, :, -strip:].copy()
        top, left = row + height - window.shape[1], col + width - window.shape[2]
        self._measure(window, (top, row + height), (left, col + width))

    def _measure(self, window: Array, rows: Span, cols: Span) -> None:
        scale = self._sensor.scale
        # The sensor works on whole blocks of scale x scale pixels.
        starts = [math.ceil(span[0] / scale) for span in (rows, cols)]
        stops = [span[1] // scale for span in (rows, cols)]
        inside = [self._inside(span, size) for span, size in zip((rows, cols), self._size, strict=True)]
        if any(first >= last for first, last in inside):
            return
        cut = tuple(slice(a * scale - span[0], b * scale - span[0]) for a, b, span in zip(starts, stops, (rows, cols), strict=True))
        seen = self._sensor.degrade(torch.from_numpy(np.ascontiguousarray(window[(slice(None), *cut)]))[None])[0].numpy()
        (top, bottom), (left, right) = inside
        seen = seen[:, top - starts[0] : bottom - starts[0], left - starts[1] : right - starts[1]]
        error = np.abs(seen - self._source.read(top, left, bottom - top, right - left))
        if np.isfinite(error).any():
            self.largest = max(self.largest, float(np.nanmax(error)))

    def _inside(self, span: Span, size: int) -> Span:
        """The coarse pixels that see nothing beyond the window, or nothing beyond the scene."""
        scale, centre = self._sensor.scale, self._sensor.scale / 2
        first = 0 if span[0] == 0 else math.ceil((span[0] + self._reach - centre) / scale)
        last = size // scale if span[1] == size else math.floor((span[1] - self._reach - centre) / scale) + 1
        return first, last
