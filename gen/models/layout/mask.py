"""The layout as a picture, let in behind the first layer of a U-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


def timestep_gate(timestep: Tensor, least: float) -> Tensor:
    """Which samples are noisy enough, ``[B, 1, 1, 1]`` bool: each by its own time (AeroGen asks the first one for all)."""
    return (timestep >= least)[:, None, None, None]


class MaskInjector(nn.Module):
    """Coverage of each class and the boxes' direction to what is added to the first features; nothing at first."""

    def __init__(self, classes: int, channels: int, patch: int = 1, hidden: int = 32, least: float = 0.0) -> None:
        """Build the layers.

        Args:
            classes: K; the raster has two channels more.
            channels: Of the U-Net's first features.
            patch: Pixels of the raster along a cell of the U-Net's grid; 1 for a raster at the size of the grid.
            hidden: Channels between the two convolutions.
            least: Time below which nothing is added.
        """
        super().__init__()
        self.patch, self.least = patch, least
        self.bands = classes + 2
        side, padding = (3, 1) if patch == 1 else (patch, 0)
        self.stem = nn.Conv2d(self.bands, hidden, kernel_size=side, stride=patch, padding=padding)
        self.out = nn.Conv2d(hidden, channels, kernel_size=3, padding=1)
        self.null = nn.Parameter(torch.zeros(channels))
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, raster: Tensor, timestep: Tensor, present: Tensor | None = None) -> Tensor:
        """What is added.

        Args:
            raster: ``[B, K + 2, H, W]``: share of each pixel that each class covers, 0 to 1, then sine and cosine of twice the angle.
            timestep: ``[B]``.
            present: Which samples have a layout, bool ``[B]``; all if left out. Without one, a learnt vector is added.

        Returns:
            ``[B, channels, H / patch, W / patch]``.

        Raises:
            InputError: If the raster has another shape.
        """
        if raster.ndim != 4 or raster.shape[1] != self.bands or raster.shape[2] % self.patch or raster.shape[3] % self.patch:
            raise InputError(
                f"the raster has shape {tuple(raster.shape)}; this network takes [B, {self.bands}, H, W] with sides divisible by "
                f"{self.patch}: coverage of {self.bands - 2} classes, then sine and cosine of twice the angle; rasterise with its classes"
            )
        added: Tensor = self.out(nn.functional.silu(self.stem(raster.to(self.stem.weight.dtype))))
        if present is not None:
            added = torch.where(present[:, None, None, None], added, self.null[:, None, None])
        return torch.where(timestep_gate(timestep, self.least), added, 0.0) if self.least > 0 else added
