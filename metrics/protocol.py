"""A number and the protocol under which it was measured; tables that refuse to mix protocols.

A score is the mean of one figure per image, with a confidence interval by the percentile bootstrap over images (Efron 1979): images are
drawn with replacement, pixels are not, since the pixels of one image are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from ..gen.errors import InputError

Better = Literal["higher", "lower", "one", "none"]
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all figures of one table have in common.

    Attributes:
        scale: Ratio of the pixel sizes, low over high.
        degradation: How the low pictures came to be, in words.
        border: High-resolution pixels left out along each edge.
        images: Digest of names and contents of the pairs, so that tables of different sets differ.
        pixels: Rule by which pixels count.
        baselines: How the trivial baselines are made.
    """

    scale: int
    degradation: str
    border: int
    images: str
    pixels: str = "finite in every band of truth, low picture and every method's output"
    baselines: str = (
        "nearest repeats pixels; bicubic is Keys' with a = -0.75 and half-pixel centres; back-projected is bicubic made to agree with low"
    )


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How one figure is computed.

    Attributes:
        metric: Name, such as ``PSNR``.
        definition: Formula or parameters in words.
        unit: ``dB``, ``degrees``, or empty for plain numbers.
        better: ``higher``, ``lower``, ``one`` (closer to 1) or ``none``.
        bands: ``Y``, ``RGB``, ``all (...)`` or the names of the bands.
        data_range: Distance between the smallest and largest value, in the pictures' units; None where the figure has no need of it.
        setting: What the whole table has in common.
    """

    metric: str
    definition: str
    unit: str = ""
    better: Better = "none"
    bands: str
    data_range: float | None
    setting: Setting


@dataclass(frozen=True, kw_only=True)
class Score:
    """A mean over images with its protocol; it has no way to be made without one.

    Attributes:
        value: Mean over the images for which the figure is defined; NaN where there is none.
        protocol: How it was measured.
        n: Number of images in the mean.
        interval: Confidence interval of the mean; None for fewer than two images.
        confidence: Level of the interval.
        each: Figure per image, in the order of the pairs; NaN where undefined.
    """

    value: float
    protocol: Protocol
    n: int
    interval: tuple[float, float] | None
    confidence: float = 0.95
    each: tuple[float, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; undefined numbers become None."""
        return {
            "value": _or_none(self.value),
            "n": self.n,
            "interval": [_or_none(bound) for bound in self.interval] if self.interval else None,
            "confidence": self.confidence,
            "each": [_or_none(value) for value in self.each],
        }


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean.

    Args:
        values: One finite figure per image.
        confidence: Level between 0 and 1.
        seed: Seed of the draws, so that the interval can be reproduced.
        resamples: Number of draws.

    Returns:
        Lower and upper bound, or None for fewer than two values.

    Raises:
        InputError: If `confidence` is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence is {confidence}; it must lie between 0 and 1, for instance 0.95")
    if len(values) < 2:
        return None
    data = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(data), size=(resamples, len(data)))
    low, high = np.quantile(data[draws].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mean_score(values: Iterable[float], protocol: Protocol, *, confidence: float = 0.95, seed: int = 0) -> Score:
    """Mean of the figures per image, leaving out the images for which the figure is undefined (NaN).

    Args:
        values: One figure per image.
        protocol: How each was measured.
        confidence: Level of the bootstrap interval.
        seed: Seed of the bootstrap.

    Returns:
        The score.
    """
    each = tuple(float(value) for value in values)
    defined = [value for value in each if not math.isnan(value)]
    interval = bootstrap_interval(defined, confidence=confidence, seed=seed) if all(map(math.isfinite, defined)) else None
    value = float(np.mean(defined)) if defined else math.nan
    return Score(value=value, protocol=protocol, n=len(defined), interval=interval, confidence=confidence, each=each)


def require_one_protocol(rows: Mapping[str, Mapping[str, Score]]) -> Setting:
    """Check that scores may stand in one table: one protocol and one n per column, one setting for all.

    Args:
        rows: Method name to metric name to score.

    Returns:
        The common setting.

    Raises:
        InputError: If two protocols, numbers of images or settings meet, or there is no score.
    """
    columns: dict[str, tuple[str, Score]] = {}
    setting: Setting | None = None
    for method, scores in rows.items():
        for metric, score in scores.items():
            first_method, first = columns.setdefault(metric, (method, score))
            if score.protocol != first.protocol:
                raise InputError(
                    f"{metric} of {method} and of {first_method} {_difference(score.protocol, first.protocol)}; show them in two tables"
                )
            if len(score.each) != len(first.each):
                raise InputError(
                    f"{metric} of {method} has {len(score.each)} images, that of {first_method} {len(first.each)}; "
                    "measure both on the same images"
                )
            if setting is not None and score.protocol.setting != setting:
                differences = _difference_of_settings(score.protocol.setting, setting)
                raise InputError(f"the columns of one table differ in setting: {differences}; show them in two tables")
            setting = score.protocol.setting
    if setting is None:
        raise InputError("the table has no score; give at least one method with one metric")
    return setting


def _difference(ours: Protocol, other: Protocol) -> str:
    names = [
        name for name in ("metric", "definition", "unit", "better", "bands", "data_range") if getattr(ours, name) != getattr(other, name)
    ]
    if not names:
        return "have different settings: " + _difference_of_settings(ours.setting, other.setting)
    return "have different protocols: " + "; ".join(f"{name} is {getattr(ours, name)!r} and {getattr(other, name)!r}" for name in names)


def _difference_of_settings(ours: Setting, other: Setting) -> str:
    theirs = asdict(other)
    return "; ".join(f"{name} is {value!r} and {theirs[name]!r}" for name, value in asdict(ours).items() if value != theirs[name])


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
