"""GLIGEN's gated self-attention (Li et al., CVPR 2023): the cells of a layer and the objects' tokens attend to each other.

It stands between self-attention and text in a transformer block, under the name ``fuser``, with weights called as published. Padding is
not masked: GLIGEN was trained with thirty tokens, learnt nulls among them.
"""

from __future__ import annotations

from typing import Any, cast

from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.attention_processor import Attention
from torch import Tensor, cat, nn, tensor

from ...errors import InputError


class GatedFuser(nn.Module):
    """``x + tanh(a) SelfAttention([x, W objects])``, then ``x + tanh(b) FeedForward(x)``; both gates start at zero."""

    def __init__(self, channels: int, width: int, heads: int) -> None:
        """Build the layers.

        Args:
            channels: Of the cells.
            width: Of the objects' tokens.
            heads: Of the attention.
        """
        super().__init__()
        self.linear = nn.Linear(width, channels)
        self.attn = Attention(query_dim=channels, heads=heads, dim_head=channels // heads)
        self.ff = FeedForward(channels, activation_fn="geglu")
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.alpha_attn, self.alpha_dense = nn.Parameter(tensor(0.0)), nn.Parameter(tensor(0.0))

    def forward(self, cells: Tensor, objects: tuple[Tensor, float | Tensor]) -> Tensor:
        """Let the objects in.

        Args:
            cells: ``[B, cells, channels]``.
            objects: Tokens ``[B, N, width]``, and the factor of both gates, one or ``[B]``.

        Returns:
            ``[B, cells, channels]``.
        """
        tokens, given = objects
        scale = given.view(-1, 1, 1).to(cells.dtype) if isinstance(given, Tensor) else given
        joined = self.norm1(cat([cells, self.linear(tokens)], dim=1))
        cells = cells + scale * self.alpha_attn.tanh() * self.attn(joined)[:, : cells.shape[1]]
        return cast(Tensor, cells + scale * self.alpha_dense.tanh() * self.ff(self.norm2(cells)))


def install_fusers(unet: UNet2DConditionModel, width: int) -> list[GatedFuser]:
    """Give every transformer block of a stock U-Net a fuser; it is used where a layout is given.

    Args:
        unet: Changed in place.
        width: Of the objects' tokens.

    Returns:
        What was put in.

    Raises:
        InputError: If the U-Net has no transformer block.
    """
    made = []
    for block in list(unet.modules()):
        if isinstance(block, BasicTransformerBlock):
            attention: Any = block.attn1
            fuser = GatedFuser(attention.inner_dim, width, attention.heads).to(unet.device, unet.dtype)
            block.fuser = fuser
            made.append(fuser)
    if not made:
        raise InputError("the U-Net has no attention for a layout; give one with a CrossAttnDownBlock2D")
    return made
