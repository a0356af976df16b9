"""From a trained layout-to-image generator to a model folder that `LayoutToImagePipeline` loads, with its card."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...gen.data.atomic import write_json
from ...gen.zoo.folder import write_model_folder
from .layout_parts import LayoutGenerator
from .layout_sampling import build_sampler
from .layout_sources import AnnotatedObjects

if TYPE_CHECKING:
    from .layout import LayoutTask

PIPELINE = "LayoutToImagePipeline"
PROTOCOL = (
    "weighted squared error of the prediction on crops of the validation places, at evenly spaced times, text and layout given, fixed "
    "noise; quarters of the diffusion time from clean to noise; pixels of objects count more, the mean weight is 1"
)


def export_layout(task: LayoutTask, model: LayoutGenerator, folder: Path, card: dict[str, Any]) -> None:
    """Write the folder: unet, text encoder, tokenizer, scheduler, card and recipe; weights in half precision.

    Args:
        task: What was trained.
        model: The network; it is left as it is.
        folder: Where to; an older model there is replaced.
        card: Licence, attribution and notes, and under ``training`` what the loop knows: samples, minutes, figures.
    """
    from ..recipe import dump_recipe

    config = task.config
    plain = copy.deepcopy(model).float().cpu().eval()
    components: dict[str, Any] = {"unet": plain.unet, "scheduler": build_sampler(config)}
    if plain.text_encoder is not None:
        components |= {"text_encoder": plain.text_encoder, "tokenizer": task.tokenizer}
    settings = {
        "size": config.objects.size,
        "guidance_scale": {"text": config.guidance.text, "layout": config.guidance.layout},
        "num_inference_steps": config.guidance.steps,
        "min_visible": config.objects.min_visible,
    }
    write_model_folder(folder, pipeline=PIPELINE, components=components, settings=settings, card=_card(task, plain, card))
    write_json(folder / "recipe.json", dump_recipe(task.recipe))


def _card(task: LayoutTask, model: LayoutGenerator, card: dict[str, Any]) -> dict[str, Any]:
    recipe, config = task.recipe, task.config
    rest = {key: value for key, value in card.items() if key != "training"}
    record = dict(card.get("training", {}))
    figures = {name: round(value, 4) for name, value in dict(record.pop("figures", {})).items() if name != "score"}
    sources = [s.files if isinstance(s, AnnotatedObjects) else "procedural scenes" for s in config.objects.sources if s.weight > 0]
    return {
        "name": recipe.name,
        "task": f"pictures of {', '.join(config.names)} from rotated and horizontal boxes, text, and parts of pictures",
        "parameters": sum(p.numel() for p in model.parameters()),
        **rest,
        "data": {
            "sources": sorted(set(sources)),
            "objects": dict(task.data.train.counts()),
            "pictures": len(task.data.names("train")),
            "held_out": [*task.data.names("validation"), *task.data.names("test")],
            "size": config.objects.size,
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
