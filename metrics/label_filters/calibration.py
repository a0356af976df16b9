"""Thresholds from real held-out objects, and the acceptance curve that shows what each threshold keeps.

A threshold that 90 % of real objects are to pass is an order statistic of theirs: with n of them the k-th smallest, k = floor(0.1 (n + 1)),
which a new real object passes with a probability of at least 90 % whatever the distribution (split conformal prediction, Vovk et al. 2005).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ...gen.data.atomic import atomic_path, write_json
from ...gen.errors import InputError
from .scores import Floats, Scores

PASS = 0.9
"""Share of real objects that a threshold lets pass."""
POINTS = 41
_COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (255, 127, 14), (148, 103, 189))


def threshold(real: Floats, share: float = PASS) -> float:
    """The largest threshold that a new real object passes with a probability of at least `share`.

    Args:
        real: ``[n]`` scores of real objects that nothing was trained on; NaN is left out.
        share: Above 0, below 1.

    Returns:
        It; minus infinity where there are too few objects to promise the share.

    Raises:
        InputError: If the share is out of range or there is no score.
    """
    known = np.sort(real[~np.isnan(real)])
    if not 0 < share < 1 or not len(known):
        raise InputError(
            f"{len(known)} scores of real objects give no threshold that a share of {share} pass; give scores, and a share between 0 and 1"
        )
    # The small addition undoes the rounding of 1 - share.
    rank = math.floor((1 - share) * (len(known) + 1) + 1e-9)
    return float(known[rank - 1]) if rank >= 1 else -math.inf


def thresholds(real: Sequence[Sequence[Scores]], share: float = PASS) -> dict[str, float]:
    """Thresholds of filters from the scores of real held-out pictures.

    Args:
        real: For each picture, the scores of all filters.
        share: Of real objects that pass each filter.

    Returns:
        By filter; filters without any answer are left out.
    """
    return {name: threshold(values, share) for name, values in collected(real).items() if (~np.isnan(values)).any()}


def collected(scores: Sequence[Sequence[Scores]]) -> dict[str, Floats]:
    """Scores of all objects of all pictures, by filter, in their order."""
    found: dict[str, list[Floats]] = {}
    for picture in scores:
        for one in picture:
            found.setdefault(one.filter, []).append(one.objects)
    return {name: np.concatenate(values) for name, values in found.items()}


@dataclass(frozen=True)
class AcceptanceCurve:
    """What thresholds keep, from few to all.

    Attributes:
        filter: Name.
        calibrated: The threshold in use.
        shares: ``[POINTS]`` shares of real objects that are let pass.
        thresholds: ``[POINTS]`` for those shares.
        kept: Share of objects kept at each threshold, by set: ``real`` and whatever else was given.
        counts: Objects in each set.
    """

    filter: str
    calibrated: float
    shares: Floats
    thresholds: Floats
    kept: Mapping[str, Floats]
    counts: Mapping[str, int]

    def plain(self) -> dict[str, Any]:
        """Plain JSON types; infinities are None."""
        return {
            "filter": self.filter,
            "calibrated": _finite(self.calibrated),
            "real_share": self.shares.tolist(),
            "threshold": [_finite(value) for value in self.thresholds.tolist()],
            "kept": {name: values.tolist() for name, values in self.kept.items()},
            "objects": dict(self.counts),
        }


def acceptance_curve(name: str, real: Floats, others: Mapping[str, Floats], share: float = PASS) -> AcceptanceCurve:
    """How much of each set is kept, threshold after threshold.

    Args:
        name: Of the filter.
        real: Scores of real held-out objects.
        others: Scores of other sets by name, such as ``synthetic`` and ``shuffled labels``; no answer passes.
        share: What the calibrated threshold lets pass.

    Raises:
        InputError: If there is no real score.
    """
    shares = np.linspace(0.01, 0.99, POINTS)
    cuts = np.array([threshold(real, float(one)) for one in shares])
    sets = {"real": real, **others}
    kept = {key: np.array([float((~(values < cut)).mean()) if len(values) else math.nan for cut in cuts]) for key, values in sets.items()}
    return AcceptanceCurve(name, threshold(real, share), shares, cuts, kept, {key: len(values) for key, values in sets.items()})


def write_curves(curves: Sequence[AcceptanceCurve], path: str | Path, words: Mapping[str, str] | None = None) -> None:
    """Write curves as JSON and, beside it, as a PNG of the same name.

    Args:
        curves: One for each filter.
        path: A ``.json`` file.
        words: What each filter's figure is.

    Raises:
        InputError: If the name ends otherwise or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix != ".json" or not curves:
        raise InputError(f"{len(curves)} curves cannot be written to {path.name}; give one or more, and a name that ends in .json")
    write_json(
        path, {"share": "of real held-out objects that pass", "curves": [curve.plain() for curve in curves], "words": dict(words or {})}
    )
    with atomic_path(path.with_suffix(".png")) as partial:
        draw_curves(curves).save(partial)


def draw_curves(curves: Sequence[AcceptanceCurve], size: int = 320) -> Image.Image:
    """Panels side by side: across, the share of real objects that pass; up, the share of each set."""
    sheet = Image.new("RGB", (size * len(curves), size + 16), "white")
    for number, curve in enumerate(curves):
        panel = Image.new("RGB", (size, size + 16), "white")
        _panel(ImageDraw.Draw(panel), curve, size)
        sheet.paste(panel, (number * size, 0))
    return sheet


def _panel(draw: ImageDraw.ImageDraw, curve: AcceptanceCurve, size: int) -> None:
    left, top, side = 36, 20, size - 56

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * side, top + (1 - y) * side

    for step in range(6):
        value = step / 5
        draw.line([at(value, 0), at(value, 1)], fill=(225, 225, 225))
        draw.line([at(0, value), at(1, value)], fill=(225, 225, 225))
        draw.text((left + value * side - 8, top + side + 4), f"{value:.1f}", fill="black")
        draw.text((8, top + (1 - value) * side - 6), f"{value:.1f}", fill="black")
    draw.text((left, 4), f"{curve.filter}: share kept, over real share", fill="black")
    for number, (name, values) in enumerate(curve.kept.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        known = [at(float(x), float(y)) for x, y in zip(curve.shares, values, strict=True) if not math.isnan(y)]
        if known:
            draw.line(known, fill=colour, width=2)
        draw.text((left + 8, top + 6 + 13 * number), f"{name} ({curve.counts[name]})", fill=colour)
    draw.text((left, top + side + 18), f"calibrated: {curve.calibrated:.4g}", fill="black")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
