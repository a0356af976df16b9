"""Training a part of a model: thin matrices beside its layers (LoRA), or the parameters that a recipe names; the rest is frozen.

A run of this kind keeps in its checkpoints what it trains, and of the frozen rest a digest: the rest comes from ``initialise`` (or from the
seed) again when the run is taken up, and has to be the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..gen.data.atomic import atomic_path, write_json
from ..gen.errors import InputError
from ..gen.models.lora import DESCRIPTION, WEIGHTS, adapter_parts, add_lora, base_digest, can_hold, has_lora, merged_state, plain_name
from .recipe import Recipe
from .sharded import is_sharded, whole_state
from .task import Task


def build_model(recipe: Recipe, task: Task, initialise: bool) -> nn.Module:
    """The recipe's model with what is trained of it marked: every parameter, LoRA matrices, or those that ``train_only`` names.

    Args:
        recipe: The recipe.
        task: Builds the model.
        initialise: Whether to read the weights of ``recipe.initialise``; a run with a frozen part always does.

    Raises:
        InputError: If a pattern matches nothing, or both kinds of partial training are asked for.
    """
    partial = is_partial(recipe)
    torch.manual_seed(recipe.seed)
    model = task.build(recipe.initialise if initialise or partial else None)
    if not partial:
        return model
    if recipe.adapter is not None and recipe.train_only:
        raise InputError("adapter and train_only cannot be had together; LoRA freezes all but its own matrices, so leave one of them out")
    # A generator of its own state, since reading weights draws fewer numbers than making them.
    torch.manual_seed(recipe.seed)
    if recipe.adapter is not None:
        adapter = recipe.adapter
        layers = matching(adapter.targets, [name for name, layer in model.named_modules() if can_hold(layer)], "adapter.targets", "layer")
        add_lora(model, layers, adapter.rank, adapter.factor * adapter.rank, adapter.dropout)
    else:
        train_only(model, recipe.train_only)
    return model


def is_partial(recipe: Recipe) -> bool:
    """Whether the recipe freezes a part of its model."""
    return recipe.adapter is not None or bool(recipe.train_only)


def trains(recipe: Recipe, names: Sequence[str]) -> bool:
    """Whether the recipe may change one of these parameters.

    Args:
        recipe: The recipe.
        names: Names of parameters in the whole model.
    """
    if recipe.adapter is not None:
        patterns, told = recipe.adapter.targets, [name.rpartition(".")[0] for name in names]
    elif recipe.train_only:
        patterns, told = recipe.train_only, list(names)
    else:
        return True
    return any(_matches(name, pattern) for name in told for pattern in patterns)


def train_only(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze every parameter that no pattern matches.

    Args:
        model: Changed in place.
        patterns: Of parameter names (``cpem.*``), as `matching` takes them.

    Raises:
        InputError: If a pattern matches nothing.
    """
    trained = set(matching(patterns, [name for name, _ in model.named_parameters()], "train_only", "parameter"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def matching(patterns: Sequence[str], names: Sequence[str], where: str, what: str) -> list[str]:
    """The names that a pattern matches, in the order of the model.

    Args:
        patterns: With ``*`` and ``?``; a name is matched whole or from one of its dots on.
        names: All there are.
        where: The recipe's key, for the error.
        what: What a name stands for, for the error.

    Raises:
        InputError: If a pattern matches none; the nearest names are given.
    """
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            near = _nearest(pattern, names)
            raise InputError(f"{where}: no {what} is called {pattern!r}; the nearest are {', '.join(near)}; name one of these or a pattern")
    return [name for name in names if any(_matches(name, pattern) for pattern in patterns)]


def frozen_names(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that are not trained."""
    return frozenset(name for name, parameter in model.named_parameters(remove_duplicate=False) if not parameter.requires_grad)


def frozen_digest(model: nn.Module) -> str:
    """sha256 of the parameters that are not trained (plain names, shapes, float32 values); empty if all are."""
    frozen = [(name, parameter) for name, parameter in model.named_parameters() if not parameter.requires_grad]
    return base_digest(frozen) if frozen else ""


def check_base(stored: str, own: str, source: Path) -> None:
    """Refuse what was trained beside other frozen parameters.

    Args:
        stored: Their digest in the checkpoint.
        own: Their digest in the model as it was built.
        source: The checkpoint, for the error.

    Raises:
        InputError: If the digests differ.
    """
    if stored != own:
        raise InputError(
            f"{source} was trained on another base: its frozen weights have the digest {stored[:12] or 'of none'}, those built here "
            f"{own[:12] or 'of none'}; give the model that the run was begun with as 'initialise', or choose another 'output' or 'name'"
        )


def export_plain(recipe: Recipe, task: Task, model: nn.Module, folder: Path, card: dict[str, Any], main: bool = True) -> None:
    """Let the task write a model folder; LoRA is merged into the weights, and the adapter by itself is written beside them.

    Args:
        recipe: The run's recipe.
        task: Writes the folder.
        model: The model as `build_model` made it, with the weights to publish; it is left as it is.
        folder: Where to.
        card: For the task.
        main: Whether this process writes; all must call together where they have shares of the weights.
    """
    if not has_lora(model) and not is_sharded(model):
        task.export(model, folder, card)
        return
    values = whole_state(model, main)
    if not main:
        return
    state = torch.get_rng_state()
    plain = task.build(recipe.initialise)
    torch.set_rng_state(state)
    plain.load_state_dict(merged_state(model, values))
    task.export(plain.eval(), folder, card)
    if has_lora(model):
        save_adapter(model, folder, values)


def save_adapter(model: nn.Module, folder: Path, values: dict[str, Tensor] | None = None) -> None:
    """Write ``adapter.safetensors`` and ``adapter.json``, which `load_adapter` puts onto the network that they were trained on.

    Args:
        model: With thin matrices.
        folder: Where to; it must exist.
        values: Whole tensors by the names of its state dict; the model's own if left out.
    """
    thin, metadata, described = adapter_parts(model, values)
    with atomic_path(folder / WEIGHTS) as partial:
        save_file(thin, partial, metadata=metadata)
    write_json(folder / DESCRIPTION, described)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def _nearest(pattern: str, names: Iterable[str]) -> list[str]:
    """Up to three names like the pattern, by their last parts too."""
    listed = list(names)
    bare = pattern.strip("*?.")
    tails = {name.rsplit(".", 1)[-1]: name for name in reversed(listed)}
    near = difflib.get_close_matches(bare, listed, 3, 0.5) or [tails[tail] for tail in difflib.get_close_matches(bare, tails, 3, 0.4)]
    return [plain_name(name) for name in near or listed[:3]]
