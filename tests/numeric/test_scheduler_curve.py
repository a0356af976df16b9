"""The clock of the mean-reverting diffusion against the published figures, closed forms and simulation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.gen.schedulers.reversion_curve import ReversionCurve, Schedule

# t: weight of x0 - mu, standard deviation in 8-bit units (lambda 50, T 100, delta 0.005).
MARGINALS = {
    1: (0.99982, 0.94),
    10: (0.98536, 8.52),
    20: (0.916, 20.0),
    30: (0.771, 31.8),
    50: (0.361, 46.6),
    70: (0.091, 49.8),
    100: (0.005, 50.0),
}
THETAS = {0: 0.000614, 1: 0.001695, 50: 0.506, 100: 0.99977}


@pytest.fixture
def scheduler() -> MeanRevertingScheduler:
    return MeanRevertingScheduler()


def last_digit(value: float) -> float:
    """Half a unit of the last printed digit."""
    text = repr(value)
    return 0.5001 * 10.0 ** -len(text.partition(".")[2])


@pytest.mark.parametrize("time", MARGINALS)
def test_marginals_are_the_published_ones(scheduler: MeanRevertingScheduler, time: int) -> None:
    weight, std = scheduler.marginal(time)
    expected_weight, expected_std = MARGINALS[time]
    assert float(weight) == pytest.approx(expected_weight, abs=last_digit(expected_weight))
    assert 255 * float(std) == pytest.approx(expected_std, abs=last_digit(expected_std))


def test_thetas_and_step_are_the_published_ones(scheduler: MeanRevertingScheduler) -> None:
    curve = scheduler.curve
    for time, theta in THETAS.items():
        assert float(curve.theta[time]) == pytest.approx(theta, abs=last_digit(theta))
    assert float(curve.cumulative[100]) == pytest.approx(50.899, abs=5e-4)
    assert curve.dt == pytest.approx(0.104094, abs=5e-7)
    assert scheduler.spread == pytest.approx(0.19608, abs=5e-6)
    assert scheduler.spread**2 == pytest.approx(0.038447, abs=5e-7)


def test_marginals_follow_from_the_cosine_curve_alone(scheduler: MeanRevertingScheduler) -> None:
    """A second implementation in plain Python: running sums of 1 - cos^2."""
    steps, offset = 100, 0.008
    points = [math.cos((i / (steps + 2) + offset) / (1 + offset) * math.pi / 2) ** 2 for i in range(steps + 3)]
    theta = [1 - point / points[0] for point in points[1:-1]]
    assert len(theta) == steps + 1
    total = sum(theta[1:])
    dt = -math.log(0.005) / total
    summed = 0.0
    for time in range(1, steps + 1):
        summed += theta[time]
        weight, std = scheduler.marginal(torch.tensor(time))
        assert float(weight) == pytest.approx(math.exp(-summed * dt), rel=1e-6)
        assert float(std) == pytest.approx(50 / 255 * math.sqrt(1 - math.exp(-2 * summed * dt)), rel=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("steps", [2, 7, 100, 1000])
def test_any_schedule_leaves_delta_at_the_end(schedule: Schedule, steps: int) -> None:
    curve = ReversionCurve(schedule, steps, 0.02)
    assert float(curve.weight(torch.tensor(float(steps)))) == pytest.approx(0.02, rel=1e-12)
    assert float(curve.weight(torch.tensor(0.0))) == 1.0
    assert float(curve.noise_share(torch.tensor(0.0))) == 0.0
    times = torch.linspace(0, steps, 301)
    assert bool((curve.weight(times).diff() < 0).all())
    assert bool((curve.log_snr(times[1:]).diff() < 0).all())
    torch.testing.assert_close(curve.weight(times) ** 2 + curve.noise_share(times) ** 2, torch.ones(301, dtype=torch.float64))


def test_time_at_log_snr_inverts_log_snr() -> None:
    curve = ReversionCurve("cosine", 100, 0.005)
    times = torch.linspace(0.3, 100, 500, dtype=torch.float64)
    torch.testing.assert_close(curve.time_at_log_snr(curve.log_snr(times)), times, rtol=1e-7, atol=1e-7)


def test_marginals_agree_with_a_simulation_of_the_equation() -> None:
    """Small Euler-Maruyama steps of dx = theta (mu - x) dt + sigma dw from one point, theta constant within a step of the clock."""
    scheduler = MeanRevertingScheduler()
    curve, spread, generator = scheduler.curve, scheduler.spread, torch.Generator().manual_seed(0)
    start, mu, paths, fine = 0.9, 0.4, 20_000, 8
    state = torch.full((paths,), start, dtype=torch.float64)
    for time in range(1, 101):
        theta, dt = float(curve.theta[time]), curve.dt / fine
        for _ in range(fine):
            noise = torch.randn(paths, dtype=torch.float64, generator=generator)
            state = state + theta * (mu - state) * dt + spread * math.sqrt(2 * theta * dt) * noise
        if time in (10, 30, 50, 70, 100):
            weight, std = (float(value) for value in scheduler.marginal(time))
            assert float(state.mean()) == pytest.approx(mu + weight * (start - mu), abs=4 * std / math.sqrt(paths) + 0.01 * weight)
            assert float(state.std()) == pytest.approx(std, rel=4 / math.sqrt(2 * paths) + 0.01)


def test_noise_is_added_by_the_marginals() -> None:
    scheduler = MeanRevertingScheduler()
    original, mu, noise = torch.rand(3, 2, 5, 4), torch.rand(3, 2, 5, 4), torch.randn(3, 2, 5, 4)
    times = torch.tensor([1.0, 33.5, 100.0])
    state = scheduler.add_noise(original, mu, noise, times)
    for index, time in enumerate(times):
        weight, std = scheduler.marginal(time)
        torch.testing.assert_close(state[index], mu[index] + weight * (original[index] - mu[index]) + std * noise[index])
    torch.testing.assert_close(scheduler.init_state(mu, noise), mu + 50 / 255 * noise)


def conditioned(curve: ReversionCurve, spread: float, late: Tensor, early: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients of x_t - mu and x_0 - mu in E[x_s | x_t, x_0], and the variance, from the joint Gaussian of (x_s, x_t) given x_0."""
    a, b, c = torch.exp(curve.elapsed(early) - curve.elapsed(late)), torch.exp(-curve.elapsed(late)), torch.exp(-curve.elapsed(early))
    variance_early, variance_late = spread**2 * (1 - c**2), spread**2 * (1 - b**2)
    covariance = a * variance_early
    state = covariance / variance_late
    return state, c - state * b, variance_early - covariance**2 / variance_late


@pytest.mark.parametrize("jump", [1, 5, 40])
def test_the_optimal_state_is_gaussian_conditioning(jump: int) -> None:
    scheduler = MeanRevertingScheduler()
    late = torch.arange(jump, 101, dtype=torch.float64)
    early = late - jump
    expected = conditioned(scheduler.curve, scheduler.spread, late, early)
    state, clean, std = scheduler.bridge(late, early)
    torch.testing.assert_close(state, expected[0], rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(clean, expected[1], rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(std**2, expected[2], rtol=1e-9, atol=1e-13)


def test_the_optimal_state_uses_the_bridge() -> None:
    scheduler = MeanRevertingScheduler()
    sample, original, mu = (torch.randn(4, 1, 2, 2, dtype=torch.float64) for _ in range(3))
    time = torch.tensor([1, 2, 50, 100])
    state, clean, _ = conditioned(scheduler.curve, scheduler.spread, time.double(), time.double() - 1)
    expected = mu + state.view(-1, 1, 1, 1) * (sample - mu) + clean.view(-1, 1, 1, 1) * (original - mu)
    torch.testing.assert_close(scheduler.optimal_state(sample, original, mu, time), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampler": "heun"},
        {"spacing": "karras"},
        {"prediction_type": "sample"},
        {"num_train_timesteps": 1},
        {"max_sigma": 0},
        {"delta": 1.0},
        {"schedule": "quadratic"},
    ],
)
def test_what_cannot_be_built_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"is one of|at least"):
        MeanRevertingScheduler(**wrong)
