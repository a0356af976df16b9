"""A place as residuals of a U-Net: GeoSynth's location network (Sastry et al., CVPRW EarthVision 2024).

One block for each skip connection and the middle. Block k has the place l_k (an embedding such as SatCLIP's) and the time t:

    a = attention(W_q l_k, W_k t, W_v t)        x = LN(a) + l_k        l_(k+1) = LN(W x) + x        r_k = Z_k l_(k+1), Z_k zero at first

and r_k is added at every pixel of the tap. Published (``mode="legacy"``), the attention has a single key: its softmax is 1, it cannot
depend on the place, and W_q learns nothing. Ours (``mode="multi"``) attends to the time and to several tokens made of the place, to which a
caller can add more (of a picture, of neighbours), and has a learnt null for an unknown place. Unlike the published code, neither needs a
layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.controlnets.controlnet import ControlNetOutput
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from ...errors import InputError
from .residuals import scale_residuals, zeroed

Mode = Literal["legacy", "multi"]


class LocationBlock(nn.Module):
    """One tap."""

    def __init__(self, width: int, time_width: int, heads: int, channels: int) -> None:
        super().__init__()
        self.query_embed = nn.Linear(width, width, bias=False)
        self.key_embed = nn.Linear(time_width, width, bias=False)
        self.value_embed = nn.Linear(time_width, width, bias=False)
        self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.ff = nn.Linear(width, width, bias=False)
        self.ff_zero = zeroed(nn.Linear(width, channels, bias=False))

    def forward(self, place: Tensor, time: Tensor, keys: Tensor | None, values: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next place ``[B, 1, w]`` and the residual ``[B, c]``, from a place, the time ``[B, 1, D]``, further keys and values."""
        key, value = self.key_embed(time), self.value_embed(time)
        if keys is not None and values is not None:
            key, value = torch.cat([key, keys], dim=1), torch.cat([value, values], dim=1)
        mixed, _ = self.cross_attn(self.query_embed(place), key, value, need_weights=False)
        place = self.norm1(mixed) + place
        place = self.norm2(self.ff(place)) + place
        return place, self.ff_zero(place)[:, 0]


class LocationResidualNet(ModelMixin, ConfigMixin):
    """An embedding of a place to residuals that hold for the whole picture."""

    @register_to_config
    def __init__(
        self,
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        width: int = 256,
        heads: int = 4,
        mode: Mode = "multi",
        place_tokens: int = 4,
    ) -> None:
        """Build the network.

        Args:
            block_out_channels: Channels of the U-Net's levels.
            layers_per_block: Residual blocks of each level.
            width: Width w of the place's embedding.
            heads: Heads of the attention; they divide `width`.
            mode: What it attends to.
            place_tokens: Tokens that the place becomes; only for ``multi``.

        Raises:
            InputError: If a setting is out of range.
        """
        super().__init__()
        if mode not in ("legacy", "multi") or heads < 1 or width % heads or place_tokens < 1:
            raise InputError(
                f"mode is {mode!r}, width {width}, heads {heads} and place_tokens {place_tokens}; "
                "give 'legacy' or 'multi', heads that divide the width, and at least one token"
            )
        taps = [block_out_channels[0]]
        for level, channels in enumerate(block_out_channels):
            taps += [channels] * (layers_per_block + (level < len(block_out_channels) - 1))
        first = block_out_channels[0]
        self.time_proj = Timesteps(first, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(first, 4 * first)
        self.blocks = nn.ModuleList(LocationBlock(width, 4 * first, heads, channels) for channels in taps)
        self.middle_block = LocationBlock(width, 4 * first, heads, block_out_channels[-1])
        if mode == "multi":
            self.null = nn.Parameter(torch.zeros(width))
            self.place_keys = nn.Linear(width, width * place_tokens)
            self.place_values = nn.Linear(width, width * place_tokens)

    def forward(
        self,
        timestep: Tensor | float,
        location: Tensor,
        conditioning_scale: float | Sequence[float] = 1.0,
        present: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> ControlNetOutput:
        """Residuals for the U-Net; a stock U-Net adds them as they are, `add_residuals` adds them to those of a layout.

        Args:
            timestep: ``[B]`` or a scalar.
            location: Embedding of the place, ``[B, w]``.
            conditioning_scale: Factor of all residuals, or of each tap and the middle.
            present: ``[B]`` bool, whether the place is known; it is if left out. An unknown one is the learnt null, and in ``legacy``,
                which has none, gives residuals of zero.
            tokens: Further tokens to attend to, ``[B, M, w]``; only for ``multi``.

        Returns:
            A residual ``[B, C, 1, 1]`` for each tap and the middle.

        Raises:
            InputError: If shapes disagree.
        """
        multi = self.config["mode"] == "multi"
        self._check(location, tokens, multi)
        steps = torch.as_tensor(timestep, device=location.device).reshape(-1).expand(len(location))
        time = self.time_embedding(self.time_proj(steps).to(self.dtype))[:, None]
        place = location.to(self.dtype)
        if multi and present is not None:
            place = torch.where(present.to(place.device)[:, None], place, self.null)
        keys = values = None
        if multi:
            further = [] if tokens is None else [tokens.to(self.dtype)]
            shape = (len(place), -1, self.config["width"])
            keys = torch.cat([self.place_keys(place).reshape(shape), *further], dim=1)
            values = torch.cat([self.place_values(place).reshape(shape), *further], dim=1)
        place = place[:, None]
        taps = []
        for block in [*self.blocks, self.middle_block]:
            place, residual = block(place, time, keys, values)
            taps.append(residual[:, :, None, None])
        gate = None if multi or present is None else present.to(location.device).float()
        return scale_residuals(taps[:-1], taps[-1], conditioning_scale, gate)

    def _check(self, location: Tensor, tokens: Tensor | None, multi: bool) -> None:
        width = cast(int, self.config["width"])
        if location.ndim != 2 or location.shape[1] != width:
            raise InputError(f"the place has shape {tuple(location.shape)}; this network takes [B, {width}]; use its location encoder")
        if tokens is not None and (not multi or tokens.ndim != 3 or tokens.shape[::2] != (len(location), width)):
            raise InputError(
                f"further tokens of shape {tuple(tokens.shape)} were given; only the mode multi takes them, as [B, M, {width}]"
            )
