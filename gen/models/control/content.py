"""A content picture as tokens of the text: the global adapter of CRS-Diff (Tang et al., TGRS 2024).

The embedding e of the picture (CLIP's, one vector) becomes ``tokens`` vectors of the text's width,

    x = FF_2(LN(FF_1(LN(e)))),        FF(x) = W (a * GELU(b)),  [a, b] = V x.

Published, they are appended to the text (``join="append"``), which changes what a U-Net attends to even while they say nothing, and an
absent picture is an embedding of zeros. Ours (``join="add"``) adds them to the last positions of the text, which padding fills, through a
last layer that starts at zero: a new adapter and an absent picture change nothing, exactly.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from ...errors import InputError
from .residuals import zeroed

Join = Literal["append", "add"]


class ContentTokenAdapter(ModelMixin, ConfigMixin):
    """Embeds one picture in the context of a U-Net."""

    @register_to_config
    def __init__(
        self,
        width: int = 768,
        tokens: int = 4,
        embedding_width: int | None = None,
        dropout: tuple[float, float] = (0.1, 0.3),
        join: Join = "add",
    ) -> None:
        """Build the network.

        Args:
            width: Width D of the text's tokens.
            tokens: How many tokens M a picture becomes, even.
            embedding_width: Width E of a picture's embedding; as the text's if left out.
            dropout: In training, inside the two stages.
            join: How the tokens get into the text.

        Raises:
            InputError: If a setting is out of range.
        """
        super().__init__()
        if tokens < 2 or tokens % 2 or join not in ("append", "add"):
            raise InputError(f"tokens is {tokens} and join {join!r}; give an even number of tokens, and 'append' or 'add'")
        inner = embedding_width or width
        hidden = width * tokens // 2
        self.norm1 = nn.LayerNorm(inner)
        self.ff1 = FeedForward(inner, dim_out=hidden, mult=4, dropout=dropout[0], activation_fn="geglu")
        self.norm2 = nn.LayerNorm(hidden)
        self.ff2 = FeedForward(hidden, dim_out=width * tokens, mult=4, dropout=dropout[1], activation_fn="geglu")
        if join == "add":
            zeroed(self.ff2.net[2])

    def tokens(self, embedding: Tensor) -> Tensor:
        """``[B, E]`` to ``[B, M, D]``."""
        value = self.ff2(self.norm2(self.ff1(self.norm1(embedding.to(self.dtype)))))
        return cast(Tensor, value.reshape(embedding.shape[0], self.config["tokens"], self.config["width"]))

    def forward(
        self, embedding: Tensor, text: Tensor, present: Tensor | None = None, strength: float | Tensor = 1.0, dropped: bool = False
    ) -> Tensor:
        """Put a picture into the text.

        Args:
            embedding: ``[B, E]``.
            text: ``[B, N, D]``; N at least M for ``join="add"``.
            present: ``[B]`` bool, whether a sample has a picture; all have one if left out.
            strength: Factor of the tokens, one or ``[B]``.
            dropped: Whether no sample has a picture, as in the unconditional half of guidance.

        Returns:
            The context of the U-Net: ``[B, N + M, D]`` for ``append``, ``[B, N, D]`` for ``add``.

        Raises:
            InputError: If shapes disagree.
        """
        count, width = self.config["tokens"], self.config["width"]
        inner = self.config["embedding_width"] or width
        added = self.config["join"] == "add"
        if embedding.ndim != 2 or embedding.shape[1] != inner or text.ndim != 3 or text.shape[::2] != (embedding.shape[0], width):
            raise InputError(
                f"the picture's embedding has shape {tuple(embedding.shape)} and the text {tuple(text.shape)}; "
                f"they are [B, {inner}] and [B, N, {width}]; use the encoders that the adapter was made for"
            )
        if added and text.shape[1] < count:
            raise InputError(f"the text has {text.shape[1]} tokens and the picture {count}; pad the text to at least {count}")
        has = torch.ones(len(embedding), device=text.device) if present is None else present.to(text.device).float()
        has = has * (not dropped)
        if not added:
            embedding = torch.where(has[:, None] > 0, embedding, 0)
        factor = torch.as_tensor(strength, device=text.device, dtype=torch.float32).reshape(-1).expand(len(embedding))
        if added:
            factor = factor * has
        tokens = (self.tokens(embedding) * factor[:, None, None].to(self.dtype)).to(text.dtype)
        if not added:
            return torch.cat([text, tokens], dim=1)
        return torch.cat([text[:, :-count], text[:, -count:] + tokens], dim=1)
