"""The networks of a generator: read from a folder, or made anew from the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ...gen.conditioning.schemas import schema
from ...gen.errors import InputError
from ...gen.models.autoencoder import build_autoencoder
from ...gen.models.embed import MetadataEmbedding
from ...gen.models.generator import Generator, build_text_encoder, build_unet, input_channels
from ...gen.zoo.folder import load_weights, read_config
from ...gen.zoo.names import resolve_model
from .autoencoder import read_autoencoder
from .generation_config import GenerationConfig


@dataclass(frozen=True)
class Parts:
    """What a run begins with.

    Attributes:
        autoencoder: Frozen.
        tokenizer: None where it is to be learnt from the captions.
        folder: Where further parts lie; None for new ones.
    """

    autoencoder: AutoencoderKL
    tokenizer: CLIPTokenizer | None
    folder: Path | None


def read_parts(config: GenerationConfig, initialise: Path | None) -> Parts:
    """Read the frozen parts.

    Args:
        config: The task's.
        initialise: Exported folder that the run goes on from; its tokenizer is taken over, as its text encoder needs it.

    Raises:
        InputError: If a folder is missing or incomplete.
    """
    given = initialise if initialise is not None else config.base
    folder = None if given is None else resolve_model(given)
    if config.autoencoder is not None:
        autoencoder = read_autoencoder(Path(config.autoencoder))
    elif folder is not None:
        autoencoder = read_autoencoder(folder / "vae")
    else:
        autoencoder = build_autoencoder(len(config.bands), **config.vae)
    tokenizer: CLIPTokenizer | None = None
    if folder is not None:
        if not (folder / "tokenizer").is_dir():
            raise InputError(f"the folder {folder} has no tokenizer; give a model in diffusers layout that has all its parts")
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    return Parts(autoencoder, tokenizer, folder)


def build_network(
    config: GenerationConfig, parts: Parts, tokenizer: CLIPTokenizer, latents: tuple[int, int, int], initialise: Path | None
) -> nn.Module:
    """The network that is trained.

    Args:
        config: The task's.
        parts: From `read_parts`.
        tokenizer: Of the text encoder.
        latents: Shape of a sample's latents.
        initialise: As for `read_parts`; all of its weights are taken over.

    Raises:
        InputError: If the recipe's settings fit no network, or weights do not fit the recipe's network.
    """
    folder = parts.folder
    text = _text_encoder(config, tokenizer, folder)
    wanted = input_channels(latents[0], len(config.hints), config.inpainting is not None)
    try:
        unet = _read_unet(folder / "unet", wanted) if folder is not None else _new_unet(config, wanted, latents, text.config.hidden_size)
        embedding = _embedding(config, unet)
    except (TypeError, ValueError) as error:
        raise InputError(f"task.unet: {error}") from error
    if embedding is not None and folder is not None and (folder / "metadata_embedding").is_dir():
        embedding.load_state_dict(load_weights(folder / "metadata_embedding", embedding))
    elif embedding is not None and initialise is not None:
        raise InputError(f"the folder {initialise} has no metadata_embedding; give an exported generator, or 'task.base' for a base model")
    return Generator(unet, text, embedding).to(memory_format=torch.channels_last)


def _new_unet(config: GenerationConfig, channels: int, latents: tuple[int, int, int], width: int) -> UNet2DConditionModel:
    return build_unet(channels, width, **{"sample_size": latents[1], "out_channels": latents[0], **config.unet})


def _read_unet(folder: Path, channels: int) -> UNet2DConditionModel:
    """A stored denoiser; where it has fewer input channels than wanted, the further ones begin at zero."""
    stored: Mapping[str, Any] = read_config(folder / "config.json")
    unet = UNet2DConditionModel.from_config(dict(stored))
    unet.load_state_dict(load_weights(folder, unet))
    has = int(unet.config["in_channels"])
    if has == channels:
        return unet
    if has > channels:
        raise InputError(f"the denoiser {folder} has {has} input channels and the recipe needs {channels}; make hints and inpainting agree")
    old = unet.conv_in
    unet.conv_in = nn.Conv2d(channels, old.out_channels, old.kernel_size, padding=old.padding)
    with torch.no_grad():
        unet.conv_in.weight.zero_()
        unet.conv_in.weight[:, :has] = old.weight
        unet.conv_in.bias.copy_(old.bias)
    unet.register_to_config(in_channels=channels)
    return unet


def _text_encoder(config: GenerationConfig, tokenizer: CLIPTokenizer, folder: Path | None) -> CLIPTextModel:
    if folder is None:
        try:
            return build_text_encoder(len(tokenizer), tokenizer.eos_token_id, tokenizer.bos_token_id, **config.text.model)
        except (TypeError, ValueError) as error:
            raise InputError(f"task.text.model: {error}") from error
    part = folder / "text_encoder"
    text = CLIPTextModel(CLIPTextConfig.from_dict(dict(read_config(part / "config.json"))))
    try:
        stored = load_file(part / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise InputError(f"the text encoder {part} cannot be read ({error}); copy the model again") from error
    missing, unexpected = text.load_state_dict({key: value.float() for key, value in stored.items()}, strict=False)
    wrong = [key for key in (*missing, *unexpected) if not key.endswith("position_ids")]
    if wrong:
        raise InputError(f"the weights of the text encoder {part} do not fit its config ({wrong[0]} and others); copy the model again")
    return text


def _embedding(config: GenerationConfig, unet: UNet2DConditionModel) -> MetadataEmbedding | None:
    if config.metadata_schema is None or schema(config.metadata_schema).head == "network":
        return None
    width = int(unet.time_embedding.linear_2.out_features)
    return MetadataEmbedding(config.metadata_schema, width)
