"""What a project's pictures are worth to a detector: for every training subset a prior, a model and a filter of its own.

Nothing that a subset's pictures are made with has seen another real picture than the subset's, but for what the base model was trained on,
which is told in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ...gen.annotations.formats.writing import AnnotationWriter
from ...gen.annotations.priors import PRIORS
from ...gen.errors import InputError
from ...pipelines.layout import LayoutToImagePipeline
from ...train.detection.arms import Source, cheap_sources, standard_arms
from ...train.detection.benchmark import Plan, run_benchmark
from ...train.detection.places import DetectionSets, assemble, crops
from ...train.detection.samples import Sample
from ...train.detection.table import write_table
from .filtering import filter_samples, read_verdicts
from .own_model import train_own
from .project import Project, Settings
from .real import MIN_VISIBLE, places_of, squares_of
from .records import Record, records
from .sampling import Sampler

GENERATED, FILTERED = "diffusion", "diffusion, filtered"
_HELD_OUT = 5  # every fifth square of a subset calibrates its filter
Say = Callable[[str], None]


@dataclass(frozen=True)
class Making:
    """How a subset's pictures are made.

    Attributes:
        base: Model that each subset's begins with; empty for none.
        recipe: Of its training.
        changes: ``key=value`` over the recipe.
        mode: As for `Sampler`.
        share: Of real objects that each filter lets pass.
        filters: Names.
        seed: Of the pictures.
        surplus: Pictures made for each that is wanted, so that the filter can choose.
    """

    base: str
    recipe: str = "layout-small"
    changes: tuple[str, ...] = ()
    mode: str = "mixed"
    share: float = 0.9
    filters: tuple[str, ...] = ("statistics", "classifier")
    seed: int = 0
    surplus: float = 2.0


def benchmark(sets: DetectionSets, folder: Path, making: Making, plan: Plan, processes: int, say: Say) -> dict[str, Any]:
    """Run the experiment, or what is missing of it.

    Args:
        sets: Real pictures.
        folder: Where everything is kept.
        making: How pictures are made.
        plan: Sizes of the experiment.
        processes: Detectors that train at the same time.
        say: Takes a sentence now and then.

    Returns:
        The table (`train.detection.table.summary`), also in ``table.json`` and ``table.md``.
    """
    sources = {**cheap_sources(sets), **generator_sources(sets, folder, making, say)}
    arms = standard_arms(GENERATED, FILTERED)
    found = run_benchmark(sets, arms, sources, folder / "runs", plan, processes)
    protocol = (
        f"{plan.training.words()}; {plan.subsets} training subsets of {', '.join(str(len(part)) for part in sets.subsets)} squares x "
        f"{plan.seeds} seeds; {plan.count} synthetic pictures for each, half of every batch; prior, model and filter of each subset from "
        f"its own squares, the model beginning with {making.base or 'random weights'}; {len(sets.test)} test pictures of other places"
    )
    pairs = [(FILTERED, "flat rectangles"), (f"copy-paste and {FILTERED}", "copy-paste"), (FILTERED, GENERATED)]
    return write_table(found, folder, protocol, pairs)


def project_sets(project: Project, subsets: int, most: int) -> DetectionSets:
    """The project's real pictures as training subsets and, of held-out places, validation and test pictures.

    Raises:
        InputError: If there are too few places.
    """
    places, held = places_of(project, held_out=False), places_of(project, held_out=True)
    names = sorted({place.name for place in places})
    others = sorted({place.name for place in held})
    if len(names) < subsets or len(others) < 2:
        raise InputError(
            f"{len(names)} places to train on and {len(others)} held out are too few for {subsets} subsets, validation and test; label "
            "more, or plan fewer --subsets"
        )
    size = project.settings.size
    parts: list[list[Sample]] = [[] for _ in range(subsets)]
    # The fullest place goes to the emptiest subset.
    cut = {name: [s for place in places if place.name == name for s in crops(place, size, MIN_VISIBLE)] for name in names}
    for name in sorted(names, key=lambda one: (-len(cut[one]), one)):
        min(parts, key=len).extend(cut[name])
    whole = {name: [s for place in held if place.name == name for s in crops(place, size, MIN_VISIBLE, least_objects=0)] for name in others}
    first, rest = whole[others[0]], [square for name in others[1:] for square in whole[name]]
    settings = project.settings
    return assemble(settings.names, parts, first, rest, horizontal=settings.horizontal, most=most)


def generator_sources(sets: DetectionSets, folder: Path, making: Making, say: Say) -> dict[str, Source]:
    """Sources of generated pictures, all and filtered; a subset's are made once, in a project of its own in the folder."""

    def made(subset: int, count: int) -> tuple[list[Record], Project]:
        project = subset_project(sets, subset, folder / f"subset{subset}")
        wanted = round(count * making.surplus)
        if not project.model.exists():
            say(f"subset {subset}: training its model")
            train_own(project, making.recipe, making.base, list(making.changes))
        pipeline = LayoutToImagePipeline.load(str(project.model))
        say(f"subset {subset}: {wanted} pictures")
        Sampler(project, pipeline, making.seed, making.mode, "", None).run(range(wanted), 16)
        return [record for record in records(project) if record.index < wanted], project

    def generated(subset: int, count: int) -> Sequence[Sample]:
        found, project = made(subset, count)
        return [(record.pixels(project), record.layout) for record in found[:count]]

    def filtered(subset: int, count: int) -> Sequence[Sample]:
        found, project = made(subset, count)
        if not project.verdicts.exists():
            accepted, whole, idle = filter_samples(project, making.filters, making.share, making.seed)
            say(f"subset {subset}: {accepted} of {whole} accepted{'; without threshold: ' + ', '.join(idle) if idle else ''}")
        verdicts = {verdict.index: verdict for verdict in read_verdicts(project)}
        # Those that pass first; where they are too few, those whose worst object the classifier likes best.
        order = sorted(found, key=lambda one: (not verdicts[one.index].accepted, -_worst(verdicts[one.index].image.get("classifier"))))
        return [(record.pixels(project), record.layout) for record in order[:count]]

    return {GENERATED: generated, FILTERED: filtered}


def subset_project(sets: DetectionSets, subset: int, folder: Path) -> Project:
    """A project whose real pictures are the squares of one training subset."""
    real = folder / "real"
    squares = sets.subsets[subset]
    if not real.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with AnnotationWriter(real, "coco", list(sets.names)) as writer:
            for number, (pixels, layout) in enumerate(squares):
                writer.add(type(layout)(layout.width, layout.height, layout.boxes, f"square{number:03d}.png"))
                Image.fromarray(pixels).save(writer.picture_path(f"square{number:03d}.png"))
    held_out = tuple(f"square{number:03d}" for number in range(0, len(squares), _HELD_OUT))
    settings = Settings(
        annotations=str(real.resolve()), images=str(real.resolve()), names=sets.names, horizontal=sets.horizontal,
        size=squares[0][1].width, scale=1.0, held_out=held_out,
    )  # fmt: skip
    project = Project.create(folder / "project", settings)
    if not project.prior.exists():
        PRIORS["kde"].fit([layout for _, layout in squares_of(places_of(project, held_out=False), settings.size)]).save(project.prior)
    return project


def _worst(score: float | None) -> float:
    return -1.0 if score is None else score
