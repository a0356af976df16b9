"""Score a super-resolution method on pairs of low and high pictures, with the trivial baselines always beside it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ..gen.data.nodata import FILL_REACH, fill_holes
from ..gen.data.resample import upsample
from ..gen.data.sensor_model import SensorModel
from ..gen.errors import InputError
from .consistency import scale_between
from .fidelity import Lpips
from .measures import STANDARD, Measure, measures_named
from .pixels import rgb_indices, select_bands, valid_mask
from .protocol import Protocol, Score, Setting, mean_score
from .report import BACK_PROJECTED, BASELINES, Report
from .sample import Sample

Picture = xr.DataArray | Tensor
Predict = Callable[[Any], Any]


@dataclass(frozen=True)
class Pair:
    """A low picture and the truth on the same ground.

    Attributes:
        name: Shown in reports.
        low: ``(band, y, x)`` DataArray or ``[C, h, w]`` tensor, physical units, NaN = nodata.
        high: The same kind, larger by a whole factor.
    """

    name: str
    low: Picture
    high: Picture


@dataclass(frozen=True, kw_only=True)
class Options:
    """What an evaluation may vary; all of it ends up in the protocol.

    Attributes:
        degradation: How the low pictures came to be, in words.
        metrics: Names from `metrics.measures.MEASURES`.
        bands: Bands of PSNR, SSIM and power ratio: ``all``, ``RGB``, ``Y`` or names.
        data_range: Distance between the smallest and largest value; 1 for reflectance and display values.
        border: High-resolution pixels left out along each edge; None = the scale.
        sensor: Sensor model for the sensor error; None where unknown, as for real pairs.
        lpips: The network, or None.
        confidence: Level of the intervals.
        seed: Seed of the bootstrap.
    """

    degradation: str
    metrics: Sequence[str] = STANDARD
    bands: str | tuple[str, ...] = "all"
    data_range: float = 1.0
    border: int | None = None
    sensor: SensorModel | None = None
    lpips: Lpips | None = None
    confidence: float = 0.95
    seed: int = 0


def evaluate_pairs(
    predict: Predict | Mapping[str, Predict],
    pairs: Iterable[Pair],
    options: Options,
    *,
    name: str = "model",
    title: str = "Super-resolution",
    notes: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Run the method and the baselines over the pairs and score them.

    Args:
        predict: Turns a low picture (the pair's kind) into a high one, or into a pipeline's output with ``.images``; or several by name.
        pairs: The pairs; taken one at a time, only figures are kept.
        options: The protocol.
        name: Name of the method in the report, if there is one only.
        title: Title of the report.
        notes: Sentences for the report.
        facts: What is to be known of the methods, for the JSON file: model, digest, steps, seed.
        progress: Called with the number of pairs done and their total (or 0 if unknown).

    Returns:
        The report, with ``nearest`` and ``bicubic`` as its first rows, and with a sensor model ``back-projected``: the bicubic picture made
        to agree with the low one, which needs no learning.

    Raises:
        InputError: If there are no pairs, pairs differ in scale or bands, or a prediction has the wrong shape.
    """
    methods = dict(predict) if isinstance(predict, Mapping) else {name: predict}
    baselines = [name for name in BASELINES if options.sensor or name != BACK_PROJECTED]
    clash = sorted(set(methods) & set(BASELINES))
    if clash:
        raise InputError(f"{', '.join(clash)} is the name of a baseline; choose another name for the method")
    measures = measures_named([*options.metrics, *(["LPIPS"] if options.lpips and "LPIPS" not in options.metrics else [])])
    table = _Figures([*baselines, *methods], measures, options)
    total = len(pairs) if isinstance(pairs, Sequence) else 0
    for number, pair in enumerate(pairs):
        table.add(pair, _predictions(pair, methods, options.sensor, table.seconds))
        if progress:
            progress(number + 1, max(total, number + 1))
    return table.report(title, tuple(notes), dict(facts or {}))


class _Figures:
    """Collects figures pair by pair."""

    def __init__(self, methods: list[str], measures: list[Measure], options: Options) -> None:
        self.options, self.measures = options, measures
        self.figures: dict[str, dict[str, list[float]]] = {m: {measure.name: [] for measure in measures} for m in methods}
        self.seconds: dict[str, list[float]] = {m: [] for m in methods}
        self.names: list[str] = []
        self.digest = hashlib.sha256()
        self.common: tuple[int, tuple[str, ...]] | None = None

    def add(self, pair: Pair, outputs: dict[str, Tensor]) -> None:
        low, truth = as_batch(pair.low), as_batch(pair.high)
        common = (scale_between(truth, low), band_names(pair.high))
        if self.common is not None and common != self.common:
            raise InputError(
                f"pair {pair.name} is x{common[0]} with bands {', '.join(common[1])}, the first is x{self.common[0]} "
                f"with {', '.join(self.common[1])}; evaluate them apart"
            )
        self.common = common
        scale, names = common
        mask = valid_mask(truth, *outputs.values()) & _enlarged(valid_mask(low), scale)
        border = scale if self.options.border is None else self.options.border
        for method, image in outputs.items():
            sample = Sample(
                image=image,
                truth=truth,
                low=low,
                mask=mask,
                names=names,
                bands=self.options.bands,
                data_range=self.options.data_range,
                border=border,
                sensor=self.options.sensor,
                lpips=self.options.lpips,
            )
            for measure in self.measures:
                self.figures[method][measure.name].append(measure.compute(sample))
        self.names.append(pair.name)
        for part in (pair.name.encode(), low.numpy().tobytes(), truth.numpy().tobytes()):
            self.digest.update(part)

    def report(self, title: str, notes: tuple[str, ...], facts: dict[str, Any]) -> Report:
        if self.common is None:
            raise InputError("there are no pairs to evaluate; give at least one low and high picture")
        scale, names = self.common
        border = scale if self.options.border is None else self.options.border
        setting = Setting(scale=scale, degradation=self.options.degradation, border=border, images=self.digest.hexdigest()[:12])
        protocols = {measure.name: self._protocol(measure, names, setting) for measure in self.measures}
        scores = {m: {metric: self._score(values, protocols[metric]) for metric, values in row.items()} for m, row in self.figures.items()}
        seconds = {m: float(np.mean(values)) for m, values in self.seconds.items()}
        return Report(title=title, methods=scores, images=tuple(self.names), seconds=seconds, notes=notes, facts=facts)

    def _score(self, values: list[float], protocol: Protocol) -> Score:
        return mean_score(values, protocol, confidence=self.options.confidence, seed=self.options.seed)

    def _protocol(self, measure: Measure, names: tuple[str, ...], setting: Setting) -> Protocol:
        definition = measure.definition
        if measure.name == "LPIPS" and self.options.lpips:
            definition += f", {self.options.lpips.name}"
        if "declared sensor model" in definition and self.options.sensor:
            definition += f" (scale {self.options.sensor.scale}, MTF {self.options.sensor.mtf:g} at the low Nyquist frequency)"
        bands = "RGB" if measure.name == "LPIPS" else _bands_text(names, self.options.bands if measure.chosen_bands else "all")
        return Protocol(
            metric=measure.name,
            definition=definition,
            unit=measure.unit,
            better=measure.better,
            bands=bands,
            data_range=self.options.data_range if measure.ranged else None,
            setting=setting,
        )


def _predictions(
    pair: Pair, methods: Mapping[str, Predict], sensor: SensorModel | None, seconds: dict[str, list[float]]
) -> dict[str, Tensor]:
    low, truth = as_batch(pair.low), as_batch(pair.high)
    scale = scale_between(truth, low)
    runs: dict[str, Callable[[], Tensor]] = {"nearest": lambda: nearest(low, scale), "bicubic": lambda: upsample(low, scale)}
    if sensor is not None:
        if sensor.scale != scale:
            raise InputError(f"pair {pair.name} is x{scale}, the sensor model has scale {sensor.scale}; use SensorModel({scale})")
        runs[BACK_PROJECTED] = lambda: back_projected(low, sensor)
    runs |= {name: (lambda method=method: as_batch(method(pair.low))) for name, method in methods.items()}  # type: ignore[misc]
    outputs = {}
    for name, run in runs.items():
        started = time.perf_counter()
        outputs[name] = run()
        seconds[name].append(time.perf_counter() - started)
        if outputs[name].shape != truth.shape:
            raise InputError(f"{name} gave shape {tuple(outputs[name].shape)} for {pair.name}; the truth has {tuple(truth.shape)}")
    return outputs


def nearest(low: Tensor, scale: int) -> Tensor:
    """Repeat every pixel of ``[B, C, h, w]`` `scale` times along both axes."""
    return low.repeat_interleave(scale, dim=-2).repeat_interleave(scale, dim=-1)


def back_projected(low: Tensor, sensor: SensorModel) -> Tensor:
    """The bicubic picture of ``[B, C, h, w]``, corrected until the sensor sees `low` in it; NaN where `low` has no data."""
    filled, valid = fill_holes(low, FILL_REACH)
    image = sensor.back_project(upsample(filled, sensor.scale), filled)[0]
    return torch.where(_enlarged(valid, sensor.scale)[:, None], image, torch.nan)


def as_batch(picture: Any) -> Tensor:
    """Any picture, or a pipeline's output, as a float32 ``[1, C, H, W]`` tensor on the CPU.

    Raises:
        InputError: If it is no picture, or more than one.
    """
    value = getattr(picture, "images", picture)
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, xr.DataArray):
        value = value.values
    if not isinstance(value, np.ndarray | Tensor):
        raise InputError(f"a prediction is a {type(value).__name__}; expected a DataArray, an array or a tensor of one picture")
    tensor = torch.as_tensor(np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value).detach().to("cpu", torch.float32)
    tensor = tensor[None] if tensor.ndim == 3 else tensor
    if tensor.ndim != 4 or tensor.shape[0] != 1:
        raise InputError(f"a picture has shape {tuple(tensor.shape)}; expected [C, H, W] or [1, C, H, W]")
    return tensor


def band_names(picture: Picture) -> tuple[str, ...]:
    """Names of the bands; numbered from 1 where the picture has none, and R, G, B for three unnamed ones."""
    if isinstance(picture, xr.DataArray) and "band" in picture.coords:
        names = tuple(str(name) for name in picture.coords["band"].values)
        if rgb_indices(names) is not None or not all(name.isdigit() for name in names):
            return names
    count = as_batch(picture).shape[1]
    return ("R", "G", "B") if count == 3 else tuple(str(number + 1) for number in range(count))


def _bands_text(names: tuple[str, ...], bands: str | tuple[str, ...]) -> str:
    return select_bands(torch.full((1, len(names), 1, 1), math.nan), names, bands)[1]


def _enlarged(mask: Tensor, scale: int) -> Tensor:
    return mask.repeat_interleave(scale, dim=-2).repeat_interleave(scale, dim=-1)
