"""`earthgen info`: what is in a raster, how its numbers are understood, and what upscaling it would cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..gen.data.radiometry import Radiometry
    from ..gen.data.raster_info import RasterInfo

# Processor seconds of one network call per megapixel of its output: zoo:ediffsr-x4-small in float32 on one core of an AMD EPYC without
# AMX, 256 x 256 output pixels. Measured 4.7 to 5.1. Other models and machines differ by far; `--model` measures instead.
SECONDS_PER_MEGAPIXEL = 4.9
_TILE, _HALO = 512, 80  # output pixels: tiles overlap by the halo on each side, and the overlap is computed twice
# Peak of the process with that model and one tile of 672 x 672 pixels is 1.22e9, the rest GDAL's caches; a larger scene takes no more.
_PEAK_BYTES = 1.4e9
_TYPICAL_SHRINKAGE = 0.7  # deflate with a predictor: 0.64 to 0.76 measured on Sentinel-2 scenes of 16 bits, plain and upscaled


@dataclass(frozen=True)
class Cost:
    """What an upscale of the whole raster is expected to take.

    Attributes:
        height: Rows of the output.
        width: Columns of the output.
        seconds: Of computing, on this machine.
        memory: Bytes of memory at the peak.
        size: Bytes of the output file, compressed; `raw` without compression.
        raw: Bytes of the output without compression.
        basis: Where the speed comes from.
    """

    height: int
    width: int
    seconds: float
    memory: float
    size: float
    raw: float
    basis: str


def info(
    source: Path = typer.Argument(..., metavar="IN", help="GeoTIFF, PNG, JPEG, or a Sentinel-2 .SAFE folder or .zip."),
    bands: str = typer.Option("", help="Bands by name or position, such as B04,B03,B02,B08 or 4,3,2,8. Default: all (of a product: 10 m)."),
    model: str = typer.Option("", help="Measure the speed of this model on this machine, instead of a rule of thumb."),
    sensor: str = typer.Option("", help="Sensor whose bands the file holds in order, such as sentinel-2-l2a, naip."),
    radiometry: str = typer.Option("", help="How stored numbers become physical ones: s2, s2-offset, landsat, display8, ..."),
    gain: float | None = typer.Option(None, "--gain", help="Physical units per stored unit, if no name fits."),
    offset: float | None = typer.Option(None, help="Added to stored numbers first; 0 or -1000 alone means Sentinel-2."),
    gsd: int | None = typer.Option(None, help="Of a product: take all bands at this pixel size in m."),
    scale: int = typer.Option(4, min=1, help="Upscaling that the cost is estimated for."),
    steps: int | None = typer.Option(
        None, min=1, help="Sampling steps that the cost is estimated for. Default: those of the model given, else 20."
    ),
    samples: int = typer.Option(1, min=1, help="Samples that the cost is estimated for."),
    seconds_per_megapixel: float = typer.Option(SECONDS_PER_MEGAPIXEL, min=0.0, help="One step's time for a megapixel of output."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table."),
) -> None:
    """Say what is in a raster, how its numbers are understood, and what upscaling it would cost.

    An ambiguous file is described all the same, with the option that settles it.

    Example: `earthgen info scene.tif --bands 4,3,2,8 --radiometry s2-offset`
    """
    from ..gen.data.radiometry import radiometry_from_options
    from ..gen.data.raster_info import inspect_raster

    wanted = [name.strip() for name in bands.split(",") if name.strip()] or None
    facts = inspect_raster(source, wanted, sensor=sensor or None, gsd=gsd)
    asked = radiometry_from_options(radiometry or None, scale=gain, offset=offset)
    share = nodata_share(facts, wanted, asked, sensor or None, gsd)
    known = 20, seconds_per_megapixel, "rule of thumb for zoo:ediffsr-x4-small, one core"
    usual, speed, basis = _measured(model, scale) if model else known
    if not model and seconds_per_megapixel != SECONDS_PER_MEGAPIXEL:
        basis = f"{seconds_per_megapixel:g} s per megapixel and step, as given"
    cost = estimate(facts, scale, (steps or usual) * samples, speed, basis)
    described = describe(facts, asked, share, cost)
    if as_json:
        typer.echo(json.dumps(described, indent=2, ensure_ascii=False, default=str))
    else:
        _show(facts, described)


def nodata_share(facts: RasterInfo, bands: list[str] | None, asked: Radiometry | None, sensor: str | None, gsd: int | None) -> float:
    """Share of pixels without data in at least one band, from a reduced view; reads a file also where its radiometry is open."""
    import numpy as np

    from ..gen.data.radiometry import Radiometry
    from ..gen.data.raster_reader import RasterReader

    known = asked or facts.radiometry or Radiometry(unit="stored numbers", dtype="float64")
    with RasterReader(facts.path, bands, known, sensor=sensor, gsd=gsd) as reader:
        return float(1.0 - np.isfinite(reader.preview()).all(0).mean())


def estimate(facts: RasterInfo, scale: int, calls: int, speed: float, basis: str) -> Cost:
    """What upscaling costs.

    Args:
        facts: The input.
        scale: Output pixels per input pixel side.
        calls: Network calls per tile: steps times samples.
        speed: Seconds of one call per output megapixel.
        basis: Where `speed` comes from.
    """
    height, width, count = facts.height * scale, facts.width * scale, len(facts.chosen)
    raw = float(height * width * count * _bytes_of(facts.dtype))
    seconds = _computed(height) * _computed(width) / 1e6 * speed * calls
    return Cost(height, width, seconds, _PEAK_BYTES, raw * _TYPICAL_SHRINKAGE, raw, basis)


def _computed(side: int) -> int:
    """Pixels along one axis that are computed: where tiles meet, both reach a halo beyond the border."""
    return side + 2 * _HALO * ((side - 1) // _TILE)


def describe(facts: RasterInfo, asked: Radiometry | None, share: float, cost: Cost) -> dict[str, Any]:
    """Everything that is printed, as plain values."""
    used, source = (asked, "given by option") if asked else (facts.radiometry, facts.radiometry_source)
    size = facts.pixel_size
    return {
        "path": str(facts.path),
        "format": facts.driver,
        "width": facts.width,
        "height": facts.height,
        "dtype": facts.dtype,
        "bands": list(facts.bands),
        "chosen": list(facts.chosen),
        "sensor": facts.sensor,
        "crs": None if facts.crs is None else (facts.crs.to_string() if len(facts.crs.to_string()) < 80 else facts.crs.to_wkt()),
        "crs_units": None if facts.crs is None else _units_of(facts.crs),
        "pixel_size": list(size) if size else None,
        "transform": list(facts.transform)[:6],
        "upper_left": [facts.transform.c, facts.transform.f] if size else None,
        "radiometry": None if used is None else {"scale": used.scale, "offset": used.offset, "unit": used.unit, "told_by": source},
        "ambiguity": None if used else facts.ambiguity,
        "nodata": None if facts.nodata is None else (facts.nodata if facts.nodata == facts.nodata else "nan"),
        "nodata_share": round(share, 6),
        "notes": list(facts.notes),
        "upscale": {
            "width": cost.width,
            "height": cost.height,
            "seconds": round(cost.seconds, 1),
            "memory_bytes": int(cost.memory),
            "file_bytes": int(cost.size),
            "raw_bytes": int(cost.raw),
            "basis": cost.basis,
        },
    }


def _measured(model: str, scale: int) -> tuple[int, float, str]:
    """A model's own number of steps, its seconds per output megapixel and network call, and what was measured; takes a few seconds."""
    from ..gen.errors import InputError
    from ..pipelines.pace import seconds_per_pixel
    from ..pipelines.super_resolution import SuperResolutionPipeline

    pipeline = SuperResolutionPipeline.load(model)
    if pipeline.scale != scale:
        raise InputError(f"the model {model} upscales by {pipeline.scale}, not by {scale}; give --scale {pipeline.scale}")
    device = next(pipeline.model.parameters())
    basis = f"{model}, measured just now on {device.device.type} in {str(device.dtype).removeprefix('torch.')}"
    return pipeline.steps(None), seconds_per_pixel(pipeline) * 1e6, basis


def _show(facts: RasterInfo, described: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(described["path"]), show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(facts, described):
        table.add_row(name, Text(value))
    Console().print(table)


def _rows(facts: RasterInfo, described: dict[str, Any]) -> list[tuple[str, str]]:
    up, numbers = described["upscale"], described["radiometry"]
    rows = [
        ("size", f"{facts.width} x {facts.height} pixels, {len(facts.bands)} bands, {facts.dtype}, {facts.driver}"),
        ("bands", ", ".join(facts.bands)),
        ("sensor", _title_of(facts.sensor)),
        ("CRS", described["crs"] or "none: the picture has no place on Earth"),
    ]
    if facts.chosen != facts.bands:
        rows.insert(2, ("read", ", ".join(facts.chosen)))
    if facts.pixel_size:
        rows.append(("pixel size", f"{facts.pixel_size[0]:g} x {facts.pixel_size[1]:g} {described['crs_units']}"))
    if numbers:
        formula = f"(stored {'+' if numbers['offset'] >= 0 else '-'} {abs(numbers['offset']):g}) x {numbers['scale']:.6g}"
        rows.append(("radiometry", f"{numbers['unit']} = {formula}; told by: {numbers['told_by']}"))
    else:
        rows.append(("radiometry", f"AMBIGUOUS: {described['ambiguity']}"))
    marker = "no value is declared" if described["nodata"] is None else f"value {described['nodata']}"
    rows.append(("no data", f"{described['nodata_share']:.1%} of the pixels ({marker})"))
    rows += [("note", note) for note in facts.notes]
    rows.append(("upscaled", f"{up['width']} x {up['height']} pixels"))
    cost = f"about {_duration(up['seconds'])}, {up['memory_bytes'] / 2**30:.1f} GiB of memory, a file of {_bytes(up['file_bytes'])}"
    rows.append(("expected", f"{cost} (at most {_bytes(up['raw_bytes'])}); {up['basis']}"))
    return rows


def _title_of(name: str | None) -> str:
    from ..gen.data.sensors import sensors

    if name is None:
        return "unknown"
    return f"{name}: {sensors()[name].title}" if name in sensors() else name


def _units_of(crs: Any) -> str:
    return str(crs.linear_units) if crs.is_projected else "degrees"


def _bytes_of(dtype: str) -> int:
    import numpy as np

    return np.dtype(dtype).itemsize


def _bytes(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.3g} {unit}"
        size /= 1000
    return ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
