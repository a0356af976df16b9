"""The Layout tab's run without the tab: layouts in, labelled pictures out, with progress and a stop at any step."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..gen.errors import InputError
from .layout_model import LayoutFacts, layout_facts, load_layout_model, model_classifier
from .layout_scores import ObjectScores, joined, layout_scores, looks
from .layout_session import Labelled, LayoutSession
from .layout_show import save_boxed
from .worker import Progress, Report, watched

if TYPE_CHECKING:
    from ..gen.annotations import Layout
    from ..gen.annotations.priors import Limits

MAX_PICTURES, MAX_STEPS = 64, 200
_AT_ONCE = 4  # pictures painted together: few, so that Cancel is heard soon


@dataclass(frozen=True)
class LayoutWishes:
    """What the user has asked for.

    Attributes:
        model: A folder or ``zoo:name``.
        layouts: One for each picture.
        source: Where they are from, for the manifest.
        background: A picture that the objects are painted into; None for pictures that are new as a whole.
        limits: Of real layouts, for the scores.
        seed: Of the first picture.
        steps: Sampling steps.
        guidance: Scale of the layout.
        prompt: What else is to be seen; for models that read text.
    """

    model: str
    layouts: tuple[Layout, ...]
    source: str = "canvas"
    background: Path | None = None
    limits: Limits | None = None
    seed: int = 0
    steps: int = 20
    guidance: float = 2.0
    prompt: str = ""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("pictures", len(self.layouts), 1, MAX_PICTURES),
            ("steps", self.steps, 1, MAX_STEPS),
            ("seed", self.seed, 0, 2**63 - 1 - MAX_PICTURES),
            ("guidance", self.guidance, 0, 50),
        ):
            if not low <= value <= high:
                raise InputError(f"the number given for {name} is {value}; it must lie between {low} and {high}")


def run(session: LayoutSession, wishes: LayoutWishes) -> Iterator[Progress]:
    """Paint in a thread of its own; the files land in the session's folder and in `session.labelled`.

    Closing the iterator stops the run. Nothing of an earlier result is lost unless the run ends well.

    Args:
        session: The window's.
        wishes: The user's.

    Yields:
        How far it is, a few times a second.

    Raises:
        InputError: If the wishes and the model do not go together.
        Cancelled: If the session was told to stop.
    """
    yield from watched(session, lambda report: _paint(session, wishes, report), session.keep_labelled)


def check_classes(layouts: tuple[Layout, ...], facts: LayoutFacts) -> None:
    """Refuse boxes of classes that the model does not know, all of them named."""
    unknown = sorted({box.name for layout in layouts for box in layout.boxes} - set(facts.classes))
    if unknown:
        raise InputError(
            f"{facts.name} does not know the {'classes' if len(unknown) > 1 else 'class'} {', '.join(unknown)}; "
            f"it paints {', '.join(facts.classes)}, so relabel or delete these boxes"
        )


def _paint(session: LayoutSession, wishes: LayoutWishes, report: Report) -> Labelled:
    """The work of the thread; its folder is removed if it does not end well."""
    facts = layout_facts(wishes.model)
    check_classes(wishes.layouts, facts)
    pipeline = load_layout_model(wishes.model)
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        session.check()
        report(done, total)

    session.check()
    into = wishes.background is not None
    result = pipeline(
        None if into else wishes.layouts,
        prompt=wishes.prompt,
        background=wishes.background,
        insert=wishes.layouts[0] if into else None,
        num_images_per_layout=len(wishes.layouts) if into else 1,
        num_inference_steps=wishes.steps,
        guidance_scale={"layout": wishes.guidance},
        seed=wishes.seed,
        batch_size=_AT_ONCE,
        progress=progress,
    )
    folder = session.fresh_folder("labelled")
    try:
        pictures = tuple(folder / f"{seed:06d}.png" for seed in result.seeds)
        boxed = tuple(folder / f"{seed:06d}-boxes.png" for seed in result.seeds)
        layouts = tuple(replace(layout, picture=path.name) for layout, path in zip(result.labels, pictures, strict=True))
        for path, image, tags in zip(pictures, result.images, result.tags, strict=True):
            _write(path, image, tags)
        for path, target, layout in zip(pictures, boxed, layouts, strict=True):
            save_boxed(path, layout, facts.classes, target)
        scores = tuple(_scores(image, layout, wishes, facts) for image, layout in zip(result.images, layouts, strict=True))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    made = {"model": facts.name, "model_digest": pipeline.digest, "prompt": wishes.prompt, "steps": wishes.steps}
    origin = {"guidance": wishes.guidance, "layout": wishes.source, "inserted": into}
    seconds, notes = time.monotonic() - started, tuple(result.notes)
    return Labelled(folder, pictures, boxed, layouts, scores, tuple(result.seeds), facts.classes, {**made, **origin}, notes, seconds)


def _scores(image: NDArray[np.float32], layout: Layout, wishes: LayoutWishes, facts: LayoutFacts) -> ObjectScores:
    plain = layout_scores(layout, wishes.limits)
    if facts.classifier is None:
        return plain
    return joined([plain, looks(image, layout, model_classifier(facts.classifier))])


def _write(path: Path, image: NDArray[np.float32], tags: Mapping[str, str]) -> None:
    """A picture ``[3, H, W]``, 0 to 1, as PNG with tags that say how it was made."""
    from affine import Affine

    from ..gen.data.rasters import located, write_raster
    from ..pipelines.earth_output import radiometry_of

    attributes = {"tags": dict(tags), "radiometry": radiometry_of("display"), "units": "display"}
    write_raster(path, located(image, ("red", "green", "blue"), None, Affine.identity(), attributes))
