"""DiffusionSat's published weights (Khanna et al., ICLR 2024): folders of an older diffusers whose networks have metadata heads inside.

The U-Net becomes a stock one that takes metadata as a vector (``class_embed_type="identity"``), and its fourteen tensors
``metadata_embedding.{field}.linear_{1,2}`` a `MetadataEmbedding`. A ControlNet has heads of its own, which become a second one; with
weights of five dimensions it is the one over frames, otherwise the one for a single, possibly coarser picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..conditioning.schemas import schema
from ..errors import InputError
from ..models.control.encoder import SHARED
from ..models.control.hint_scale import HintScaleControlNet
from ..models.control.temporal import TemporalControlNet
from ..models.embed import MetadataEmbedding
from .ldm_shapes import count
from .parts import EarthModel, card, fill, find_part, pipeline_settings, read_base, read_config, read_folder_weights, settings_for

HEADS = "metadata_embedding."
# By the number of fields; EcoMapper extended the seven to ten.
SCHEMAS = {7: "diffusionsat", 10: "ecomapper"}


def convert_diffusionsat(folder: Path, base: Path | None) -> EarthModel:
    """Read DiffusionSat's weights.

    Args:
        folder: ``checkpoint-N`` with ``unet``, ``controlnet`` or both, or the folder of one of these.
        base: Folder of its Stable Diffusion 2.1 in diffusers layout, or of the single-image model; missing parts are taken from it.

    Returns:
        The parts of a model folder.

    Raises:
        InputError: If a part is missing, or weights do not fit.
    """
    folder = Path(folder)
    control = folder / "controlnet"
    unet = None
    if (folder / "config.json").is_file():
        kind = read_config(folder / "config.json")
        control, unet = (folder, None) if "conditioning_in_channels" in kind else (control, folder)
    unet = unet or find_part("unet", folder, base)
    network, heads = _unet(unet)
    components: dict[str, Any] = {"unet": network, **read_base(folder, base), "metadata_embedding": heads}
    slots: dict[str, dict[str, int]] = {}
    if (control / "config.json").is_file():
        control_network, own = _controlnet(control)
        name, channels = (
            ("frames", "hint_channels") if isinstance(control_network, TemporalControlNet) else ("picture", "conditioning_channels")
        )
        components[f"control_{name}"] = control_network
        slots[name] = {name: int(control_network.config[channels])}
        if own is not None:
            components["metadata_embedding_of_controls"] = own
    taken = sum(len(part.state_dict()) for part in components.values() if isinstance(part, nn.Module))
    size = 8 * int(read_config(unet / "config.json").get("sample_size") or 64)
    settings = pipeline_settings(size, 7.5, control_hints=slots)
    source = f"DiffusionSat (Khanna et al., ICLR 2024, arXiv 2312.03606), converted from {folder.name}"
    notes = "Unknown metadata are 0 before the sinusoid, as in training, which is also longitude -180 and no cloud."
    about = card("diffusionsat", f"{' and '.join(['text', 'metadata', *slots])} to {size} px RGB", source, "MIT", notes, components)
    return EarthModel(components, settings, about, taken)


def _unet(folder: Path) -> tuple[nn.Module, MetadataEmbedding]:
    from diffusers import UNet2DConditionModel

    state, heads = _split(read_folder_weights(folder), folder)
    if heads is None:
        raise InputError(f"the U-Net in {folder} has no {HEADS}*; give DiffusionSat's own U-Net")
    config = {**settings_for(UNet2DConditionModel, read_config(folder / "config.json")), "class_embed_type": "identity"}
    return fill(lambda: UNet2DConditionModel(**config), state, "U-Net", folder), heads


def _controlnet(folder: Path) -> tuple[TemporalControlNet | HintScaleControlNet, MetadataEmbedding | None]:
    config = read_config(folder / "config.json")
    state, heads = _split(read_folder_weights(folder), folder)
    metadata = None if heads is None else "identity"
    first = state.get("controlnet_cond_embedding.conv_in.weight")
    if first is None or first.ndim not in (4, 5):
        raise InputError(f"{folder} has no controlnet_cond_embedding.conv_in.weight; give the folder of a ControlNet of DiffusionSat")
    widths = config.get("conditioning_embedding_out_channels", (16, 32, 96, 256))
    if first.ndim == 5:
        settings: dict[str, Any] = {
            "encoder": {name: config[name] for name in SHARED if name in config} | {"class_embed_type": metadata},
            "hint_channels": first.shape[1],
            "hint_widths": widths,
            "hint_frames": first.shape[2],
            "mixing": any(key.startswith("temporal_blocks.") for key in state),
        }
        return fill(lambda: TemporalControlNet(**settings), state, "ControlNet over frames", folder), heads
    settings = settings_for(HintScaleControlNet, config) | {
        "hint_scale": int(config.get("conditioning_scale", 1)),
        "conditioning_channels": first.shape[1],
        "class_embed_type": metadata,
    }
    return fill(lambda: HintScaleControlNet(**settings), state, "ControlNet", folder), heads


def _split(state: Mapping[str, Tensor], folder: Path) -> tuple[dict[str, Tensor], MetadataEmbedding | None]:
    """The network's own weights and its metadata heads."""
    heads = {key: value for key, value in state.items() if key.startswith(HEADS)}
    rest = {key: value for key, value in state.items() if key not in heads}
    if not heads:
        return rest, None
    fields = count(heads, r"metadata_embedding\.(\d+)\.")
    first = heads.get(f"{HEADS}0.linear_1.weight")
    if fields not in SCHEMAS or first is None or first.ndim != 2:
        raise InputError(f"the network in {folder} has {fields} metadata heads; DiffusionSat has 7 and EcoMapper 10; give one of these")
    layout = {**schema(SCHEMAS[fields]).model_dump(mode="json"), "dim": first.shape[1]}
    return rest, fill(lambda: MetadataEmbedding(layout, first.shape[0]), heads, "metadata heads", folder)
