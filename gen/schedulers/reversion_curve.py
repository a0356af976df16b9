"""The clock of a mean-reverting diffusion: how much of the picture and how much noise is left at time t.

dx = theta_t (mu - x) dt + sigma_t dw with sigma_t**2 = 2 lambda**2 theta_t (IR-SDE, Luo et al. 2023). Everything follows from the integral
Theta of theta: x_t - mu = exp(-Theta_t dt) (x_0 - mu) + lambda sqrt(1 - exp(-2 Theta_t dt)) noise. theta is constant within each of the T
steps, so Theta is linear between whole t.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["cosine", "linear", "constant"]


def theta_table(schedule: Schedule, steps: int) -> Tensor:
    """Speed of reversion theta_0 .. theta_T.

    Args:
        schedule: ``cosine`` is 1 - cos**2 of the improved DDPM schedule (offset 0.008) on T + 2 intervals without both ends; ``linear``
            rises from 0.1 to 20 per T + 1; ``constant`` is 1.
        steps: T.

    Returns:
        ``[T + 1]``, float64.

    Raises:
        ValueError: If the schedule is unknown.
    """
    if schedule == "cosine":
        place = torch.linspace(0, 1, steps + 3, dtype=torch.float64)
        curve = torch.cos((place + 0.008) / 1.008 * math.pi / 2) ** 2
        return 1 - curve[1:-1] / curve[0]
    if schedule == "linear":
        return torch.linspace(0.1, 20.0, steps + 1, dtype=torch.float64) / (steps + 1)
    if schedule == "constant":
        return torch.ones(steps + 1, dtype=torch.float64)
    raise ValueError(f"schedule is {schedule!r}; it is one of cosine, linear, constant")


class ReversionCurve:
    """Theta and what follows from it, in float64 on the CPU.

    Attributes:
        steps: T.
        theta: theta_0 .. theta_T.
        cumulative: Theta_0 = 0 .. Theta_T.
        dt: Length of a step, so that exp(-Theta_T dt) is delta.
    """

    def __init__(self, schedule: Schedule, steps: int, delta: float) -> None:
        """Build the tables.

        Args:
            schedule: See `theta_table`.
            steps: T.
            delta: What is left of x_0 - mu at T.
        """
        self.steps = steps
        self.theta = theta_table(schedule, steps)
        self.cumulative = self.theta.cumsum(0) - self.theta[0]
        self.dt = -math.log(delta) / float(self.cumulative[-1])

    def elapsed(self, time: Tensor) -> Tensor:
        """Theta_t dt at any real t in 0..T: float64 on the CPU, of the shape of `time`."""
        place = time.detach().to("cpu", torch.float64).clamp(0, self.steps)
        whole = place.floor().long().clamp(max=self.steps - 1)
        share = place - whole
        return torch.lerp(self.cumulative[whole], self.cumulative[whole + 1], share) * self.dt

    def weight(self, time: Tensor) -> Tensor:
        """exp(-Theta_t dt): the share of x_0 - mu in x_t - mu."""
        return torch.exp(-self.elapsed(time))

    def noise_share(self, time: Tensor) -> Tensor:
        """sqrt(1 - exp(-2 Theta_t dt)): the standard deviation of the noise over lambda."""
        return torch.sqrt(-torch.expm1(-2 * self.elapsed(time)))

    def log_snr(self, time: Tensor) -> Tensor:
        """log(weight / noise share), half the log of the signal-to-noise ratio."""
        return torch.log(self.weight(time) / self.noise_share(time))

    def time_at_log_snr(self, value: Tensor) -> Tensor:
        """The inverse of `log_snr`, float64."""
        # weight**2 = 1 / (1 + exp(-2 value)), hence Theta dt = softplus(-2 value) / 2.
        target = torch.nn.functional.softplus(-2 * value.to(torch.float64)) / 2 / self.dt
        upper = torch.searchsorted(self.cumulative, target).clamp(1, self.steps)
        low, high = self.cumulative[upper - 1], self.cumulative[upper]
        return (upper - 1) + ((target - low) / (high - low)).clamp(0, 1)
