"""The Generate tab's run without the tab: wishes in, files out, with progress and a stop at any step."""

from __future__ import annotations

import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..gen.errors import InputError
from .model_choice import chosen_model, models_for
from .sessions import Session
from .worker import Progress, Report, watched

if TYPE_CHECKING:
    from ..pipelines.earth import EarthPipeline

PIPELINE = "EarthPipeline"
DEFAULT_MODEL = "zoo:earth-small"
MAX_PICTURES, MAX_STEPS, MAX_SIDE = 16, 200, 2048
_loading = threading.Lock()


@dataclass(frozen=True)
class Wishes:
    """What the user has asked for.

    Attributes:
        model: A folder or ``zoo:name``.
        prompt: What is to be seen.
        negative: What stands in for no text in guidance.
        metadata: Fields of `Metadata` that are known.
        hints: Files by the model's names.
        image: A picture to change, to fill or to continue.
        mask: ``[H, W]``, True where `image` is painted anew.
        extend: Pixels to paint around `image`: left, top, right, bottom.
        strength: How far `image` is taken back towards noise.
        height: Rows; 0 for the model's own.
        width: Columns; 0 for the model's own.
        count: How many pictures.
        seed: Of the first.
        steps: Sampling steps.
        guidance: Scale of all conditions together.
    """

    model: str = DEFAULT_MODEL
    prompt: str = ""
    negative: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, Path] = field(default_factory=dict)
    image: Path | None = None
    mask: NDArray[np.bool_] | None = None
    extend: tuple[int, int, int, int] | None = None
    strength: float = 1.0
    height: int = 0
    width: int = 0
    count: int = 4
    seed: int = 0
    steps: int = 20
    guidance: float = 3.0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("pictures", self.count, 1, MAX_PICTURES),
            ("steps", self.steps, 1, MAX_STEPS),
            ("seed", self.seed, 0, 2**63 - 1 - MAX_PICTURES),
            ("height", self.height, 0, MAX_SIDE),
            ("width", self.width, 0, MAX_SIDE),
            ("guidance", self.guidance, 0, 50),
        ):
            if not low <= value <= high:
                raise InputError(f"the number given for {name} is {value}; it must lie between {low} and {high}")
        if self.mask is not None and self.image is None:
            raise InputError("a mask is painted, but there is no picture to fill; choose a picture first")


@dataclass(frozen=True)
class GeneratorFacts:
    """What a generator's folder says about itself.

    Attributes:
        name: As the user gave it.
        hints: Names of the hints that it reads.
        size: Height and width that it was trained on.
        bands: Of its pictures.
        steps: Sampling steps that it is made for.
        guidance: Guidance scale that it is made for.
        inpainting: Whether it was trained to fill.
    """

    name: str
    hints: tuple[str, ...]
    size: tuple[int, int]
    bands: tuple[str, ...]
    steps: int
    guidance: float
    inpainting: bool


@dataclass(frozen=True)
class Generated:
    """The files of a finished run.

    Attributes:
        files: One for each picture: GeoTIFF where the place and the pixel size are known, else PNG.
        shown: The same as PNG, for the gallery.
        archive: All of `files` in one zip.
        seeds: One for each picture.
        notes: What was decided on the way.
        seconds: How long it took.
    """

    files: tuple[Path, ...]
    shown: tuple[Path, ...]
    archive: Path
    seeds: tuple[int, ...]
    notes: tuple[str, ...]
    seconds: float


def generator_names() -> list[str]:
    """The zoo's generators as the user writes them, the default first."""
    return models_for(PIPELINE, DEFAULT_MODEL)


@lru_cache(maxsize=2)
def _load(name: str) -> EarthPipeline:
    from ..pipelines.earth import EarthPipeline

    return EarthPipeline.load(name)


def load_generator(name: str) -> EarthPipeline:
    """The pipeline of a model, kept in memory for the next run; users share it, since pipelines keep no state of a call.

    Raises:
        InputError: If there is no such model, or it is no generator.
    """
    with _loading:
        return _load(chosen_model(name))


def generator_facts(name: str) -> GeneratorFacts:
    """What a model says about itself, read without its weights.

    Raises:
        InputError: If there is no such model, or it is no generator.
    """
    from ..gen.zoo.folder import read_index
    from ..gen.zoo.names import resolve_model

    index = read_index(resolve_model(chosen_model(name)), PIPELINE)
    slots = [slot for entry in index.get("control_hints", {}).values() for slot in entry if slot not in ("place", "frames")]
    scale, sizes = index.get("guidance_scale", 4.0), index.get("sizes", [256])
    return GeneratorFacts(
        name=name.strip(),
        hints=(*index.get("hints", ()), *slots),
        size=(int(sizes[0]), int(sizes[-1])),
        bands=tuple(index.get("bands", ("red", "green", "blue"))),
        steps=int(index.get("num_inference_steps", 20)),
        guidance=float(max(scale.values()) if isinstance(scale, Mapping) else scale),
        inpainting=bool(index.get("inpainting", False)),
    )


def run(session: Session, wishes: Wishes) -> Iterator[Progress]:
    """Generate in a thread of its own; the files land in the session's folder and in `session.generated`.

    Closing the iterator stops the run. Nothing of an earlier result is lost unless the run ends well.

    Args:
        session: The browser tab's.
        wishes: The user's.

    Yields:
        How far it is, a few times a second.

    Raises:
        InputError: If the wishes and the model do not go together.
        Cancelled: If the session was told to stop.
    """
    yield from watched(session, lambda report: _generate(session, wishes, report), session.keep_generated)


def _generate(session: Session, wishes: Wishes, report: Report) -> Generated:
    """The work of the thread; its folder is removed if it does not end well."""
    import time

    from ..pipelines.earth_output import to_pil, write_picture

    pipeline = load_generator(wishes.model)
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        session.check()
        report(done, total)

    session.check()
    height, width = (wishes.height or None, wishes.width or None) if wishes.image is None else (None, None)
    result = pipeline(
        wishes.prompt,
        negative_prompt=wishes.negative,
        metadata=dict(wishes.metadata),
        hints=dict(wishes.hints),
        image=wishes.image,
        mask=None if wishes.mask is None else wishes.mask.astype(np.float32),
        strength=wishes.strength,
        extend=wishes.extend,
        height=height,
        width=width,
        num_images=wishes.count,
        seed=wishes.seed,
        num_inference_steps=wishes.steps,
        guidance_scale=wishes.guidance,
        output_type="xarray",
        progress=progress,
    )
    located = {"lat", "lon", "gsd"} <= set(wishes.metadata)
    folder = Path(tempfile.mkdtemp(prefix="generated-", dir=session.folder))
    try:
        shown = tuple(folder / f"{seed:06d}.png" for seed in result.seeds)
        files = tuple(path.with_suffix(".tif") for path in shown) if located else shown
        for path, file, image in zip(shown, files, result.images, strict=True):
            write_picture(file, image)
            if file != path:  # a PNG cannot hold the place
                to_pil(image.values).save(path)
        archive = folder / "pictures.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            for file in files:
                packed.write(file, file.name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Generated(files, shown, archive, tuple(result.seeds), tuple(result.notes), time.monotonic() - started)
