"""Means over a picture's context, for channel attention: over the whole picture, or over a window around each place.

A global mean makes the result depend on what else is in the tile. A window of the size of the training crops ("test-time local converter",
Chu et al. 2022) does not, so that tiles of a large scene agree. The window mean is taken on a grid of cells that is anchored to the
picture's upper-left corner: tiles whose origins lie on multiples of 16 full-resolution pixels have the same cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_CELL = 16
CELLS_PER_WINDOW = 8


class ContextPool(nn.Module):
    """Mean of each channel over the whole picture or over a window.

    Attributes:
        cell: Side of a cell in pixels of this level (1 or more); 0 for a global pool.
        count: Cells per window side, even; 0 for a global pool.
    """

    def __init__(self, local_size: int | None, pixel: int) -> None:
        """Choose the cells.

        Args:
            local_size: Window side in full-resolution pixels, or None for a global mean.
            pixel: Side of one pixel of this level in full-resolution pixels.
        """
        super().__init__()
        self.pixel = pixel
        self.cell = self.count = 0
        if local_size is not None:
            cell = 1
            while cell < MAX_CELL and cell * 2 * CELLS_PER_WINDOW <= local_size:
                cell *= 2
            self.cell = max(1, cell // pixel)
            self.count = max(2, 2 * round(local_size / (2 * self.cell * pixel)))

    def forward(self, value: Tensor) -> Tensor:
        """Pool.

        Args:
            value: ``[B, C, H, W]``.

        Returns:
            ``[B, C, 1, 1]`` for a global pool, else ``[B, C, ceil(H / cell), ceil(W / cell)]``: the window mean around each cell. Windows
            that hang over the border average what is inside.
        """
        if not self.cell:
            return value.mean((2, 3), keepdim=True)
        cells = F.avg_pool2d(value, self.cell, ceil_mode=True, count_include_pad=False) if self.cell > 1 else value
        inside = self._window(torch.ones_like(cells[:1, :1], dtype=torch.float32))
        return (self._window(cells.float()) / inside).to(value.dtype)

    def _window(self, cells: Tensor) -> Tensor:
        """Mean over count + 1 cells a side, the outermost at half weight, zeros outside: exactly `count` cells wide, and symmetric."""
        half = self.count // 2
        for kernel, padding, two in (((self.count, 1), (half, 0), (2, 1)), ((1, self.count), (0, half), (1, 2))):
            cells = F.avg_pool2d(F.avg_pool2d(F.pad(cells, (padding[1], padding[1], padding[0], padding[0])), kernel, 1), two, 1)
        return cells

    def spread(self, value: Tensor, height: int, width: int) -> Tensor:
        """Bring a function of the pooled means back to the pixels: bilinear between cell centres, so that no cell shows.

        Args:
            value: What `forward` returned, after any pointwise layers.
            height: Pixels of this level.
            width: Pixels of this level.

        Returns:
            ``[B, C, 1, 1]`` unchanged for a global pool, else ``[B, C, height, width]``.
        """
        if self.cell <= 1:
            return value
        spread = F.interpolate(value, scale_factor=float(self.cell), mode="bilinear", align_corners=False)
        return spread[:, :, :height, :width]
