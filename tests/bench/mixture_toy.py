"""A problem whose answer is known: one pixel, a residual that is a mixture of Gaussians, and the exact score.

Samplers are held against it by the Wasserstein-1 distance between their samples and the mixture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler

MU = 0.45
# Share, mean and standard deviation of x0 - mu: plain ground, an edge either way.
PARTS = ((0.5, 0.0, 0.01), (0.3, 0.12, 0.02), (0.2, -0.2, 0.03))


def exact_noise(scheduler: MeanRevertingScheduler, state: Tensor, time: float) -> Tensor:
    """Expected noise given the state: -std times the score of the noisy mixture."""
    at = torch.tensor(time)
    weight, std = float(scheduler.curve.weight(at)), scheduler.spread * float(scheduler.curve.noise_share(at))
    logs, pulls = [], []
    for share, mean, deviation in PARTS:
        variance = (weight * deviation) ** 2 + std**2
        offset = state - MU - weight * mean
        logs.append(math.log(share) - 0.5 * math.log(variance) - 0.5 * offset**2 / variance)
        pulls.append(offset / variance)
    responsibility = torch.softmax(torch.stack(logs), dim=0)
    return std * (responsibility * torch.stack(pulls)).sum(0)


def exact_quantiles(count: int) -> Tensor:
    """Values of x0 at the levels (i + 1/2) / count, by inverting the mixture's distribution function on a fine table."""
    table = torch.linspace(-0.45, 0.4, 200_001, dtype=torch.float64)
    cumulative = sum(share * 0.5 * torch.erfc(-(table - mean) / (deviation * math.sqrt(2))) for share, mean, deviation in PARTS)
    assert isinstance(cumulative, Tensor)
    levels = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    upper = torch.searchsorted(cumulative, levels).clamp(1, len(table) - 1)
    low, high = cumulative[upper - 1], cumulative[upper]
    return MU + torch.lerp(table[upper - 1], table[upper], ((levels - low) / (high - low)).clamp(0, 1))


def draw(scheduler: MeanRevertingScheduler, steps: int, samples: int, seed: int) -> Tensor:
    """Run a sampler from mu + lambda noise, the noise spread evenly over the normal's quantiles."""
    generator = torch.Generator().manual_seed(seed)
    levels = (torch.randperm(samples, generator=generator).double() + 0.5) / samples
    mu = torch.full((samples, 1, 1, 1), MU, dtype=torch.float64)
    state = scheduler.init_state(mu, torch.special.ndtri(levels).view_as(mu))
    scheduler.set_timesteps(steps)
    for time in scheduler.timesteps:
        noise = torch.randn(mu.shape, dtype=torch.float64, generator=generator)
        state = scheduler.step(exact_noise(scheduler, state, float(time)), time, state, mu, noise).prev_sample
    return state.flatten()


def distance(scheduler: MeanRevertingScheduler, steps: int, *, samples: int, seed: int) -> float:
    """Wasserstein-1 distance of a sampler's samples to the mixture."""
    found = draw(scheduler, steps, samples, seed).sort().values
    return float((found - exact_quantiles(samples)).abs().mean())


def floor(samples: int, seed: int) -> float:
    """The distance that exact independent samples have."""
    generator = torch.Generator().manual_seed(seed)
    pick = torch.rand(samples, dtype=torch.float64, generator=generator)
    noise = torch.randn(samples, dtype=torch.float64, generator=generator)
    values, passed = torch.empty_like(pick), 0.0
    for share, mean, deviation in PARTS:
        here = (pick >= passed) & (pick < passed + share + 1e-12)
        values[here] = MU + mean + deviation * noise[here]
        passed += share
    return float((values.sort().values - exact_quantiles(samples)).abs().mean())
