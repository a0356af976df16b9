"""Super-resolution of a raster of any size: from file to file, tile by tile."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..gen.data.radiometry import Radiometry
from ..gen.data.tags import carried_tags
from ..gen.data.tiles import remove_spool, stream
from ..gen.errors import InputError
from .agreement import storable
from .progress import Progress
from .scene_consistency import ConsistencyMeter
from .scene_files import check_outputs, check_scene, layer_writer, open_bands
from .super_resolution import SuperResolutionPipeline
from .super_resolution_step import SuperResolutionSceneStep
from .upscaling import Consistency, Reduce, UpscaleSettings


@dataclass(frozen=True)
class SceneReport:
    """What `upscale_scene` did.

    Attributes:
        path: The picture written.
        height: Its rows.
        width: Its columns.
        bands: Names of its bands.
        tiles: Number of tiles.
        skipped: How many of them had no data.
        resumed: How many an earlier run had finished.
        seconds: Time taken.
        consistency_error: Largest ``|input - sensor(output)|`` of the picture as stored, physical units.
        tags: What was written about its making.
    """

    path: Path
    height: int
    width: int
    bands: tuple[str, ...]
    tiles: int
    skipped: int
    resumed: int
    seconds: float
    consistency_error: float
    tags: Mapping[str, str]


def upscale_scene(
    pipeline: SuperResolutionPipeline,
    source: str | Path,
    target: str | Path,
    *,
    bands: Sequence[str | int] | None = None,
    scale: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    samples: int = 1,
    uncertainty: str | Path | None = None,
    invented: str | Path | None = None,
    consistency: Consistency = "ibp",
    temperature: float | None = None,
    reduce: Reduce = "mean",
    sampler: str | None = None,
    radiometry: Radiometry | None = None,
    sensor: str | None = None,
    gsd: int | None = None,
    tile: int = 512,
    batch: int = 1,
    resume: bool = False,
    compress: str = "deflate",
    cog: bool = False,
    progress: Progress | None = None,
) -> SceneReport:
    """Upscale a raster into a file with the same corner, CRS, bands, number type and units.

    Args:
        pipeline: The model.
        source: GeoTIFF, COG, PNG, JPEG, or a Sentinel-2 product.
        target: ``.tif``; ``.png`` or ``.jpg`` for pictures without georeference.
        bands: The source's bands by name or position; those of the model if left out.
        scale: Must be the model's; here so that a caller's expectation is checked.
        steps: Network evaluations per sample; the model's own number if left out.
        seed: Of the scene's noise.
        samples: Members of the ensemble.
        uncertainty: Where the standard deviation over the ensemble goes; needs 2 samples or more.
        invented: Where ``|image - bicubic|`` goes.
        consistency: ``ibp`` or ``none``.
        temperature: Factor on the noise; the model's own if left out.
        reduce: ``mean`` or ``first`` member of the ensemble.
        sampler: Another one than the scheduler's own.
        radiometry: Overrides what the source's tags say.
        sensor: A row of the sensor table that names the source's bands, in its order.
        gsd: Of a Sentinel-2 product: take all bands at this pixel size in m.
        tile: Side of a tile in output pixels.
        batch: Tiles per network call.
        resume: Go on with an interrupted run's work, which lies beside `target`.
        compress: ``deflate``, ``zstd``, ``lzw`` or ``none``.
        cog: Write a Cloud Optimized GeoTIFF.
        progress: Called with (network evaluations done, total).

    Returns:
        What was done.

    Raises:
        InputError: If anything that was given is wrong, or the disk is full; nothing half-written is left under the outputs' names.
    """
    started = time.monotonic()
    settings = UpscaleSettings(pipeline.steps(steps), samples, consistency, pipeline.warmth(temperature), reduce, sampler)
    outputs = check_outputs(Path(source), {"image": target, "uncertainty": uncertainty, "invented": invented}, samples)
    if scale is not None and scale != pipeline.scale:
        raise InputError(
            f"the model {pipeline.name} upscales {pipeline.scale} times, not {scale} times; leave the scale out or take another model"
        )
    spool = outputs["image"].with_name(f".{outputs['image'].name}.work")
    with ExitStack() as stack:
        reader = stack.enter_context(open_bands(pipeline, source, bands, radiometry, sensor=sensor, gsd=gsd))
        check_scene(pipeline, reader)
        settings = replace(settings, limits=storable(reader.radiometry))
        step = SuperResolutionSceneStep(pipeline, settings, seed, reader.bands)
        tags = {**carried_tags(reader.tags), **pipeline.provenance(settings, seed, None)}
        writers = {
            layer: stack.enter_context(layer_writer(path, layer, reader, pipeline.scale, {**tags, "EARTHGEN_LAYER": layer}, cog, compress))
            for layer, path in outputs.items()
        }
        meter = ConsistencyMeter(writers["image"], reader, pipeline.sensor)
        report = stream(
            step,
            reader,
            {**writers, "image": meter},
            tile=tile,
            batch=batch,
            spool=spool,
            resume=resume,
            fingerprint=_fingerprint(pipeline, Path(source), settings, seed),
            progress=_evaluations(step, settings, progress),
        )
        measured = {"EARTHGEN_CONSISTENCY_ERROR": f"{meter.largest:.3g}"}
        for writer in writers.values():
            writer.add_tags(measured)
        size = (reader.height * pipeline.scale, reader.width * pipeline.scale)
    remove_spool(spool)
    return SceneReport(
        outputs["image"], *size, reader.bands, report.tiles, report.skipped, report.resumed,
        time.monotonic() - started, meter.largest, {**tags, **measured},
    )  # fmt: skip


def _fingerprint(pipeline: SuperResolutionPipeline, source: Path, settings: UpscaleSettings, seed: int) -> dict[str, Any]:
    facts = source.stat()
    return {
        "input": f"{source.resolve()}, {facts.st_size} bytes, changed {facts.st_mtime_ns}",
        "model": f"{pipeline.name} {pipeline.digest}",
        "number type": str(pipeline.model.dtype),
        "seed": seed,
        "settings": str(settings),
    }


def _evaluations(step: SuperResolutionSceneStep, settings: UpscaleSettings, progress: Progress | None) -> Progress | None:
    """Turn finished tiles and steps within a tile into network evaluations."""
    if progress is None:
        return None
    each, done, total = settings.steps * settings.samples, 0, 0

    def tiles(finished: int, count: int) -> None:
        nonlocal done, total
        done, total = finished * each, count * each
        progress(done, total)

    def steps(at_work: int) -> None:
        nonlocal done
        done = min(done + at_work, total)
        progress(done, total)

    step.on_step = steps
    return tiles
