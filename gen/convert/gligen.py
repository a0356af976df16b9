"""GLIGEN's published weights (Li et al., CVPR 2023): Stable Diffusion 1.4 with gated self-attention to boxes and phrases.

One file holds several state dicts: ``model`` (the U-Net in the layout of latent diffusion, its ``fuser`` layers and ``position_net``),
``autoencoder``, ``text_encoder`` and ``diffusion``. The network is open to any phrase: its objects are told by CLIP's pooled text before
the last projection. Names given here become its classes, with the vectors of these very words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..models.layout.unet import LayoutUNet
from .ldm_keys import unet_key
from .ldm_parts import UNET, Checkpoint
from .ldm_shapes import eight_heads, unet_config
from .parts import EarthModel, card, fill, read_tokenizer
from .weight_files import load_file_safely

ENCODER = "position_net."
OBJECTS = 30
"""Tokens that GLIGEN was trained with, learnt nulls behind the objects."""
# Where each state dict of the file belongs in the layout of latent diffusion.
GROUPS = {"model": UNET, "autoencoder": "first_stage_model.", "text_encoder": "cond_stage_model.", "diffusion": ""}
NAMES = {"null_positive_feature": "null_text_feature"}


def convert_gligen(path: Path, base: Path | None, classes: Sequence[str] = ()) -> EarthModel:
    """Read GLIGEN's weights for text and boxes.

    Args:
        path: ``diffusion_pytorch_model.bin`` of ``gligen-generation-text-box``.
        base: A folder with CLIP's tokenizer, which the file lacks.
        classes: Names of the objects that will be asked for; without any, objects come with vectors.

    Returns:
        The parts of a model folder.

    Raises:
        InputError: If the file is none, misses weights or has others, or no tokenizer is given.
    """
    path = Path(path)
    if base is None:
        raise InputError(f"{path} has no tokenizer; give a folder with CLIP's (of any Stable Diffusion 1 model) with --base")
    tokenizer = read_tokenizer(base)
    checkpoint = Checkpoint(path, _flat(path))
    text = checkpoint.clip()
    components: dict[str, Any] = {
        "unet": _network(checkpoint, _phrases(text, tokenizer, classes), list(classes)),
        "vae": checkpoint.autoencoder(),
        "text_encoder": text,
        "tokenizer": tokenizer,
        "scheduler": checkpoint.scheduler(),
    }
    taken, dropped = checkpoint.close()
    settings = {"size": 512, "guidance_scale": {"text": 7.5, "layout": 7.5}, "num_inference_steps": 50}
    source = f"GLIGEN (Li et al., CVPR 2023, arXiv 2301.07093), converted from {path.name}"
    notes = f"Horizontal boxes; nulls attended to up to {OBJECTS} objects. Published use lets boxes act in the first 30 % of the steps."
    about = card("gligen", "text and horizontal boxes to 512 px RGB", source, "see its authors", notes, components)
    return EarthModel(components, settings, about, taken, dropped)


def _flat(path: Path) -> dict[str, Tensor]:
    """The file's state dicts in one, by the names of latent diffusion."""
    if not path.is_file():
        raise InputError(f"there is no weight file {path}; give the path of GLIGEN's diffusion_pytorch_model.bin")
    groups = load_file_safely(path)
    if not isinstance(groups, Mapping) or any(not isinstance(groups.get(name), Mapping) for name in GROUPS if name != "diffusion"):
        raise InputError(f"{path} has no model, autoencoder and text_encoder in it; give the file of GLIGEN's authors")
    flat: dict[str, Tensor] = {}
    for name, prefix in GROUPS.items():
        for key, value in dict(groups.get(name, {})).items():
            if not isinstance(key, str) or not isinstance(value, Tensor):
                raise InputError(f"{path} holds a {type(value).__name__} under {name}, {key!r}, not a tensor; copy it again")
            flat[key if key.startswith(prefix) else prefix + key] = value
    return flat


def _network(checkpoint: Checkpoint, vectors: Tensor | None, names: list[str]) -> LayoutUNet:
    """U-Net with its fusers and the encoder as one."""
    path = checkpoint.path
    config = unet_config(checkpoint.state, UNET, eight_heads, path)
    stock = unet_key(config["layers_per_block"], len(config["block_out_channels"]))

    def rename(key: str) -> str | None:
        if key.startswith(ENCODER):
            rest = key.removeprefix(ENCODER)
            return f"layout_encoder.{NAMES.get(rest, rest)}"
        name = stock(key)
        return name and f"unet.{name}"

    weights = checkpoint.take(UNET, rename)
    first, text = weights.get("layout_encoder.linears.0.weight"), weights.get("layout_encoder.null_text_feature")
    if first is None or text is None:
        raise InputError(f"{path} has no {ENCODER}* for phrases and boxes; give GLIGEN's gligen-generation-text-box")
    if vectors is not None:
        weights["layout_encoder.table.weight"] = vectors
    settings: dict[str, Any] = {
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "classes": names,
        "block_out_channels": config["block_out_channels"],
        "attention": [name.startswith("Cross") for name in config["down_block_types"]],
        "backbone": {**config, "norm_num_groups": 32},
        "encoder": {"vector_width": text.shape[0], "hidden": first.shape[0], "bands": (first.shape[1] - text.shape[0]) // 8},
        "pad_objects": OBJECTS,
        "compat": "gligen",
    }
    return fill(lambda: LayoutUNet(**settings), weights, "layout network", path)


def _phrases(text: Any, tokenizer: Any, names: Sequence[str]) -> Tensor | None:
    """CLIP's pooled text of each name, ``[K, V]``."""
    if not names:
        return None
    length = text.config.max_position_embeddings
    tokens = tokenizer(list(names), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    with torch.no_grad():
        pooled: Tensor = text(tokens.input_ids).pooler_output
    return pooled
