"""The training side of the mean-reverting diffusion: losses and their weights, pure functions of (x_0, mu, noise, t)."""

from __future__ import annotations

import torch
from torch import Tensor

from .mean_reverting import MeanRevertingScheduler


def velocity_target(scheduler: MeanRevertingScheduler, original: Tensor, mu: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """The target of ``v_prediction``: weight * noise - (std / lambda) * (x_0 - mu) / lambda.

    Args:
        scheduler: Gives the marginals.
        original: x_0, ``[B, C, H, W]``.
        mu: ``[B, C, H, W]``.
        noise: Standard normal, ``[B, C, H, W]``.
        timestep: ``[B]``.

    Returns:
        ``[B, C, H, W]``.
    """
    weight, std = (value.to(original).view(-1, 1, 1, 1) for value in scheduler.marginal(timestep))
    return weight * noise - std / scheduler.spread**2 * (original - mu)


def optimal_state_loss(
    scheduler: MeanRevertingScheduler, output: Tensor, state: Tensor, original: Tensor, mu: Tensor, timestep: Tensor
) -> Tensor:
    """The published loss: L1 between the mean of the reverse Euler-Maruyama step and the optimal state x*_{t-1}.

    Args:
        scheduler: Gives the coefficients, and what ``output`` means.
        output: The network's output, ``[B, C, H, W]``.
        state: x_t, ``[B, C, H, W]``.
        original: x_0, ``[B, C, H, W]``.
        mu: ``[B, C, H, W]``.
        timestep: Whole t in 1..T, ``[B]``.

    Returns:
        Mean over everything, a scalar.
    """
    noise = scheduler.predict_noise(output, timestep, state, mu)
    reached = scheduler.reverse_mean(noise, state, mu, timestep)
    return (reached - scheduler.optimal_state(state, original, mu, timestep)).abs().mean()


def noise_l1_loss(output: Tensor, noise: Tensor, weight: Tensor | None = None) -> Tensor:
    """L1 between predicted and true noise.

    Args:
        output: ``[B, C, H, W]``.
        noise: ``[B, C, H, W]``.
        weight: Per sample, ``[B]``; 1 if left out. With `noise_loss_weight` this is nearly the published loss.

    Returns:
        Mean over everything, a scalar.
    """
    error = (output - noise).abs()
    return error.mean() if weight is None else (error * weight.to(error).view(-1, 1, 1, 1)).mean()


def noise_loss_weight(scheduler: MeanRevertingScheduler, timestep: Tensor) -> Tensor:
    """Weight that the published loss gives to the L1 error of the noise at time t: 2 lambda**2 theta_t dt / std_t.

    Args:
        scheduler: Gives the curve.
        timestep: Whole t in 1..T, ``[B]``.

    Returns:
        ``[B]``, float32, on the device of ``timestep``.
    """
    curve = scheduler.curve
    drift = curve.elapsed(timestep) - curve.elapsed(timestep - 1)
    weight = 2 * scheduler.spread * drift / curve.noise_share(timestep.to("cpu"))
    return weight.to(timestep.device, torch.float32)
