"""Recipes: TOML checked by pydantic, with ``key=value`` overrides from the command line.

A recipe says everything that a run depends on; the effective one is saved next to the weights. Unknown keys are refused, and the nearest
known key is named.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..gen.errors import InputError
from .adapter_config import Adapter
from .recipe_files import read_tables
from .tasks.autoencoder_config import AutoencoderConfig
from .tasks.distillation_config import DistillationConfig
from .tasks.features_config import FeaturesConfig
from .tasks.generation_config import GenerationConfig
from .tasks.layout_config import LayoutConfig
from .tasks.layout_prior_config import LayoutPriorConfig
from .tasks.super_resolution_config import SuperResolutionConfig

RECIPES = Path(__file__).parent / "recipes"
TaskConfig = Annotated[
    SuperResolutionConfig | DistillationConfig | FeaturesConfig | AutoencoderConfig | GenerationConfig | LayoutConfig | LayoutPriorConfig,
    Field(discriminator="kind"),
]
"""What can be trained; `kind` tells which."""


class Optimizer(BaseModel):
    """AdamW and its learning rate over time (in samples)."""

    model_config = ConfigDict(extra="forbid")

    lr: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, ge=0)
    """Largest gradient norm; 0 leaves gradients as they are."""
    warm_up: int = Field(0, ge=0)
    hold: float = Field(0.0, ge=0, le=1)
    floor: float = Field(0.0, ge=0, le=1)


class Recipe(BaseModel):
    """One training run.

    `samples` is the length of the run, `batch` the samples of one forward pass per process, and `accumulate` the forward passes per
    optimizer step. What happens `every` so often is counted in samples too.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    seed: int = Field(0, ge=0)
    samples: int = Field(ge=1)
    batch: int = Field(ge=1)
    accumulate: int = Field(1, ge=1)
    workers: int = Field(0, ge=0)
    save_every: int = Field(10_000, ge=1)
    evaluate_every: int = Field(10_000, ge=0)
    log_every: int = Field(500, ge=1)
    show_every: int = Field(0, ge=0)
    """Pictures of what the model makes; 0 for none."""
    probe_every: int = Field(0, ge=0)
    """Figures on how well it keeps to its conditions; 0 for none."""
    trackers: list[Literal["tensorboard", "wandb"]] = Field(default_factory=list)
    """Where the figures go beside ``log.jsonl``; extra ``watch``."""
    keep: int = Field(2, ge=1)
    precision: Literal["auto", "no", "bf16", "fp16"] = "no"
    """Of the forward pass; the weights stay float32. `auto` is bf16 where the device computes in it, else no."""
    gradient_checkpointing: bool = False
    """Compute activations again on the way back instead of keeping them: less memory, about a third more time."""
    compile: bool = False
    """Let torch.compile make faster kernels of the network; the first steps take minutes."""
    output: Path = Path("runs")
    data: Path = Path("../shared/data")
    initialise: Path | None = None
    """Folder of a trained model whose weights the run starts from."""
    ema_half_life: float = Field(10_000, ge=0)
    """In samples; 0 exports the trained weights as they are."""
    ema_profiles: list[float] = Field(default_factory=list)
    """Relative widths (0 to 0.28) of power-function averages that are kept as well, so that the length can be chosen after training."""
    profile_every: int = Field(0, ge=0)
    """Samples from one stored snapshot of those averages to the next."""
    adapter: Adapter | None = None
    """Train thin matrices beside frozen layers (LoRA) instead of the weights."""
    train_only: list[str] = Field(default_factory=list)
    """Patterns of the names of the parameters to train; the others are frozen. Empty trains all."""
    attention: Literal["auto", "sdpa", "xformers", "flash"] = "auto"
    """Kernels for attention; `auto` is xformers on CUDA where it is installed, else PyTorch's own."""
    optimizer: Optimizer = Optimizer()  # type: ignore[call-arg]
    task: TaskConfig
    card: dict[str, Any] = Field(default_factory=dict)
    """Licence, attribution and notes that an exported model's card repeats."""


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: File, or the name of a recipe that comes with the package (``ediffsr-x4-small``).
        overrides: ``dotted.key=value`` with TOML values; a value that is no TOML is taken as a string.

    Returns:
        The checked recipe.

    Raises:
        InputError: If the file is missing or no TOML, or a key or value is wrong; the sentence names it.
    """
    file = _find(path)
    table = read_tables(file, _find)
    for override in overrides:
        _apply(table, override)
    return check_recipe(table, str(file))


def check_recipe(table: dict[str, Any], source: str) -> Recipe:
    """Check a parsed recipe; `source` names it in errors."""
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise InputError(f"{source}: {'; '.join(_sentences(error, table))}") from error


def dump_recipe(recipe: Recipe) -> dict[str, Any]:
    """The effective recipe as plain JSON types; `check_recipe` reads it back."""
    return recipe.model_dump(mode="json", exclude_none=True)


def _find(path: str | Path) -> Path:
    for candidate in (Path(path), RECIPES / f"{path}.toml", RECIPES / str(path)):
        if candidate.is_file():
            return candidate
    names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
    raise InputError(f"there is no recipe {str(path)!r}; give a TOML file or one of {names}")


def _apply(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"cannot read the override {override!r}; write key=value, for example samples=1000")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise InputError(f"the override {override!r} goes into {name!r}, which is no table")
    table[last] = value


def _sentences(error: ValidationError, table: dict[str, Any]) -> Iterator[str]:
    for detail in error.errors():
        place = _place(detail["loc"], table)
        where = ".".join(str(part) for part in place)
        if detail["type"] in ("union_tag_not_found", "union_tag_invalid"):
            given = (detail.get("ctx") or {}).get("tag")
            kinds = (detail.get("ctx") or {}).get("expected_tags", _kinds() if where == "task" else "")
            listed = ", ".join(sorted(kinds.replace("'", "").split(", ")))
            yield f"{where}.kind is {given or 'missing'}" + (f"; it is one of {listed}" if listed else "")
            continue
        if detail["type"] != "extra_forbidden":
            yield f"{where}: {detail['msg'].lower()} (got {detail['input']!r:.60})"
            continue
        near = difflib.get_close_matches(str(place[-1]), _known_keys(Recipe), 1, 0.5)
        yield f"unknown key {where!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _kinds() -> str:
    members = get_args(get_args(TaskConfig)[0])
    return ", ".join(member.model_fields["kind"].default for member in members)


def _place(parts: Sequence[str | int], value: Any) -> list[str | int]:
    """Where an error is, without the tags that pydantic puts behind the members of discriminated unions."""
    place: list[str | int] = []
    entered = False
    for part in parts:
        if entered and isinstance(value, dict) and part == value.get("kind"):
            entered = False
            continue
        place.append(part)
        inside = (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int) and part < len(value))
        value, entered = (value[part] if inside else None), True
    return place


def _known_keys(model: type[BaseModel]) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(name)
        for inner in _models_in(field.annotation):
            keys.extend(_known_keys(inner))
    return keys


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)
