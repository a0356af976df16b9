"""AeroGen's published checkpoint (Tang et al., CVPR 2025): Stable Diffusion 1.5 with an encoder of rotated boxes and attention to them.

Its attention class is shared by self- and cross-attention, so that the checkpoint holds projections of boxes in self-attention that nothing
ever uses; they are dropped, and counted. So are the parts of its mask attention that a softmax over one key makes idle. Class vectors are
beside the checkpoint in a file of their own, ``category_embeddings.npy``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..models.layout.unet import LayoutUNet
from .ldm_keys import Rename, unet_key
from .ldm_parts import UNET, Checkpoint
from .ldm_shapes import eight_heads, unet_config
from .parts import EarthModel, card, fill, read_tokenizer

ENCODER, MASK = "condition_tokenizer.", "maskcrossattention."
VECTORS = "category_embeddings.npy"
OBJECTS = 20
"""Objects that the published demo pads a layout to; the learnt nulls behind the objects are attended to."""
# The order in which AeroGen numbers them; other libraries have others.
DIOR = (
    "airplane", "airport", "baseballfield", "basketballcourt", "bridge", "chimney", "dam", "Expressway-Service-area",
    "Expressway-toll-station", "golffield", "groundtrackfield", "harbor", "overpass", "ship", "stadium", "storagetank", "tenniscourt",
    "trainstation", "vehicle", "windmill",
)  # fmt: skip
_DEAD = re.compile(r"\.attn1\.to_[kv]_control\.weight$")
_IDLE = re.compile(r"^maskcrossattention\.(norm1|norm2|crossattn\.to_q|crossattn\.to_k)\.(weight|bias)$")


def convert_aerogen(path: Path, base: Path | None, classes: Sequence[str] = ()) -> EarthModel:
    """Read AeroGen's checkpoint.

    Args:
        path: ``aerogen_diorr_last.ckpt``, or its state dict. ``category_embeddings.npy`` is read from beside it, or from `base`.
        base: A folder with CLIP's tokenizer, which the checkpoint lacks.
        classes: Names of the rows of ``category_embeddings.npy``; DIOR's in AeroGen's order if left out.

    Returns:
        The parts of a model folder. Without class vectors the network takes vectors in place of class numbers.

    Raises:
        InputError: If the file is none, misses weights or has others, or no tokenizer is given.
    """
    path = Path(path)
    if base is None:
        raise InputError(f"{path} has no tokenizer; give a folder with CLIP's (of any Stable Diffusion 1 model) with --base")
    tokenizer = read_tokenizer(base)
    checkpoint = Checkpoint(path)
    vectors = _vectors(path, base)
    names = _names(vectors, classes)
    components: dict[str, Any] = {
        "unet": _network(checkpoint, vectors, names),
        "vae": checkpoint.autoencoder(),
        "text_encoder": checkpoint.clip(),
        "tokenizer": tokenizer,
        "scheduler": checkpoint.scheduler(),
    }
    checkpoint.drop("boxes in self-attention, never used", *(key for key in checkpoint.state if _DEAD.search(key)))
    checkpoint.drop("mask attention over one key", *(key for key in checkpoint.state if _IDLE.match(key.removeprefix(UNET))))
    taken, dropped = checkpoint.close()
    settings = {"size": 512, "guidance_scale": {"text": 7.5, "layout": 1.0}, "num_inference_steps": 50}
    source = f"AeroGen (Tang et al., CVPR 2025, arXiv 2411.15497), converted from {path.name}"
    notes = f"As published: corners in a grid of 64, nulls attended to up to {OBJECTS} objects, masks from step 200 on. " + (
        f"Classes: {', '.join(names)}." if names else f"No {VECTORS} was given: objects come with class vectors."
    )
    about = card("aerogen", "text and rotated boxes to 512 px RGB", source, "unknown: see its authors", notes, components)
    return EarthModel(components, settings, about, taken, dropped)


def _network(checkpoint: Checkpoint, vectors: Tensor | None, names: list[str]) -> LayoutUNet:
    """U-Net, encoder and mask attention as one."""
    path, state = checkpoint.path, checkpoint.state
    config = unet_config(state, UNET, eight_heads, path)
    weights = checkpoint.take(UNET, _layout_key(unet_key(config["layers_per_block"], len(config["block_out_channels"]))))
    encoder = checkpoint.take(ENCODER, lambda key: f"layout_encoder.{key}")
    first, text = encoder.get("layout_encoder.linears.0.weight"), encoder.get("layout_encoder.null_text_feature")
    if first is None or text is None or not any(key.startswith("mask_injector.") for key in weights):
        raise InputError(f"{path} has no {ENCODER}* or no {MASK}*; it is no checkpoint of AeroGen, so give its aerogen_diorr_last.ckpt")
    if vectors is not None:
        encoder["layout_encoder.table.weight"] = vectors
    coded = first.shape[1] - text.shape[0]
    settings: dict[str, Any] = {
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "classes": names,
        "block_out_channels": config["block_out_channels"],
        "attention": [name.startswith("Cross") for name in config["down_block_types"]],
        "backbone": {**config, "norm_num_groups": 32},
        # Rotated boxes have eight coordinates, horizontal ones four, eight bands each.
        "encoder": {"vector_width": text.shape[0], "hidden": first.shape[0], "coordinates": 4 if coded == 64 else 8, "bands": 8},
        "pad_objects": OBJECTS,
        "compat": "aerogen",
    }
    return fill(lambda: LayoutUNet(**settings), {**weights, **encoder}, "layout network", path)


def _layout_key(stock: Rename) -> Rename:
    """From names below the U-Net's prefix to those of `LayoutUNet`."""

    def rename(key: str) -> str | None:
        if _DEAD.search(key) or _IDLE.match(key):
            return None
        if key.startswith(MASK):
            return f"mask_injector.{key.removeprefix(MASK)}"
        name = stock(key)
        for part in "kv":
            name = name and name.replace(f".attn2.to_{part}_control.", f".attn2.processor.to_{part}_layout.")
        return name and f"unet.{name}"

    return rename


def _vectors(path: Path, base: Path) -> Tensor | None:
    """Class vectors ``[K, V]``, if there are any."""
    found = next((folder / VECTORS for folder in (path.parent, base) if (folder / VECTORS).is_file()), None)
    if found is None:
        return None
    try:
        table = np.load(found, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{found} is no array of numbers ({str(error)[:80]}); copy it again") from error
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype.kind != "f" or not np.isfinite(table).all():
        raise InputError(f"{found} holds no table of class vectors; copy it again from beside the checkpoint")
    return torch.from_numpy(table.astype(np.float32))


def _names(vectors: Tensor | None, classes: Sequence[str]) -> list[str]:
    if vectors is None:
        if classes:
            raise InputError(f"classes are named and there is no {VECTORS} with their vectors; put it beside the checkpoint")
        return []
    names = list(classes) or (list(DIOR) if len(vectors) == len(DIOR) else [f"class_{number}" for number in range(len(vectors))])
    if len(names) != len(vectors):
        raise InputError(f"{len(names)} classes are named and {VECTORS} has {len(vectors)} rows; name each row")
    return names
