"""The Upscale tab's run without the tab: settings in, files out, with progress, a time estimate and a stop at any step."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..gen.errors import InputError
from .model_choice import chosen_model, models_for
from .sessions import Session
from .worker import Progress, Report, watched

if TYPE_CHECKING:
    from ..pipelines.super_resolution import SuperResolutionPipeline
    from .previews import Scene

PIPELINE = "SuperResolutionPipeline"
DEFAULT_MODEL = "zoo:ediffsr-x4-small"
MAX_STEPS, MAX_SAMPLES = 100, 16
_loading = threading.Lock()


@dataclass(frozen=True)
class Settings:
    """What the user has chosen for a run.

    Attributes:
        model: A folder or ``zoo:name``.
        bands: Bands of the input in the order of the model's; empty for those of the model's names.
        steps: Evaluations of the network per sample, 1 to 100.
        seed: Of the first sample.
        samples: How many pictures the mean is taken of, 1 to 16; two or more give an uncertainty.
        consistency: ``ibp`` or ``none``.
    """

    model: str = DEFAULT_MODEL
    bands: tuple[str, ...] = ()
    steps: int = 20
    seed: int = 0
    samples: int = 1
    consistency: Literal["ibp", "none"] = "ibp"

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("steps", self.steps, 1, MAX_STEPS),
            ("samples", self.samples, 1, MAX_SAMPLES),
            ("seed", self.seed, 0, 2**63 - 1),
        ):
            if not low <= value <= high:
                raise InputError(f"the number given for {name} is {value}; it must lie between {low} and {high}")
        if self.consistency not in ("ibp", "none"):
            raise InputError(f"there is no consistency {self.consistency!r}; choose 'ibp' or 'none'")


@dataclass(frozen=True)
class ModelFacts:
    """What a model folder says about itself, read without its weights.

    Attributes:
        name: As the user gave it.
        bands: The bands that it takes and gives.
        scale: How many times sharper its output is.
        unit: Unit of the physical values that it knows.
        steps: Evaluations per sample that it is made for.
    """

    name: str
    bands: tuple[str, ...]
    scale: int
    unit: str
    steps: int = 20


@dataclass(frozen=True)
class Result:
    """The files of a finished run.

    Attributes:
        scene: What it was made from.
        image: The sharper raster.
        invented: How far it is from plain interpolation.
        uncertainty: Standard deviation over the samples; None for one sample.
        bands: Band names of all three.
        scale: Output pixels per input pixel side.
        unit: Physical unit.
        seconds: How long the run took.
        error: Largest difference between the input and what its sensor would see in the output.
    """

    scene: Scene
    image: Path
    invented: Path
    uncertainty: Path | None
    bands: tuple[str, ...]
    scale: int
    unit: str
    seconds: float
    error: float


def model_names() -> list[str]:
    """The zoo's super-resolution models as the user writes them, the default first."""
    return models_for(PIPELINE, DEFAULT_MODEL)


def model_facts(name: str) -> ModelFacts:
    """Bands, scale, unit and steps of a model.

    Raises:
        InputError: If there is no such model, or it is none for super-resolution.
    """
    from ..gen.zoo.folder import read_index
    from ..gen.zoo.names import resolve_model

    chosen = chosen_model(name)
    index = read_index(resolve_model(chosen), PIPELINE)
    try:
        steps = int(index.get("num_inference_steps", 20))
        return ModelFacts(chosen, tuple(index["bands"]), int(index["scale"]), str(index["unit"]), steps)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the model {name} does not say its {error}; write the folder again with `earthgen train` or `convert`") from error


@lru_cache(maxsize=2)
def _load(name: str) -> SuperResolutionPipeline:
    from ..pipelines.super_resolution import SuperResolutionPipeline

    return SuperResolutionPipeline.load(name)


def load_pipeline(name: str) -> SuperResolutionPipeline:
    """The pipeline of a model, kept in memory for the next run; two users share it, since pipelines keep no state of a call."""
    with _loading:
        return _load(name)


def run(session: Session, settings: Settings) -> Iterator[Progress]:
    """Upscale the session's scene in a thread of its own; the files land in the session's folder and in `session.result`.

    Closing the iterator stops the run. Nothing of an earlier result is lost unless the run ends well.

    Args:
        session: Whose scene is set.
        settings: The user's choice.

    Yields:
        How far it is, a few times a second.

    Raises:
        InputError: If there is no scene, or scene and settings do not go together.
        Cancelled: If the session was told to stop.
    """
    if session.scene is None:
        raise InputError("there is no scene yet; upload a GeoTIFF or a picture first")
    yield from watched(session, lambda report: _upscale(session, settings, report), session.keep)


def _upscale(session: Session, settings: Settings, report: Report) -> Result:
    """The work of the thread: load the model, write the files into a folder of the run's own, which is removed if it does not end well."""
    from ..pipelines.super_resolution_scene import upscale_scene

    scene = session.scene
    assert scene is not None
    pipeline = load_pipeline(settings.model)

    def progress(done: int, total: int) -> None:
        session.check()
        report(done, total)

    folder = Path(tempfile.mkdtemp(prefix="run-", dir=session.folder))
    stem = f"{scene.path.stem[:60]}_x{pipeline.scale}"
    layers = {name: folder / f"{stem}_{name}.tif" for name in ("uncertainty", "invented")}
    spread = layers["uncertainty"] if settings.samples > 1 else None
    try:
        session.check()
        done = upscale_scene(
            pipeline,
            scene.path,
            folder / f"{stem}.tif",
            bands=scene.selectors(settings.bands) or None,
            steps=settings.steps,
            seed=settings.seed,
            samples=settings.samples,
            uncertainty=spread,
            invented=layers["invented"],
            consistency=settings.consistency,
            radiometry=scene.radiometry if scene.chosen else None,
            progress=progress,
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Result(
        scene, done.path, layers["invented"], spread, done.bands, pipeline.scale, pipeline.unit, done.seconds, done.consistency_error
    )
