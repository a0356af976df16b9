"""What the demonstration writes of each scene: GeoTIFFs, and its strip of the contact sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from PIL.PngImagePlugin import PngInfo

from ..gen.data.atomic import atomic_path
from ..gen.data.radiometry import Radiometry
from ..gen.data.rasters import write_raster
from ..gen.data.resample import upsample
from ..gen.data.tags import provenance
from ..metrics.report import Report
from .contact_sheet import Panel, Strip, draw_sheet
from .display import Array, Stretch, band_mean, heat_top, stretch_limits, to_heat, to_picture
from .scenes import DISPLAY, REFLECTANCE

if TYPE_CHECKING:
    from .showcase import Upscaled

COLUMNS = ("Low", "Bicubic", "Ours", "Truth", "Uncertainty")


def write_scene(out: Path, result: Upscaled) -> int:
    """Write a scene's pictures as GeoTIFFs into a folder of its name.

    Args:
        out: Folder of the demonstration.
        result: The scene.

    Returns:
        Number of files.
    """
    folder = out / result.scene.name
    folder.mkdir(parents=True, exist_ok=True)
    stored = DISPLAY if result.scene.model == "rgb" else REFLECTANCE
    given = provenance("procedural world", "none", result.facts["seed"], 0, "none") if result.scene.synthetic else {}
    credit = {"ATTRIBUTION": result.scene.attribution}
    layers: list[tuple[str, xr.DataArray | None, Radiometry, Mapping[str, str]]] = [
        ("low", result.scene.low, stored, given),
        ("truth", result.scene.truth, stored, given),
        ("sharp", result.sample, stored, {}),
        ("mean", result.mean, stored, {}),
        ("uncertainty", result.uncertainty, Radiometry(unit=stored.unit), {}),
    ]
    written = 0
    for name, image, radiometry, tags in layers:
        if image is not None:
            write_raster(folder / f"{name}.tif", image, radiometry=radiometry, tags={**credit, **tags})
            written += 1
    return written


def write_sheet(path: Path, results: Sequence[Upscaled], models: Mapping[str, Mapping[str, Any]], *, steps: int, samples: int) -> Path:
    """Draw and write the contact sheet.

    Args:
        path: PNG file.
        results: The scenes.
        models: Facts of the models by key.
        steps: Sampling steps, for the text.
        samples: Draws behind the uncertainty, for the text.

    Returns:
        The path.
    """
    named = " and ".join(f"{facts['name']} ({facts['digest']})" for facts in models.values())
    footer = [
        "PSNR in dB over all bands, data range 1, 4 px border cut (see report.json for the whole protocol). Detail is the power of radial "
        "frequencies 0.25 to 0.5 cycles/px over the truth's: 1 is right, below is too smooth. Low, bicubic, ours and truth share one "
        f"stretch per strip. Ours is one sample, synthetic; uncertainty is the standard deviation of {samples} samples, mean over bands.",
        "; ".join(dict.fromkeys(result.scene.attribution for result in results)),
    ]
    subtitle = f"Super-resolution by 4 with {named}, {steps} steps a sample, agreement with the input enforced"
    image = draw_sheet("EarthGen", subtitle, COLUMNS, [_strip(result, samples) for result in results], footer)
    text = PngInfo()
    for name, facts in models.items():
        tags = provenance(facts["name"], facts["digest"], None, steps, facts["sampler"])
        for key, value in tags.items():
            text.add_text(f"{key}_{name.upper()}" if key.startswith("EARTHGEN_MODEL") else key, value)
    with atomic_path(path) as partial:
        image.save(partial, format="PNG", pnginfo=text)
    return path


def _strip(result: Upscaled, samples: int) -> Strip:
    scene = result.scene
    low, sharp = _bands(scene.low, scene.composite), _bands(result.sample, scene.composite)
    truth = None if scene.truth is None else _bands(scene.truth, scene.composite)
    limits = stretch_limits(low if truth is None else truth, Stretch("fixed", high=1.0) if scene.model == "rgb" else Stretch())
    spread = band_mean(result.uncertainty.values)
    top = heat_top(spread)
    panels = [
        Panel(to_picture(low, limits), _size(low)),
        Panel(to_picture(_bicubic(low, sharp.shape[-1]), limits), _figures(result, "bicubic")),
        Panel(to_picture(sharp, limits), _figures(result, "sample") or _size(sharp), strong=True),
        Panel(None, "nobody has seen it this sharp") if truth is None else Panel(to_picture(truth, limits), _size(truth)),
        Panel(to_heat(spread, top), f"0 (dark) to {top:g} {'display' if scene.model == 'rgb' else 'reflectance'}, {samples} samples"),
    ]
    return Strip(scene.title, scene.detail, panels)


def _bands(image: xr.DataArray, names: tuple[str, ...]) -> Array:
    return np.asarray(image.sel(band=list(names)).values)


def _bicubic(low: Array, width: int) -> Array:
    return upsample(torch.from_numpy(np.ascontiguousarray(low))[None], width // low.shape[-1])[0].numpy()


def _size(image: Array) -> str:
    return f"{image.shape[-2]} x {image.shape[-1]} px"


def _figures(result: Upscaled, method: str) -> str:
    report = result.report
    if report is None:
        return ""
    psnr, detail = (_each(report, method, metric, result.index) for metric in ("PSNR", "power ratio"))
    words = f"PSNR {psnr:.1f}"
    if method == "sample":
        words += f" (mean {_each(report, 'one-step mean', 'PSNR', result.index):.1f})"
    return words + (f"   detail {detail:.2f}" if math.isfinite(detail) else "")


def _each(report: Report, method: str, metric: str, index: int) -> float:
    return report.methods[method][metric].each[index]
