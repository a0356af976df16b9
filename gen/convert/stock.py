"""Models that consist of stock diffusers parts: a Stable Diffusion pipeline, with a ControlNet or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ..errors import InputError
from .parts import EarthModel, card, fill, find_part, pipeline_settings, read_base, read_config, read_folder_weights, settings_for

PROMPT = "convert this openstreetmap into its satellite view"


def stock_model(folder: Path, base: Path | None, *, name: str, hint: str | None, source: str, notes: str) -> EarthModel:
    """A pipeline's folder, or a ControlNet's folder on top of one.

    Args:
        folder: With sub-folders such as ``unet``, or with the ControlNet's own config and weights.
        base: Where missing parts are taken from.
        name: For the card.
        hint: What the ControlNet takes, by name; None for a system that has none.
        source: For the card.
        notes: For the card.

    Returns:
        The parts of a model folder.

    Raises:
        InputError: If a part is missing or its weights do not fit.
    """
    components: dict[str, Any] = {"unet": read_unet(find_part("unet", folder, base)), **read_base(folder, base)}
    place = next((place for place in (folder / "controlnet", folder) if (place / "config.json").is_file()), None)
    slots: dict[str, dict[str, int]] = {}
    if place is not None and hint is not None:
        components["control_layout"] = read_controlnet(place)
        slots["layout"] = {hint: int(components["control_layout"].config["conditioning_channels"])}
    taken = sum(len(part.state_dict()) for part in components.values() if isinstance(part, nn.Module))
    settings = pipeline_settings(512, {"text": 7.5}, control_hints=slots)
    task = " and ".join(["text", *([hint] if slots and hint else [])]) + " to 512 px RGB"
    about = card(name, task, f"{source}, converted from {folder.name}", "unknown: see its authors", notes, components)
    return EarthModel(components, settings, about, taken)


def convert_map_sat(folder: Path, base: Path | None) -> EarthModel:
    """Read map-sat's ControlNet (Espinosa and Crowley 2023).

    Args:
        folder: Of the ControlNet, or of a pipeline that has it.
        base: Its Stable Diffusion 1.5 in diffusers layout.

    Returns:
        The parts of a model folder.

    Raises:
        InputError: If a part is missing or its weights do not fit, or there is no ControlNet.
    """
    folder = Path(folder)
    model = stock_model(
        folder,
        base,
        name="map-sat",
        hint="osm",
        source="Generate Your Own Scotland (Espinosa and Crowley 2023, arXiv 2308.16648)",
        notes=f"The hint is a standard OpenStreetMap tile of zoom 17, values 0 to 1. Trained with one prompt: {PROMPT}",
    )
    if "control_layout" not in model.components:
        raise InputError(f"{folder} has no ControlNet; give the folder with its config.json and weights")
    return model


def convert_text2earth(folder: Path, base: Path | None) -> EarthModel:
    """Read Text2Earth's pipeline (Liu et al., GRSM 2025) or its inpainting model; all parts are stock ones.

    Args:
        folder: In diffusers layout. What its ``model_index.json`` calls the pipeline is not read.
        base: Where missing parts are taken from.

    Returns:
        The parts of a model folder.

    Raises:
        InputError: If a part is missing, weights do not fit, or the U-Net takes no zoom level.
    """
    folder = Path(folder)
    notes = "Zoom levels 10 to 18 as class labels, 0 for none; trained at 256 px. Guidance of text and level together, scale 4."
    source = "Text2Earth (Liu et al., GRSM 2025, arXiv 2501.00895)"
    model = stock_model(folder, base, name="text2earth", hint=None, source=source, notes=notes)
    config = model.components["unet"].config
    if config["class_embed_type"] != "timestep" or config["in_channels"] not in (4, 9):
        raise InputError(
            f"the U-Net in {folder} takes {config['in_channels']} channels and class_embed_type {config['class_embed_type']!r}; "
            "Text2Earth's takes 4 or 9 and 'timestep', so give its folder"
        )
    inpaints = config["in_channels"] == 9
    more: dict[str, Any] = {"inpainting": True, "masked": "image", "soft_mask": True} if inpaints else {}
    model.settings = pipeline_settings(256, 3.5 if inpaints else 4.0, schema="text2earth", **more)
    model.card["name"] = "text2earth-inpainting" if inpaints else "text2earth"
    model.card["task"] = f"text and resolution{', picture and mask' if inpaints else ''} to 256 px RGB"
    return model


def read_unet(folder: Path) -> nn.Module:
    """A `UNet2DConditionModel`."""
    from diffusers import UNet2DConditionModel

    config = settings_for(UNet2DConditionModel, read_config(folder / "config.json"))
    return fill(lambda: UNet2DConditionModel(**config), read_folder_weights(folder), "U-Net", folder)


def read_controlnet(folder: Path) -> nn.Module:
    """A `ControlNetModel`."""
    from diffusers import ControlNetModel

    config = settings_for(ControlNetModel, read_config(folder / "config.json"))
    return fill(lambda: ControlNetModel(**config), read_folder_weights(folder), "ControlNet", folder)
