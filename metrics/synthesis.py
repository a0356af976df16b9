"""How much was added, and was it right? Synthesis, hallucination, omission and improvement as opensr-test (v1.3.2) defines them.

The sharp picture is first harmonised with the truth: its histogram is matched band by band and a shift of whole pixels is taken back.
Then, with distances ``d_ref = d(low up, truth)``, ``d_im = d(sharp, truth) / d_ref`` and ``d_om = d(sharp, low up) / d_ref``, over the
pixels in which something changes: ``H = d_im + d_om - 1``, ``I = d_im + d_om (1 - exp(-lambda H))``,
``O = d_om + d_im (1 - exp(-lambda H))``, ``Ha = exp(-lambda d_im d_om)``; the three shares are the soft minimum over (I, O, Ha), and sum
to 1. The ranking of methods depends on the distance: publish at least two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .consistency import OPENSR_BORDER, OPENSR_LONGEST_SHIFT, scale_between
from .pixels import without_border
from .registration import displacement

LAMBDA = 0.05
TEMPERATURE = 0.25
QUANTILE = 0.75
_TINY = 1e-8

Distance = Literal["nd", "l1"]


@dataclass(frozen=True)
class Correctness:
    """What became of the details, per image ``[B]``; the last three sum to 1. NaN for a picture with nodata.

    Attributes:
        synthesis: Mean absolute difference between the harmonised picture and the low one, up-sampled; the pictures' units.
        hallucination: Share of what was added and is not in the truth.
        omission: Share of what is in the truth and was not added.
        improvement: Share of what was added and is right.
    """

    synthesis: Tensor
    hallucination: Tensor
    omission: Tensor
    improvement: Tensor


def match_histogram(image: Tensor, reference: Tensor) -> Tensor:
    """Give each band of the image the sorted values of the reference's band (exact rank matching).

    Args:
        image: ``[C, H, W]``.
        reference: ``[C, H, W]``.

    Returns:
        ``[C, H, W]``.
    """
    flat = image.flatten(1)
    ranks = flat.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    return reference.flatten(1).sort(dim=1).values.gather(1, ranks).reshape(image.shape)


def harmonised(image: Tensor, truth: Tensor) -> Tensor:
    """Match the histogram and take back a shift of whole pixels (edges are repeated).

    Args:
        image: ``[C, H, W]``, finite.
        truth: ``[C, H, W]``.

    Returns:
        ``[C, H, W]``.
    """
    matched = match_histogram(image, truth)
    shift = displacement(matched[None], truth[None], refinement=10, limit=OPENSR_LONGEST_SHIFT)[0]
    rows, columns = (0 if math.isnan(step) else round(step) for step in shift.tolist())
    height, width = matched.shape[-2:]
    row = (torch.arange(height) + rows).clamp(0, height - 1)
    column = (torch.arange(width) + columns).clamp(0, width - 1)
    return matched[:, row][:, :, column]


def correctness(image: Tensor, truth: Tensor, low: Tensor, *, distance: Distance = "nd", border: int = OPENSR_BORDER) -> Correctness:
    """Synthesis and the three shares.

    Args:
        image: The method's picture ``[B, C, H, W]``, physical units.
        truth: ``[B, C, H, W]``.
        low: ``[B, C, h, w]``.
        distance: ``nd`` (normalised difference) or ``l1``, both averaged over bands.
        border: High-resolution pixels left out along each edge.

    Returns:
        One figure per image.

    Raises:
        InputError: If the grids do not fit.
    """
    scale_between(image, low)
    between = _DISTANCES[distance]
    rows = []
    for a, b, y in zip(image.double(), truth.double(), low.double(), strict=True):
        if 2 * border >= min(a.shape[-2:]) or not all(bool(torch.isfinite(picture).all()) for picture in (a, b, y)):
            rows.append([math.nan] * 4)
            continue
        up = without_border(F.interpolate(y[None], size=a.shape[-2:], mode="bilinear", align_corners=False)[0], border)
        sharp, target = without_border(a, border), without_border(b, border)
        sharp = harmonised(sharp, target)
        rows.append([float((sharp - up).abs().mean()), *_shares(between(up, target), between(sharp, target), between(sharp, up))])
    return Correctness(*torch.tensor(rows, dtype=torch.float64).T)


def _shares(reference: Tensor, to_truth: Tensor, to_low: Tensor) -> list[float]:
    """Hallucination, omission, improvement."""
    threshold = torch.quantile(reference.flatten(), QUANTILE)
    keep = (reference > threshold) | (to_truth > threshold) | (to_low > threshold)
    if not keep.any():
        return [math.nan] * 3
    scale = reference[keep].clamp(min=_TINY)
    d_im, d_om = to_truth[keep] / scale, to_low[keep] / scale
    weight = 1.0 - torch.exp(-LAMBDA * (d_im + d_om - 1.0))
    scores = torch.stack([torch.exp(-LAMBDA * d_im * d_om), d_om + d_im * weight, d_im + d_om * weight])
    return [float(value) for value in torch.softmax(-scores / TEMPERATURE, dim=0).mean(dim=1)]


def _normalised_difference(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b).abs() / (a + b + _TINY).abs()).mean(dim=0)


def _absolute_difference(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean(dim=0)


_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"nd": _normalised_difference, "l1": _absolute_difference}
