"""Attention to objects beside the attention to text, inside the layers of a stock U-Net.

A cross-attention layer of the U-Net gets a second pair of projections for the objects' tokens; its queries and its output layer serve
both (AeroGen's and IP-Adapter's decoupled attention): ``Attention(q, text) + scale tanh(alpha) Attention(q, objects)``. What differs from
AeroGen: a gate that starts at zero, padding is not attended to, and cells may be let see only the objects that cover them. Every cell
always sees the null token, so that none is left with nothing to see.

The context that such a U-Net gets is a pair: the text, and a `LayoutContext`. With the text alone it is the U-Net that it was before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ...errors import InputError
from .regions import covered_cells


@dataclass
class LayoutContext:
    """What attention layers need of a layout. B batch, N objects, D width.

    Attributes:
        tokens: ``[B, N, D]`` of the objects, and behind them, if `null`, the null token.
        visible: Which of the objects there are, bool ``[B, N]``; None lets all be seen.
        null: Whether the last token is the null token, which is always seen.
        quads: Corners ``[B, N, 4, 2]`` in pictures, if cells see only the objects that cover them.
        grid: Rows and columns of the U-Net's input.
        scale: Factor of what objects add: one, or one for each sample ``[B]``.
        masks: Filled by `mask`: those of each grid.
    """

    tokens: Tensor
    visible: Tensor | None
    null: bool
    quads: Tensor | None
    grid: tuple[int, int]
    scale: float | Tensor = 1.0
    masks: dict[int, Tensor | None] = field(default_factory=dict)

    def mask(self, cells: int) -> Tensor | None:
        """What each of so many cells may see, bool ``[B, 1, cells or 1, tokens]``; None for everything."""
        if cells not in self.masks:
            self.masks[cells] = self._mask(cells)
        return self.masks[cells]

    def _mask(self, cells: int) -> Tensor | None:
        if self.visible is None:
            return None
        seen = self.visible[:, None, None, :]
        if self.quads is not None:
            covered = covered_cells(self.quads, *self._shape(cells)).flatten(2).mT
            seen = seen & covered[:, None]
        return nn.functional.pad(seen, (0, 1), value=True) if self.null else seen

    def _shape(self, cells: int) -> tuple[int, int]:
        """Rows and columns of the level with so many cells: the input's, halved as strided convolutions do."""
        rows, columns = self.grid
        while rows * columns > cells:
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        if rows * columns != cells:
            raise InputError(
                f"a layer has {cells} cells, and the input of {self.grid[0]} x {self.grid[1]} has no such level; see its sizes"
            )
        return rows, columns


class LayoutCrossAttnProcessor(nn.Module):
    """Cross-attention to text and objects for one layer of a stock U-Net."""

    # The switch of `..attention` sets it; it chooses the kernels for text, objects have masks and take PyTorch's own choice.
    _attention_backend: Any = None

    def __init__(self, width: int, channels: int, alpha: float | None = 0.0) -> None:
        """Build the projections.

        Args:
            width: D, of the objects' tokens.
            channels: Of the layer's heads together.
            alpha: Where the gate ``tanh(alpha)`` starts; None has no gate, as AeroGen.
        """
        super().__init__()
        self.to_k_layout = nn.Linear(width, channels, bias=False)
        self.to_v_layout = nn.Linear(width, channels, bias=False)
        self.alpha = None if alpha is None else nn.Parameter(torch.tensor(float(alpha)))

    def forward(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | tuple[Tensor, LayoutContext] | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            attn: The layer, of a transformer block.
            hidden_states: ``[B, cells, channels]``.
            encoder_hidden_states: Text ``[B, L, width]``, or the pair of it and the layout.
            attention_mask: For the text.
            temb: Not used by such layers.

        Returns:
            ``[B, cells, channels]``.
        """
        text, layout = encoder_hidden_states if isinstance(encoder_hidden_states, tuple) else (encoder_hidden_states, None)
        text = hidden_states if text is None else text
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, text.shape[1], len(text))
            attention_mask = attention_mask.view(len(text), attn.heads, -1, attention_mask.shape[-1])
        query = _heads(attn.to_q(hidden_states), attn.heads)
        mixed = self._text(query, _heads(attn.to_k(text), attn.heads), _heads(attn.to_v(text), attn.heads), attention_mask)
        if layout is not None and layout.tokens.shape[1] and not (isinstance(layout.scale, float | int) and layout.scale == 0):
            mixed = mixed + self._objects(query, layout, attn.heads)
        output = attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))
        return cast(Tensor, output / attn.rescale_output_factor)

    def _text(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        backend = self._attention_backend
        if backend is None or backend.value == "native":
            return scaled_dot_product_attention(query, key, value, attn_mask=mask)
        from diffusers.models.attention_dispatch import dispatch_attention_fn

        turned = (part.transpose(1, 2) for part in (query, key, value))
        return cast(Tensor, dispatch_attention_fn(*turned, attn_mask=mask, backend=backend)).transpose(1, 2)

    def _objects(self, query: Tensor, layout: LayoutContext, heads: int) -> Tensor:
        tokens = layout.tokens.to(self.to_k_layout.weight.dtype)
        key, value = _heads(self.to_k_layout(tokens), heads), _heads(self.to_v_layout(tokens), heads)
        found = scaled_dot_product_attention(query, key, value, attn_mask=layout.mask(query.shape[2]))
        scale = layout.scale.view(-1, 1, 1, 1).to(found.dtype) if isinstance(layout.scale, Tensor) else layout.scale
        return found * (scale if self.alpha is None else scale * self.alpha.tanh())


def install_layout(unet: UNet2DConditionModel, width: int, alpha: float | None = 0.0) -> list[LayoutCrossAttnProcessor]:
    """Let every cross-attention layer of a stock U-Net attend to objects too.

    Args:
        unet: Changed in place; it computes what it did until it gets a layout, and with one until a gate has opened.
        width: D, of the objects' tokens.
        alpha: See `LayoutCrossAttnProcessor`.

    Returns:
        What was put in, in the order of the layers.

    Raises:
        InputError: If the U-Net has no cross-attention.
    """
    made = []
    for block in unet.modules():
        if isinstance(block, BasicTransformerBlock) and block.attn2 is not None:
            processor = LayoutCrossAttnProcessor(width, block.attn2.inner_dim, alpha).to(unet.device, unet.dtype)
            block.attn2.set_processor(processor)
            made.append(processor)
    if not made:
        raise InputError("the U-Net has no cross-attention for a layout; give one with a CrossAttnDownBlock2D")
    return made


def _heads(sequence: Tensor, heads: int) -> Tensor:
    """``[B, L, C]`` to ``[B, heads, L, C / heads]``."""
    return sequence.unflatten(2, (heads, -1)).transpose(1, 2)
