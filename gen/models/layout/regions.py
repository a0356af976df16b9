"""Which cells of a grid a box covers, for boxes at any angle."""

from __future__ import annotations

import torch
from torch import Tensor

from .encoder import GRID


def covered_cells(quads: Tensor, height: int, width: int) -> Tensor:
    """Cells that a convex quadrilateral and the inside of a cell have in common, found by separating axes.

    Args:
        quads: Corners ``[B, N, 4, 2]`` in pictures, in either direction of turn.
        height: Rows of the grid over the picture.
        width: Its columns.

    Returns:
        Bool ``[B, N, height, width]``. A box inside the picture covers at least one cell, however small it is.
    """
    points = quads.float() * torch.tensor([width, height], device=quads.device)
    after = points.roll(-1, dims=2)
    turn = (points[..., 0] * after[..., 1] - after[..., 0] * points[..., 1]).sum(dim=2, keepdim=True)
    normal = (
        torch.stack([points[..., 1] - after[..., 1], after[..., 0] - points[..., 0]], dim=-1) * torch.where(turn < 0, -1.0, 1.0)[..., None]
    )
    offset = (normal * points).sum(dim=-1)
    reach = normal.abs().sum(dim=-1) / 2
    x = torch.arange(width, device=quads.device) + 0.5
    y = torch.arange(height, device=quads.device) + 0.5
    low, high = points.amin(dim=2), points.amax(dim=2)
    covered = _meets(low[..., 1], high[..., 1], y)[..., :, None] & _meets(low[..., 0], high[..., 0], x)[..., None, :]
    for edge in range(4):
        across = normal[:, :, edge, 0, None] * x - offset[:, :, edge, None]
        inside = (normal[:, :, edge, 1, None] * y)[..., :, None] + across[..., None, :]
        half = reach[:, :, edge, None, None]
        covered = covered & ((inside > -half) | (half == 0))
    return covered


def _meets(low: Tensor, high: Tensor, centres: Tensor) -> Tensor:
    """Cells of a row whose span has something of ``low`` to ``high``: ``[B, N, cells]``; of a span without length, its cell."""
    flat = (low == high)[..., None]
    left, right = centres - 0.5, centres + 0.5
    return torch.where(flat, (low[..., None] >= left) & (low[..., None] < right), (high[..., None] > left) & (low[..., None] < right))


def published_masks(quads: Tensor, height: int, width: int) -> Tensor:
    """AeroGen's masks: grid points in or on the polygon of corners cut to whole cells of a grid of 64.

    Args:
        quads: Corners ``[B, N, 4, 2]`` in pictures.
        height: Rows of the mask; 64 as published. Others take the nearest points of that grid.
        width: Its columns.

    Returns:
        Bool ``[B, N, height, width]``.
    """
    points = (quads.float() * GRID).trunc()
    after = points.roll(-1, dims=2)
    x = torch.arange(width, device=quads.device) * (GRID / width)
    y = torch.arange(height, device=quads.device) * (GRID / height)
    sides = []
    for edge in range(4):
        dx = after[:, :, edge, 0] - points[:, :, edge, 0]
        dy = after[:, :, edge, 1] - points[:, :, edge, 1]
        along = dx[..., None] * (y - points[:, :, edge, 1, None])
        across = dy[..., None] * (x - points[:, :, edge, 0, None])
        sides.append(along[..., :, None] - across[..., None, :])
    side = torch.stack(sides, dim=2)
    inside = (side >= 0).all(dim=2) | (side <= 0).all(dim=2)
    # A polygon without area has all points of its line on both sides; its extent ends it.
    low, high = points.amin(dim=2), points.amax(dim=2)
    rows = (y >= low[..., 1, None]) & (y <= high[..., 1, None])
    columns = (x >= low[..., 0, None]) & (x <= high[..., 0, None])
    return inside & rows[..., :, None] & columns[..., None, :]
