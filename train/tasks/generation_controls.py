"""Control networks of a generator in training: made from the denoiser, and the pictures, places and content that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ...gen.conditioning.dropout import kept_by_scheme
from ...gen.data.described_crops import Crop
from ...gen.errors import InputError
from ...gen.models.control import ContentTokenAdapter, LocationResidualNet, MultiHintAdapter
from ...gen.models.embed import LocationEncoder
from ...gen.zoo.folder import load_weights, read_config
from .generation_config import ControlConfig

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP's image encoders see."""


def build_controls(configs: Mapping[str, ControlConfig], unet: UNet2DConditionModel, folder: Path | None) -> dict[str, nn.Module]:
    """The control networks of a recipe, their encoders filled with the denoiser's weights; each changes nothing yet.

    Args:
        configs: The recipe's, by name.
        unet: The denoiser.
        folder: Exported generator that the run goes on from; its controls of the same names are read.

    Raises:
        InputError: If a setting fits no network.
    """
    made: dict[str, nn.Module] = {}
    for name, config in configs.items():
        try:
            network = _build(config, unet)
        except (TypeError, ValueError) as error:
            raise InputError(f"task.controls.{name}.model: {error}") from error
        stored = None if folder is None else folder / f"control_{name}"
        if stored is not None and stored.is_dir():
            network.load_state_dict(load_weights(stored, network))
        made[name] = network
    return made


def _build(config: ControlConfig, unet: UNet2DConditionModel) -> nn.Module:
    settings = dict(config.model)
    if config.kind == "hints":
        sizes = [config.hints[name] for name in config.hints]
        return MultiHintAdapter.from_unet(unet, hints=list(config.hints), hint_channels=sizes, **settings)
    if config.kind == "controlnet":
        return ControlNetModel.from_unet(unet, conditioning_channels=sum(config.hints.values()), **settings)
    if config.kind == "location":
        widths = tuple(unet.config["block_out_channels"])
        shape = {"block_out_channels": widths, "layers_per_block": unet.config["layers_per_block"]}
        return LocationResidualNet(**{**shape, **{key: value for key, value in settings.items() if key != "encoder"}})
    width = unet.config["cross_attention_dim"]
    return ContentTokenAdapter(**{"width": width, **{key: value for key, value in settings.items() if key != "encoder"}})


class ControlInputs:
    """What the control networks of a recipe read: stacked hints, embeddings of places and of content, each left out now and then.

    Attributes:
        draws: Uniform numbers that a sample takes.
    """

    def __init__(self, configs: Mapping[str, ControlConfig], folder: Path | None) -> None:
        """Read or make the frozen encoders.

        Args:
            configs: The recipe's, by name.
            folder: Of a base model, with ``location_encoder`` and ``image_encoder``; without them they are made anew, which is good for
                checks alone (the Cartesian encoding of places has no weights).
        """
        self.configs = dict(configs)
        self.draws = sum(1 + max(1, len(config.hints)) for config in configs.values())
        self.encoders: dict[str, nn.Module] = {}
        for name, config in configs.items():
            if config.kind in ("location", "content"):
                made = _location(config, folder) if config.kind == "location" else _vision(config, folder)
                self.encoders[name] = made.eval().requires_grad_(False)

    def read(self, crop: Crop) -> dict[str, Tensor]:
        """What a crop says, before anything is left out.

        Raises:
            InputError: If the picture has not the hints that the recipe names.
        """
        found: dict[str, Tensor] = {}
        for name, config in self.configs.items():
            if config.kind in ("hints", "controlnet"):
                found[name] = torch.from_numpy(np.concatenate([_hint(crop, hint, size) for hint, size in config.hints.items()]))
            elif config.kind == "content":
                found[name] = self._content(name, crop)
            else:
                found[name] = self._place(name, crop)
        return found

    def tensors(self, rows: Sequence[Mapping[str, Tensor]], uniform: Tensor | None) -> dict[str, Tensor]:
        """A batch: for each network what it reads, and ``<name>.present``; `uniform` ``[B, draws]`` decides what is left out.

        Args:
            rows: From `read`.
            uniform: In [0, 1); None leaves nothing out.
        """
        made: dict[str, Tensor] = {}
        at = 0
        for name, config in self.configs.items():
            slots = max(1, len(config.hints))
            stacked = torch.stack([row[name] for row in rows])
            kept = torch.ones(len(rows), slots, dtype=torch.bool)
            if uniform is not None:
                kept = kept_by_scheme(uniform[:, at : at + 1 + slots], config.keep_all, config.drop_all, config.drop_each)
            at += 1 + slots
            if config.kind == "location":
                kept &= torch.isfinite(stacked).all(1, keepdim=True)
                stacked = torch.nan_to_num(stacked)
            if config.kind in ("hints", "controlnet"):
                sizes = torch.tensor(list(config.hints.values()))
                stacked = stacked.to(torch.float32) / 255 * kept.repeat_interleave(sizes, 1)[:, :, None, None]
            made |= {name: stacked, f"{name}.present": kept}
        return made

    def _content(self, name: str, crop: Crop) -> Tensor:
        encoder: Any = self.encoders[name]
        size = int(encoder.config.image_size)
        picture = torch.from_numpy(crop.pixels.astype(np.float32) / np.float32(255))[None]
        shown = nn.functional.interpolate(picture, (size, size), mode="bicubic", antialias=True)
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (_CLIP_MEAN, _CLIP_STD))
        with torch.no_grad():
            embedding: Tensor = encoder(((shown - mean) / std).to(encoder.dtype)).image_embeds[0].float()
        return embedding

    def _place(self, name: str, crop: Crop) -> Tensor:
        encoder: Any = self.encoders[name]
        if crop.of.lat is None or crop.of.lon is None:
            return torch.full((int(encoder.config["outputs"]),), float("nan"))
        with torch.no_grad():
            place: Tensor = encoder(torch.tensor([[crop.of.lon, crop.of.lat]], dtype=torch.float64))[0].float()
        return place


def _hint(crop: Crop, name: str, channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    found = crop.hints.get(name)
    if found is None or found.shape[0] not in (1, channels):
        have = "none" if found is None else f"one of {found.shape[0]} channels"
        raise InputError(f"the picture {crop.of.name} has {have} of the hint {name!r}; the recipe wants {channels} channels of it")
    return np.repeat(found, channels, 0) if found.shape[0] != channels else found


def _location(config: ControlConfig, folder: Path | None) -> nn.Module:
    part = None if folder is None else folder / "location_encoder"
    if part is None or not part.is_dir():
        width = int(config.model.get("width", 256))
        return LocationEncoder(**{"encoding": "cartesian", "outputs": width, **config.model.get("encoder", {})})
    encoder = LocationEncoder.from_config(dict(read_config(part / LocationEncoder.config_name)))
    encoder.load_state_dict(load_weights(part, encoder))
    return encoder


def _vision(config: ControlConfig, folder: Path | None) -> nn.Module:
    part = None if folder is None else folder / "image_encoder"
    if part is None or not part.is_dir():
        return CLIPVisionModelWithProjection(CLIPVisionConfig(**config.model.get("encoder", {})))
    network: nn.Module = CLIPVisionModelWithProjection.from_pretrained(part, local_files_only=True, use_safetensors=True)
    return network
