"""Distances between two sets of pictures in a feature space: Fréchet distance, kernel distance, precision and recall, density and coverage.

All take features ``[n, D]`` of any network; the number means nothing without that network's name, digest and resize rule, which the reports
carry. Computed in float64.

- Fréchet distance (Heusel et al. 2017): ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)`` by symmetric eigenvalues. It is biased
  upward by about c / n; `extrapolated_frechet` fits that law (Chong and Forsyth 2020).
- Kernel distance (Binkowski et al. 2018): unbiased squared MMD with the kernel ``(x.y / D + 1)^3``.
- Precision and recall (Kynkäänniemi et al. 2019): share of one set inside the union of balls that reach each member of the other's k-th
  neighbour. Density and coverage (Naeem et al. 2020) use the reference's balls alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..gen.errors import InputError
from .moments import Moments

KERNEL = "(x.y / D + 1)^3"
_NORMAL = 1.959963984540054
_ROWS = 1024


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: The figure.
        interval: Lower and upper bound; None where none can be told.
    """

    value: float
    interval: tuple[float, float] | None = None


def frechet_distance(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> float:
    """Squared Fréchet distance of two Gaussians.

    Args:
        mean_1: ``[D]``.
        covariance_1: ``[D, D]``, symmetric.
        mean_2: ``[D]``.
        covariance_2: ``[D, D]``, symmetric.

    Returns:
        The distance, at least 0.
    """
    m1, s1, m2, s2 = (value.detach().to("cpu", torch.float64) for value in (mean_1, covariance_1, mean_2, covariance_2))
    values, vectors = torch.linalg.eigh(s1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ s2 @ root
    shared = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    distance = (m1 - m2).square().sum() + torch.trace(s1) + torch.trace(s2) - 2 * shared
    return max(float(distance), 0.0)


def frechet(generated: Moments, reference: Moments) -> float:
    """Squared Fréchet distance between two streams' moments."""
    return frechet_distance(generated.mean, generated.covariance, reference.mean, reference.covariance)


def frechet_estimate(generated: Tensor, reference: Tensor, *, groups: int = 10, seed: int = 0) -> Estimate:
    """Fréchet distance of two sets with a jackknife interval over groups of pictures.

    Args:
        generated: ``[n, D]``.
        reference: ``[m, D]``.
        groups: Parts that are left out in turn.
        seed: Of the division into groups.

    Returns:
        The distance as it is, with its bias; the interval is about the spread, not about the bias.
    """
    value = frechet(Moments.of(generated), Moments.of(reference))
    left_out = (frechet(Moments.of(a), Moments.of(b)) for a, b in _without_groups(generated, reference, groups, seed))
    return Estimate(value, _jackknife(value, left_out))


def extrapolated_frechet(generated: Tensor, reference: Tensor, *, draws: int = 4, seed: int = 0) -> float:
    """The Fréchet distance that endless sets would have: the intercept of a line through distances of subsets over 1 / n.

    Args:
        generated: ``[n, D]``.
        reference: ``[m, D]``; reduced by the same shares as the generated set.
        draws: Subsets of each of the shares 1/2 to 1.
        seed: Of the draws.

    Returns:
        The intercept; it can be a little below 0.
    """
    rng = np.random.default_rng(seed)
    inverse, distances = [], []
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        for _ in range(draws if share < 1.0 else 1):
            parts = [features[_draw(rng, len(features), max(2, round(share * len(features))))] for features in (generated, reference)]
            inverse.append(1.0 / share)
            distances.append(frechet(Moments.of(parts[0]), Moments.of(parts[1])))
    return float(np.polyfit(inverse, distances, 1)[1])


def kernel_distance(generated: Tensor, reference: Tensor) -> float:
    """Unbiased squared MMD with the kernel `KERNEL`.

    Args:
        generated: ``[n, D]``, n at least 2.
        reference: ``[m, D]``, m at least 2.

    Returns:
        The estimate; around 0, also below, for equal distributions.

    Raises:
        InputError: If a set has fewer than two pictures.
    """
    x, y = _doubles(generated, reference)
    return _within(x) + _within(y) - 2 * _sum_of_kernel(x, y) / (len(x) * len(y))


def kernel_estimate(
    generated: Tensor, reference: Tensor, *, subset: int = 1000, subsets: int = 100, groups: int = 10, seed: int = 0
) -> Estimate:
    """Mean kernel distance over subsets, with a jackknife interval over groups of pictures.

    Args:
        generated: ``[n, D]``.
        reference: ``[m, D]``.
        subset: Pictures of each set in a subset; where both sets are no larger, all are taken at once.
        subsets: How many subsets.
        groups: Parts that are left out in turn.
        seed: Of subsets and groups.
    """
    rng = np.random.default_rng(seed)
    if max(len(generated), len(reference)) <= subset:
        value = kernel_distance(generated, reference)
    else:
        pairs = [[features[_draw(rng, len(features), min(subset, len(features)))] for features in (generated, reference)]
                 for _ in range(subsets)]  # fmt: skip
        value = float(np.mean([kernel_distance(a, b) for a, b in pairs]))
    left_out = (kernel_distance(a, b) for a, b in _without_groups(generated, reference, groups, seed))
    return Estimate(value, _jackknife(value, left_out))


@dataclass(frozen=True)
class Manifolds:
    """Which members of two sets lie in each other's neighbourhoods.

    Attributes:
        precise: ``[n]`` bool, generated members inside the reference's balls: their mean is the precision.
        recalled: ``[m]`` bool, reference members inside the generated set's balls: their mean is the recall.
        density: ``[n]``, reference balls around each generated member, over k: their mean is the density.
        covered: ``[m]`` bool, reference members whose ball holds a generated one: their mean is the coverage.
    """

    precise: Tensor
    recalled: Tensor
    density: Tensor
    covered: Tensor


def manifolds(generated: Tensor, reference: Tensor, k: int = 5) -> Manifolds:
    """Compare two sets by balls that reach each member's k-th neighbour in its own set.

    Args:
        generated: ``[n, D]``.
        reference: ``[m, D]``.
        k: Neighbours; below n and m.

    Returns:
        Membership by picture.

    Raises:
        InputError: If a set has k members or fewer.
    """
    x, y = _doubles(generated, reference)
    if k < 1 or min(len(x), len(y)) <= k:
        raise InputError(f"{k} neighbours need sets of more than {k} pictures, not {len(x)} and {len(y)}; lower k or give more")
    own, other = _radii(x, k), _radii(y, k)
    between = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    inside_reference = between <= other[None, :]
    return Manifolds(
        precise=inside_reference.any(1),
        recalled=(between <= own[:, None]).any(0),
        density=inside_reference.sum(1).double() / k,
        covered=inside_reference.any(0),
    )


def inception_score(logits: Tensor, splits: int = 1) -> Estimate:
    """``exp(mean KL(p(y|x) || p(y)))`` of a classifier's answers (Salimans et al. 2016).

    Args:
        logits: ``[n, K]``, in the order of making.
        splits: Parts of equal size that are scored apart and averaged.

    Returns:
        A number from 1 to K; the interval is over splits, None for one.

    Raises:
        InputError: If there are fewer pictures than splits.
    """
    if splits < 1 or len(logits) < splits:
        raise InputError(f"{len(logits)} pictures cannot be cut into {splits} splits; lower the splits or give more pictures")
    scores = []
    for part in logits.detach().double().log_softmax(1).tensor_split(splits):
        marginal = part.logsumexp(0) - math.log(len(part))
        scores.append(float((part.exp() * (part - marginal)).sum(1).mean().exp()))
    value = float(np.mean(scores))
    if splits == 1:
        return Estimate(value)
    half = _NORMAL * float(np.std(scores, ddof=1)) / math.sqrt(splits)
    return Estimate(value, (value - half, value + half))


def _doubles(generated: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    x, y = (features.detach().to("cpu", torch.float64) for features in (generated, reference))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InputError(f"features have shapes {tuple(x.shape)} and {tuple(y.shape)}; expected [n, D] and [m, D] of one network")
    if min(len(x), len(y)) < 2:
        raise InputError(f"a distance needs at least two pictures of each set, not {len(x)} and {len(y)}")
    return x, y


def _within(x: Tensor) -> float:
    own = float(((x.square().sum(1) / x.shape[1] + 1) ** 3).sum())
    return (_sum_of_kernel(x, x) - own) / (len(x) * (len(x) - 1))


def _sum_of_kernel(x: Tensor, y: Tensor) -> float:
    return float(sum(((rows @ y.T / x.shape[1] + 1) ** 3).sum() for rows in x.split(_ROWS)))


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each member to its k-th neighbour; itself is not counted."""
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.kthvalue(k + 1, dim=1).values


def _draw(rng: np.random.Generator, count: int, size: int) -> Tensor:
    return torch.from_numpy(rng.permutation(count)[:size])


def _without_groups(generated: Tensor, reference: Tensor, groups: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Both sets without one group of their pictures at a time; nothing where a set is too small for it."""
    if min(len(generated), len(reference)) < 2 * groups:
        return
    rng = np.random.default_rng(seed)
    member = [torch.from_numpy(rng.permutation(len(features)) % groups) for features in (generated, reference)]
    for group in range(groups):
        yield generated[member[0] != group], reference[member[1] != group]


def _jackknife(value: float, left_out: Iterator[float]) -> tuple[float, float] | None:
    values = np.array(list(left_out))
    if len(values) < 2:
        return None
    spread = math.sqrt((len(values) - 1) * float(values.var()))
    return value - _NORMAL * spread, value + _NORMAL * spread
