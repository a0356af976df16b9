"""Parts of a Stable Diffusion pipeline, read from folders in diffusers layout or from a state dict, strictly and offline.

Class names in the files decide nothing: what a folder holds is what its sub-folders hold, and a network is what its weights fit.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from .ldm_keys import clip_key
from .weight_files import read_state_dict

Network = TypeVar("Network", bound=nn.Module)
WEIGHT_FILES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
KEPT_SCHEDULERS = ("DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler")
_LISTED = 4


@dataclass
class EarthModel:
    """What a folder of `EarthPipeline` is written from.

    Attributes:
        components: Networks, schedulers, text encoder and tokenizer by name.
        settings: The pipeline's other arguments.
        card: Contents of ``card.toml``.
        taken: How many published tensors were used.
        dropped: How many were not, by the reason.
    """

    components: dict[str, Any]
    settings: dict[str, Any]
    card: dict[str, Any]
    taken: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


def fill(make: Callable[[], Network], state: Mapping[str, Tensor], what: str, path: Path) -> Network:
    """Build a network and give it weights, all of them and no others.

    Args:
        make: Builds it.
        state: Weights by its own names.
        what: What it is, for error messages.
        path: Where the weights are from, for error messages.

    Returns:
        The network in float32, for inference.

    Raises:
        InputError: If weights are missing, unexpected, of another shape or not finite.
    """
    with torch.device("meta"):
        wanted = make().state_dict()
    faults = [
        f"{len(keys)} {word} ({_some(keys)})"
        for word, keys in (("missing", sorted(wanted.keys() - state.keys())), ("unexpected", sorted(state.keys() - wanted.keys())))
        if keys
    ]
    shared = wanted.keys() & state.keys()
    shapes = [
        f"{key} is {[*state[key].shape]} instead of {[*wanted[key].shape]}"
        for key in sorted(shared)
        if state[key].shape != wanted[key].shape
    ]
    faults += [_some(shapes)] if shapes else []
    if not faults:
        faults = [
            f"{key} is not finite" for key in shared if state[key].is_floating_point() and not bool(torch.isfinite(state[key]).all())
        ][:1]
    if faults:
        raise InputError(f"the weights of the {what} in {path} do not fit: {', '.join(faults)}; give complete published weights")
    network = make()
    network.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    return network.eval()


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: If there is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}; give a folder in diffusers layout") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); copy it again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__} instead of a JSON object; copy it again")
    return value


def read_folder_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of one component, in one file or in several that an index lists.

    Raises:
        InputError: If there are none, or they cannot be read.
    """
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is not None:
        return read_state_dict(found)
    index = next(iter(sorted(folder.glob("*.index.json"))), None)
    if index is None:
        raise InputError(f"{folder} has no weights; it needs one of {', '.join(WEIGHT_FILES)}; copy it again")
    shards = sorted({str(name) for name in dict(read_config(index).get("weight_map", {})).values()})
    if not shards or any(Path(name).name != name for name in shards):
        raise InputError(f"{index} lists no files beside it; copy the folder again")
    return {key: value for name in shards for key, value in read_state_dict(folder / name).items()}


def settings_for(kind: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config that a class takes."""
    known = inspect.signature(kind).parameters
    return {name: value for name, value in config.items() if name in known and not name.startswith("_")}


def read_autoencoder(folder: Path) -> nn.Module:
    """An `AutoencoderKL`; the names that attention had in older versions are understood."""
    from diffusers import AutoencoderKL

    state: dict[str, Tensor] = {}
    for key, value in read_folder_weights(folder).items():
        name = key
        if ".attentions." in key:
            for old, new in OLD_ATTENTION.items():
                name = name.replace(old, new)
        state[name] = value[:, :, 0, 0] if ".attentions." in name and value.ndim == 4 else value
    config = settings_for(AutoencoderKL, read_config(folder / "config.json"))
    return fill(lambda: AutoencoderKL(**config), state, "autoencoder", folder)


def read_text_encoder(folder: Path) -> nn.Module:
    """A `CLIPTextModel`."""
    return text_encoder(read_config(folder / "config.json"), read_folder_weights(folder), folder)


def text_encoder(config: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """A `CLIPTextModel` from its config and weights, whichever version of transformers named them."""
    from transformers import CLIPTextConfig, CLIPTextModel

    plain = CLIPTextConfig(**_without_classes(config))
    with torch.device("meta"):
        nested = any(key.startswith("text_model.") for key in CLIPTextModel(plain).state_dict())
    prefix = "text_model." if nested else ""
    named = {prefix + name: value for key, value in state.items() if (name := clip_key(key)) is not None}
    return fill(lambda: CLIPTextModel(plain), named, "text encoder", path)


def read_image_encoder(folder: Path) -> nn.Module:
    """A `CLIPVisionModelWithProjection`."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(**_without_classes(read_config(folder / "config.json")))
    state = {key: value for key, value in read_folder_weights(folder).items() if not key.endswith("embeddings.position_ids")}
    return fill(lambda: CLIPVisionModelWithProjection(config), state, "image encoder", folder)


def read_tokenizer(folder: Path) -> Any:
    """A CLIP tokenizer from a folder with a vocabulary, or a pipeline's folder that has one."""
    from transformers import CLIPTokenizer

    place = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    if not any((place / name).is_file() for name in ("vocab.json", "tokenizer.json")):
        raise InputError(f"{folder} has no CLIP vocabulary (vocab.json or tokenizer.json); give a folder that has one with --base")
    try:
        return CLIPTokenizer.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the tokenizer in {place} cannot be read ({str(error).splitlines()[0][:120]}); copy it again") from error


def read_scheduler(folder: Path) -> Any:
    """The published sampler where it is a good one, otherwise DPM-Solver for the same diffusion."""
    return scheduler(read_config(folder / "scheduler_config.json"))


def scheduler(config: Mapping[str, Any]) -> Any:
    """A sampler from a config."""
    import diffusers

    name = config.get("_class_name")
    kind = getattr(diffusers, name if name in KEPT_SCHEDULERS else KEPT_SCHEDULERS[0])
    return kind(**settings_for(kind, config))


def read_base(source: Path, base: Path | None) -> dict[str, Any]:
    """Text encoder, tokenizer, autoencoder and scheduler of a pipeline's folder, each from the base where the source lacks it.

    Args:
        source: A folder in diffusers layout; it may lack parts.
        base: A complete one.

    Returns:
        Components by name.

    Raises:
        InputError: If a part is in neither.
    """
    readers: dict[str, Callable[[Path], Any]] = {
        "vae": read_autoencoder,
        "text_encoder": read_text_encoder,
        "tokenizer": read_tokenizer,
        "scheduler": read_scheduler,
    }
    return {name: read(find_part(name, source, base)) for name, read in readers.items()}


def find_part(name: str, source: Path, base: Path | None) -> Path:
    """The sub-folder of a part, in the source or else in the base."""
    for folder in (source, base):
        if folder is not None and (folder / name).is_dir():
            return folder / name
    places = f"{source} and {base} have" if base is not None else f"{source} has"
    raise InputError(f"{places} no {name}; give the folder of its Stable Diffusion model in diffusers layout with --base")


def pipeline_settings(size: int, guidance: float | dict[str, float], **more: Any) -> dict[str, Any]:
    """Settings of `EarthPipeline` that published models share: 8-bit RGB of one size.

    Args:
        size: Side of a picture in pixels.
        guidance: As published: one scale for all conditions together, or those by group that guidance acts on.
        **more: Further settings.
    """
    return {"bands": ["red", "green", "blue"], "unit": "display", "sizes": [size], "guidance_scale": guidance, **more}


def card(name: str, task: str, source: str, licence: str, notes: str, components: Mapping[str, Any]) -> dict[str, Any]:
    """A card for converted weights."""
    sizes = {
        part: sum(value.numel() for value in module.parameters()) for part, module in components.items() if isinstance(module, nn.Module)
    }
    return {
        "name": name,
        "task": task,
        "parameters": sum(sizes.values()),
        "licence": licence,
        "source": source,
        "notes": notes,
        "parts": sizes,
    }


def _without_classes(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in ("architectures", "torch_dtype", "dtype", "model_type")}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
