"""A latent denoiser with its conditions as one network: what training runs, and what is taken apart again for a pipeline.

The denoiser is a stock `UNet2DConditionModel`. Text comes in by cross-attention, metadata as a vector beside the time, hints and the
picture to complete as further input channels: ``[noisy latents, repaint mask, kept latents, hint classes..., hint presence]``.

Letters: B batch, Z latent channels, K hint classes, h w rows and columns of latents, L tokens, F metadata columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

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
    """Denoiser, text encoder and metadata embedding."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        metadata_embedding: MetadataEmbedding | None = None,
        controls: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.unet, self.text_encoder, self.metadata_embedding = unet, text_encoder, metadata_embedding
        self.controls = nn.ModuleList(controls)

    def forward(
        self,
        inputs: Tensor,
        time: Tensor,
        tokens: Tensor,
        values: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """One evaluation.

        Args:
            inputs: ``[B, Z + ..., h, w]``, see the module.
            time: ``[B]``, as the forward process counts it.
            tokens: ``[B, L]``.
            values: Metadata ``[B, F]`` in the network's range.
            known: Which of them are known, ``[B, F]`` bool.

        Returns:
            ``[B, Z, h, w]``.
        """
        words = self.text_encoder(tokens).last_hidden_state
        return denoise(self.unet, inputs, time, words, self.metadata_embedding, values, known)


def denoise(
    unet: UNet2DConditionModel,
    inputs: Tensor,
    time: Tensor,
    words: Tensor,
    embedding: MetadataEmbedding | None = None,
    values: Tensor | None = None,
    known: Tensor | None = None,
    **residuals: Any,
) -> Tensor:
    """A stock denoiser with its metadata: as a vector of `embedding`, or as the class of a denoiser that embeds it itself.

    Args:
        unet: The denoiser.
        inputs: ``[B, Z + ..., h, w]``.
        time: ``[B]``.
        words: ``[B, L, D]``.
        embedding: Turns metadata into a vector; None for a denoiser with ``class_embed_type="timestep"`` or without metadata.
        values: ``[B, F]``.
        known: ``[B, F]``.
        residuals: Of control networks, as the denoiser takes them.

    Returns:
        ``[B, Z, h, w]``.
    """
    label: Tensor | None = None
    if embedding is not None and values is not None:
        label = embedding(values, known)
    elif unet.config["class_embed_type"] == "timestep":
        label = torch.zeros(len(inputs), device=inputs.device) if values is None else values[:, 0]
    made: Tensor = unet(inputs, time, words, class_labels=label, **residuals).sample
    return made
