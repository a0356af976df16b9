"""Distances between sets: closed forms, the law of their bias, and sets whose answers can be counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from earthgen.gen.errors import InputError
from earthgen.metrics.distribution import (
    extrapolated_frechet,
    frechet,
    frechet_distance,
    frechet_estimate,
    inception_score,
    kernel_distance,
    kernel_estimate,
    manifolds,
)
from earthgen.metrics.moments import Moments


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def rotation(seed: int, size: int) -> torch.Tensor:
    return torch.linalg.qr(normal(seed, size, size))[0]


def test_moments_of_batches_are_moments_of_all() -> None:
    features = 1e6 + normal(0, 57, 5)  # a large mean: sums of squares would lose the variance
    whole, parts, other = Moments.of(features), Moments(5), Moments(5)
    for batch in features[:30].split(7):
        parts.add(batch)
    for batch in features[30:].split(13):
        other.add(batch)
    parts.merge(other)
    parts.merge(Moments(5))
    parts.add(features[:0])
    assert parts.count == whole.count == 57
    assert torch.allclose(parts.mean, features.mean(0), rtol=1e-14)
    assert torch.allclose(parts.covariance, torch.cov(features.T), rtol=1e-9)
    assert torch.allclose(whole.covariance, parts.covariance, rtol=1e-9)


def test_moments_refuse_what_they_cannot_count() -> None:
    with pytest.raises(InputError, match="not finite"):
        Moments(2).add(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(InputError, match=r"expected \[n, 3\]"):
        Moments(3).add(torch.zeros(4, 2))
    with pytest.raises(InputError, match="at least two"):
        _ = Moments.of(torch.zeros(1, 2)).covariance
    with pytest.raises(InputError, match="at least one"):
        Moments.of([])


# A zero eigenvalue is found as 1e-15 or so, and its root counts: 64 dimensions with 21 zeros came to 3e-8.
@pytest.mark.parametrize(("size", "zeros", "rel"), [(1, 0, 1e-12), (5, 0, 1e-12), (64, 0, 1e-12), (64, 21, 1e-6)])
def test_frechet_distance_of_commuting_covariances(size: int, zeros: int, rel: float) -> None:
    """FD = |m1 - m2|^2 + sum (sqrt l1 - sqrt l2)^2."""
    rng, basis = np.random.default_rng(size), rotation(1, size)
    first, second = (torch.from_numpy(rng.uniform(0.5, 9, size)) for _ in range(2))
    first[:zeros] = 0
    means = normal(2, 2, size)
    truth = float((means[0] - means[1]).square().sum() + (first.sqrt() - second.sqrt()).square().sum())
    found = frechet_distance(means[0], (basis * first) @ basis.T, means[1], (basis * second) @ basis.T)
    assert found == pytest.approx(truth, rel=rel)
    assert frechet_distance(means[0], (basis * first) @ basis.T, means[0], (basis * first) @ basis.T) == pytest.approx(0, abs=1e-5)


def test_frechet_distance_where_they_do_not_commute() -> None:
    """Against the trace of the principal root of S1 S2, whose eigenvalues are those of the symmetric form."""
    a, b = (normal(seed, 12, 40) for seed in (3, 4))
    s1, s2 = torch.cov(a), torch.cov(b)
    roots = np.sqrt(np.linalg.eigvals((s1 @ s2).numpy()).astype(complex)).real.sum()
    truth = float(torch.trace(s1) + torch.trace(s2)) - 2 * roots
    zero = torch.zeros(12, dtype=torch.float64)
    assert frechet_distance(zero, s1, zero, s2) == pytest.approx(truth, rel=1e-9)
    assert frechet_distance(zero, s2, zero, s1) == pytest.approx(truth, rel=1e-9)


def test_the_bias_of_the_frechet_distance_goes_with_one_over_n() -> None:
    """Two sets of one distribution, d = 8: n FD is constant."""
    products = []
    for n in (400, 1600, 6400):
        repeats = max(8, 160_000 // n)
        found = [frechet(Moments.of(normal(1000 + 2 * i, n, 8)), Moments.of(normal(1001 + 2 * i, n, 8))) for i in range(repeats)]
        products.append(n * float(np.mean(found)))
    assert max(products) / min(products) < 1.05, products


def test_extrapolation_takes_the_bias_off() -> None:
    shift = torch.zeros(16, dtype=torch.float64)
    shift[0] = 1.0
    x, y = normal(5, 800, 16), normal(6, 800, 16) + shift
    plain, endless = frechet(Moments.of(x), Moments.of(y)), extrapolated_frechet(x, y)
    assert plain > 1.1
    assert abs(endless - 1.0) < 0.5 * abs(plain - 1.0)


def test_intervals_hold_the_figure_and_shrink() -> None:
    shift = torch.full((4,), 0.5, dtype=torch.float64)
    widths = []
    for n in (200, 3200):
        found = frechet_estimate(normal(7, n, 4), normal(8, n, 4) + shift)
        assert found.interval is not None
        assert found.interval[0] < found.value < found.interval[1]
        widths.append(found.interval[1] - found.interval[0])
    assert 2 < widths[0] / widths[1] < 8  # sqrt(16) = 4
    assert frechet_estimate(normal(7, 15, 4), normal(8, 15, 4)).interval is None


def test_kernel_distance_is_unbiased() -> None:
    """Mean zero over repeats for one distribution, at n = 10 as at n = 40."""
    for n in (10, 40):
        found = np.array([kernel_distance(normal(10 + 2 * i, n, 3), normal(11 + 2 * i, n, 3)) for i in range(600)])
        assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
        assert (found < 0).mean() > 0.3


def test_kernel_distance_by_hand() -> None:
    """D = 1, x = {0, 1}, y = {2, 3}: k(a, b) = (ab + 1)^3."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    between = (1 + 1 + 27 + 64) / 4
    assert kernel_distance(x, y) == pytest.approx(1 + 343 - 2 * between)


def test_subsets_agree_with_the_whole() -> None:
    x, y = normal(20, 600, 4), normal(21, 600, 4) + 1.0
    whole, parts = kernel_estimate(x, y), kernel_estimate(x, y, subset=200, subsets=60)
    assert whole.value == pytest.approx(kernel_distance(x, y), rel=1e-12)
    assert whole.interval is not None
    assert whole.interval[0] < parts.value < whole.interval[1]


def test_precision_and_recall_of_known_sets() -> None:
    """The generated set covers one of two equal clusters and has a third of its members elsewhere."""
    reference = torch.cat([normal(30, 60, 2) * 0.1, normal(31, 60, 2) * 0.1 + 10])
    generated = torch.cat([normal(32, 60, 2) * 0.1, normal(33, 30, 2) * 0.1 - 10])
    found = manifolds(generated, reference, k=5)
    assert float(found.precise[60:].double().mean()) == 0
    assert float(found.recalled[60:].double().mean()) == 0
    assert float(found.covered[60:].double().mean()) == 0
    assert float(found.density[60:].mean()) == 0
    for inside in (found.precise[:60], found.recalled[:60], found.covered[:60]):
        assert float(inside.double().mean()) > 0.85


def test_neighbours_by_hand() -> None:
    """One dimension, k = 1: reference 0, 1, 5 has radii 1, 1, 4; generated 0.5, 9.5 has radii 9, 9."""
    found = manifolds(torch.tensor([[0.5], [9.5]]), torch.tensor([[0.0], [1.0], [5.0]]), k=1)
    assert found.precise.tolist() == [True, False]
    assert found.recalled.tolist() == [True, True, True]
    assert found.density.tolist() == [2.0, 0.0]
    assert found.covered.tolist() == [True, True, False]
    same = normal(34, 40, 3)
    assert bool(manifolds(same, same, k=3).precise.all())
    with pytest.raises(InputError, match="more than 5 pictures"):
        manifolds(same[:5], same, k=5)


def test_density_of_one_distribution_is_about_one() -> None:
    found = manifolds(normal(35, 1000, 2), normal(36, 1000, 2), k=5)
    assert float(found.density.mean()) == pytest.approx(1.0, abs=0.05)


def test_inception_score_between_one_and_all_classes() -> None:
    certain = torch.eye(6).repeat(5, 1) * 1e4
    assert inception_score(certain).value == pytest.approx(6.0, rel=1e-6)
    assert inception_score(torch.zeros(30, 6)).value == pytest.approx(1.0, rel=1e-6)
    assert inception_score(certain, splits=5).value == pytest.approx(6.0, rel=1e-6)
    two = torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    p = np.array([[np.exp(2) / (1 + np.exp(2)), 1 / (1 + np.exp(2))], [0.5, 0.5]])
    truth = np.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert inception_score(two).value == pytest.approx(truth, rel=1e-12)
    with pytest.raises(InputError, match="splits"):
        inception_score(two, splits=3)


def test_sets_of_two_networks_are_refused() -> None:
    with pytest.raises(InputError, match="one network"):
        kernel_distance(torch.zeros(4, 2), torch.zeros(4, 3))
    with pytest.raises(InputError, match="at least two"):
        kernel_distance(torch.zeros(1, 2), torch.zeros(4, 2))
