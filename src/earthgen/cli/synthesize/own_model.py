"""A model of the project's own: the recipe of a layout generator, with the project's pictures in place of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...gen.data.atomic import write_text
from ...gen.errors import InputError
from ...gen.zoo.folder import read_config
from ...gen.zoo.names import resolve_model
from ...train.launch import run_recipe
from ..progress import progress_bar
from .project import Project

RECIPE = "recipe.toml"
_NETWORK = ("block_out_channels", "attention", "layers_per_block", "heads", "cross_attention_dim", "encoder", "backbone", "region", "gate")


def train_own(project: Project, recipe: str, base: str, changes: list[str]) -> str:
    """Train, or go on with a run that was stopped.

    Args:
        project: Whose real pictures are learnt; those of held-out places choose the checkpoint.
        recipe: That the project's begins with.
        base: Model whose weights it begins with; empty for none.
        changes: ``key=value`` over the recipe.

    Returns:
        What was done, in a sentence.

    Raises:
        InputError: If the base does not know the project's classes, or a change is wrong.
    """
    file = write_recipe(project, recipe, base)
    with progress_bar("Training", "samples") as report:
        trainer = run_recipe(str(file), changes, report)
    return f"{project.model}: {trainer.samples} of {trainer.recipe.samples} samples seen; sample uses it from now on"


def write_recipe(project: Project, recipe: str, base: str) -> Path:
    """The project's recipe as a file, which may be changed by hand: it is not written again.

    Raises:
        InputError: If the base does not know the project's classes.
    """
    file = project.folder / RECIPE
    if file.is_file():
        return file
    settings = project.settings
    names, lines = list(settings.names), [f"extends = {_toml(recipe)}"]
    config = read_config(resolve_model(base) / "unet" / "config.json") if base else {}
    if base:
        known = list(config["classes"])
        missing = [name for name in names if name not in known]
        if missing:
            raise InputError(
                f"{base} does not know the class {missing[0]!r}, only {', '.join(known)}; begin with --from '' to train without it, or "
                "rename the class with fit-prior --rename"
            )
        names = known
    source = {
        "kind": "annotations", "files": settings.annotations, "images": settings.images, "rename": settings.rename,
        "place": settings.place, "validation": list(settings.held_out), "captions": ["aerial image"],
    }  # fmt: skip
    # The project's resolution, not the object's size, says how the pictures are scaled.
    objects = {"size": settings.size, "scales": [0.8 * settings.scale, 1.25 * settings.scale], "extent": [2.0, 4096.0]}
    lines += ['name = "model"', f"output = {_toml(str(project.folder.resolve() / 'runs'))}", 'data = "/"']
    lines += [f"initialise = {_toml(base)}"] if base else []
    lines += ["", "[task]", f"names = {_toml(names)}"]
    if base:  # the network is the base's, whatever the recipe's own is
        lines += [f"patch = {config['patch']}", "", "[task.model]"]
        lines += [f"{key} = {_toml(config[key])}" for key in _NETWORK if config.get(key) is not None]
    lines += ["", "[task.objects]", *(f"{key} = {_toml(value)}" for key, value in objects.items())]
    lines += ["", "[[task.objects.sources]]", *(f"{key} = {_toml(value)}" for key, value in source.items())]
    licence = {"licence": "that of the project's pictures", "attribution": ["the project's own pictures"]}
    lines += ["", "[card]", *(f"{key} = {_toml(value)}" for key, value in licence.items())]
    write_text(file, "\n".join(lines) + "\n")
    return file


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(entry)}" for key, entry in value.items()) + "}"
    # Strings, numbers and lists are written alike in JSON and TOML.
    return json.dumps(value)
