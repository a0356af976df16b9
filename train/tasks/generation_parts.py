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
from .generation_controls import build_controls


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
    given = initialise if initialise is not None else config.base or None
    folder = None if given is None else resolve_model(given)
    if config.autoencoder:
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
    text = text_encoder(config, tokenizer, folder)
    wanted = input_channels(latents[0], len(config.hints), config.inpainting is not None)
    try:
        unet = (
            _read_unet(folder / "unet", wanted, config.unet)
            if folder is not None
            else _new_unet(config, wanted, latents, text.config.hidden_size)
        )
        embedding = _embedding(config, unet)
    except (TypeError, ValueError) as error:
        raise InputError(f"task.unet: {error}") from error
    if embedding is not None and folder is not None and (folder / "metadata_embedding").is_dir():
        embedding.load_state_dict(load_weights(folder / "metadata_embedding", embedding))
    elif embedding is not None and initialise is not None:
        raise InputError(f"the folder {initialise} has no metadata_embedding; give an exported generator, or 'task.base' for a base model")
    controls = build_controls(config.controls, unet, folder)
    return Generator(unet, text, embedding, controls).to(memory_format=torch.channels_last)


def _new_unet(config: GenerationConfig, channels: int, latents: tuple[int, int, int], width: int) -> UNet2DConditionModel:
    settings = {"sample_size": latents[1], "out_channels": latents[0], **config.unet}
    if not config.metadata_schema:
        settings.setdefault("class_embed_type", "none")
    if settings.get("class_embed_type") == "none":
        settings["class_embed_type"] = None
    return build_unet(channels, width, **settings)


def _read_unet(folder: Path, channels: int, settings: Mapping[str, Any]) -> UNet2DConditionModel:
    """A stored denoiser; further input channels and a class embedding that it has not begin at zero."""
    stored = dict(read_config(folder / "config.json"))
    wanted = settings.get("class_embed_type", stored.get("class_embed_type"))
    unet = UNet2DConditionModel.from_config(stored)
    unet.load_state_dict(load_weights(folder, unet))
    wanted = None if wanted == "none" else wanted
    if wanted != unet.config["class_embed_type"]:
        if unet.config["class_embed_type"] is not None:
            raise InputError(f"the denoiser {folder} has class_embed_type {unet.config['class_embed_type']}; the recipe wants {wanted}")
        with_class = UNet2DConditionModel.from_config({**stored, "class_embed_type": wanted})
        with_class.load_state_dict(unet.state_dict(), strict=False)
        if wanted == "timestep":
            nn.init.zeros_(with_class.class_embedding.linear_2.weight)
            nn.init.zeros_(with_class.class_embedding.linear_2.bias)
        unet = with_class
    has = int(unet.config["in_channels"])
    if has > channels:
        raise InputError(f"the denoiser {folder} has {has} input channels and the recipe needs {channels}; make hints and inpainting agree")
    if has < channels:
        _widen(unet, channels)
    return unet


def _widen(unet: UNet2DConditionModel, channels: int) -> None:
    old = unet.conv_in
    unet.conv_in = nn.Conv2d(channels, old.out_channels, old.kernel_size, padding=old.padding)
    with torch.no_grad():
        unet.conv_in.weight.zero_()
        unet.conv_in.weight[:, : old.in_channels] = old.weight
        unet.conv_in.bias.copy_(old.bias)
    unet.register_to_config(in_channels=channels)


def text_encoder(config: GenerationConfig, tokenizer: CLIPTokenizer, folder: Path | None) -> CLIPTextModel:
    """The text encoder of a folder, or a new one.

    Args:
        config: The task's.
        tokenizer: Its tokenizer.
        folder: In diffusers layout; None for a new one.

    Raises:
        InputError: If it cannot be made, or its weights do not fit its config.
    """
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
    if not config.metadata_schema or schema(config.metadata_schema).head == "network":
        return None
    width = int(unet.time_embedding.linear_2.out_features)
    return MetadataEmbedding(config.metadata_schema, width)
