"""Objects as tokens: the four corners of a box and its class, through sines and cosines and a small network.

The layers and their names are those of AeroGen's encoder of rotated boxes and of GLIGEN's of horizontal ones, whose weights load as they
are. What differs for new networks is how corners are coded: the published frequencies reach from 1 to 56 radians per unit, which covers
neither a whole picture nor an object of a few pixels; `geometric` ones reach from two pictures to four pixels.

Letters: B batch, N objects, V width of a class vector, F numbers that code a box, D width of a token.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ...errors import InputError

CoordSpace = Literal["unit", "grid64"]
Fourier = Literal["published", "geometric"]
CornerOrder = Literal["interleaved", "xs_then_ys"]
Start = Literal["declared", "any"]
GRID = 64
"""Cells along a side of the grid in which AeroGen counts corners."""


class LayoutEncoder(ModelMixin, ConfigMixin):
    """Boxes and classes to tokens."""

    @register_to_config
    def __init__(
        self,
        classes: int = 0,
        vector_width: int = 768,
        hidden: int = 512,
        width: int = 768,
        coordinates: int = 8,
        coord_space: CoordSpace = "unit",
        fourier: Fourier = "geometric",
        bands: int = 8,
        shortest: float = 1 / 64,
        corner_order: CornerOrder = "interleaved",
        start: Start = "declared",
        null_position: bool = True,
    ) -> None:
        """Build the network.

        Args:
            classes: Rows of the table of class vectors; 0 has no table, and vectors must be given.
            vector_width: V.
            hidden: Width of the two hidden layers.
            width: D.
            coordinates: 8 for the corners, 4 for left, top, right and bottom of the horizontal box around them.
            coord_space: ``unit`` counts in pictures; ``grid64`` in whole cells of a grid of 64 (as AeroGen, for its weights only).
            fourier: ``published``: ``sin`` and ``cos`` of ``100 ** (k / bands)`` times the coordinate. ``geometric``: of
                ``2 pi / period`` times it, with periods from 2 pictures to `shortest`.
            bands: Frequencies.
            shortest: The shortest period, in pictures; 1 / 64 is four pixels of 256.
            corner_order: ``interleaved``: x1, y1, x2, y2, ...; ``xs_then_ys``: x1, x2, ..., y1, y2, ... (as CC-Diff).
            start: ``any`` gives the same token whichever corner comes first: the mean over all four; ``declared`` tells them apart.
            null_position: Whether padding has a learnt code of its place, as published; for networks that never see padding it is idle.

        Raises:
            InputError: If a setting is out of range.
        """
        super().__init__()
        if coordinates not in (4, 8) or min(bands, hidden, width, vector_width) < 1 or classes < 0 or not 0 < shortest < 2:
            raise InputError(
                f"a layout encoder of {coordinates} coordinates, {bands} bands, {classes} classes and shortest period {shortest} cannot be "
                "built; give 4 or 8 coordinates, at least one band and a period between 0 and 2"
            )
        self.coded = coordinates * 2 * bands
        if classes:
            self.table = nn.Embedding(classes, vector_width)
        layers: list[nn.Module] = [nn.Linear(vector_width + self.coded, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
        self.linears = nn.Sequential(*layers, nn.Linear(hidden, width))
        self.null_text_feature = nn.Parameter(torch.zeros(vector_width))
        if null_position:
            self.null_position_feature = nn.Parameter(torch.zeros(self.coded))

    def forward(self, quads: Tensor, labels: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode objects.

        Args:
            quads: Corners ``[B, N, 4, 2]`` in pictures (x right, y down, 0 to 1; beyond it for boxes that reach out), clockwise.
            labels: Class numbers, int64 ``[B, N]``, negative where the class is unknown; or class vectors ``[B, N, V]``.
            valid: Which objects there are, bool ``[B, N]``; all if left out. What the others hold does not matter: they get
                the learnt nulls.

        Returns:
            ``[B, N, D]`` in the dtype of the weights.

        Raises:
            InputError: If shapes disagree, or there are no such classes.
        """
        there = self._check(quads, labels, valid)
        labels = torch.where(there, labels, -1) if labels.ndim == 2 else labels
        known = labels >= 0 if labels.ndim == 2 else there
        vectors = torch.where(known[..., None], self.vectors(labels), self.null_text_feature)
        # Zeros in place of what is not there, since it may be no number, and a gradient through one is none either.
        corners = torch.where(there[..., None, None], quads.float(), 0.0)
        starts = 4 if self.config["start"] == "any" and self.config["coordinates"] == 8 else 1
        total = torch.zeros((), device=quads.device, dtype=self.dtype)
        for first in range(starts):
            code = self.code(corners.roll(-first, dims=2)).to(self.dtype)
            if self.config["null_position"]:
                code = torch.where(there[..., None], code, self.null_position_feature)
            total = total + self.linears(torch.cat([vectors, code], dim=-1))
        return total / starts

    def vectors(self, labels: Tensor) -> Tensor:
        """Class vectors ``[B, N, V]``: those given, or rows of the table (row 0 for unknown classes)."""
        if labels.ndim == 3:
            return labels.to(self.dtype)
        rows: Tensor = self.table(labels.clamp(min=0))
        return rows

    def code(self, quads: Tensor) -> Tensor:
        """Sines and cosines of corners ``[B, N, 4, 2]``: ``[B, N, F]``, for each band the sines of all coordinates, then the cosines."""
        if self.config["coordinates"] == 4:
            values = torch.cat([quads.amin(dim=2), quads.amax(dim=2)], dim=-1)
        else:
            values = (quads if self.config["corner_order"] == "interleaved" else quads.mT).flatten(2)
        if self.config["coord_space"] == "grid64":
            values = (values * GRID).trunc()
        angles = values[:, :, None, :] * self._frequencies(quads.device)[:, None]
        return torch.stack([angles.sin(), angles.cos()], dim=3).flatten(2)

    def _frequencies(self, device: torch.device) -> Tensor:
        """Radians per unit, ``[bands]``."""
        bands = self.config["bands"]
        steps = torch.arange(bands, device=device, dtype=torch.float32)
        if self.config["fourier"] == "published":
            return torch.pow(100.0, steps / bands)
        ratio = 2.0 / self.config["shortest"]
        return math.pi * torch.pow(ratio, steps / max(bands - 1, 1))

    def _check(self, quads: Tensor, labels: Tensor, valid: Tensor | None) -> Tensor:
        shape = tuple(quads.shape[:2])
        if quads.ndim != 4 or tuple(quads.shape[2:]) != (4, 2):
            raise InputError(f"the boxes have shape {tuple(quads.shape)}; they are [B, N, 4, 2], four corners each; mend them")
        if tuple(labels.shape[:2]) != shape or (valid is not None and tuple(valid.shape) != shape):
            raise InputError(f"there are {list(shape)} boxes, and classes or their validity have another shape; give one of each for a box")
        count, width = self.config["classes"], self.config["vector_width"]
        if labels.ndim == 3 and labels.shape[2] != width:
            raise InputError(
                f"the class vectors have {labels.shape[2]} numbers; this network takes {width}; give those it was trained with"
            )
        if labels.ndim == 2 and not count:
            raise InputError("this network has no table of classes; give class vectors [B, N, V] instead of numbers")
        there = torch.ones(shape, dtype=torch.bool, device=quads.device) if valid is None else valid.bool()
        # Only where looking costs nothing; elsewhere the table refuses.
        if labels.ndim == 2 and labels.device.type == "cpu" and bool((there & (labels >= count)).any()):
            raise InputError(
                f"there is a class {int(labels[there].max())}, and this network knows 0 to {count - 1}; give classes that it knows"
            )
        return there
