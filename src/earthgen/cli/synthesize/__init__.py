"""`earthgen synthesize`: from a few labelled pictures to many, by steps over one project folder; each can be run again."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(
    no_args_is_help=True, help="Labelled pictures by the thousand: fit-prior, train, sample, filter, export, verify, benchmark."
)

_PROJECT = typer.Argument(..., metavar="PROJECT", help="The project's folder.")
DEFAULT_MODEL = "zoo:layout-small"


@app.command("fit-prior")
def fit_prior(
    project: Path = _PROJECT,
    annotations: Path = typer.Option(..., help="Real labels: a file or folder in any format that is read."),
    images: Path | None = typer.Option(None, help="Folder of the real pictures. Default: that of the labels."),
    rename: list[str] = typer.Option([], help="OLD=NEW: a class as the model calls it; may be repeated."),
    prior: str = typer.Option("kde", help="kde: smoothed statistics of objects; bootstrap: real layouts, shaken."),
    size: int = typer.Option(128, min=32, help="Side of the pictures in pixels."),
    scale: float | None = typer.Option(None, help="Pixels of the project per real one, at most 1. Default: objects get about 36 pixels."),
    held_out: float = typer.Option(0.25, min=0.01, max=0.9, help="Share of the places on which nothing is trained."),
    place: str = typer.Option("", help="Pattern (regular expression) of the place in a file's name. Default: every picture is one."),
) -> None:
    """Begin a project: divide the real pictures by place, and learn how their objects lie.

    Example: `earthgen synthesize fit-prior trees --annotations neon/annotations.json`
    """
    import math

    import numpy as np

    from ...gen.annotations.priors import PRIORS
    from ...gen.annotations.priors.assessment import assess
    from ...gen.data.atomic import write_json
    from ...gen.errors import InputError
    from .project import Project
    from .real import begin, places_of, squares_of

    if prior not in PRIORS:
        raise InputError(f"--prior is {prior!r}; choose from {', '.join(PRIORS)}")
    work = Project.create(project, begin(annotations, images, _renamed(rename), size, scale, held_out, place))
    real, held = ([layout for _, layout in squares_of(places_of(work, part), work.settings.size)] for part in (False, True))
    fitted = PRIORS[prior].fit(real)
    drawn = fitted.sample(max(200, len(real)), np.random.default_rng(0))
    told = assess(real, drawn, held)
    figures = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in told.items()}
    fitted.save(work.prior)
    write_json(work.folder / "prior_figures.json", {"kind": prior, "drawn": len(drawn), **figures})
    boxes = sum(len(layout.boxes) for layout in real)
    typer.echo(
        f"{project}: {len(real)} squares of {work.settings.size} px ({boxes} objects: {', '.join(work.settings.names)}) at "
        f"{work.settings.scale:g} of the real resolution to learn from, {len(held)} of {len(work.settings.held_out)} held-out places"
    )


@app.command("train", context_settings={"ignore_unknown_options": True})
def train(
    project: Path = _PROJECT,
    changes: list[str] = typer.Argument(None, metavar="[KEY=VALUE]...", help="Changes to the recipe, such as samples=20000."),
    recipe: str = typer.Option("layout-small", help="Recipe that the project's own begins with."),
    base: str = typer.Option(DEFAULT_MODEL, "--from", help="Model whose weights it begins with; empty for none."),
) -> None:
    """Train a model of the project's own on its real pictures. A run that was stopped goes on."""
    from .own_model import train_own
    from .project import Project

    typer.echo(train_own(Project.open(project), recipe, base, list(changes or [])))


@app.command("sample")
def sample(
    project: Path = _PROJECT,
    num: int = typer.Option(1000, min=1, help="How many pictures the project is to have."),
    first: int = typer.Option(0, min=0, help="First number: several machines take a range each."),
    model: str = typer.Option("", help="A folder or zoo:NAME. Default: the project's own, else zoo:layout-small."),
    mode: str = typer.Option("mixed", help="generate: whole pictures; insert: new objects in real squares; mixed: in turn."),
    prompt: str = typer.Option("", help="Told the model."),
    seed: int = typer.Option(0, min=0, help="Picture i depends on this and i alone."),
    steps: int | None = typer.Option(None, min=1, help="Sampling steps. Default: the model's."),
    batch: int = typer.Option(8, min=1, help="Pictures at once."),
    device: str = typer.Option("auto", help="auto, cpu, cuda."),
    dtype: str = typer.Option("auto", help="auto, float32, bfloat16, float16."),
) -> None:
    """Draw layouts and paint them. What is there already is kept; under `accelerate launch` the processes share the work."""
    from ...pipelines.layout import LayoutToImagePipeline
    from ..progress import progress_bar
    from .project import Project
    from .sampling import Sampler, own_share

    work = Project.open(project)
    chosen = model or (str(work.model) if work.model.exists() else DEFAULT_MODEL)
    sampler = Sampler(work, LayoutToImagePipeline.load(chosen, device, dtype), seed, mode, prompt, steps)
    with progress_bar("Sampling", "pictures") as progress:
        made = sampler.run(own_share(first, first + num), batch, progress)
    typer.echo(f"{work.samples}: {made} pictures made, {num} asked for, by {chosen} ({sampler.pipeline.digest})")


@app.command("filter")
def filter_(
    project: Path = _PROJECT,
    by: str = typer.Option("statistics,classifier", help="Of statistics, classifier, detector, memorisation, with commas."),
    share: float = typer.Option(0.9, min=0.01, max=0.99, help="Share of the real held-out objects that each lets pass."),
    seed: int = typer.Option(0, min=0, help="Of what is trained for it."),
) -> None:
    """Score every object and picture; thresholds come from real objects on which nothing was trained."""
    from ..progress import progress_bar
    from .filtering import filter_samples
    from .project import Project

    work = Project.open(project)
    with progress_bar("Scoring", "pictures") as progress:
        accepted, count, idle = filter_samples(work, [name.strip() for name in by.split(",") if name.strip()], share, seed, progress)
    typer.echo(f"{work.verdicts}: {accepted} of {count} pictures accepted; the curves are in {work.folder / 'acceptance.png'}")
    if idle:
        typer.echo(
            f"too few real held-out objects for a share of {share:g}: {', '.join(idle)} refused nothing; lower --share, or label more"
        )


@app.command("export")
def export(
    project: Path = _PROJECT,
    target: Path = typer.Argument(..., metavar="OUT", help="The folder to make."),
    to: str = typer.Option("coco", "--to", help="coco, dota, dior, voc, hrsc, yolo, yolo-obb or imagefolder."),
    flatten: bool = typer.Option(False, "--flatten", help="Write the hulls of turned boxes, which VOC and YOLO need."),
    everything: bool = typer.Option(False, "--all", help="What the filter rejects too."),
) -> None:
    """Write the accepted pictures with their labels in a trainer's format, and a manifest of how each was made."""
    from .exporting import export as write
    from .project import Project

    pictures, boxes, left_out = write(Project.open(project), target, to, flatten, everything)
    typer.echo(f"{target}: {pictures} pictures, {boxes} boxes as {to}; {left_out} pictures were not accepted")


@app.command("verify")
def verify(target: Path = typer.Argument(..., metavar="OUT", help="A folder that export wrote.")) -> None:
    """Read an export back: every picture and label is there, unchanged and in its place."""
    from .exporting import verify as check

    pictures, boxes = check(target)
    typer.echo(f"{target}: {pictures} pictures and {boxes} boxes are as the manifest says")


@app.command("benchmark")
def benchmark(
    project: Path = _PROJECT,
    base: str = typer.Option(
        DEFAULT_MODEL, "--from", help="Model that each subset's own begins with; it must not have seen the test places."
    ),
    subsets: int = typer.Option(3, min=1, help="Training subsets, each with a prior, model and filter of its own."),
    seeds: int = typer.Option(3, min=1, help="Detectors of each arm and subset."),
    most: int = typer.Option(24, min=4, help="Real squares of a subset."),
    count: int = typer.Option(128, min=8, help="Synthetic pictures of a subset."),
    samples: int = typer.Option(2000, min=8, help="Samples on which each subset's model is trained."),
    mode: str = typer.Option("mixed", help="As for sample."),
    processes: int = typer.Option(2, min=1, help="Detectors that train at the same time, each on one thread."),
    smoke: bool = typer.Option(False, "--smoke", help="One subset, one seed, few steps: that it runs, not that data help."),
) -> None:
    """Measure what the pictures are worth to a detector, beside copy-paste, flat rectangles, shuffled labels and more real pictures.

    What is done already is kept; the table is in PROJECT/benchmark/table.md.
    """
    from ...train.detection.benchmark import Plan
    from . import benchmarking as work
    from .project import Project

    found = Project.open(project)
    plan = Plan.smoke() if smoke else Plan(subsets=subsets, seeds=seeds, count=count)
    sets = work.project_sets(found, plan.subsets, most)
    steps = (f"samples={samples}", f"save_every={samples}", f"evaluate_every={samples}", "show_every=0", "probe_every=0")
    folder = found.folder / ("benchmark-smoke" if smoke else "benchmark")
    work.benchmark(sets, folder, work.Making(base, changes=steps, mode=mode), plan, processes, typer.echo)
    typer.echo((folder / "table.md").read_text(encoding="utf-8"))


def _renamed(options: list[str]) -> dict[str, str]:
    from ...gen.errors import InputError

    pairs = [option.split("=") for option in options]
    for option, pair in zip(options, pairs, strict=True):
        if len(pair) != 2 or not all(part.strip() for part in pair):
            raise InputError(f"--rename is {option!r}; give OLD=NEW, such as plane=airplane")
    return {old.strip(): new.strip() for old, new in pairs}
