"""The samplers against closed forms: data that is one point, Gaussian data, plain recursions, stock diffusers schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler

SHAPE = (2, 1, 4, 4)
MU, POINT, DEVIATION = 0.35, 0.8, 0.05
Predict = Callable[[Tensor, float], Tensor]


def doubles(seed: int, count: int = 1) -> Tensor:
    return torch.randn(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def exact_noise(scheduler: MeanRevertingScheduler, deviation: float = 0.0) -> Predict:
    """The noise that is expected given x_t when x_0 is N(POINT, deviation^2)."""

    def predict(state: Tensor, time: float) -> Tensor:
        weight = scheduler.curve.weight(torch.tensor(time))
        std = scheduler.spread * scheduler.curve.noise_share(torch.tensor(time))
        return std * (state - MU - weight * (POINT - MU)) / (weight**2 * deviation**2 + std**2)

    return predict


def run(scheduler: MeanRevertingScheduler, steps: int, predict: Predict, start: Tensor, noise: Tensor | None = None) -> list[Tensor]:
    """All visited states, the start first; `noise` is ``[steps, ...]``."""
    scheduler.set_timesteps(steps)
    mu, states = torch.full(SHAPE, MU, dtype=torch.float64), [start]
    for index, time in enumerate(scheduler.timesteps):
        output = predict(states[-1], float(time))
        states.append(scheduler.step(output, time, states[-1], mu, noise=None if noise is None else noise[index]).prev_sample)
    return states


def grid(scheduler: MeanRevertingScheduler) -> list[float]:
    return [*scheduler.timesteps.tolist(), 0.0]


def on_the_path(scheduler: MeanRevertingScheduler, time: float, noise: Tensor) -> Tensor:
    """The state at this time that belongs to the point and the noise."""
    weight, share = scheduler.curve.weight(torch.tensor(time)), scheduler.curve.noise_share(torch.tensor(time))
    return MU + weight * (POINT - MU) + scheduler.spread * share * noise


@pytest.mark.parametrize("spacing", ["logsnr", "uniform"])
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 13, 50, 100])
def test_one_point_dpmpp_stays_on_the_path_at_every_time(steps: int, spacing: str) -> None:
    scheduler = MeanRevertingScheduler(sampler="dpmpp_2m", spacing=spacing)
    noise = doubles(1)[0]
    states = run(scheduler, steps, exact_noise(scheduler), on_the_path(scheduler, 100.0, noise))
    for time, state in zip(grid(scheduler), states, strict=True):
        torch.testing.assert_close(state, on_the_path(scheduler, time, noise), rtol=0, atol=2e-6)
    torch.testing.assert_close(states[-1], torch.full(SHAPE, POINT, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("spacing", ["logsnr", "uniform"])
@pytest.mark.parametrize("steps", [1, 2, 10, 13, 50, 100])
def test_one_point_posterior_has_the_marginals_at_every_time(steps: int, spacing: str) -> None:
    """A step is affine in state and noise, so that mean and variance follow from two runs."""
    scheduler = MeanRevertingScheduler(sampler="posterior", spacing=spacing)
    zero, one = torch.zeros(SHAPE, dtype=torch.float64), torch.ones(SHAPE, dtype=torch.float64)
    predict, mu = exact_noise(scheduler), torch.full(SHAPE, MU, dtype=torch.float64)
    scheduler.set_timesteps(steps)
    mean, variance = on_the_path(scheduler, 100.0, zero), (scheduler.spread * scheduler.curve.noise_share(torch.tensor(100.0))) ** 2
    for time, earlier in pairwise(grid(scheduler)):
        time32 = torch.tensor(time)

        def step(state: Tensor, noise: Tensor, time: Tensor = time32) -> Tensor:
            return scheduler.step(predict(state, float(time)), time, state, mu, noise).prev_sample

        middle = step(mean, zero)
        slope, kick = step(mean + 1, zero) - middle, step(mean, one) - middle
        mean, variance = middle, slope**2 * variance + kick**2
        weight, std = scheduler.curve.weight(torch.tensor(earlier)), scheduler.spread * scheduler.curve.noise_share(torch.tensor(earlier))
        torch.testing.assert_close(mean, (MU + weight * (POINT - MU)).expand(SHAPE), rtol=0, atol=2e-6)
        torch.testing.assert_close(variance.sqrt(), std.expand(SHAPE), rtol=0, atol=2e-6)


@pytest.mark.parametrize("sampler", ["em", "ode"])
@pytest.mark.parametrize("steps", [10, 50, 100])
def test_euler_samplers_are_the_published_recursion(sampler: str, steps: int) -> None:
    """x - (theta (mu - x) - c sigma^2 score) dt [+ sigma sqrt(dt) z], c = 1 for the SDE and 1/2 for the ODE, in plain numpy."""
    scheduler = MeanRevertingScheduler(sampler=sampler, final_noise=sampler == "em")
    noise, start = doubles(2, steps), doubles(3)[0] * 0.2 + MU
    states = run(scheduler, steps, exact_noise(scheduler, DEVIATION), start, noise)
    cumulative, dt, spread = scheduler.curve.cumulative.numpy(), scheduler.curve.dt, scheduler.spread
    x, times = start.numpy(), np.linspace(100, 0, steps + 1).astype(int)
    for index, (late, early) in enumerate(pairwise(times)):
        theta_dt = (cumulative[late] - cumulative[early]) * dt
        weight, variance = math.exp(-cumulative[late] * dt), spread**2 * (1 - math.exp(-2 * cumulative[late] * dt))
        score = -(x - MU - weight * (POINT - MU)) / (weight**2 * DEVIATION**2 + variance)
        factor = 1.0 if sampler == "em" else 0.5
        x = x - (theta_dt * (MU - x) - factor * 2 * spread**2 * theta_dt * score)
        if sampler == "em":
            x = x + spread * math.sqrt(2 * theta_dt) * noise[index].numpy()
        np.testing.assert_allclose(states[index + 1].numpy(), x, rtol=0, atol=1e-6)


def gaussian_error(sampler: str, steps: int) -> float:
    """Relative error of the standard deviation that a deterministic sampler gives Gaussian data."""
    deviation = 0.3
    scheduler = MeanRevertingScheduler(sampler=sampler)
    predict = exact_noise(scheduler, deviation)
    begin = on_the_path(scheduler, 100.0, torch.zeros(SHAPE, dtype=torch.float64))
    at_start = math.hypot(float(scheduler.curve.weight(torch.tensor(100.0))) * deviation, float(scheduler.marginal(100.0)[1]))
    slope = run(scheduler, steps, predict, begin + 1)[-1] - run(scheduler, steps, predict, begin)[-1]
    return float(slope.flatten()[0]) * at_start / deviation - 1


@pytest.mark.parametrize(("sampler", "order", "counts"), [("ode", 1, (10, 20, 50, 100)), ("dpmpp_2m", 2, (20, 40, 80, 160))])
def test_gaussian_data_order_of_convergence(sampler: str, order: int, counts: tuple[int, ...]) -> None:
    errors = [abs(gaussian_error(sampler, count)) for count in counts]
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope < -0.8 * order, errors
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("sampler", ["em", "posterior"])
def test_gaussian_data_stochastic_samplers_reach_mean_and_spread(sampler: str) -> None:
    """With 1000 steps, where the bias of Euler-Maruyama (4 % of the spread at 100) is below the noise of the test."""
    steps, count = 1000, 20_000
    scheduler = MeanRevertingScheduler(num_train_timesteps=steps, sampler=sampler)
    scheduler.set_timesteps(steps)
    predict, generator = exact_noise(scheduler, DEVIATION), torch.Generator().manual_seed(0)
    mu = torch.full((count, 1, 1, 1), MU, dtype=torch.float64)
    state = scheduler.init_state(mu, torch.randn(mu.shape, dtype=torch.float64, generator=generator))
    for time in scheduler.timesteps:
        noise = torch.randn(mu.shape, dtype=torch.float64, generator=generator)
        state = scheduler.step(predict(state, float(time)), time, state, mu, noise).prev_sample
    assert float(state.mean()) == pytest.approx(POINT, abs=4 * DEVIATION / math.sqrt(count) + 0.001)
    assert float(state.std()) == pytest.approx(DEVIATION, rel=4 / math.sqrt(2 * count) + 0.005)


@pytest.fixture(scope="module")
def toy(bench_module: Callable[[str], ModuleType]) -> ModuleType:
    return bench_module("mixture_toy")


def test_twenty_fast_steps_are_no_worse_than_a_hundred_published_ones(toy: ModuleType) -> None:
    fast = toy.distance(MeanRevertingScheduler(sampler="dpmpp_2m"), 20, samples=40_000, seed=0)
    published = toy.distance(MeanRevertingScheduler(sampler="em", final_noise=True), 100, samples=40_000, seed=0)
    assert fast <= published


# The equivalent variance-preserving diffusion, y = (x - mu) / lambda.


def test_betas_give_the_marginals_to_stock_schedulers() -> None:
    scheduler = MeanRevertingScheduler()
    betas = scheduler.as_vp()
    assert [betas[i] for i in (0, 49, 99)] == pytest.approx([0.00035, 0.100, 0.188], abs=5e-4)
    stock = DDPMScheduler(num_train_timesteps=100, trained_betas=betas)
    times = torch.arange(1, 101, dtype=torch.float64)
    torch.testing.assert_close(stock.alphas_cumprod.double(), scheduler.curve.weight(times) ** 2, rtol=3e-5, atol=1e-8)


@pytest.mark.parametrize("index", [1, 2, 30, 99])
def test_a_posterior_step_is_a_stock_ddpm_step(index: int) -> None:
    scheduler = MeanRevertingScheduler(sampler="posterior")
    scheduler.set_timesteps(100)
    stock = DDPMScheduler(num_train_timesteps=100, trained_betas=scheduler.as_vp(), clip_sample=False, variance_type="fixed_small")
    y, noise = doubles(4, 2).float()
    mu = torch.full(SHAPE, MU)
    x = mu + scheduler.spread * y
    output = exact_noise(scheduler, DEVIATION)(x, index + 1.0).float()
    torch.manual_seed(index)
    theirs = stock.step(output, index, y).prev_sample
    torch.manual_seed(index)
    drawn = torch.randn(SHAPE)  # what the stock scheduler draws inside
    ours = scheduler.step(output, float(index + 1), x, mu, drawn).prev_sample
    torch.testing.assert_close((ours - mu) / scheduler.spread, theirs, rtol=1e-4, atol=2e-5)
    assert (ours - scheduler.step(output, float(index + 1), x, mu, noise).prev_sample).abs().max() > 1e-4


@pytest.mark.parametrize("steps", [5, 10, 20])
def test_dpmpp_is_the_stock_solver_on_the_residual(steps: int) -> None:
    ours = MeanRevertingScheduler(sampler="dpmpp_2m", spacing="uniform")
    predict, start = exact_noise(ours, DEVIATION), doubles(5)[0]
    states = run(ours, steps, predict, MU + ours.spread * start)
    stock = DPMSolverMultistepScheduler(num_train_timesteps=100, trained_betas=ours.as_vp(), final_sigmas_type="zero")
    stock.set_timesteps(timesteps=[int(time) - 1 for time in ours.timesteps])
    y = start
    for index, time in enumerate(stock.timesteps):
        y = stock.step(predict(MU + ours.spread * y, float(time) + 1), time, y).prev_sample
        torch.testing.assert_close((states[index + 1] - MU) / ours.spread, y.double(), rtol=1e-3, atol=5e-4)


def test_the_ode_is_what_stock_ddim_follows() -> None:
    """Two first-order methods on the same equation: they differ by their steps alone, the less the more steps there are."""
    gaps = []
    for steps in (100, 1000):
        ours = MeanRevertingScheduler(num_train_timesteps=steps, sampler="ode")
        predict, start = exact_noise(ours, DEVIATION), doubles(6)[0]
        ours.set_timesteps(steps)
        begin = MU + ours.spread * start
        final = run(ours, steps, predict, begin)[-1]
        stock = DDIMScheduler(num_train_timesteps=steps, trained_betas=ours.as_vp(), clip_sample=False, set_alpha_to_one=True)
        stock.set_timesteps(steps)
        y = start
        for time in stock.timesteps:
            y = stock.step(predict(MU + ours.spread * y, float(time) + 1), int(time), y).prev_sample
        gaps.append(float((final - MU - ours.spread * y).abs().max()))
    assert gaps[0] < 0.2 * DEVIATION
    assert gaps[1] < 0.2 * gaps[0]


# Predictions, noise on the last step, bookkeeping.


def test_predictions_convert_into_each_other() -> None:
    noise_like = MeanRevertingScheduler(prediction_type="epsilon")
    velocity_like = MeanRevertingScheduler(prediction_type="v_prediction")
    original, mu, noise = doubles(7, 3)
    for time in (0.5, 1.0, 37.0, 100.0):
        state = noise_like.add_noise(original, mu, noise, time)
        weight, share = (getattr(noise_like.curve, name)(torch.tensor(time)) for name in ("weight", "noise_share"))
        velocity = weight * noise - share * (original - mu) / noise_like.spread
        torch.testing.assert_close(velocity_like.predict_x0(velocity, time, state, mu), original, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(velocity_like.predict_noise(velocity, time, state, mu), noise, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(noise_like.predict_x0(noise, time, state, mu), original, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sampler", ["em", "posterior", "ode", "dpmpp_2m"])
def test_both_predictions_give_the_same_picture(sampler: str) -> None:
    by_noise = MeanRevertingScheduler(sampler=sampler)
    by_velocity = MeanRevertingScheduler(sampler=sampler, prediction_type="v_prediction")
    predict, noise, start = exact_noise(by_noise, DEVIATION), doubles(8, 10), MU + 0.2 * doubles(9)[0]

    def velocity(state: Tensor, time: float) -> Tensor:
        eps, at = predict(state, time), torch.tensor(time)
        weight, share = by_noise.curve.weight(at), by_noise.curve.noise_share(at)
        clean = (state - MU - by_noise.spread * share * eps) / weight
        return weight * eps - share * clean / by_noise.spread

    expected = run(by_noise, 10, predict, start, noise)[-1]
    torch.testing.assert_close(run(by_velocity, 10, velocity, start, noise)[-1], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sampler", ["em", "posterior", "ode", "dpmpp_2m"])
@pytest.mark.parametrize("final_noise", [False, True])
def test_noise_on_the_last_step_is_published_mode_alone(sampler: str, final_noise: bool) -> None:
    scheduler = MeanRevertingScheduler(sampler=sampler, final_noise=final_noise)
    scheduler.set_timesteps(100)
    last, mu = scheduler.timesteps[-1], torch.full(SHAPE, MU, dtype=torch.float64)
    state, noise = doubles(10)[0], doubles(11)[0]
    quiet = scheduler.step(torch.zeros_like(state), last, state, mu, noise=torch.zeros_like(noise)).prev_sample
    scheduler.set_timesteps(100)
    loud = scheduler.step(torch.zeros_like(state), last, state, mu, noise=noise).prev_sample
    if sampler == "em" and final_noise:
        grain = 255 * float((loud - quiet).std() / noise.std())
        assert grain == pytest.approx(0.94, abs=0.005)  # 8-bit units
        with pytest.raises(ValueError, match="pass `noise`"):
            scheduler.step(torch.zeros_like(state), last, state, mu)
    else:
        assert torch.equal(loud, quiet)


@pytest.mark.parametrize("sampler", ["em", "posterior"])
def test_stochastic_samplers_ask_for_noise(sampler: str) -> None:
    scheduler = MeanRevertingScheduler(sampler=sampler)
    scheduler.set_timesteps(10)
    state = doubles(12)[0]
    with pytest.raises(ValueError, match="pass `noise`"):
        scheduler.step(state, scheduler.timesteps[0], state, state)


@pytest.mark.parametrize("spacing", ["logsnr", "uniform"])
@pytest.mark.parametrize("sampler", ["em", "posterior", "ode", "dpmpp_2m"])
def test_grids_start_at_the_end_of_the_clock_and_descend(sampler: str, spacing: str) -> None:
    scheduler = MeanRevertingScheduler(sampler=sampler, spacing=spacing)
    for steps in (1, 3, 20, 100):
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) == steps
        assert float(scheduler.timesteps[0]) == 100.0
        assert bool((scheduler.timesteps.diff() < 0).all())
        assert float(scheduler.timesteps[-1]) >= 1.0
    if sampler == "dpmpp_2m" and spacing == "logsnr":
        heights = scheduler.curve.log_snr(scheduler.timesteps.double())
        torch.testing.assert_close(heights.diff(), heights.diff().mean().expand(99), rtol=1e-3, atol=1e-4)


def test_times_off_the_grid_and_impossible_counts_are_refused() -> None:
    scheduler = MeanRevertingScheduler(sampler="em")
    scheduler.set_timesteps(10)
    state = doubles(13)[0]
    with pytest.raises(ValueError, match="not on the grid"):
        scheduler.step(state, 55.0, state, state, state)
    for count in (0, 101):
        with pytest.raises(ValueError, match="takes 1 to 100"):
            scheduler.set_timesteps(count)


def test_a_second_run_does_not_remember_the_first() -> None:
    scheduler = MeanRevertingScheduler()
    predict, start = exact_noise(scheduler, DEVIATION), doubles(14)[0]
    first = run(scheduler, 7, predict, start)[-1]
    scheduler.step(start, scheduler.timesteps[0], start, start)  # an interrupted run
    assert torch.equal(run(scheduler, 7, predict, start)[-1], first)


def test_the_config_round_trips(tmp_path: Path) -> None:
    MeanRevertingScheduler(sampler="em", final_noise=True, max_sigma=30, data_scale=2.0).save_pretrained(tmp_path)
    loaded = MeanRevertingScheduler.from_pretrained(tmp_path)
    assert (loaded.config["sampler"], loaded.config["final_noise"], loaded.config["data_scale"]) == ("em", True, 2.0)
    assert loaded.spread == pytest.approx(30 / 255)
