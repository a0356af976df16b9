"""A generator of pictures from layouts and its model folder: the parts, loading and saving."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from ..gen.errors import InputError
from ..gen.zoo.card import read_card
from ..gen.zoo.folder import model_digest, read_index, write_model_folder
from ..gen.zoo.names import resolve_model
from .earth_parts import load_component

PIPELINE = "LayoutToImagePipeline"
_PARTS = ("unet", "scheduler", "text_encoder", "tokenizer")
_SETTINGS = ("size", "guidance_scale", "num_inference_steps", "min_visible")
_GROUPS = ("text", "layout")


class LayoutModel(DiffusionPipeline):
    """What a layout-to-image generator is made of."""

    model_cpu_offload_seq = "text_encoder->unet"
    _optional_components = ["text_encoder", "tokenizer"]  # noqa: RUF012

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        text_encoder: Any = None,
        tokenizer: Any = None,
        size: int = 128,
        guidance_scale: float | Mapping[str, float] = 2.0,
        num_inference_steps: int = 10,
        min_visible: float = 0.3,
    ) -> None:
        """Put the parts together.

        Args:
            unet: A `LayoutUNet` on unshuffled pictures; for inpainting it also takes the mask and the picture outside it.
            scheduler: Any sampler of diffusers.
            text_encoder: A `CLIPTextModel`; None for a model without text.
            tokenizer: Its tokenizer.
            size: Side of the pictures that it was trained on, and of the windows of larger ones.
            guidance_scale: Where a call gives none: one number, or one each for ``text`` and ``layout``.
            num_inference_steps: Where a call gives none.
            min_visible: Share of an object that a picture or window must show for it to be told.

        Raises:
            InputError: If the parts do not fit together.
        """
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, text_encoder=text_encoder, tokenizer=tokenizer)
        guidance = dict(guidance_scale) if isinstance(guidance_scale, Mapping) else guidance_scale
        self.register_to_config(size=size, guidance_scale=guidance, num_inference_steps=num_inference_steps, min_visible=min_visible)
        self.folder: Path | None = None
        has, plain = int(unet.unet.config["in_channels"]), 3 * self.patch**2
        if has not in (plain, 2 * plain + self.patch**2) or int(unet.unet.config["out_channels"]) != plain:
            raise InputError(
                f"the denoiser has {has} input channels and patch {self.patch}; pictures need {plain}, or {2 * plain + self.patch**2} with "
                "inpainting, so take another model"
            )
        if (text_encoder is None) != (tokenizer is None) or size % self.patch:
            raise InputError("text encoder and tokenizer go together, and the size is a multiple of the patch; mend the model")

    @property
    def patch(self) -> int:
        """Pixels along a cell of the denoiser's grid."""
        return int(self.unet.config["patch"])

    @property
    def names(self) -> list[str]:
        """Classes that it can paint."""
        return list(self.unet.config["classes"])

    @property
    def inpainting(self) -> bool:
        """Whether it can be given a part of the picture."""
        return int(self.unet.unet.config["in_channels"]) > 3 * self.patch**2

    @property
    def name(self) -> str:
        """The model's name: of its folder, or ``unsaved``."""
        return self.folder.resolve().name if self.folder is not None else "unsaved"

    @cached_property
    def digest(self) -> str:
        """Digest over the weights: of the files it was loaded from, else of the denoiser in memory."""
        if self.folder is not None:
            return model_digest(self.folder)
        whole = hashlib.sha256()
        for key, value in sorted(self.unet.state_dict().items()):
            whole.update(key.encode() + value.detach().cpu().to(torch.float64).numpy().tobytes())
        return whole.hexdigest()[:12]

    def words(self, prompts: list[str]) -> Tensor | None:
        """Text ``[B, L, D]`` of prompts; None for a model without text."""
        if self.text_encoder is None:
            return None
        length = self.tokenizer.model_max_length
        found = self.tokenizer(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        told: Tensor = self.text_encoder(found["input_ids"].to(self.text_encoder.device)).last_hidden_state
        return told

    def scales_of(self, guidance: float | Mapping[str, float] | None) -> dict[str, float]:
        """The guidance scales of a call: the given ones, else the model's own.

        Raises:
            InputError: If a group does not exist or a scale is no number from 0 to 100.
        """
        own = self.config["guidance_scale"]
        default = dict(own) if isinstance(own, Mapping) else dict.fromkeys(_GROUPS, own)
        given = guidance if isinstance(guidance, Mapping) else default if guidance is None else dict.fromkeys(_GROUPS, guidance)
        strange = [name for name in given if name not in _GROUPS]
        if strange:
            raise InputError(f"there is no group of conditions {strange[0]!r}; guidance has text and layout, so name these")
        scales = {name: float(given.get(name, default.get(name, 1.0))) for name in _GROUPS}
        for name, scale in scales.items():
            if not (math.isfinite(scale) and 0.0 <= scale <= 100.0):
                raise InputError(f"the guidance scale of {name} is {scale:g}; it is from 0 (condition off) over 1 (as trained) to 100")
        return scales

    def steps_of(self, steps: int | None) -> int:
        """The steps of a call: the given ones, else the model's own."""
        chosen = int(self.config["num_inference_steps"]) if steps is None else steps
        if chosen < 1:
            raise InputError(f"{chosen} steps were asked for; at least 1 is needed")
        return chosen

    @classmethod
    def load(cls, name: str | Path, device: str = "auto", dtype: str = "auto", *, allow_download: bool = False) -> Self:
        """Load a model by name and make it ready to run.

        Args:
            name: A folder, ``zoo:name``, or a hub id.
            device: ``auto``, ``cpu``, ``cuda``, ...
            dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
            allow_download: Whether a hub id may be fetched over the network.

        Raises:
            InputError: If the model cannot be found or loaded, or the device is not there.
        """
        from ..gen.models.fast import pick_device, pick_dtype

        pipeline = cls.from_pretrained(name, allow_download=allow_download)
        place = pick_device(device)
        return pipeline.to(place, pick_dtype(dtype, place))

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, torch_dtype: torch.dtype = torch.float32, allow_download: bool = False
    ) -> Self:
        """Load a model folder, strictly and without a network.

        Args:
            pretrained_model_name_or_path: A folder, ``zoo:name``, or a hub id.
            torch_dtype: Of the weights in memory; stored half precision is widened.
            allow_download: Whether a hub id may be fetched over the network.

        Raises:
            InputError: If the folder is incomplete, damaged or made for another pipeline, or holds pickles.
        """
        folder = resolve_model(pretrained_model_name_or_path, allow_download=allow_download)
        index = read_index(folder, PIPELINE)
        parts: dict[str, Any] = {}
        for name in _PARTS:
            entry = index.get(name)
            if isinstance(entry, list) and len(entry) == 2 and entry[1] is not None:
                parts[name] = load_component(folder / name, name, str(entry[1]))
        missing = [name for name in ("unet", "scheduler") if name not in parts]
        if missing:
            raise InputError(f"the index of {folder} names no {missing[0]}; the model is incomplete, so copy it again")
        try:
            pipeline = cls(**parts, **{key: index[key] for key in _SETTINGS if key in index})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the settings in {folder} do not fit its parts ({error}); copy the model again") from error
        pipeline.folder = folder
        return pipeline if torch_dtype == torch.float32 else pipeline.to(torch_dtype)

    def save_pretrained(self, save_directory: str | Path, *, half: bool = False, card: dict[str, Any] | None = None) -> None:
        """Write the pipeline as a model folder, whole or not at all.

        Args:
            save_directory: Where to; an older model there is replaced.
            half: Whether weights are stored in half precision.
            card: What ``card.toml`` says; the card of the folder it was loaded from if left out.

        Raises:
            InputError: If the place holds something else, or a weight is not finite.
        """
        card = card if card is not None else read_card(self.folder) if self.folder is not None else {}
        settings = {key: self.config[key] for key in _SETTINGS}
        components = {name: getattr(self, name) for name in _PARTS if getattr(self, name) is not None}
        write_model_folder(Path(save_directory), pipeline=PIPELINE, components=components, settings=settings, card=card, half=half)
