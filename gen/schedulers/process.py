"""The forward process of the mean-reverting diffusion in closed form: marginals, predictions, bridges, reverse steps.

All coefficients are computed in float64 and then cast to the picture's dtype.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .reversion_curve import ReversionCurve

Prediction = Literal["epsilon", "v_prediction"]


class MeanRevertingProcess:
    """What holds for every sampler.

    Attributes:
        curve: The clock.
        spread: lambda, standard deviation of the noise at the start.
        prediction: What the network's output means.
    """

    curve: ReversionCurve
    spread: float
    prediction: Prediction

    def init_state(self, mu: Tensor, noise: Tensor) -> Tensor:
        """The start of sampling, mu + lambda * noise."""
        return mu + self.spread * noise

    def marginal(self, timestep: Tensor | float) -> tuple[Tensor, Tensor]:
        """Distribution of x_t given x_0.

        Args:
            timestep: Any shape, 0..T, fractions allowed.

        Returns:
            Weight of x_0 - mu in x_t - mu, and standard deviation of x_t: both of the shape and on the device of ``timestep``, float32.
        """
        time = torch.as_tensor(timestep)
        weight, share = self.curve.weight(time), self.curve.noise_share(time) * self.spread
        return weight.to(time.device, torch.float32), share.to(time.device, torch.float32)

    def add_noise(self, original: Tensor, mu: Tensor, noise: Tensor, timestep: Tensor | float) -> Tensor:
        """Draw x_t given x_0.

        Args:
            original: x_0, ``[B, C, H, W]``.
            mu: ``[B, C, H, W]``.
            noise: Standard normal, ``[B, C, H, W]``.
            timestep: ``[B]`` or a scalar.

        Returns:
            x_t, ``[B, C, H, W]``.
        """
        weight, std = self._coefficients(timestep, original)
        return mu + weight * (original - mu) + std * noise

    def predict_x0(self, output: Tensor, timestep: Tensor | float, sample: Tensor, mu: Tensor) -> Tensor:
        """The clean picture that a network output stands for.

        Args:
            output: What the network returned, in the sense of `prediction`, ``[B, C, H, W]``.
            timestep: ``[B]`` or a scalar.
            sample: x_t, ``[B, C, H, W]``.
            mu: ``[B, C, H, W]``.

        Returns:
            x_0, ``[B, C, H, W]``.
        """
        weight, std = self._coefficients(timestep, sample)
        if self.prediction == "v_prediction":
            return mu + weight * (sample - mu) - std * output
        return mu + (sample - mu - std * output) / weight

    def predict_noise(self, output: Tensor, timestep: Tensor | float, sample: Tensor, mu: Tensor) -> Tensor:
        """The noise that a network output stands for; arguments as in `predict_x0`."""
        if self.prediction == "epsilon":
            return output
        weight, std = self._coefficients(timestep, sample)
        return weight * output + std / self.spread**2 * (sample - mu)

    def bridge(self, timestep: Tensor | float, earlier: Tensor | float | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Distribution of x_s given x_t and x_0, of an Ornstein-Uhlenbeck bridge.

        With A = exp(-(Theta_t - Theta_s) dt), B = exp(-Theta_t dt), C = exp(-Theta_s dt), mean and variance are mu + A (1 - C**2) / (1 -
        B**2) (x_t - mu) + C (1 - A**2) / (1 - B**2) (x_0 - mu) and lambda**2 (1 - A**2) (1 - C**2) / (1 - B**2).

        Args:
            timestep: t, any shape.
            earlier: s < t, of the same shape; t - 1 if left out.

        Returns:
            Coefficient of x_t - mu, coefficient of x_0 - mu, standard deviation; float64 on the CPU.
        """
        time = torch.as_tensor(timestep)
        before = time - 1 if earlier is None else torch.as_tensor(earlier)
        late, early = self.curve.elapsed(time), self.curve.elapsed(before)
        left_a, left_b, left_c = (-torch.expm1(-2 * span) for span in (late - early, late, early))
        state = torch.exp(early - late) * left_c / left_b
        clean = torch.exp(-early) * left_a / left_b
        return state, clean, self.spread * torch.sqrt(left_a * left_c / left_b)

    def optimal_state(
        self, sample: Tensor, original: Tensor, mu: Tensor, timestep: Tensor | float, earlier: Tensor | float | None = None
    ) -> Tensor:
        """The most likely x_s (s = t - 1 if left out) given x_t and x_0: the target of the published loss.

        Args:
            sample: x_t, ``[B, C, H, W]``.
            original: x_0, ``[B, C, H, W]``.
            mu: ``[B, C, H, W]``.
            timestep: t, ``[B]`` or a scalar.
            earlier: s, of the same shape.
        """
        state, clean, _ = (per_sample(value, sample) for value in self.bridge(timestep, earlier))
        return mu + state * (sample - mu) + clean * (original - mu)

    def reverse_mean(
        self, noise: Tensor, sample: Tensor, mu: Tensor, timestep: Tensor | float, earlier: Tensor | float | None = None, score: float = 1.0
    ) -> Tensor:
        """Mean of an Euler step of the reverse process from t to s: x - (theta (mu - x) - score * sigma**2 grad log p) dt.

        Args:
            noise: Predicted noise; grad log p is -noise / std_t.
            sample: x_t, ``[B, C, H, W]``.
            mu: ``[B, C, H, W]``.
            timestep: t, ``[B]`` or a scalar.
            earlier: s; t - 1 if left out.
            score: 1 for the SDE, 1/2 for the probability-flow ODE.
        """
        time = torch.as_tensor(timestep)
        before = time - 1 if earlier is None else torch.as_tensor(earlier)
        drift = self.curve.elapsed(time) - self.curve.elapsed(before)
        pull = 2 * score * self.spread * drift / self.curve.noise_share(time)
        return sample + per_sample(drift, sample) * (sample - mu) - per_sample(pull, sample) * noise

    def as_vp(self) -> list[float]:
        """Betas of the equivalent variance-preserving diffusion of y = (x - mu) / lambda.

        They are what ``trained_betas`` of a stock diffusers scheduler takes.
        The stock scheduler's time index i stands for our time i + 1: give the network ``(lambda * y, i + 1, mu)``.

        Returns:
            T numbers, 1 - exp(-2 theta_t dt) for t = 1..T.
        """
        betas: list[float] = (-torch.expm1(-2 * self.curve.theta[1:] * self.curve.dt)).tolist()
        return betas

    def _coefficients(self, timestep: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        time = torch.as_tensor(timestep)
        return per_sample(self.curve.weight(time), like), per_sample(self.curve.noise_share(time) * self.spread, like)


def per_sample(value: Tensor, sample: Tensor) -> Tensor:
    """A coefficient per sample, ready to multiply ``[B, C, H, W]``."""
    return value.to(sample.device, sample.dtype).reshape(-1, *([1] * (sample.ndim - 1)))
