"""Feature denormalisation: how CRS-Diff (Tang et al. 2024) lets hints into the residual blocks of an encoder.

The norm of a block becomes, for its input h and the hints' features c,

    a = h + softmax(q(h) k(h)^T) v(h)          over all H W positions (SAGAN: not divided by the root of the width, no gain of zero)
    n = GroupNorm(a) (1 + gamma(c)) + beta(c)  with 3 x 3 convolutions gamma and beta, and no weights of the norm itself

The second line is Uni-ControlNet's; the first is CRS-Diff's own. The published code holds the map of all pairs of positions, several times
over; ours never does, and computes the same. q and k have an eighth of the channels of v, and softmax(q k^T) v is computed for eight parts
of v with the same q and k, as eight heads of equal width: the form that the memory-saving kernels of every device take.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InputError

PARTS = 8


class PositionAttention(nn.Module):
    """Self-attention over positions with a residual, not scaled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % PARTS:
            raise InputError(f"attention over positions needs a multiple of {PARTS} channels, not {channels}; turn hint_attention off")
        self.query_conv = nn.Conv2d(channels, channels // PARTS, 1)
        self.key_conv = nn.Conv2d(channels, channels // PARTS, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, value: Tensor) -> Tensor:
        """``[B, C, H, W]`` in and out."""
        batch, channels, height, width = value.shape
        split = (batch, PARTS, height * width, channels // PARTS)
        # The kernels want the numbers of a position side by side; queries and keys are the same for all parts and are not copied.
        query, key = (
            conv(value).flatten(2).transpose(1, 2).contiguous()[:, None].expand(split) for conv in (self.query_conv, self.key_conv)
        )
        parts = self.value_conv(value).reshape(batch, PARTS, -1, height * width).transpose(2, 3).contiguous()
        mixed = F.scaled_dot_product_attention(query, key, parts, scale=1.0)
        return value + mixed.transpose(2, 3).reshape(value.shape)


class Denormalisation(nn.Module):
    """GroupNorm without weights, then gain and offset from the hints."""

    def __init__(self, channels: int, hint_channels: int, groups: int, eps: float) -> None:
        super().__init__()
        self.param_free_norm = nn.GroupNorm(groups, channels, eps=eps, affine=False)
        self.conv_gamma = nn.Conv2d(hint_channels, channels, 3, padding=1)
        self.conv_beta = nn.Conv2d(hint_channels, channels, 3, padding=1)

    def forward(self, value: Tensor, hints: Tensor) -> Tensor:
        """``value [B, C, H, W]`` and ``hints [B, c, H, W]`` to ``[B, C, H, W]``."""
        return self.param_free_norm(value) * (1 + self.conv_gamma(hints)) + self.conv_beta(hints)


class InjectionNorm(nn.Module):
    """Both lines above; the first one only with `attention`."""

    def __init__(self, channels: int, hint_channels: int, groups: int, eps: float, attention: bool) -> None:
        super().__init__()
        self.fdn = Denormalisation(channels, hint_channels, groups, eps)
        self.attention = PositionAttention(channels) if attention else nn.Identity()

    def forward(self, value: Tensor, hints: Tensor) -> Tensor:
        """``value [B, C, H, W]`` and ``hints [B, c, H, W]`` to ``[B, C, H, W]``."""
        return cast(Tensor, self.fdn(self.attention(value), hints))


class InjectionBlock(nn.Module):
    """A residual block of Stable Diffusion whose norms take hints. The other layers are called as in diffusers' `ResnetBlock2D`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_channels: int,
        hint_channels: int,
        *,
        groups: int = 32,
        eps: float = 1e-5,
        attention: bool = True,
    ) -> None:
        super().__init__()
        self.norm1 = InjectionNorm(in_channels, hint_channels, groups, eps, attention)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_channels, out_channels)
        self.norm2 = InjectionNorm(out_channels, hint_channels, groups, eps, attention)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, value: Tensor, embedding: Tensor, hints: Tensor) -> Tensor:
        """``value [B, C, H, W]``, ``embedding [B, D]`` and ``hints [B, c, H, W]`` to ``[B, C', H, W]``."""
        hidden = self.conv1(F.silu(self.norm1(value, hints)))
        hidden = hidden + self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden, hints)))
        return hidden + (value if self.conv_shortcut is None else self.conv_shortcut(value))
