"""What the Upscale tab says and shows, as plain functions from values to text and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gen.data.raster_info import RasterInfo
from ..gen.data.sensors import sensor
from ..gen.errors import InputError
from .display import Stretch, band_mean, enlarge, heat_gradient, heat_top, stretch_limits, to_heat, to_picture
from .expected_time import expected_seconds
from .previews import DETAIL, Look, Scene, detail_window, read_decimated, read_window
from .upscale_job import ModelFacts, Result, Settings
from .worker import Progress, sentence

Picture = NDArray[np.uint8]

RADIOMETRIES = {
    "": "as the file says",
    "s2": "Sentinel-2, DN / 10000 (before 2022)",
    "s2-offset": "Sentinel-2, (DN - 1000) / 10000 (since 2022)",
    "landsat": "Landsat collection 2",
    "planetscope": "PlanetScope, DN / 10000",
    "reflectance": "reflectance 0 to 1 already",
    "display8": "picture, 0 to 255",
    "display16": "picture, 0 to 65535",
    "db": "decibels",
}
LAYERS = {"uncertainty": "Standard deviation between the samples", "invented": "Distance from plain bicubic interpolation"}


def status(text: str, kind: str = "", *, bar: float | None = None, waiting: bool = False) -> str:
    """The status box.

    Args:
        text: What it says; shown as it is, never as markup.
        kind: ``error``, ``hint``, ``good`` or empty.
        bar: Share done, 0 to 1, for a progress bar; None for no bar.
        waiting: A bar that moves without a share.

    Returns:
        HTML.
    """
    role = "alert" if kind == "error" else "status"
    inner = escape(text)
    if waiting:
        inner += '<div class="eg-bar waiting"><div></div></div>'
    elif bar is not None:
        inner += f'<div class="eg-bar"><div style="width: {100 * min(max(bar, 0.0), 1.0):.1f}%"></div></div>'
    return f'<div class="eg-status {kind}" role="{role}">{inner}</div>'


def capital(sentence: str) -> str:
    """The sentence with a capital and a full stop, for the screen; a file's name in front keeps its letters."""
    first = sentence.split(" ", 1)[0]
    return (sentence[:1].upper() + sentence[1:] if first.isalpha() else sentence).rstrip(".") + "."


def trouble(error: BaseException, path: Path | None = None) -> str:
    """The status box about an error; the upload's temporary `path` is cut down to its name."""
    text = sentence(error)
    return status(capital(text.replace(str(path), path.name) if path is not None else text), "error")


def duration(seconds: float) -> str:
    """A time span for people: ``8 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def progress_status(progress: Progress) -> str:
    """The status box of a run."""
    if not progress.total or not progress.done:
        return status(f"Working: {duration(progress.seconds)} so far.", waiting=True)
    left = f", about {duration(progress.left)} left" if progress.left is not None else ""
    return status(f"{progress.done} of {progress.total} parts done{left}.", bar=progress.done / progress.total)


def expected_time(scene: Scene | None, settings: Settings | None) -> str:
    """The line about the time that a run will take; empty where that cannot be told yet.

    Args:
        scene: What was uploaded, if anything.
        settings: Model, steps and samples; None if they are out of range.

    Returns:
        HTML.
    """
    if scene is None or settings is None:
        return ""
    try:
        seconds = expected_seconds(settings, scene.info.height, scene.info.width)
    except InputError:
        return ""  # the status box says what is wrong with the model
    return f'<div class="eg-legend"><span>Expected time on this machine: about {duration(seconds)}</span></div>'


def facts(scene: Scene, model: ModelFacts | None) -> str:
    """The card about the uploaded scene, and what the model will make of it.

    Args:
        scene: What was uploaded.
        model: The chosen model; None if there is none yet.

    Returns:
        HTML.
    """
    info = scene.info
    rows = {
        "Size": f"{info.width} x {info.height} pixels{_pixel_size(info)}",
        "Bands": f"{len(scene.names)}: {_listed(scene.names)}",
        "Numbers": f"{info.dtype}{_meaning(scene)}",
        "Place": _place(info),
    }
    if scene.product or info.sensor:
        rows["Product"] = sensor(scene.product).title if scene.product else str(info.sensor)
    if model is not None:
        rows["Output"] = (
            f"{info.width * model.scale} x {info.height * model.scale} pixels, {len(model.bands)} bands ({', '.join(model.bands)})"
        )
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows.items())
    return f'<div class="eg-card"><dl><dt>File</dt><dd><b>{escape(info.path.name)}</b></dd>{items}</dl></div>'


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 13 else f"{', '.join(names[:12])}, ..."


def _pixel_size(info: RasterInfo) -> str:
    if info.crs is None:
        return ""
    size, unit = abs(info.transform.a), "°" if info.crs.is_geographic else " m"
    return f" of {size:.6g}{unit}"


def _meaning(scene: Scene) -> str:
    if scene.radiometry is None:
        return ", meaning not settled"
    known = scene.radiometry
    if known.scale == 1.0 and known.offset == 0.0:
        return f", {known.unit}"
    offset = f" {'+' if known.offset > 0 else '-'} {abs(known.offset):g}" if known.offset else ""
    factor = f"/ {1 / known.scale:.6g}" if known.scale < 1.0 else f"x {known.scale:g}"
    return f", {known.unit} = {'(DN' + offset + ')' if offset else 'DN'} {factor}"


def _place(info: RasterInfo) -> str:
    if info.crs is None:
        return "no georeference"
    code = info.crs.to_epsg()
    name = f"EPSG:{code}" if code else "its own coordinate system"
    return f"{name}, upper left {info.transform.c:.9g}, {info.transform.f:.9g}"


def radiometry_choices() -> list[tuple[str, str]]:
    """Titles and names of the radiometries."""
    return [(title, name) for name, title in RADIOMETRIES.items()]


def next_step(scene: Scene, model: ModelFacts | None, suggested: Sequence[str]) -> str:
    """What the user should do now that a scene is open: the status box."""
    if scene.radiometry is None:
        why = (
            (scene.info.ambiguity or "the file does not say what its numbers mean").split(";")[0].replace(str(scene.path), scene.path.name)
        )
        return status(capital(f"{why}; choose it under 'Meaning of the numbers'"), "hint")
    if model is None:
        return status("Choose a model.", "hint")
    if not suggested:
        wanted = ", ".join(model.bands)
        return status(f"Choose which bands of the file are {wanted}, in this order: their names do not tell.", "hint")
    return status("Ready.")


def make_look(composite: str, rgb: Sequence[str], kind: str, joint: bool, low: float | None, high: float | None) -> Look:
    """The look that the controls describe.

    Raises:
        InputError: If a fixed range is missing an end or upside down.
    """
    if kind == "fixed" and (low is None or high is None):
        raise InputError("a fixed stretch needs two numbers; give the values for black and for white")
    red, green, blue = (*rgb, "", "", "")[:3]
    fixed = {"low": float(low or 0.0), "high": float(high or 0.0)} if kind == "fixed" else {}
    return Look(composite, (red or "", green or "", blue or ""), Stretch(kind, joint, **fixed))


def is_large(info: RasterInfo, scale: int) -> bool:
    """Whether the detail view shows only a part of the output."""
    return max(info.height, info.width) * scale > DETAIL


def compare(result: Result, look: Look, left: str, right: str, centre: tuple[float, float]) -> tuple[Picture, Picture, str]:
    """The two sides of the slider at full resolution, and the legend below.

    Args:
        result: Input and files of a run.
        look: Composite and stretch; the limits are found on the input and used on both sides.
        left: ``pixels`` or ``bicubic``: how the input is enlarged.
        right: ``image``, ``uncertainty`` or ``invented``.
        centre: Where to look, as fractions of height and width.

    Returns:
        Two pictures ``[H, W, 3]`` of one size, and HTML.

    Raises:
        InputError: If the layer was not made in this run.
    """
    scene = result.scene
    bands = scene.shown(look, among=result.bands)
    limits = stretch_limits(scene.overview(bands), look.stretch)
    window = detail_window(scene.info.height, scene.info.width, result.scale, centre)
    low = read_window(scene.path, scene.selectors(bands), scene.shown_radiometry, window)
    before = to_picture(enlarge(low, result.scale, left), limits)
    row, column, height, width = (value * result.scale for value in window)
    if right == "image":
        high = read_window(result.image, bands, None, (row, column, height, width))
        return before, to_picture(high, limits), _shown(bands, limits, result.unit)
    path = layer_path(result, right)
    whole = band_mean(read_decimated(path, result.bands, None, DETAIL))
    top = heat_top(whole)
    layer = band_mean(read_window(path, result.bands, None, (row, column, height, width)))
    return before, to_heat(layer, top), _heat_legend(LAYERS[right], top, result.unit)


def layer_path(result: Result, layer: str) -> Path:
    """The file of a layer.

    Raises:
        InputError: If the run did not make it.
    """
    path: Any = {"image": result.image, "uncertainty": result.uncertainty, "invented": result.invented}.get(layer)
    if path is None:
        raise InputError("this run took one sample, so there is no uncertainty; choose 2 or more samples and run again")
    return Path(path)


def _shown(bands: Sequence[str], limits: NDArray[Any], unit: str) -> str:
    names = " ".join(dict.fromkeys(bands))
    ranges = ", ".join(dict.fromkeys(f"{low:.3g} to {high:.3g}" for low, high in limits))
    return f'<div class="eg-legend"><span>{escape(names)}, black to white: {escape(ranges)} {escape(unit)}, on both sides</span></div>'


def _heat_legend(title: str, top: float, unit: str) -> str:
    return (
        f'<div class="eg-legend"><span>{escape(title)}, mean of the bands: 0</span>'
        f'<div style="background: {heat_gradient()}"></div><span>{top:g} {escape(unit)}</span></div>'
    )
