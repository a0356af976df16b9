"""The teacher of a distillation: a trained super-resolution model, held against the system that its student will belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...gen.errors import InputError
from ...gen.models.eanet import EANet
from ...gen.models.fast import prepare_for_inference
from ...gen.schedulers.mean_reverting import MeanRevertingScheduler
from ...gen.zoo.folder import load_weights, model_digest, read_config, read_index
from ...gen.zoo.names import resolve_model
from .super_resolution_config import SuperResolutionConfig
from .teacher import Teacher


def read_teacher(name: str, config: SuperResolutionConfig, scheduler: MeanRevertingScheduler, with_network: bool) -> Teacher:
    """Load a teacher and make sure that it solves the recipe's problem.

    Args:
        name: Model folder, or a name of the zoo.
        config: The system that the recipe describes.
        scheduler: Its diffusion.
        with_network: Whether the recipe's network must be the teacher's too, because the student begins with its weights.

    Raises:
        InputError: If there is no such model, it cannot be read, or it differs from the recipe; the sentence names the first difference.
    """
    folder = resolve_model(name)
    index = read_index(folder, "SuperResolutionPipeline")
    own = {**EANet().config, **config.model, "bands": len(config.bands), "scale": config.scale}
    stored = read_config(folder / "model" / EANet.config_name)
    pairs = [*_system(index, config, folder, scheduler), *(_network({**EANet().config, **stored}, own) if with_network else ())]
    for what, theirs, ours in pairs:
        if theirs != ours:
            raise InputError(
                f"the teacher {name} has {what} {theirs!r} and the recipe's task.of has {ours!r}; "
                "teacher and student solve the same problem, so take the teacher's"
            )
    model = EANet.from_config(stored)
    model.load_state_dict(load_weights(folder / "model", model))
    return Teacher(name, folder, model_digest(folder), float(index.get("temperature", 1.0)), prepared(model))


def prepared(model: EANet) -> EANet:
    """A frozen network in the layout that is fastest for training crops.

    They fit the processor's cache as they are: running them in strips of rows would be slower (34 against 22 ms for 64 x 64 pixels).
    """
    first = next(model.parameters())
    ready = prepare_for_inference(model.requires_grad_(False), first.device, first.dtype)
    ready.striped = False
    return ready


def _system(
    index: Mapping[str, Any], config: SuperResolutionConfig, folder: Path, scheduler: MeanRevertingScheduler
) -> Iterator[tuple[str, Any, Any]]:
    """Names and values of what must agree: the teacher's and the recipe's."""
    yield "bands", list(index.get("bands", [])), list(config.bands)
    yield "unit", index.get("unit", "reflectance"), config.unit
    yield "scale", index.get("scale", 4), config.scale
    yield "contrast", index.get("contrast"), None if config.contrast is None else config.contrast.model_dump()
    yield "mtf", index.get("mtf", 0.3), config.held_out.mtf
    yield "temperature", index.get("temperature", 1.0), config.held_out.temperature
    stored = MeanRevertingScheduler.from_config(read_config(folder / "scheduler" / MeanRevertingScheduler.config_name)).config
    yield from ((f"scheduler.{key}", stored[key], scheduler.config[key]) for key in _public(scheduler.config))


def _network(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    yield from ((f"model.{key}", _plain(theirs.get(key)), _plain(ours.get(key))) for key in _public(ours))


def _public(config: Mapping[str, Any]) -> list[str]:
    return [key for key in config if not key.startswith("_")]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
