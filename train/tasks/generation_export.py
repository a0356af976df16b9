"""From a trained generator to a model folder that `EarthPipeline` loads, with its card."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...gen.data.atomic import write_json
from ...gen.models.generator import Generator
from ...gen.zoo.folder import write_model_folder
from .generation_sampling import build_sampler

if TYPE_CHECKING:
    from .generation import GenerationTask

PIPELINE = "EarthPipeline"
PROTOCOL = (
    "weighted squared error of the prediction on crops of the validation places, at evenly spaced times, all conditions given, fixed "
    "noise; quarters of the diffusion time from clean to noise"
)
SPLIT = (
    "by place (gen/data/splits.py): sha256 of the place's name; of ten places eight are trained on, one chooses the checkpoint, one is "
    "kept for the test; no place in two parts"
)


def export_model(task: GenerationTask, model: Generator, folder: Path, card: dict[str, Any]) -> None:
    """Write the folder: unet, vae, text encoder, tokenizer, metadata embedding, scheduler, card and recipe; weights in half precision.

    Args:
        task: What was trained, with its frozen parts.
        model: The network; it is left as it is.
        folder: Where to; an older model there is replaced.
        card: Licence, attribution and notes, and under ``training`` what the loop knows: samples, minutes, figures.
    """
    from ..recipe import dump_recipe

    config = task.config
    plain = copy.deepcopy(model).float().cpu().eval()
    components: dict[str, Any] = {
        "vae": copy.deepcopy(task.data.autoencoder).cpu(),
        "unet": plain.unet,
        "text_encoder": plain.text_encoder,
        "tokenizer": task.tokenizer,
        "scheduler": build_sampler(config),
    }
    if plain.metadata_embedding is not None:
        components["metadata_embedding"] = plain.metadata_embedding
    components |= {f"control_{name}": network for name, network in plain.controls.items()}
    encoder = next((module for name, module in task.controls.encoders.items() if config.controls[name].kind == "location"), None)
    if encoder is not None:
        components["location_encoder"] = encoder
    settings: dict[str, Any] = {
        "bands": list(config.bands),
        "unit": config.unit,
        "schema": config.metadata_schema or None,
        "hints": list(config.hints),
        "inpainting": config.inpainting is not None,
        "sizes": [config.pictures.size],
        "guidance_scale": config.guidance.scale,
        "num_inference_steps": config.guidance.steps,
    }
    if config.controls:
        other = {"location": {"place": 0}, "content": {"content": 0}}
        settings["control_hints"] = {name: dict(one.hints) or other[one.kind] for name, one in config.controls.items()}
    write_model_folder(folder, pipeline=PIPELINE, components=components, settings=settings, card=_card(task, plain, card))
    write_json(folder / "recipe.json", dump_recipe(task.recipe))


def _card(task: GenerationTask, model: Generator, card: dict[str, Any]) -> dict[str, Any]:
    recipe, config = task.recipe, task.config
    rest = {key: value for key, value in card.items() if key != "training"}
    record = dict(card.get("training", {}))
    figures = {name: round(value, 4) for name, value in dict(record.pop("figures", {})).items() if name != "score"}
    sources = sorted({str(getattr(source, "files", source.kind)) for source in config.pictures.sources if source.weight > 0})
    return {
        "name": recipe.name,
        "task": f"pictures of {', '.join(config.bands)} ({config.unit}) from text, metadata, masks and parts of pictures",
        "parameters": sum(p.numel() for p in model.parameters()),
        **rest,
        "data": {
            "pictures": len(task.data.names),
            "held_out": task.data.held_out_names,
            "sources": sources,
            "split": SPLIT,
            "size": config.pictures.size,
            "reductions": list(config.pictures.reductions),
        },
        "training": {
            "recipe": recipe.name,
            "batch": recipe.batch * recipe.accumulate,
            "prediction": str(config.scheduler.get("prediction_type", "epsilon")),
            "precision": recipe.precision,
            **record,
        },
        "metrics": {"protocol": PROTOCOL, "pictures": config.guidance.count, **figures},
    }
