"""The pyramid of convolutions that turns stacked hint pictures into features for every level of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from ...errors import InputError
from .residuals import zeroed

SCALES = (1, 2, 4, 8)


class HintPyramid(nn.Module):
    """CRS-Diff's extractor: a stem, one stage of halved size for each level, each closed by a zero-initialised convolution.

    At scale 8 the stem halves twice and the first stage once; smaller scales halve less, from the picture's side on.
    """

    def __init__(self, channels: int, widths: Sequence[int], inject: Sequence[int], scale: int) -> None:
        """Build it.

        Args:
            channels: Channels of all hints.
            widths: Channels of the stem's three sizes.
            inject: Channels of each level's features.
            scale: Pixels of the hints per pixel of the first level: 1, 2, 4 or 8.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__()
        if scale not in SCALES or len(widths) != 3 or min(*widths, *inject) < 1:
            raise InputError(
                f"hint_scale is {scale} and pyramid_channels {tuple(widths)}; they are 1, 2, 4 or 8, and three numbers above 0"
            )
        first, second, third = (2 if scale >= least else 1 for least in (8, 4, 2))
        small, middle, large = widths
        self.pre_extractor = nn.Sequential(
            nn.Conv2d(channels, small, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(small, middle, 3, padding=1, stride=first),
            nn.SiLU(),
            nn.Conv2d(middle, middle, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(middle, large, 3, padding=1, stride=second),
            nn.SiLU(),
            nn.Conv2d(large, large, 3, padding=1),
            nn.SiLU(),
        )
        pairs = zip((large, *inject[:-1]), inject, (third, *[2] * (len(inject) - 1)), strict=True)
        self.extractors = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1, stride=stride), nn.SiLU()) for before, after, stride in pairs
        )
        self.zero_convs = nn.ModuleList(zeroed(nn.Conv2d(width, width, 3, padding=1)) for width in inject)

    def forward(self, hints: Tensor) -> list[Tensor]:
        """``[B, channels, H, W]`` to one ``[B, inject, h, w]`` for each level; every halving rounds up, as in the U-Net."""
        value = cast(Tensor, self.pre_extractor(hints))
        features = []
        for stage, close in zip(self.extractors, self.zero_convs, strict=True):
            value = stage(value)
            features.append(close(value))
        return features
