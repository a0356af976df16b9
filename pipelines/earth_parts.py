"""The parts of a generator: read from a folder, strictly, and held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from torch import nn

from ..gen.conditioning.schemas import MetadataSchema
from ..gen.errors import InputError
from ..gen.zoo.folder import load_weights, read_config

CONTROL = "control_"
"""Component folders of control networks begin with this."""

_OURS = {
    "MetadataEmbedding": "gen.models.embed", "LocationEncoder": "gen.models.embed", "MultiHintAdapter": "gen.models.control.hints",
    "LocationResidualNet": "gen.models.control.location", "TemporalControlNet": "gen.models.control.temporal",
    "HintScaleControlNet": "gen.models.control.hint_scale", "ContentTokenAdapter": "gen.models.control.content",
    "LayoutUNet": "gen.models.layout.unet",
}  # fmt: skip
_THEIRS = frozenset({"UNet2DConditionModel", "AutoencoderKL", "ControlNetModel"})


def load_component(folder: Path, name: str, kind: str) -> Any:
    """One component of a model folder.

    Args:
        folder: The component's folder.
        name: Of the component, for errors.
        kind: Class name that the index gives.

    Returns:
        A network in float32 and evaluation mode, a scheduler or a tokenizer.

    Raises:
        InputError: If the class is not one that a generator can have, or a file is missing, damaged, or fits no such class.
    """
    try:
        if kind in _OURS:
            package = __name__.rsplit(".", 2)[0]
            return _network(folder, getattr(import_module(f"{package}.{_OURS[kind]}"), kind))
        if kind in _THEIRS:
            return _network(folder, getattr(diffusers, kind))
        if kind.endswith("Scheduler") and isinstance(getattr(diffusers, kind, None), type):
            return getattr(diffusers, kind).from_config(read_config(folder / "scheduler_config.json"))
        if kind in ("CLIPTextModel", "CLIPVisionModelWithProjection", "CLIPTokenizer", "CLIPTokenizerFast"):
            return _of_transformers(folder, kind)
    except (TypeError, ValueError, RuntimeError, AttributeError, OSError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the {name} in {folder} cannot be built ({error}); copy the model again") from error
    raise InputError(f"the model names {kind!r} as its {name}, which a generator cannot have; take another model, or a newer version")


def check_parts(vae: Any, unet: Any, text_encoder: Any, embedding: Any, schema: MetadataSchema | None, settings: Mapping[str, Any]) -> None:
    """Refuse parts that do not fit together.

    Raises:
        InputError: With the first two that disagree.
    """
    latents, bands = int(unet.config["out_channels"]), list(settings["bands"])
    wanted = latents + (1 + latents if settings["inpainting"] else 0) + (len(settings["hints"]) + 1 if settings["hints"] else 0)
    if vae.config["latent_channels"] != latents:
        raise InputError(
            f"the autoencoder has {vae.config['latent_channels']} latent channels, the denoiser {latents}; take parts of one model"
        )
    if vae.config["in_channels"] != len(bands) or len(set(bands)) != len(bands):
        raise InputError(f"the autoencoder takes {vae.config['in_channels']} bands, and the names are {', '.join(bands)}; name each once")
    if unet.config["in_channels"] != wanted:
        raise InputError(
            f"the denoiser has {unet.config['in_channels']} input channels; {latents} latents, "
            f"{'' if settings['inpainting'] else 'no '}inpainting and {len(settings['hints'])} hints make {wanted}, so mend the settings"
        )
    if text_encoder is not None and text_encoder.config.hidden_size != unet.config["cross_attention_dim"]:
        raise InputError(
            f"the text encoder's width is {text_encoder.config.hidden_size}, the denoiser's context "
            f"{unet.config['cross_attention_dim']}; take parts of one model"
        )
    kind = unet.config["class_embed_type"]
    if embedding is not None and (kind != "identity" or embedding.config["embedding_dim"] != time_width(unet)):
        raise InputError(
            f"the metadata embedding of width {embedding.config['embedding_dim']} needs a denoiser that takes a vector of that width; this "
            f"one takes {kind or 'none'} of {time_width(unet)}"
        )
    if embedding is None and kind not in (None, "timestep"):
        raise InputError(f"the denoiser takes metadata as {kind!r}, and there is no metadata embedding; add the one that belongs to it")
    if kind == "timestep" and (schema is None or len(schema.columns) != 1):
        raise InputError("the denoiser embeds one number itself, such as a zoom level; name a metadata schema of one field")


def time_width(unet: Any) -> int:
    """Width of a denoiser's time embedding."""
    return int(unet.time_embedding.linear_2.out_features)


def _network(folder: Path, kind: Any) -> nn.Module:
    config = read_config(folder / kind.config_name)
    with torch.device("meta"):  # shapes alone: a bad config is found before memory is taken for it
        weights = load_weights(folder, kind.from_config(config))
    model = kind.from_config(config)
    model.load_state_dict(weights)
    return cast(nn.Module, model.eval())


def _of_transformers(folder: Path, kind: str) -> Any:
    import transformers

    if not folder.is_dir():
        raise InputError(f"the model folder {folder.parent} has no {folder.name}; it is incomplete, so copy it again")
    if kind.startswith("CLIPTokenizer"):
        return transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    model, found = getattr(transformers, kind).from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    wrong = [key for key in (*found["missing_keys"], *found["unexpected_keys"]) if not key.endswith("position_ids")]
    wrong += [str(key) for key in found.get("mismatched_keys", ())]
    if wrong:
        raise InputError(f"the weights of {folder} do not fit its config ({wrong[0]}); copy the model again")
    strange = [key for key, value in model.state_dict().items() if not bool(torch.isfinite(value).all())]
    if strange:
        raise InputError(f"the weights of {folder} have values in {strange[0]} that are not finite; copy the model again")
    return model.eval()
