"""DiffusionSat's two-dimensional ControlNet (Khanna et al., ICLR 2024): a stock one whose hints can be coarser than the picture."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from diffusers import ControlNetModel
from diffusers.configuration_utils import register_to_config

from ...errors import InputError

_STOCK = inspect.signature(ControlNetModel.__init__).parameters
SCALES = (1, 2, 4, 8)


class HintScaleControlNet(ControlNetModel):
    """A `ControlNetModel` whose hint encoder halves as often as its hints need: three times for hints of the picture's size.

    Weights and their names are the stock ones; only strides differ.
    """

    @register_to_config
    def __init__(
        self,
        hint_scale: int = 1,
        in_channels: int = 4,
        conditioning_channels: int = 3,
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        down_block_types: Sequence[str] = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        layers_per_block: int = 2,
        cross_attention_dim: int = 1024,
        attention_head_dim: int | Sequence[int] = (5, 10, 20, 20),
        norm_num_groups: int = 32,
        use_linear_projection: bool = True,
        class_embed_type: str | None = "identity",
        upcast_attention: bool = False,
        conditioning_embedding_out_channels: Sequence[int] = (16, 32, 96, 256),
        controlnet_conditioning_channel_order: str = "rgb",
        addition_embed_type: str | None = None,
        global_pool_conditions: bool = False,
    ) -> None:
        """Build the network.

        Args:
            hint_scale: Pixels of the picture per pixel of the hints: 1, 2, 4 or 8 (as published, for example 2 for 512 px from 256).
            in_channels: Channels of the latents.
            conditioning_channels: Channels of the hints.
            block_out_channels: As in `ControlNetModel`, as all that follow.
            down_block_types: One for each level.
            layers_per_block: Residual blocks of each level.
            cross_attention_dim: Width of the text.
            attention_head_dim: Heads of each level (diffusers' name for them).
            norm_num_groups: Groups of the norms.
            use_linear_projection: Whether the attention's projections are linear layers.
            class_embed_type: ``identity`` to take metadata as a vector.
            upcast_attention: Whether attention is computed in float32.
            conditioning_embedding_out_channels: Channels of the hint encoder.
            controlnet_conditioning_channel_order: ``rgb`` or ``bgr``.
            addition_embed_type: As in `ControlNetModel`.
            global_pool_conditions: As in `ControlNetModel`.

        Raises:
            InputError: If `hint_scale` is another number.
        """
        if hint_scale not in SCALES:
            raise InputError(f"hint_scale is {hint_scale}; it is one of {', '.join(map(str, SCALES))}; resize the hints")
        given: dict[str, Any] = {name: value for name, value in locals().items() if name in _STOCK and name != "self"}
        # The stock constructor would write its own config over this one's.
        inspect.unwrap(ControlNetModel.__init__)(self, **given)
        kept = 3 - SCALES.index(hint_scale)
        for halving in list(self.controlnet_cond_embedding.blocks)[1::2][kept:]:
            halving.stride = (1, 1)
