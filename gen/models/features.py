"""A small feature network for remote-sensing pictures: what distribution distances, probes and control scores measure with, offline.

A plain residual network. It learns several things at once from pictures of known places - land-cover class of the scene, month, ground
sampling distance, land cover by pixel. Its features are the last layer's means, which hold content, and the spreads of the first two
layers, which hold sharpness and texture - the means alone hardly see a blur - each in units of its spread over training pictures. They are
no Inception features: a distance measured with them is named after this network and its digest, and compares with no published FID.
"""

# Letters: B batch, H W pixels, D features, K scene classes, L land-cover classes.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from ..errors import InputError

LEAST = 16
"""Smallest side of a picture in pixels."""
COVER_STRIDE = 4
"""Pixels per cell of the land-cover output."""
LOG2_GSD_CENTRE, LOG2_GSD_SPREAD = 2.0, 3.0
"""The distance head's unit: log2 of metres, shifted and scaled to about -2 to 2 over 0.07 m to 480 m."""


@dataclass(frozen=True)
class Features:
    """What the network says of a batch.

    Attributes:
        features: ``[B, D]``: means of the last maps, then standard deviations of the first and second, standardised.
        classes: ``[B, K]`` logits of the scene's class.
        month: ``[B, 2]`` sine and cosine of the time of the year; the shorter the vector, the less certain.
        log2_gsd: ``[B]`` log2 of metres per pixel.
        cover: ``[B, L, H / 4, W / 4]`` logits of land cover, sides rounded up.
    """

    features: Tensor
    classes: Tensor
    month: Tensor
    log2_gsd: Tensor
    cover: Tensor


class Residual(nn.Module):
    """Two normalised convolutions beside a straight path; zero at initialisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_1 = nn.GroupNorm(_groups(channels), channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_2 = nn.GroupNorm(_groups(channels), channels)
        nn.init.zeros_(self.norm_2.weight)

    def forward(self, value: Tensor) -> Tensor:
        """``[B, c, H, W]`` in and out."""
        inner = F.silu(self.norm_1(self.first(value)))
        return F.silu(value + self.norm_2(self.second(inner)))


class FeatureNet(ModelMixin, ConfigMixin):
    """Red, green and blue display values to features and the four readings in `Features`."""

    centre: Tensor
    spread: Tensor

    @register_to_config
    def __init__(
        self,
        classes: Sequence[str] = ("scene",),
        covers: Sequence[str] = ("ground",),
        widths: Sequence[int] = (24, 48, 72, 104),
    ) -> None:
        """Build the layers.

        Args:
            classes: Names of the scene classes.
            covers: Names of the land-cover classes.
            widths: Channels at strides 2, 4, 8 and 16; multiples of 8.

        Raises:
            InputError: If a list is empty or a width is no multiple of 8.
        """
        super().__init__()
        if not classes or not covers or len(widths) != 4 or any(width < 8 or width % 8 for width in widths):
            raise InputError(
                f"a feature network has classes, covers and four widths that are multiples of 8, not {list(widths)}; correct its config"
            )
        downs = zip((3, *widths[:-1]), widths, strict=True)
        self.downs = nn.ModuleList(nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in downs)
        self.blocks = nn.ModuleList(Residual(width) for width in widths)
        self.class_head = nn.Linear(widths[3], len(classes))
        self.month_head = nn.Linear(widths[3], 2)
        self.gsd_head = nn.Linear(widths[3], 1)
        self.laterals = nn.ModuleList(nn.Conv2d(width, 32, 1) for width in widths[1:])
        self.register_buffer("centre", torch.zeros(self.width))
        self.register_buffer("spread", torch.ones(self.width))
        self.cover_head = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, len(covers), 1))

    @property
    def width(self) -> int:
        """D, the number of features."""
        first, second, _, last = self.config["widths"]
        return int(last + first + second)

    def forward(self, sample: Tensor) -> Features:
        """Read pictures.

        Args:
            sample: ``[B, 3, H, W]`` red, green, blue, display values 0 to 1, sides of at least 16 pixels.

        Returns:
            Features and readings.

        Raises:
            InputError: If there are not three bands or the picture is too small.
        """
        if sample.ndim != 4 or sample.shape[1] != 3 or min(sample.shape[2:]) < LEAST:
            raise InputError(
                f"the feature network got shape {tuple(sample.shape)}; it reads [B, 3, H, W] of red, green, blue with sides >= {LEAST}"
            )
        maps = self.maps(sample)
        means = maps[-1].mean((2, 3))
        return Features(
            features=(self._statistics(maps) - self.centre) / self.spread,
            classes=self.class_head(means),
            month=self.month_head(means),
            log2_gsd=self.gsd_head(means)[:, 0] * LOG2_GSD_SPREAD + LOG2_GSD_CENTRE,
            cover=self._cover(maps[1:]),
        )

    @torch.no_grad()
    def standardise(self, batches: Iterable[Tensor]) -> None:
        """Take the units of the features from pictures: their mean and standard deviation become 0 and 1.

        Args:
            batches: ``[B, 3, H, W]`` each, at least two pictures in all.
        """
        rows = torch.cat([self._statistics(self.maps(batch)) for batch in batches]).double()
        self.centre.copy_(rows.mean(0))
        # A channel that never moves is left at about its own size, not blown up.
        self.spread.copy_(rows.std(0).clamp(min=1e-3))

    def _statistics(self, maps: list[Tensor]) -> Tensor:
        return torch.cat([maps[3].mean((2, 3)), *(value.std((2, 3), correction=0) for value in maps[:2])], 1)

    def maps(self, sample: Tensor) -> list[Tensor]:
        """Feature maps at strides 2, 4, 8 and 16, sides rounded up."""
        value = ((sample.to(self.dtype) - 0.35) / 0.25).contiguous(memory_format=torch.channels_last)
        found = []
        for down, block in zip(self.downs, self.blocks, strict=True):
            value = block(down(value))
            found.append(value)
        return found

    def _cover(self, maps: list[Tensor]) -> Tensor:
        value = self.laterals[2](maps[2])
        for lateral, finer in zip((self.laterals[1], self.laterals[0]), (maps[1], maps[0]), strict=True):
            value = lateral(finer) + F.interpolate(value, size=finer.shape[2:], mode="bilinear", align_corners=False)
        cover: Tensor = self.cover_head(value)
        return cover


def _groups(channels: int) -> int:
    return channels // 8
