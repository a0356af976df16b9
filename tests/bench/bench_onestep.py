"""The one-step student of the zoo beside its teacher, on Sentinel-2 places that neither has seen and on which nothing was chosen.

Checkpoints and temperatures of the zoo were chosen on the held-out places of the recipes, so that figures there are optimistic. The places
here were set aside before the student's training ended and looked at once, after it: three patches of TerraMesh, three dates of a Slovenian
valley, three months of Belgian fields; five places in all. Low pictures are what the model's sensor model sees of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from earthgen.gen.data.sources import ArrayFiles, Picture
from earthgen.metrics.evaluate import Options, Predict, evaluate_pairs
from earthgen.pipelines.super_resolution import SuperResolutionPipeline
from earthgen.train.recipe import load_recipe

from .bench_zoo import METRICS, ROOT, SEED, centre_pairs

TEACHER, STUDENT, RECIPE = "zoo:ediffsr-x4-small", "zoo:ediffsr-x4-small-onestep", "ediffsr-x4-small-onestep"
CROP, MEMBERS = 192, 8
TERRAMESH = {"key": "s2l2a", "bands": (3, 2, 1, 7), "scale": 1e-4}
BELGIUM = {"key": "s2", "bands": (2, 1, 0, 6), "scale": 1e-4}
UNTOUCHED = (
    ArrayFiles(files="s1_s2_dem/terramind_*.npz", exclude=("*433D*",), **TERRAMESH),
    ArrayFiles(files="s1_s2_dem/terramind_433D*.npz", offset=-1000, **TERRAMESH),  # a product since 2022
    ArrayFiles(
        files="s2_timeseries/eolearn_slovenia.npz", key="reference_scenes", bands=(3, 2, 1, 7), channels_last=True, exclude=("*#[01]",)
    ),  # the first two are cloud
    ArrayFiles(files="s2_timeseries/worldcereal_s1s2_belgium.npz", only=("*#4", "*#7", "*#10"), nodata=65535, **BELGIUM),
)


def run(out: Path) -> dict[str, Any]:
    """Compare student and teacher; the full report goes to ``out``."""
    return measure(STUDENT, out)


def measure(student: str | Path, out: Path, crop: int = CROP) -> dict[str, Any]:
    """The student, its teacher in 20, 10 and 1 evaluations, and the student's ensemble, on the untouched places.

    Args:
        student: Name or folder.
        out: Folder for the report.
        crop: Side of the centre crops.

    Returns:
        Means with intervals, gains, and how the times compare.
    """
    pupil, teacher = SuperResolutionPipeline.load(student), SuperResolutionPipeline.load(TEACHER)
    rows = {
        "one-step mean": method(teacher, steps=1, temperature=0.0),
        "teacher, 20 steps": method(teacher, steps=20),
        "teacher, 10 steps": method(teacher, steps=10),
        "student, 1 step": method(pupil, steps=1),
        f"student, mean of {MEMBERS}": method(pupil, steps=1, samples=MEMBERS),
    }
    options = Options(
        degradation=f"the model's sensor model (Gaussian MTF {pupil.sensor.mtf:g}, decimation by {pupil.scale}), no noise",
        metrics=METRICS,
        sensor=pupil.sensor,
    )
    report = evaluate_pairs(
        rows,
        list(centre_pairs(untouched(), pupil, crop)),
        options,
        title="A one-step student and its teacher on untouched places",
        facts={"student": pupil.digest, "teacher": teacher.digest, "seed": SEED, "crop": crop, "temperature": pupil.warmth(None)},
    )
    report.write(out / "onestep_report.json")
    sample = "student, 1 step"
    return {
        "images": list(report.images),
        "scores": {name: {metric: score.value for metric, score in row.items()} for name, row in report.methods.items()},
        "psnr_each": {name: list(row["PSNR"].each) for name, row in report.methods.items()},
        "power_ratio_each": {name: list(row["power ratio"].each) for name, row in report.methods.items()},
        "student_over": {name: report.gain(sample, "PSNR", name).to_dict() for name in report.methods if name != sample},
        "seconds": dict(report.seconds),
        "times_faster_than_20_steps": report.seconds["teacher, 20 steps"] / report.seconds[sample],
        "times_faster_than_10_steps": report.seconds["teacher, 10 steps"] / report.seconds[sample],
    }


def untouched() -> list[Picture]:
    """The places; an error if one of them is in the recipe, be it for training or for choosing."""
    recipe = load_recipe(RECIPE)
    root = recipe.data if recipe.data.is_absolute() else ROOT / recipe.data
    pictures = [picture for source in UNTOUCHED for picture in source.pictures(root)]
    system = recipe.task.of
    for source in (*system.sources, *system.held_out.sources):
        known = [picture.name for picture in pictures if fnmatchcase(picture.name.split("#")[0], source.files)]
        if known:
            raise RuntimeError(f"the recipe knows {known[0]} by {source.files}")
    return pictures


def method(pipeline: SuperResolutionPipeline, steps: int, samples: int = 1, temperature: float | None = None) -> Predict:
    """A row of the table; picture i has the seed ``SEED + i`` in every row."""
    numbers: Iterator[int] = iter(range(SEED, SEED + 1_000_000))
    return lambda low: pipeline(low, num_inference_steps=steps, samples=samples, temperature=temperature, seed=next(numbers))
