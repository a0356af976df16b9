"""A latent denoiser with its conditions as one network: what training runs, and what is taken apart again for a pipeline.

The denoiser is a stock `UNet2DConditionModel`. Text comes in by cross-attention, metadata as a vector beside the time, hints and the
picture to complete as further input channels: ``[noisy latents, repaint mask, kept latents, hint classes..., hint presence]``.

Letters: B batch, Z latent channels, K hint classes, h w rows and columns of latents, L tokens, F metadata columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from .control import ContentTokenAdapter, LocationResidualNet, add_residuals
from .embed import MetadataEmbedding


def input_channels(latents: int, hints: int, inpainting: bool = True) -> int:
    """Input channels of a denoiser: noisy latents, repaint mask and kept latents, hint classes and their presence."""
    return latents + (1 + latents if inpainting else 0) + (hints + 1 if hints else 0)


def build_unet(in_channels: int, text_width: int, **settings: Any) -> UNet2DConditionModel:
    """A small stock denoiser: no attention at the full grid, attention below, metadata as a ready vector.

    Args:
        in_channels: See `input_channels`.
        text_width: Width of the text encoder's output.
        settings: Other arguments of `UNet2DConditionModel`; they go before the small defaults.

    Returns:
        The network, with random weights.
    """
    widths = tuple(settings.get("block_out_channels", (48, 96, 112)))
    below = len(widths) - 1
    small: dict[str, Any] = {
        "out_channels": 4,
        "block_out_channels": widths,
        "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * below),
        "up_block_types": (*("CrossAttnUpBlock2D",) * below, "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "class_embed_type": "identity",
        "use_linear_projection": True,
    }
    return UNet2DConditionModel(in_channels=in_channels, cross_attention_dim=text_width, **{**small, **settings})


def build_text_encoder(vocabulary: int, eos: int, bos: int, **settings: Any) -> CLIPTextModel:
    """A small CLIP text tower with random weights; `settings` are those of `CLIPTextConfig`."""
    small = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 77}
    ends = {"eos_token_id": eos, "bos_token_id": bos, "pad_token_id": eos}
    return CLIPTextModel(CLIPTextConfig(vocab_size=vocabulary, **{**small, **ends, **settings}))


class Generator(nn.Module):
    """Denoiser, text encoder, metadata embedding and control networks."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        metadata_embedding: MetadataEmbedding | None = None,
        controls: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.text_encoder, self.metadata_embedding = unet, text_encoder, metadata_embedding
        self.controls = nn.ModuleDict(dict(controls or {}))

    def enable_gradient_checkpointing(self) -> None:
        """Compute inner values again on the way back, wherever a part can."""
        self.unet.enable_gradient_checkpointing()
        text: Any = self.text_encoder
        # The old name is on its way out.
        getattr(text, "activation_checkpointing_enable", text.gradient_checkpointing_enable)()
        for network in self.controls.values():
            if getattr(network, "_supports_gradient_checkpointing", False):
                network.enable_gradient_checkpointing()  # type: ignore[operator]

    def forward(
        self,
        inputs: Tensor,
        time: Tensor,
        tokens: Tensor,
        values: Tensor | None = None,
        known: Tensor | None = None,
        given: Mapping[str, Tensor] | None = None,
        words: Tensor | None = None,
    ) -> Tensor:
        """One evaluation.

        Args:
            inputs: ``[B, Z + ..., h, w]``, see the module.
            time: ``[B]``, as the forward process counts it.
            tokens: ``[B, L]``.
            values: Metadata ``[B, F]`` in the network's range.
            known: Which of them are known, ``[B, F]`` bool.
            given: For each control network what it reads, under its name, and under ``<name>.present`` which of it there is.
            words: The tokens' embeddings ``[B, L, D]``, where they are known; the text encoder is not asked then.

        Returns:
            ``[B, Z, h, w]``.
        """
        if words is None:
            words = self.text_encoder(tokens).last_hidden_state
        label = label_of(self.unet, len(inputs), self.metadata_embedding, values, known)
        read = given or {}
        outputs = []
        for name, network in self.controls.items():
            there = read[f"{name}.present"]
            if isinstance(network, ContentTokenAdapter):
                words = network(read[name], words, present=there[:, 0])
            elif isinstance(network, LocationResidualNet):
                outputs.append(network(time, read[name], present=there[:, 0]))
            else:
                # An absent hint of a stock ControlNet is a black picture; ours is told.
                more: dict[str, Any] = {} if isinstance(network, ControlNetModel) else {"present": there}
                outputs.append(network(inputs, time, words, read[name], class_labels=label, **more))
        residuals = {}
        if outputs:
            total = add_residuals(outputs)
            residuals = {
                "down_block_additional_residuals": total.down_block_res_samples,
                "mid_block_additional_residual": total.mid_block_res_sample,
            }
        made: Tensor = self.unet(inputs, time, words, class_labels=label, **residuals).sample
        return made


def label_of(
    unet: UNet2DConditionModel, count: int, embedding: MetadataEmbedding | None, values: Tensor | None, known: Tensor | None
) -> Tensor | None:
    """What a stock denoiser gets as ``class_labels``: metadata as a vector, or the one number that it embeds itself.

    Args:
        unet: The denoiser.
        count: B.
        embedding: Turns metadata into a vector; None for a denoiser with ``class_embed_type="timestep"``, or without metadata.
        values: ``[B, F]``; 0 for such a denoiser if left out.
        known: ``[B, F]``.

    Returns:
        ``[B, D]``, ``[B]``, or None.
    """
    if embedding is not None and values is not None:
        return embedding(values, known)
    if unet.config["class_embed_type"] == "timestep":
        return torch.zeros(count, device=unet.device) if values is None else values[:, 0]
    return None
