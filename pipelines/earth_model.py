"""A generator and its model folder: the parts, what they say about themselves, loading and saving."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline
from torch import nn

from ..gen.conditioning.schemas import MetadataSchema, schema
from ..gen.errors import InputError
from ..gen.models.autoencoder import latent_factor
from ..gen.zoo.card import read_card
from ..gen.zoo.folder import model_digest, read_index, write_model_folder
from ..gen.zoo.names import resolve_model
from .earth_parts import CONTROL, check_parts, load_component

PIPELINE = "EarthPipeline"
_PARTS = (
    "vae", "unet", "scheduler", "text_encoder", "tokenizer", "metadata_embedding", "location_encoder", "image_encoder",
    "metadata_embedding_of_controls",
)  # fmt: skip
_SETTINGS = (
    "bands", "unit", "schema", "hints", "inpainting", "masked", "soft_mask", "sizes", "control_hints", "guidance_scale",
    "num_inference_steps",
)  # fmt: skip


class EarthModel(DiffusionPipeline):
    """What a generator is made of."""

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _optional_components = [*_PARTS[3:], "controls"]  # noqa: RUF012

    def __init__(
        self,
        vae: Any,
        unet: Any,
        scheduler: Any,
        text_encoder: Any = None,
        tokenizer: Any = None,
        metadata_embedding: Any = None,
        location_encoder: Any = None,
        image_encoder: Any = None,
        metadata_embedding_of_controls: Any = None,
        controls: Mapping[str, nn.Module] | nn.ModuleDict | None = None,
        bands: Sequence[str] = ("red", "green", "blue"),
        unit: str = "display",
        schema: str | None = None,
        hints: Sequence[str] = (),
        inpainting: bool = False,
        masked: str = "latents",
        soft_mask: bool = False,
        sizes: Sequence[int] = (256,),
        control_hints: Mapping[str, Any] | None = None,
        guidance_scale: float | Mapping[str, float] = 4.0,
        num_inference_steps: int = 20,
    ) -> None:
        """Put the parts together.

        Args:
            vae: An `AutoencoderKL`.
            unet: A stock `UNet2DConditionModel` on its latents. Its input channels are noisy latents, with `inpainting` a repaint mask and
                the latents of what is kept, with `hints` one channel each and one for whether there is any.
            scheduler: Any sampler of diffusers.
            text_encoder: A `CLIPTextModel`; None for a model without text.
            tokenizer: Its tokenizer.
            metadata_embedding: A `MetadataEmbedding`, for a denoiser with ``class_embed_type="identity"``.
            location_encoder: A `LocationEncoder`, for control networks that read a place.
            image_encoder: A `CLIPVisionModelWithProjection`, for content pictures.
            metadata_embedding_of_controls: A `MetadataEmbedding` of the control networks' own (DiffusionSat); theirs is the denoiser's if
                left out.
            controls: Control networks by name.
            bands: Names of the bands of a picture.
            unit: Of their values, which lie between 0 and 1: ``display`` or ``reflectance``.
            schema: Metadata schema of a denoiser that embeds one number itself (``class_embed_type="timestep"``).
            hints: Names of the hints among the denoiser's input channels, masks from 0 to 1.
            inpainting: Whether the denoiser is told what to repaint.
            masked: What is kept is given as its ``latents`` times the mask, or as latents of the ``image`` with grey in place of the rest
                (Stable Diffusion's inpainting models).
            soft_mask: Whether a mask between 0 and 1 reaches the denoiser as it is (Text2Earth's), or as 0 and 1.
            sizes: Height and width that it was trained on, or one number for both.
            control_hints: For each control network its hints with their channels, such as ``{"layout": {"osm": 3}}``; ``{"place": 0}`` for
                one that reads the place, ``{"frames": 3}`` for one that reads a time series, ``{"content": 0}`` for one that makes words
                of a picture.
            guidance_scale: Where a call gives none: one number, or one for each group of conditions.
            num_inference_steps: Where a call gives none.

        Raises:
            InputError: If the parts do not fit together.
        """
        super().__init__()
        control_set = controls if isinstance(controls, nn.ModuleDict) or controls is None else nn.ModuleDict(dict(controls))
        self.register_modules(
            vae=vae, unet=unet, scheduler=scheduler, text_encoder=text_encoder, tokenizer=tokenizer,
            metadata_embedding=metadata_embedding, location_encoder=location_encoder, image_encoder=image_encoder,
            metadata_embedding_of_controls=metadata_embedding_of_controls, controls=control_set,
        )  # fmt: skip
        slots = {name: dict(entry) for name, entry in (control_hints or {}).items()}
        guidance = dict(guidance_scale) if isinstance(guidance_scale, Mapping) else guidance_scale
        self.register_to_config(
            bands=list(bands), unit=unit, schema=schema, hints=list(hints), inpainting=inpainting, masked=masked, soft_mask=soft_mask,
            sizes=list(sizes), control_hints=slots, guidance_scale=guidance, num_inference_steps=num_inference_steps,
        )  # fmt: skip
        self.folder: Path | None = None
        self.lora: Path | None = None
        check_parts(vae, unet, text_encoder, metadata_embedding, self.metadata_schema, self.config)
        if "hints" in slots:  # its folder would have the name of a setting
            raise InputError("a control network cannot be called 'hints'; give it another name")
        if set(slots) != set(control_set or {}) or masked not in ("latents", "image"):
            raise InputError("control_hints names other networks than there are, or masked is neither 'latents' nor 'image'; mend them")

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands of a picture."""
        return tuple(self.config["bands"])

    @property
    def unit(self) -> str:
        """Unit of the pictures' values."""
        return str(self.config["unit"])

    @property
    def factor(self) -> int:
        """Pixels per latent and axis."""
        return latent_factor(self.vae)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that it was trained on."""
        sizes = list(self.config["sizes"])
        return int(sizes[0]), int(sizes[-1])

    @property
    def metadata_schema(self) -> MetadataSchema | None:
        """How the model wants its metadata; None if it takes none."""
        if self.metadata_embedding is not None:
            return self.metadata_embedding.schema
        return None if self.config["schema"] is None else schema(self.config["schema"])

    @property
    def control_slots(self) -> dict[str, list[str]]:
        """Names of the hints of each control network."""
        return {name: list(slots) for name, slots in self.config["control_hints"].items()}

    @property
    def hint_names(self) -> tuple[str, ...]:
        """Names of all hints that can be given as pictures."""
        slots = [slot for entry in self.control_slots.values() for slot in entry if slot not in ("place", "frames", "content")]
        return (*self.config["hints"], *slots)

    def hint_channels(self, name: str) -> int:
        """Channels of a hint."""
        return next((int(entry[name]) for entry in self.config["control_hints"].values() if name in entry), 1)

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

    def load_lora(self, folder: str | Path, *, check_base: bool = True) -> None:
        """Put a trained adapter onto the denoiser, in place.

        Args:
            folder: With ``adapter.safetensors`` and ``adapter.json``.
            check_base: Refuse an adapter that was trained on another denoiser; off for one in lower precision.

        Raises:
            InputError: If a file is missing or damaged, the denoiser is another, or there is an adapter already.
        """
        from ..gen.models.lora import has_lora, load_adapter

        if has_lora(self.unet):
            raise InputError("the model has an adapter already; load it anew for another one")
        load_adapter(self.unet, Path(folder), check_base=check_base)
        self.unet.eval()
        self.lora = Path(folder)
        self.__dict__.pop("digest", None)

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
        for name, entry in index.items():
            known = name in _PARTS or name.startswith(CONTROL)
            if known and isinstance(entry, list) and len(entry) == 2 and entry[1] is not None:
                parts[name] = load_component(folder / name, name, str(entry[1]))
        missing = [name for name in ("vae", "unet", "scheduler") if name not in parts]
        if missing:
            raise InputError(f"the index of {folder} names no {missing[0]}; the model is incomplete, so copy it again")
        controls = {name.removeprefix(CONTROL): parts.pop(name) for name in list(parts) if name.startswith(CONTROL)}
        settings = {key: index[key] for key in _SETTINGS if key in index}
        try:
            pipeline = cls(**parts, controls=controls or None, **settings)
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
        settings = {key: self.config[key] for key in _SETTINGS if self.config[key] is not None}
        components = {name: getattr(self, name) for name in _PARTS if getattr(self, name) is not None}
        if self.lora is not None:  # what is stored is a plain network that computes the same
            from ..gen.models.lora import merged_state

            plain = type(self.unet).from_config(self.unet.config)
            plain.load_state_dict(merged_state(self.unet))
            components["unet"] = plain
        components |= {f"{CONTROL}{name}": module for name, module in (self.controls or {}).items()}
        write_model_folder(Path(save_directory), pipeline=PIPELINE, components=components, settings=settings, card=card, half=half)
