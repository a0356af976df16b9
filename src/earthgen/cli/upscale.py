"""`earthgen upscale`: a scene in, a sharper scene out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..pipelines.super_resolution import SuperResolutionPipeline
    from ..pipelines.super_resolution_scene import SceneReport

FOUR_BANDS, THREE_BANDS = "zoo:ediffsr-x4-small", "zoo:ediffsr-x4-small-rgb"


def upscale(
    source: Path = typer.Argument(..., metavar="IN", help="GeoTIFF, COG, PNG, JPEG, or a Sentinel-2 .SAFE folder or .zip."),
    target: Path = typer.Argument(..., metavar="OUT", help=".tif; .png or .jpg for a picture without georeference."),
    model: str = typer.Option("", help=f"A folder, zoo:NAME, or a hub id. Default: by the bands, {FOUR_BANDS} or {THREE_BANDS}."),
    download: bool = typer.Option(False, "--download", help="Allow fetching a model that is named by its hub id."),
    bands: str = typer.Option("", help="Bands by name or position, such as B04,B03,B02,B08 or 4,3,2,8. Default: the model's names."),
    scale: int | None = typer.Option(None, min=2, help="Stop unless the model upscales by this."),
    steps: int | None = typer.Option(
        None, min=1, help="Network evaluations per sample. Default: the model's, 20, or 1 if distilled; with 1 others give their mean."
    ),
    seed: int = typer.Option(0, help="The same seed gives the same picture, whatever the tiles."),
    samples: int = typer.Option(1, min=1, help="Members of the ensemble; OUT is their mean."),
    uncertainty: Path | None = typer.Option(None, help="Write the standard deviation over the ensemble to this file."),
    invented: Path | None = typer.Option(None, help="Write |OUT - bicubic|, how much the network added, to this file."),
    consistency: str = typer.Option("ibp", help="ibp: correct OUT until the sensor model sees IN in it; none."),
    temperature: float | None = typer.Option(
        None, min=0.0, help="Factor on the noise: 1 as trained; less is smoother. The model's own if left out."
    ),
    sampler: str = typer.Option("", help="dpmpp_2m, posterior, ode or em. Default: the model's."),
    tile: int = typer.Option(512, min=16, help="Side of a tile in output pixels; more is faster and takes more memory."),
    batch: int = typer.Option(1, min=1, help="Tiles per network call."),
    device: str = typer.Option("auto", help="auto, cpu, cuda."),
    dtype: str = typer.Option("auto", help="auto, float32, bfloat16, float16."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the work of an interrupted run."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace OUT and the other outputs if they exist."),
    radiometry: str = typer.Option("", help="How stored numbers become physical ones: s2, s2-offset, landsat, display8, ..."),
    gain: float | None = typer.Option(None, "--gain", help="Physical units per stored unit, if no name fits."),
    offset: float | None = typer.Option(None, help="Added to stored numbers first; 0 or -1000 alone means Sentinel-2."),
    nodata: float | None = typer.Option(None, help="Stored number that means no data, beside what the file says."),
    sensor: str = typer.Option("", help="Sensor whose bands the file holds in order, such as sentinel-2-l2a."),
    gsd: int | None = typer.Option(None, help="Of a product: take all bands at this pixel size in m."),
    cog: bool = typer.Option(False, "--cog", help="Write Cloud Optimized GeoTIFFs."),
    compress: str = typer.Option("deflate", help="deflate, zstd, lzw or none."),
) -> None:
    """Upscale a raster of any size; OUT has the corner, CRS, bands, number type and units of IN.

    Example: `earthgen upscale scene.tif sharper.tif --bands B04,B03,B02,B08 --samples 8 --uncertainty doubt.tif`
    """
    from ..gen.data.radiometry import radiometry_from_options
    from ..gen.errors import InputError
    from ..pipelines.super_resolution import SuperResolutionPipeline
    from ..pipelines.super_resolution_scene import upscale_scene
    from .progress import progress_bar

    existing = [path for path in (target, uncertainty, invented) if path is not None and path.is_file()]
    if existing and not overwrite:
        raise InputError(f"{existing[0]} exists already; add --overwrite to replace it, or give another name")
    given = radiometry_from_options(radiometry or None, scale=gain, offset=offset, nodata=nodata)
    wanted = [name.strip() for name in bands.split(",") if name.strip()] or None
    chosen = model or _default_model(source, wanted, sensor or None)
    pipeline = SuperResolutionPipeline.load(chosen, device, dtype, allow_download=download)
    place = next(pipeline.model.parameters())
    _say(f"{chosen} ({pipeline.digest}) on {place.device.type} in {str(place.dtype).removeprefix('torch.')}")
    try:
        with progress_bar(f"Upscaling {source.name}", "steps") as progress:
            report = upscale_scene(
                pipeline,
                source,
                target,
                bands=wanted,
                scale=scale,
                steps=steps,
                seed=seed,
                samples=samples,
                uncertainty=uncertainty,
                invented=invented,
                consistency=consistency,  # type: ignore[arg-type]  # checked inside
                temperature=temperature,
                sampler=sampler or None,
                radiometry=given,
                sensor=sensor or None,
                gsd=gsd,
                tile=tile,
                batch=batch,
                resume=resume,
                compress=compress,
                cog=cog,
                progress=progress,
            )
    except KeyboardInterrupt:
        _say("finished tiles are kept beside OUT; the same command with --resume goes on from there")
        raise
    _tell(report, pipeline)


def _default_model(source: Path, bands: list[str] | None, sensor: str | None) -> str:
    """The zoo's model for these bands, said on standard error."""
    from ..gen.data.band_names import match_bands
    from ..gen.data.raster_info import inspect_raster
    from ..gen.errors import InputError
    from ..gen.zoo.folder import read_index
    from ..gen.zoo.names import resolve_model

    facts = inspect_raster(source, bands, sensor=sensor)
    if bands:
        found = {4: FOUR_BANDS, 3: THREE_BANDS}.get(len(bands))
        why = f"{len(bands)} bands were asked for"
    else:
        found, why = None, ""
        for name in (FOUR_BANDS, THREE_BANDS):
            try:
                match_bands(facts.bands, read_index(resolve_model(name), "SuperResolutionPipeline")["bands"])
            except InputError:
                continue
            found, why = name, f"the picture has the bands {', '.join(facts.bands)}"
            break
    if found is None:
        raise InputError(
            f"no model of the zoo fits the bands {', '.join(bands or facts.bands)} of {source}; choose bands with --bands, "
            "such as four for red, green, blue and near infrared, or a model with --model"
        )
    _say(f"taking {found}, since {why}")
    return found


def _say(sentence: str) -> None:
    typer.echo(f"earthgen: {sentence}", err=True)


def _tell(report: SceneReport, pipeline: SuperResolutionPipeline) -> None:
    skipped = f", {report.skipped} of {report.tiles} tiles without data" if report.skipped else ""
    typer.echo(
        f"wrote {report.path}: {report.width} x {report.height} pixels, {', '.join(report.bands)}{skipped}, {report.seconds:.0f} s; "
        f"seen again by the sensor model it differs from the input by at most {report.consistency_error:.2g} ({pipeline.unit})"
    )
