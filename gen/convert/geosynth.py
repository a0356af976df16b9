"""GeoSynth's published weights (Sastry et al., CVPRW EarthVision 2024), as raw checkpoints or as folders in diffusers layout.

A raw checkpoint holds Stable Diffusion 2.1, a ControlNet, and in the versions with a place ``control_model.loc_blocks.*`` and
``control_model.loc_middle_block.*``, which the usual converter loses. They become a `LocationResidualNet`, which has its own copy of the
ControlNet's time embedding, so that it works without a layout too.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..models.control.location import LocationResidualNet
from ..models.embed import LocationEncoder
from .ldm_keys import controlnet_key
from .ldm_parts import Checkpoint
from .ldm_shapes import count, encoder_config, heads_of_64
from .parts import EarthModel, card, fill, pipeline_settings, read_tokenizer
from .stock import stock_model
from .weight_files import read_state_dict

CONTROL = "control_model."
HEADS = 4
TIME = {"time_embed.0.": "time_embedding.linear_1.", "time_embed.2.": "time_embedding.linear_2."}
SOURCE = "GeoSynth (Sastry et al., CVPRW EarthVision 2024, arXiv 2404.06637)"
NOTES = "The layout is a picture of values 0 to 1; a place is SatCLIP's embedding of 256 numbers. Guidance acts on the text alone."


def convert_geosynth(path: Path, base: Path | None, hint: str = "osm", place: Path | None = None) -> EarthModel:
    """Read GeoSynth's weights.

    Args:
        path: A checkpoint, a folder of a ControlNet, or a folder of the whole pipeline.
        base: For a checkpoint a folder with CLIP's tokenizer; for a ControlNet its Stable Diffusion 2.1 in diffusers layout.
        hint: What the layout is: ``osm``, ``sam`` or ``canny``.
        place: SatCLIP's checkpoint, whose location encoder the versions with a place were trained with. Without it a place cannot be given.

    Returns:
        The parts of a model folder.

    Raises:
        InputError: If weights are missing, unexpected, or of another system, or the base is missing.
    """
    path = Path(path)
    if path.is_dir():
        return stock_model(path, base, name="geosynth", hint=hint, source=SOURCE, notes=NOTES)
    if base is None:
        raise InputError(f"{path} has no tokenizer; give a folder with CLIP's (of any Stable Diffusion 2 model) with --base")
    tokenizer = read_tokenizer(base)
    checkpoint = Checkpoint(path)
    if not checkpoint.has(CONTROL):
        raise InputError(f"{path} has no {CONTROL}*; it is no checkpoint of GeoSynth; give one of its .ckpt files")
    components: dict[str, Any] = {
        "unet": checkpoint.unet(heads_of_64),
        "vae": checkpoint.autoencoder(),
        "text_encoder": checkpoint.open_clip(),
        "tokenizer": tokenizer,
        "scheduler": checkpoint.scheduler(),
    }
    slots: dict[str, dict[str, int]] = {}
    if checkpoint.has(f"{CONTROL}loc_blocks."):
        components["control_location"] = _location(checkpoint)
        slots["location"] = {"place": 0}
        if place is not None:
            components["location_encoder"] = convert_satclip(place)
    layout = _layout(checkpoint)
    if layout is not None:
        components["control_layout"] = layout
        slots["layout"] = {hint: int(layout.config["conditioning_channels"])}
    taken, dropped = checkpoint.close()
    settings = pipeline_settings(512, {"text": 7.5}, control_hints=slots)
    task = " and ".join(["text", *(name for slot in slots.values() for name in slot)]) + " to 512 px RGB"
    about = card("geosynth", task, f"{SOURCE}, converted from {path.name}", "unknown: see its authors", NOTES, components)
    return EarthModel(components, settings, about, taken, dropped)


def convert_satclip(path: Path) -> LocationEncoder:
    """The location encoder of SatCLIP's checkpoint (Klemmer et al. 2023).

    Args:
        path: The checkpoint.

    Returns:
        The encoder; the picture encoder beside it is not read.

    Raises:
        InputError: If there is no such encoder.
    """
    state = read_state_dict(Path(path))
    prefix = next((found for found in ("model.location.", "location.", "") if f"{found}nnet.layers.0.weight" in state), None)
    if prefix is None:
        raise InputError(f"{path} has no *location.nnet.layers.0.weight; give the checkpoint of SatCLIP")
    weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(f"{prefix}nnet.")}
    first, last = weights["nnet.layers.0.weight"], weights.get("nnet.last_layer.weight")
    if last is None or first.ndim != 2 or math.isqrt(first.shape[1]) ** 2 != first.shape[1]:
        raise InputError(f"the location encoder in {path} is not one of spherical harmonics; give the checkpoint of SatCLIP")
    settings: dict[str, Any] = {
        "degree": math.isqrt(first.shape[1]),
        "width": first.shape[0],
        "depth": count(weights, r"nnet\.layers\.(\d+)\."),
        "outputs": last.shape[0],
    }
    return fill(lambda: LocationEncoder(**settings), weights, "location encoder", Path(path))


def _layout(checkpoint: Checkpoint) -> Any:
    """The stock ControlNet, or None where it was never trained: its zero convolutions are what they were."""
    from diffusers import ControlNetModel

    state = checkpoint.state
    closing = [value for key, value in state.items() if key.startswith((f"{CONTROL}zero_convs.", f"{CONTROL}middle_block_out."))]
    if not any(bool(value.any()) for value in closing):
        checkpoint.drop("ControlNet that was not trained", CONTROL)
        return None
    hint = f"{CONTROL}input_hint_block."
    convs = count(state, rf"{hint.replace('.', chr(92) + '.')}(\d+)\.")
    if convs < 4 or convs % 2:
        raise InputError(f"{checkpoint.path} has {convs} layers in its hint encoder; a ControlNet has 8, so give complete weights")
    widths: list[Tensor] = [state[f"{hint}{2 * number}.weight"] for number in (0, *range(2, convs - 1, 2))]
    config = {
        **encoder_config(state, CONTROL, heads_of_64, checkpoint.path),
        "conditioning_channels": widths[0].shape[1],
        "conditioning_embedding_out_channels": [value.shape[0] for value in widths],
    }
    weights = checkpoint.take(CONTROL, controlnet_key(config["layers_per_block"], convs))
    return fill(lambda: ControlNetModel(**config), weights, "ControlNet", checkpoint.path)


def _location(checkpoint: Checkpoint) -> LocationResidualNet:
    encoder = encoder_config(checkpoint.state, CONTROL, heads_of_64, checkpoint.path)

    def rename(key: str) -> str | None:
        if key.startswith(("loc_blocks.", "loc_middle_block.")):
            return key.removeprefix("loc_")
        found = next((old for old in TIME if key.startswith(old)), None)
        return None if found is None else TIME[found] + key.removeprefix(found)

    weights = checkpoint.take(CONTROL, rename)
    name = "blocks.0.query_embed.weight"
    if name not in weights:
        raise InputError(f"{checkpoint.path} has no {CONTROL}loc_{name}; give complete weights")
    settings: dict[str, Any] = {
        "block_out_channels": encoder["block_out_channels"],
        "layers_per_block": encoder["layers_per_block"],
        "width": weights[name].shape[0],
        "heads": HEADS,
        "mode": "legacy",
    }
    return fill(lambda: LocationResidualNet(**settings), weights, "location network", checkpoint.path)
