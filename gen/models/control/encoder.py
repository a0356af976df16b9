"""The encoder half of a U-Net with a zero-initialised 1 x 1 convolution at every tap (ControlNet, Zhang et al. 2023).

The layers and their names are those of diffusers' `ControlNetModel`, without its hint encoder: published weights in that layout load as
they are. The heirs differ in how hints come in.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from ...errors import InputError

# What the copy takes over from a U-Net's config; both classes call these alike.
SHARED = (
    "in_channels",
    "flip_sin_to_cos",
    "freq_shift",
    "down_block_types",
    "mid_block_type",
    "only_cross_attention",
    "block_out_channels",
    "layers_per_block",
    "downsample_padding",
    "mid_block_scale_factor",
    "act_fn",
    "norm_num_groups",
    "norm_eps",
    "cross_attention_dim",
    "transformer_layers_per_block",
    "attention_head_dim",
    "num_attention_heads",
    "use_linear_projection",
    "class_embed_type",
    "num_class_embeds",
    "upcast_attention",
    "resnet_time_scale_shift",
    "projection_class_embeddings_input_dim",
)
SD15: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}
SD21: dict[str, Any] = {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
_LAYERS = ("conv_in", "time_proj", "time_embedding", "class_embedding", "down_blocks", "mid_block")
_ZEROS = ("controlnet_down_blocks", "controlnet_mid_block")


class EncoderCopy(ModelMixin, ConfigMixin):
    """Base of the networks that copy a U-Net's encoder."""

    _supports_gradient_checkpointing = True
    # Stock layers, put in place by `_build_encoder`.
    conv_in: Any
    time_proj: Any
    time_embedding: Any
    class_embedding: Any
    down_blocks: Any
    mid_block: Any
    controlnet_down_blocks: Any
    controlnet_mid_block: Any

    def _build_encoder(self, encoder: Mapping[str, Any]) -> dict[str, Any]:
        """Make the stock layers attributes of this network, and return the full settings of the copy."""
        known = inspect.signature(ControlNetModel.__init__).parameters
        unknown = sorted(set(encoder) - set(SHARED))
        if unknown:
            raise InputError(f"the encoder's settings {', '.join(unknown)} are unknown; they are those of the U-Net: {', '.join(SHARED)}")
        settings = {name: known[name].default for name in SHARED} | dict(encoder)
        if len(settings["down_block_types"]) != len(settings["block_out_channels"]) and "down_block_types" not in encoder:
            count = len(settings["block_out_channels"])
            settings["down_block_types"] = ("CrossAttnDownBlock2D",) * (count - 1) + ("DownBlock2D",)
        try:
            stock = ControlNetModel(**settings)
        except (ValueError, TypeError) as error:
            raise InputError(f"the encoder cannot be built: {error}; give the settings of the U-Net that it is for") from error
        for name in (*_LAYERS, *_ZEROS):
            setattr(self, name, getattr(stock, name))
        return settings

    @classmethod
    def from_unet(cls, unet: UNet2DConditionModel, *, in_channels: int | None = None, **settings: Any) -> Self:
        """A new network for a U-Net, its encoder filled with the U-Net's weights.

        Args:
            unet: The stock U-Net that gets the residuals.
            in_channels: Channels of ``sample``; those of the U-Net if left out. Fewer take the weights of its first channels.
            **settings: Further arguments of this class.

        Returns:
            The network, in the U-Net's dtype and on its device; it changes nothing yet.

        Raises:
            InputError: If the U-Net has another shape than Stable Diffusion's.
        """
        config = {name: unet.config[name] for name in SHARED if name in unet.config}
        if not isinstance(config["layers_per_block"], int):
            raise InputError(f"the U-Net has {config['layers_per_block']} layers in its blocks; a control network needs one number for all")
        network = cls(encoder={**config, "in_channels": in_channels or config["in_channels"]}, **settings)
        network.copy_encoder(unet)
        network = network.to(unet.device)
        return network if network.dtype == unet.dtype else network.to(unet.dtype)

    def copy_encoder(self, unet: UNet2DConditionModel) -> None:
        """Fill the encoder with a U-Net's weights; the norms of layers that hints are injected into have none.

        Raises:
            InputError: If the U-Net has another shape.
        """
        theirs = unet.state_dict()
        for key, own in self.state_dict().items():
            if key.split(".")[0] not in _LAYERS or ".fdn." in key or ".attention." in key:
                continue
            value = theirs.get(key)
            if value is not None and key == "conv_in.weight":
                value = value[:, : own.shape[1]]
            if value is None or value.shape != own.shape:
                raise InputError(f"the U-Net has no weight {key} of shape {tuple(own.shape)}; make the network with from_unet")
            own.copy_(value)

    def _embed(self, timestep: Tensor | float, sample: Tensor, class_labels: Tensor | None, extra: Tensor | None = None) -> Tensor:
        """Time and metadata as one vector, ``[B, D]``."""
        steps = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(sample.shape[0])
        embedding = self.time_embedding(self.time_proj(steps).to(self.dtype))
        kind = self.config["encoder"].get("class_embed_type")
        if (self.class_embedding is None) != (class_labels is None):
            wants = "takes no metadata" if self.class_embedding is None else "needs metadata and got none"
            raise InputError(f"the control network {wants}; its class_embed_type is {kind!r}; give class_labels accordingly")
        if class_labels is not None:
            # The sinusoids are float32 and the layer behind them may not be.
            labels = self.time_proj(class_labels).to(self.dtype) if kind == "timestep" else class_labels
            embedding = embedding + self.class_embedding(labels).to(self.dtype)
        return cast(Tensor, embedding if extra is None else embedding + extra.to(self.dtype))

    def _check_sample(self, sample: Tensor, context: Tensor) -> None:
        channels = self.conv_in.in_channels
        if sample.ndim != 4 or sample.shape[1] != channels:
            raise InputError(f"sample has shape {tuple(sample.shape)}; this network takes [B, {channels}, h, w]; give the U-Net's latents")
        if context.ndim != 3 or context.shape[0] != sample.shape[0]:
            raise InputError(f"the text has shape {tuple(context.shape)}; it is [B, tokens, width] with B = {sample.shape[0]}; mend it")

    def _zero_convs(self, taps: Sequence[Tensor], middle: Tensor) -> tuple[list[Tensor], Tensor]:
        """Through the zero-initialised convolutions."""
        return [conv(tap) for conv, tap in zip(self.controlnet_down_blocks, taps, strict=True)], self.controlnet_mid_block(middle)
