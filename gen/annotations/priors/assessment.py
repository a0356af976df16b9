"""How good a prior is: whether its statistics are the real ones, how new its layouts are, and how much of the real variety they cover.

Two layouts are compared by their coverage of a grid of cells, class by class: one minus shared over joint coverage (a soft Jaccard
distance), the least over the eight symmetries, since a mirrored training layout is nothing new. 0 is the same layout, 1 shares no cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import InputError
from ..box import Layout
from ..coverage import rasterize
from .gaps import gap_quantiles
from .rejection import Limits
from .statistics import Floats, all_overlaps, ks_distance, kuiper_distance, nearest_gaps, objects_of

CELLS = 32
NEIGHBOURS = 3
_BLOCK = 64
PROTOCOL = (
    f"distances of layouts: 1 - sum of minima over sum of maxima of class coverage on {CELLS} x {CELLS} cells, least over the eight "
    f"symmetries; layouts without objects left out; coverage: share of real layouts that have a drawn one nearer than their {NEIGHBOURS} "
    "nearest real ones (Naeem et al. 2020); angles by Kuiper's distance, all else by Kolmogorov-Smirnov's"
)


def statistics(real: Sequence[Layout], drawn: Sequence[Layout]) -> dict[str, float]:
    """Distances of the statistics of two sets of layouts, 0 to 1, smaller is better; overlaps and gaps of both as they are.

    Args:
        real: Real layouts.
        drawn: A prior's.

    Returns:
        ``ks_...`` figures as a mean over classes weighted by real objects, and quantiles.

    Raises:
        InputError: If either set holds no object.
    """
    names = objects_of(real).names
    a, b = objects_of(real, names), objects_of(drawn, names)
    if not len(a.layout) or not len(b.layout):
        raise InputError(f"{len(real)} real and {len(drawn)} drawn layouts cannot be compared: one set holds no object; draw more layouts")
    figures: dict[str, float] = {"objects_real": len(a.layout) / len(real), "objects_drawn": len(b.layout) / len(drawn)}
    shares = np.bincount(a.label, minlength=len(names)) / len(a.label)
    columns = {"area": (a.log_area, b.log_area), "aspect": (a.log_aspect, b.log_aspect), "angle": (a.angle, b.angle)}
    for name, (left, right) in columns.items():
        distance = kuiper_distance if name == "angle" else ks_distance
        each = [distance(left[a.label == kind], right[b.label == kind]) for kind in range(len(names))]
        # A class that is never drawn is as far as can be.
        figures[f"ks_{name}"] = float(np.nan_to_num(each, nan=1.0) @ shares)
    counts = [ks_distance(a.counts()[:, kind].astype(float), b.counts()[:, kind].astype(float)) for kind in range(len(names))]
    figures["ks_count"] = float(np.array(counts) @ shares)
    figures["ks_gap"] = ks_distance(nearest_gaps(a), nearest_gaps(b))
    for kind, layouts, objects in (("real", real, a), ("drawn", drawn, b)):
        overlap = all_overlaps(layouts)[0]
        figures |= {f"overlap_{q}_{kind}": float(np.percentile(overlap, q)) for q in (95, 99)}
        figures |= {f"{name}_{kind}": value for name, value in gap_quantiles(objects).items()}
    return figures


def novelty(training: Sequence[Layout], drawn: Sequence[Layout]) -> Floats:
    """Of each drawn layout that has objects, the distance to the nearest training layout, 0 to 1.

    Args:
        training: What the prior was fitted to.
        drawn: Its layouts.
    """
    names = sorted({name for layout in (*training, *drawn) for name in layout.names})
    return distances(_grids(drawn, names), _grids(training, names)).min(1, initial=1.0)


def assess(training: Sequence[Layout], drawn: Sequence[Layout], held_out: Sequence[Layout] = ()) -> dict[str, float | str]:
    """All figures of a prior, for a report.

    Args:
        training: What it was fitted to.
        drawn: Its layouts.
        held_out: Real layouts that it was not fitted to; without them, the training layouts stand in the statistics and coverage.

    Returns:
        `statistics` against the held-out layouts; ``novelty_...`` quantiles, beside those of real layouts to each other
        (``real_novelty_...``); ``coverage``; the share of drawn objects within the limits of the training layouts; the protocol.

    Raises:
        InputError: If a set holds no object.
    """
    real = held_out or training
    figures: dict[str, float | str] = dict(statistics(real, drawn))
    names = sorted({name for layout in (*training, *real, *drawn) for name in layout.names})
    known, made, reference = (_grids(layouts, names) for layouts in (training, drawn, real))
    among = distances(reference, reference)
    np.fill_diagonal(among, np.inf)
    to_training = distances(made, known).min(1)
    own = distances(reference, known).min(1) if held_out else among.min(1)
    for name, values in (("novelty", to_training), ("real_novelty", own)):
        figures |= {f"{name}_{q}": float(np.percentile(values, q)) for q in (5, 50, 95)}
    nearest = min(NEIGHBOURS, len(reference) - 1)
    radius = np.sort(among, 1)[:, nearest - 1] if nearest else np.ones(len(reference))
    figures["coverage"] = float((distances(reference, made).min(1) <= radius).mean())
    limits = Limits.of(training)
    figures["within_limits"] = float(np.concatenate([limits.findings(layout).ok for layout in drawn]).mean())
    return {**figures, "n_training": float(len(training)), "n_drawn": float(len(drawn)), "n_real": float(len(real)), "protocol": PROTOCOL}


def distances(one: Floats, other: Floats) -> Floats:
    """Distances of all pairs of coverage grids ``[n, K, c, c]`` and ``[m, K, c, c]``, ``[n, m]``: the least over eight symmetries."""
    found = np.ones((len(one), len(other)))
    flat = other.reshape(len(other), -1).astype(np.float32)
    totals = flat.sum(1)
    for which in range(8):
        turned = np.rot90(one[..., ::-1] if which >= 4 else one, which % 4, (2, 3)).reshape(len(one), -1).astype(np.float32)
        for number, row in enumerate(turned):
            for start in range(0, len(flat), _BLOCK):
                part = slice(start, start + _BLOCK)
                shared = np.minimum(row, flat[part]).sum(1)
                joint = row.sum() + totals[part] - shared
                found[number, part] = np.minimum(found[number, part], 1 - shared / np.maximum(joint, 1e-6))
    return np.maximum(found, 0.0)


def _grids(layouts: Sequence[Layout], names: Sequence[str]) -> Floats:
    """Coverage ``[n, K, CELLS, CELLS]`` of the layouts that have objects."""
    drawn = [rasterize(layout, names, CELLS, CELLS)[: len(names)] for layout in layouts if layout.boxes]
    return np.array(drawn, np.float64).reshape(-1, len(names), CELLS, CELLS)
