"""The published loss and its weight on the error of the noise."""

from __future__ import annotations

import pytest
import torch

from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.gen.schedulers.training import noise_l1_loss, noise_loss_weight, optimal_state_loss, velocity_target

WEIGHTS = {1: 0.0037, 10: 0.0077, 25: 0.0124, 50: 0.0222, 75: 0.0348, 100: 0.0408}


@pytest.fixture
def scheduler() -> MeanRevertingScheduler:
    return MeanRevertingScheduler()


@pytest.mark.parametrize("time", WEIGHTS)
def test_the_weight_is_the_published_one(scheduler: MeanRevertingScheduler, time: int) -> None:
    assert float(noise_loss_weight(scheduler, torch.tensor([time]))[0]) == pytest.approx(WEIGHTS[time], abs=5.01e-5)


@pytest.mark.parametrize("time", WEIGHTS)
def test_the_published_loss_is_the_weighted_error_of_the_noise(scheduler: MeanRevertingScheduler, time: int) -> None:
    """For errors that dwarf the gap between Euler-Maruyama mean and optimal state, which is there even for the true noise."""
    generator = torch.Generator().manual_seed(time)
    original, mu, noise, error = torch.randn(4, 8, 1, 8, 8, dtype=torch.float64, generator=generator)
    original, mu = 0.5 + 0.1 * original, 0.5 + 0.1 * mu
    times = torch.full((8,), time)
    state = scheduler.add_noise(original, mu, noise, times)
    output = noise + 20 * error
    published = optimal_state_loss(scheduler, output, state, original, mu, times)
    weighted = noise_l1_loss(output, noise, noise_loss_weight(scheduler, times))
    assert float(published) == pytest.approx(float(weighted), rel=0.01)
    gap = optimal_state_loss(scheduler, noise, state, original, mu, times)
    assert float(gap) < 0.12 * float(noise_l1_loss(noise + error, noise, noise_loss_weight(scheduler, times)))


def test_the_loss_falls_to_nothing_where_both_steps_agree() -> None:
    """Small steps: the Euler-Maruyama mean with the true noise becomes the optimal state."""
    gaps = []
    for steps in (100, 400, 1600):
        scheduler = MeanRevertingScheduler(num_train_timesteps=steps)
        times = torch.full((4,), steps // 2)
        original, mu, noise = torch.randn(3, 4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        state = scheduler.add_noise(original, mu, noise, times)
        gaps.append(float(optimal_state_loss(scheduler, noise, state, original, mu, times)))
    assert gaps[1] < gaps[0] / 10
    assert gaps[2] < gaps[1] / 10


def test_weights_are_per_sample(scheduler: MeanRevertingScheduler) -> None:
    output, noise = torch.randn(2, 3, 2, 4, 4)
    weight = torch.tensor([0.0, 1.0, 2.0])
    expected = ((output - noise).abs().mean((1, 2, 3)) * weight).mean()
    torch.testing.assert_close(noise_l1_loss(output, noise, weight), expected)
    torch.testing.assert_close(noise_l1_loss(output, noise), (output - noise).abs().mean())


def test_the_loss_knows_what_the_network_predicts() -> None:
    noise_like = MeanRevertingScheduler()
    velocity_like = MeanRevertingScheduler(prediction_type="v_prediction")
    original, mu, noise = torch.randn(3, 5, 1, 6, 6, dtype=torch.float64)
    times = torch.tensor([1, 20, 50, 80, 100])
    state = noise_like.add_noise(original, mu, noise, times)
    velocity = velocity_target(noise_like, original, mu, noise, times)
    by_noise = optimal_state_loss(noise_like, noise, state, original, mu, times)
    # `velocity_target` is float32 inside.
    torch.testing.assert_close(optimal_state_loss(velocity_like, velocity, state, original, mu, times), by_noise, rtol=1e-4, atol=1e-7)


def test_one_evaluation_at_the_end_gives_the_residual(scheduler: MeanRevertingScheduler) -> None:
    """v at t = T is almost -(x0 - mu) / lambda whatever the noise: why the one-step mean needs it."""
    original, mu, noise = torch.randn(3, 2, 1, 6, 6)
    velocity = velocity_target(scheduler, original, mu, noise, torch.tensor([100, 100]))
    torch.testing.assert_close(velocity, -(original - mu) / scheduler.spread, rtol=0, atol=0.025)
