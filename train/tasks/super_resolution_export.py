"""From trained weights to a model folder that `SuperResolutionPipeline` loads, with its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ...gen.data.atomic import write_json
from ...gen.models.eanet import EANet
from ...gen.schedulers.mean_reverting import MeanRevertingScheduler
from ...gen.zoo.folder import write_model_folder
from .super_resolution_config import SuperResolutionConfig

if TYPE_CHECKING:
    from ..recipe import Recipe

PROTOCOL = (
    "mean over centre crops of held-out pictures, degraded by the sensor model without noise; PSNR in dB, all bands, data range 1, "
    "no border cut; power: ratio to the truth's spectral power in the upper half band; after back-projection"
)


def export_model(
    model: nn.Module,
    scheduler: MeanRevertingScheduler,
    recipe: Recipe,
    config: SuperResolutionConfig,
    folder: Path,
    card: Mapping[str, Any],
    trained: Sequence[str],
    held_out: Sequence[str],
    steps: int | None = None,
) -> None:
    """Write the folder: weights in half precision, scheduler, card, and the effective recipe beside them.

    Args:
        model: An `EANet` with the weights to publish; it is left as it is.
        scheduler: The diffusion that it was trained for.
        recipe: The run's recipe.
        config: The part of it that describes the system.
        folder: Where to; an older model there is replaced.
        card: Licence, attribution and notes, and under ``training`` what the loop knows: samples, minutes, figures.
        trained: Names of the training pictures.
        held_out: Names of the held-out pictures.
        steps: Evaluations that the model is made for, where a call gives no number; the pipeline's own if left out.

    Raises:
        TypeError: If the model is no `EANet`.
    """
    if not isinstance(model, EANet):
        raise TypeError(f"a {type(model).__name__} is no EANet")
    from ..recipe import dump_recipe

    # A copy without the wrappers of mixed precision, so that saving cannot change the model being trained.
    copy = EANet.from_config(model.config)
    copy.load_state_dict(model.state_dict())
    settings: dict[str, Any] = {"bands": list(config.bands), "unit": config.unit, "scale": config.scale, "mtf": config.held_out.mtf}
    if config.held_out.temperature != 1.0:
        settings["temperature"] = config.held_out.temperature
    if config.contrast is not None:
        settings["contrast"] = config.contrast.model_dump()
    if steps is not None:
        settings["num_inference_steps"] = steps
    components = {"model": copy, "scheduler": scheduler}
    write_model_folder(
        folder,
        pipeline="SuperResolutionPipeline",
        components=components,
        settings=settings,
        card=super_resolution_card(recipe, config, card, trained, held_out, sum(p.numel() for p in copy.parameters())),
    )
    write_json(folder / "recipe.json", dump_recipe(recipe))


def super_resolution_card(
    recipe: Recipe,
    config: SuperResolutionConfig,
    card: Mapping[str, Any],
    trained: Sequence[str],
    held_out: Sequence[str],
    parameters: int,
) -> dict[str, Any]:
    """What a model's card says: tables of plain values, without None.

    Args:
        recipe: The run's recipe.
        config: The part of it that describes the system.
        card: As for `export_model`.
        trained: Names of the training pictures.
        held_out: Names of the held-out pictures.
        parameters: Number of weights.

    Returns:
        Tables ``data``, ``training`` and ``metrics`` beside the recipe's own entries.
    """
    rest = {key: value for key, value in card.items() if key != "training"}
    record = dict(card.get("training", {}))
    figures = dict(record.pop("figures", {}))
    batch = recipe.batch * recipe.accumulate
    settings = {"recipe": recipe.name, "loss": config.loss, "batch": batch, "crop": config.crop, "precision": recipe.precision}
    training = {**settings, **record}
    data = {"pictures": len(trained), "sources": sorted({_declared(source) for source in config.sources}), "held_out": list(held_out)}
    kept = {name: round(value, 4) for name, value in figures.items() if name != "score"}
    return {
        "name": recipe.name,
        "task": f"super-resolution x{config.scale} of {', '.join(config.bands)} ({config.unit})",
        "parameters": parameters,
        **rest,
        "data": data,
        "training": training,
        "metrics": {"protocol": PROTOCOL, "pictures": len(held_out), "crop": config.held_out.crop, "steps": config.held_out.steps, **kept},
    }


def _declared(source: Any) -> str:
    return str(getattr(source, "files", source.kind))
