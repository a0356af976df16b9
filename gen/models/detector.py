"""A small detector without anchors: an object is a peak of its class's heat map, whose cell says where, how large and how turned it is.

Objects as points (Zhou et al. 2019, arXiv 1904.07850) with a direction. A box turned by half a turn is the same box, so its direction is
learnt as (sin 2t, cos 2t) of the longer edge. A square has no longer edge: its t may as well be t + 90 degrees, and a network that cannot
know answers the mean, which is nothing. (sin 4t, cos 4t) are the same for both: they fix t up to quarter turns, and 2t picks among these.
Classes named in `horizontal` have boxes along the axes: their sizes are those of x and y, and no direction is read.
"""

# Letters: B pictures, H W pixels, h w cells (sides divided by 4, rounded up), K classes, N objects of one picture.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import InputError

STRIDE = 4
"""Pixels per cell."""
DEEPEST = 16
"""Pixels per cell of the deepest layer; sides are padded to its multiples inside."""
SIZE_UNIT = 16.0
"""Sizes are learnt as the logarithm of pixels over this many."""
RARE = 0.02
"""Share of cells that a new network takes for peaks."""


@dataclass(frozen=True)
class DetectorMaps:
    """What the network says of each cell.

    Attributes:
        heat: ``[B, K, h, w]`` logits of an object's centre.
        offset: ``[B, 2, h, w]`` x and y of the centre in cells, from the cell's middle.
        size: ``[B, 2, h, w]`` log of width (the longer edge, if rotated) and height over 16 pixels.
        turn: ``[B, 4, h, w]`` sin 2t, cos 2t, sin 4t, cos 4t; t clockwise on screen from the x axis to the longer edge.
    """

    heat: Tensor
    offset: Tensor
    size: Tensor
    turn: Tensor


@dataclass(frozen=True)
class Detections:
    """Objects found in one picture, the surest first.

    Attributes:
        quads: float64 ``[N, 4, 2]`` corners in pixels, clockwise on screen.
        scores: float64 ``[N]`` 0 to 1.
        labels: int64 ``[N]`` indexes of classes.
    """

    quads: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


class Residual(nn.Module):
    """Two convolutions beside a straight path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, value: Tensor) -> Tensor:
        """``[B, c, h, w]`` in and out."""
        inner: Tensor = self.second(F.relu(self.first(F.relu(self.norm(value)))))
        return value + inner


class Detector(ModelMixin, ConfigMixin):
    """Pictures to maps of centres, offsets, sizes and directions at a quarter of their resolution; 0.4 M weights as it comes."""

    @register_to_config
    def __init__(
        self,
        classes: Sequence[str] = ("object",),
        horizontal: Sequence[str] = (),
        widths: Sequence[int] = (16, 32, 64, 112),
        width: int = 48,
    ) -> None:
        """Build the layers.

        Args:
            classes: Names.
            horizontal: Those of them whose boxes lie along the axes.
            widths: Channels at strides 2, 4, 8 and 16; multiples of 8.
            width: Channels where the strides meet again.

        Raises:
            InputError: If there is no class, one occurs twice, a horizontal one is unknown, or a width is no multiple of 8.
        """
        super().__init__()
        if not classes or len(set(classes)) < len(classes) or not set(horizontal) <= set(classes):
            raise InputError(
                f"a detector has classes {list(classes)} and horizontal ones {list(horizontal)}; name each class once, and only known ones"
            )
        if len(widths) != 4 or any(one < 8 or one % 8 for one in (*widths, width)):
            raise InputError(f"a detector's widths are four multiples of 8 and one more, not {list(widths)} and {width}; correct them")
        self.stem = nn.Conv2d(3, widths[0], 3, stride=2, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(Residual(channels) for channels in widths[1:])
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths[1:])
        self.head = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, len(classes) + 8, 1)
        with torch.no_grad():
            nn.init.normal_(self.out.weight, std=0.01)
            if self.out.bias is not None:
                nn.init.zeros_(self.out.bias)
                self.out.bias[: len(classes)] = float(np.log(RARE / (1 - RARE)))

    def forward(self, sample: Tensor) -> DetectorMaps:
        """Read pictures.

        Args:
            sample: ``[B, 3, H, W]`` red, green, blue, 0 to 1, any sides.

        Returns:
            The maps.
        """
        height, width = sample.shape[2:]
        value = F.pad(sample, (0, -width % DEEPEST, 0, -height % DEEPEST))
        value = F.relu(self.stem(2 * value - 1))
        levels = []
        for down, block in zip(self.downs, self.blocks, strict=True):
            value = block(down(value))
            levels.append(value)
        merged = self.laterals[-1](levels[-1])
        for lateral, level in zip(reversed(self.laterals[:-1]), reversed(levels[:-1]), strict=True):
            merged = F.interpolate(merged, scale_factor=2.0) + lateral(level)
        out = self.out(F.relu(self.head(F.relu(merged))))[:, :, : -(-height // STRIDE), : -(-width // STRIDE)]
        heat, offset, size, turn = out.split([len(self.config["classes"]), 2, 2, 4], dim=1)
        return DetectorMaps(heat, offset, size, turn)

    @torch.no_grad()
    def detect(self, sample: Tensor, threshold: float = 0.001, most: int = 100) -> list[Detections]:
        """Find objects.

        Args:
            sample: ``[B, 3, H, W]`` as for `forward`.
            threshold: Least score.
            most: Objects of a picture that are kept.

        Returns:
            One answer for each picture.
        """
        maps = self(sample)
        flat = np.array([name in set(self.config["horizontal"]) for name in self.config["classes"]])
        return decode(maps, flat, threshold, most)


def decode(maps: DetectorMaps, flat: NDArray[np.bool_], threshold: float = 0.001, most: int = 100) -> list[Detections]:
    """Read peaks off maps: a cell is a peak if no neighbour of its class is higher.

    Args:
        maps: Of the network.
        flat: ``[K]`` whether a class is horizontal.
        threshold: Least score.
        most: Objects of a picture that are kept.

    Returns:
        One answer for each picture.
    """
    scores = maps.heat.double().sigmoid()
    peaks = torch.where(F.max_pool2d(scores, 3, stride=1, padding=1) == scores, scores, scores.new_zeros(()))
    count, _, cells_y, cells_x = peaks.shape
    found = []
    for index in range(count):
        values, places = peaks[index].flatten().sort(descending=True, stable=True)
        kept = (values >= threshold)[:most]
        values, places = values[:most][kept], places[:most][kept]
        labels, cell = places // (cells_y * cells_x), places % (cells_y * cells_x)
        offset, size, turn = (part[index].flatten(1)[:, cell].double().cpu().numpy() for part in (maps.offset, maps.size, maps.turn))
        middle = np.stack([(cell % cells_x).cpu().numpy(), (cell // cells_x).cpu().numpy()]) + 0.5
        quads = _quads(middle, offset, size, turn, flat[labels.cpu().numpy()])
        found.append(Detections(quads, values.cpu().numpy(), labels.cpu().numpy().astype(np.int64)))
    return found


def direction(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle of the longer edge.

    Args:
        turn: ``[4, N]`` sin 2t, cos 2t, sin 4t, cos 4t, of any length.

    Returns:
        ``[N]`` radians: of the four-fold angle's quarter turns, the one nearest to the two-fold angle.
    """
    rough, fine = np.arctan2(turn[0], turn[1]) / 2, np.arctan2(turn[2], turn[3]) / 4
    quarter: NDArray[np.float64] = fine + np.round((rough - fine) / (np.pi / 2)) * (np.pi / 2)
    return quarter


def _quads(
    middle: NDArray[np.float64],
    offset: NDArray[np.float64],
    size: NDArray[np.float64],
    turn: NDArray[np.float64],
    flat: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Corners ``[N, 4, 2]`` of cells' middles ``[2, N]`` and what the maps say there."""
    centre = (middle + offset).T * STRIDE
    width, height = np.exp(np.clip(size, -6, 6)) * SIZE_UNIT
    angle = np.where(flat, 0.0, direction(turn))
    along = np.stack([np.cos(angle), np.sin(angle)], 1) * width[:, None] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], 1) * height[:, None] / 2
    quads: NDArray[np.float64] = centre[:, None] + np.stack([-along - across, along - across, along + across, across - along], 1)
    return quads
