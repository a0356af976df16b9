"""Which layout models there are, and what a model's folder says about itself."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..gen.errors import InputError
from .model_choice import chosen_model, models_for

if TYPE_CHECKING:
    from ..gen.annotations.priors import LayoutPrior
    from ..metrics.label_filters.crop_classifier import CropClassifier
    from ..pipelines.layout import LayoutToImagePipeline

PIPELINE = "LayoutToImagePipeline"
DEFAULT_MODEL = "zoo:layout-small"
PRIOR_FILES, CLASSIFIER = ("prior.json", "prior.npz"), "crop_classifier"
_loading = threading.Lock()


@dataclass(frozen=True)
class LayoutFacts:
    """What a layout model's folder says about itself.

    Attributes:
        name: As the user gave it.
        classes: That it can paint.
        size: Height and width that it was trained on.
        steps: Sampling steps that it is made for.
        guidance: Guidance scale of the layout that it is made for.
        inpainting: Whether it can paint objects into a picture.
        text: Whether it reads text.
        prior: File of the layouts' prior that came with it, if there is one.
        classifier: Folder of a classifier of crops that came with it, if there is one.
    """

    name: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    steps: int
    guidance: float
    inpainting: bool
    text: bool
    prior: Path | None
    classifier: Path | None


def layout_models() -> list[str]:
    """The zoo's layout models as the user writes them, the default first."""
    return models_for(PIPELINE, DEFAULT_MODEL)


def layout_facts(name: str | None) -> LayoutFacts:
    """What a model says about itself, read without its weights.

    Raises:
        InputError: If there is no such model, or it paints no layouts.
    """
    from ..gen.zoo.folder import read_config, read_index
    from ..gen.zoo.names import resolve_model

    folder = resolve_model(chosen_model(name))
    index = read_index(folder, PIPELINE)
    network = read_config(folder / "unet" / "config.json")
    size, scale = int(index.get("size", 128)), index.get("guidance_scale", 2.0)
    return LayoutFacts(
        name=chosen_model(name),
        classes=tuple(str(kind) for kind in network.get("classes", ())),
        size=(size, size),
        steps=int(index.get("num_inference_steps", 10)),
        guidance=float(scale.get("layout", 2.0) if isinstance(scale, Mapping) else scale),
        inpainting=int(network.get("in_channels", 0)) > int(network.get("out_channels", 0)),
        text="text_encoder" in index,
        prior=next((folder / file for file in PRIOR_FILES if (folder / file).is_file()), None),
        classifier=folder / CLASSIFIER if (folder / CLASSIFIER).is_dir() else None,
    )


@lru_cache(maxsize=2)
def _load(name: str) -> LayoutToImagePipeline:
    from ..pipelines.layout import LayoutToImagePipeline

    return LayoutToImagePipeline.load(name)


def load_layout_model(name: str) -> LayoutToImagePipeline:
    """The pipeline of a model, kept in memory for the next run; users share it, since pipelines keep no state of a call.

    Raises:
        InputError: If there is no such model, or it paints no layouts.
    """
    with _loading:
        return _load(chosen_model(name))


@lru_cache(maxsize=4)
def model_prior(path: Path) -> LayoutPrior:
    """The prior that came with a model.

    Raises:
        InputError: If the file is damaged.
    """
    from ..gen.annotations.priors import load_prior

    return load_prior(path)


@lru_cache(maxsize=2)
def model_classifier(path: Path) -> CropClassifier:
    """The classifier of crops that came with a model.

    Raises:
        InputError: If the folder is damaged.
    """
    from ..metrics.label_filters.crop_classifier import CropClassifier

    return CropClassifier.load(path)


def about_model(facts: LayoutFacts) -> str:
    """What can be asked of a model, in one or two sentences."""
    height, width = facts.size
    paints = "It also paints objects into a picture of yours. " if facts.inpainting else ""
    prior = (
        "Its prior draws layouts of the kind that it has seen."
        if facts.prior
        else "No prior came with it: import annotations to draw from."
    )
    return f"{Path(facts.name).name} paints {', '.join(facts.classes)} and was trained at {width} x {height} pixels. {paints}{prior}"


def missing_model(error: BaseException | None = None) -> str:
    """What is said while no layout model is there."""
    why = f"{error} " if isinstance(error, InputError) else "There is no layout model in the zoo. "
    return f"{why}Boxes can be drawn and imported without a model; to paint pictures, type the path of a model folder under 'Model'."
