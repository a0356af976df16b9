"""The demonstration behind `make demo`: scenes in, GeoTIFFs, a contact sheet and a report out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from rich.table import Table

from ..gen.data.atomic import write_json
from ..gen.errors import InputError
from ..metrics.evaluate import Options, Pair, evaluate_pairs
from ..metrics.report import Report
from ..pipelines.super_resolution import SuperResolutionOutput, SuperResolutionPipeline
from .scenes import GROUPS, SCALE, DemoScene, demo_scenes
from .showcase_files import write_scene, write_sheet

MEAN, SAMPLE = "one-step mean", "sample"
METRICS = ("PSNR", "SSIM", "SAM", "ERGAS", "power ratio", "sensor error", "largest sensor error")


@dataclass
class Upscaled:
    """What became of a scene.

    Attributes:
        scene: The scene.
        sample: One draw.
        mean: The one-step mean.
        uncertainty: Standard deviation of the draws.
        facts: Numbers that need no truth.
        report: Report of its group; None where there is no truth.
        index: Its place in that report.
    """

    scene: DemoScene
    sample: xr.DataArray
    mean: xr.DataArray
    uncertainty: xr.DataArray
    facts: dict[str, Any]
    report: Report | None = None
    index: int = 0


@dataclass(frozen=True)
class DemoResult:
    """What was written.

    Attributes:
        sheet: The contact sheet.
        report: The JSON file.
        files: Number of GeoTIFFs.
        tables: The scores, ready to print.
    """

    sheet: Path
    report: Path
    files: int
    tables: list[Table] = field(repr=False)


@dataclass(frozen=True)
class _Settings:
    steps: int
    samples: int
    seed: int
    advance: Callable[[int], None]


def run_demo(
    out: Path,
    data: Path | None,
    *,
    model: str | Path = "zoo:ediffsr-x4-small",
    rgb_model: str | Path = "zoo:ediffsr-x4-small-rgb",
    steps: int = 10,
    samples: int = 4,
    seed: int = 0,
    only: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DemoResult:
    """Upscale all scenes by 4 and write what came out.

    Args:
        out: Folder to write into; created if need be.
        data: Folder of the real samples, or None.
        model: Four-band model.
        rgb_model: Three-band model, needed where there are real samples only.
        steps: Sampling steps.
        samples: Draws behind the uncertainty, at least 2.
        seed: Of the world and the draws.
        only: Names of the scenes to take; None = all.
        progress: Called with network calls done and their total.

    Returns:
        What was written.

    Raises:
        InputError: If `out` is a file, a model is missing or does not work by 4, or no scene is left.
    """
    started = time.monotonic()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder for the demonstration")
    pipelines = {"rgbn": _load(model)}
    if data is not None:
        pipelines["rgb"] = _load(rgb_model)
    sensors = {name: pipeline.sensor for name, pipeline in pipelines.items()}
    scenes = demo_scenes(data, sensors["rgbn"], sensors.get("rgb", sensors["rgbn"]), seed, only)
    if not scenes:
        raise InputError("no scene is left to upscale; take other names, or give the folder of the sample data")
    settings = _Settings(steps, samples, seed, _counter(len(scenes) * (steps * samples + 1), progress))
    done = [result for key in GROUPS for result in _run_group(key, [s for s in scenes if s.group == key], pipelines, settings)]
    done.sort(key=lambda result: scenes.index(result.scene))
    files = sum(write_scene(out, result) for result in done)
    facts = {name: _model_facts(pipeline) for name, pipeline in pipelines.items()}
    sheet = write_sheet(out / "contact_sheet.png", done, facts, steps=steps, samples=samples)
    reports = list({id(result.report): result.report for result in done if result.report is not None}.values())
    write_json(out / "report.json", _report(done, reports, facts, settings, time.monotonic() - started))
    return DemoResult(sheet, out / "report.json", files, [report.table() for report in reports])


def _load(name: str | Path) -> SuperResolutionPipeline:
    pipeline = SuperResolutionPipeline.load(name)
    if pipeline.scale != SCALE:
        raise InputError(f"the model {name} works by {pipeline.scale}, the demonstration by {SCALE}; choose another model")
    return pipeline


def _counter(total: int, progress: Callable[[int, int], None] | None) -> Callable[[int], None]:
    done = 0

    def advance(calls: int) -> None:
        nonlocal done
        done += calls
        if progress is not None:
            progress(done, total)

    return advance


class _Runner:
    """Upscales one scene after the other and keeps what came out, while an evaluation asks for it."""

    def __init__(self, pipeline: SuperResolutionPipeline, scenes: Sequence[DemoScene], settings: _Settings) -> None:
        self.pipeline, self.settings = pipeline, settings
        self.scenes = iter(scenes)
        self.results: list[Upscaled] = []

    def pairs(self) -> Iterator[Pair]:
        """The scenes with truth as pairs; a scene is worked on as soon as it is asked for."""
        for scene in self.scenes:
            if scene.truth is None:
                raise InputError(f"the scene {scene.name} has no truth to be scored against")
            self.upscale(scene)
            yield Pair(scene.name, scene.low, scene.truth)

    def upscale(self, scene: DemoScene) -> None:
        """Both versions of a scene, on the truth's grid."""
        started = time.monotonic()
        mean = self._call(scene, 1, 1)
        drawn = self._call(scene, self.settings.steps, self.settings.samples)
        factor = 1 if scene.truth is None else scene.low.sizes["y"] * SCALE // scene.truth.sizes["y"]
        facts = {
            "largest_consistency_error": drawn.consistency_error[0],
            "mean_uncertainty": float(drawn.uncertainty.mean()),
            "mean_invented": float(drawn.invented.mean()),
            "seed": drawn.seeds[0],
            "seconds": round(time.monotonic() - started, 1),
        }
        draw, average, spread = (_coarser(layer, factor) for layer in (drawn.images, mean.images, drawn.uncertainty))
        self.results.append(Upscaled(scene, draw, average, spread, facts))

    def sample(self, _: Any) -> xr.DataArray:
        """The draw of the scene at hand."""
        return self.results[-1].sample

    def mean(self, _: Any) -> xr.DataArray:
        """Its one-step mean."""
        return self.results[-1].mean

    def _call(self, scene: DemoScene, steps: int, samples: int) -> SuperResolutionOutput:
        advance = self.settings.advance
        seed = self.settings.seed + len(self.results)
        return self.pipeline(
            scene.low, num_inference_steps=steps, samples=samples, reduce="first", seed=seed, progress=lambda done, total: advance(1)
        )


def _run_group(key: str, scenes: Sequence[DemoScene], pipelines: dict[str, SuperResolutionPipeline], settings: _Settings) -> list[Upscaled]:
    if not scenes:
        return []
    pipeline, group = pipelines[scenes[0].model], GROUPS[key]
    runner = _Runner(pipeline, scenes, settings)
    if scenes[0].truth is None:
        for scene in scenes:
            runner.upscale(scene)
        return runner.results
    options = Options(
        degradation=group.degradation.format(mtf=pipeline.sensor.mtf),
        metrics=METRICS if group.declared else METRICS[:5],
        sensor=pipeline.sensor if group.declared else None,
    )
    note = (
        f"{pipeline.name}, weights {pipeline.digest}: {SAMPLE} is one draw of {settings.steps} steps, {MEAN} one evaluation; "
        f"temperature {pipeline.warmth(None):g}."
    )
    report = evaluate_pairs(
        {MEAN: runner.mean, SAMPLE: runner.sample}, runner.pairs(), options, title=group.title, notes=[n for n in (note, group.note) if n]
    )
    for index, result in enumerate(runner.results):
        result.report, result.index = report, index
    return runner.results


def _coarser(image: xr.DataArray, factor: int) -> xr.DataArray:
    """Mean over ``factor x factor`` pixels, on the coarser grid with the same corner."""
    if factor == 1:
        return image
    from affine import Affine

    from ..gen.data.rasters import located

    pixels = F.avg_pool2d(torch.from_numpy(np.ascontiguousarray(image.values))[None], factor)[0].numpy()
    bands = [str(band) for band in image.coords["band"].values]
    return located(pixels, bands, image.rio.crs, image.rio.transform(recalc=True) * Affine.scale(factor), image.attrs)


def _model_facts(pipeline: SuperResolutionPipeline) -> dict[str, Any]:
    return {
        "name": pipeline.name,
        "digest": pipeline.digest,
        "bands": list(pipeline.bands),
        "unit": pipeline.unit,
        "scale": pipeline.scale,
        "mtf": pipeline.sensor.mtf,
        "temperature": pipeline.warmth(None),
        "sampler": pipeline.scheduler.config["sampler"],
        "dtype": str(pipeline.dtype).removeprefix("torch."),
    }


def _report(done: Sequence[Upscaled], reports: Sequence[Report], models: dict[str, Any], settings: _Settings, seconds: float) -> Any:
    from .. import __version__

    return {
        "earthgen": __version__,
        "models": models,
        "steps": settings.steps,
        "samples": settings.samples,
        "seed": settings.seed,
        "seconds": round(seconds, 1),
        "tables": [{key: value for key, value in report.to_dict().items() if key != "seconds_per_image"} for report in reports],
        "scenes": [
            {
                "name": result.scene.name,
                "title": result.scene.title,
                "detail": result.scene.detail,
                "table": GROUPS[result.scene.group].title if result.report else None,
                "model": result.scene.model,
                "attribution": result.scene.attribution,
                **result.facts,
            }
            for result in done
        ],
        "left_out": "The 20 m bands of sr/dsen2: these models take red, green, blue and near infrared; its 10 m bands are used instead.",
    }
