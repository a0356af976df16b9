"""The mean-reverting diffusion of EDiffSR and its samplers (Xiao et al. 2024; IR-SDE, Luo et al. 2023).

The forward process drags a picture x_0 to mu, the up-sampled low-resolution picture, and adds noise of standard deviation lambda. Sampling
starts at mu + lambda noise and runs back. With y = (x - mu) / lambda this is a variance-preserving diffusion of the residual with
``alphas_cumprod = exp(-2 Theta_t dt)`` (`as_vp`), so that fast solvers apply. Samplers:

- ``em``: Euler-Maruyama steps of the reverse SDE, as published (100 steps; noise on the last step too if ``final_noise``).
- ``posterior``: samples the bridge between x_t and the predicted x_0.
- ``ode``: Euler steps of the probability-flow ODE.
- ``dpmpp_2m``: DPM-Solver++ 2M (Lu et al. 2022) in y, on a grid uniform in log-SNR. The default: deterministic after the start, 20 steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils import BaseOutput
from torch import Tensor

from .process import MeanRevertingProcess, Prediction, per_sample
from .reversion_curve import ReversionCurve, Schedule

Sampler = Literal["em", "posterior", "ode", "dpmpp_2m"]
Spacing = Literal["logsnr", "uniform"]


@dataclass
class MeanRevertingSchedulerOutput(BaseOutput):
    """What a step returns.

    Attributes:
        prev_sample: The state at the next (earlier) time, ``[B, C, H, W]``.
        pred_original_sample: The clean picture predicted from the current state, ``[B, C, H, W]``.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor


class MeanRevertingScheduler(MeanRevertingProcess, SchedulerMixin, ConfigMixin):
    """Forward process and samplers.

    Pictures are in the network's unit throughout: physical values times ``data_scale``. All coefficients are computed in float64.

    Attributes:
        timesteps: The times at which the network is evaluated, descending, float32; whole T..1 before `set_timesteps`.
        spread: lambda, standard deviation of the noise at the start.
    """

    order = 1

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 100,
        max_sigma: float = 50.0,
        schedule: Schedule = "cosine",
        delta: float = 0.005,
        sampler: Sampler = "dpmpp_2m",
        spacing: Spacing = "logsnr",
        final_noise: bool = False,
        data_scale: float = 1.0,
        prediction_type: Prediction = "epsilon",
    ) -> None:
        """Build the tables.

        Args:
            num_train_timesteps: T, at least 2.
            max_sigma: 255 lambda: the noise in 8-bit steps where the data range is 1.
            schedule: Of theta: ``cosine``, ``linear`` or ``constant``.
            delta: Share of x_0 - mu left at T, in (0, 1).
            sampler: ``em``, ``posterior``, ``ode`` or ``dpmpp_2m``.
            spacing: Grid of ``posterior`` and ``dpmpp_2m``: uniform in log-SNR, with fractional times, or in whole t. The other two follow
                whole t always.
            final_noise: Whether ``em`` adds noise on the last step too, as published. It leaves a grain of 0.94 / 255 in the picture.
            data_scale: What the pipeline and the trainer multiply physical values with; it changes nothing here.
            prediction_type: ``epsilon`` (published) or ``v_prediction``, weight * noise - (std / lambda) * (x_0 - mu) / lambda.

        Raises:
            ValueError: If a value is out of range.
        """
        for name, got, allowed in (
            ("sampler", sampler, get_args(Sampler)),
            ("spacing", spacing, get_args(Spacing)),
            ("prediction_type", prediction_type, get_args(Prediction)),
        ):
            if got not in allowed:
                raise ValueError(f"{name} is {got!r}; it is one of {', '.join(allowed)}")
        if num_train_timesteps < 2 or max_sigma <= 0 or not 0 < delta < 1 or data_scale <= 0:
            raise ValueError("num_train_timesteps is at least 2, max_sigma and data_scale are above 0 and delta is between 0 and 1")
        self.curve = ReversionCurve(schedule, num_train_timesteps, delta)
        self.spread = max_sigma / 255.0
        self.prediction: Prediction = prediction_type
        self.init_noise_sigma = self.spread
        self.set_timesteps(num_train_timesteps)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose the times and forget any earlier run.

        Args:
            num_inference_steps: Network evaluations, at least 1; at most T on a grid of whole times.
            device: Where `timesteps` lives.

        Raises:
            ValueError: If the number does not fit.
        """
        total, fractional = self.curve.steps, self.config["sampler"] in ("posterior", "dpmpp_2m") and self.config["spacing"] == "logsnr"
        # A posterior run over all T steps is the one of the paper's authors: whole times.
        fractional = fractional and not (self.config["sampler"] == "posterior" and num_inference_steps == total)
        if num_inference_steps < 1 or (not fractional and num_inference_steps > total):
            raise ValueError(f"{num_inference_steps} steps; the sampler {self.config['sampler']} takes 1 to {total}; ask for as many")
        grid = (
            self._log_snr_grid(num_inference_steps)
            if fractional
            else torch.linspace(total, 0, num_inference_steps + 1, dtype=torch.float64).round()
        )
        self.num_inference_steps = num_inference_steps
        self._grid: list[float] = grid.to(torch.float32).tolist()
        self._previous: tuple[int, Tensor] | None = None
        self.timesteps = grid[:-1].to(device=device, dtype=torch.float32)

    def _log_snr_grid(self, count: int) -> Tensor:
        """T down to 1, uniform in log-SNR, then 0."""
        ends = self.curve.log_snr(torch.tensor([self.curve.steps, 1.0]))
        times = self.curve.time_at_log_snr(torch.linspace(float(ends[0]), float(ends[1]), count, dtype=torch.float64))
        times[0] = self.curve.steps
        return torch.cat([times, torch.zeros(1, dtype=torch.float64)])

    def scale_model_input(self, sample: Tensor, timestep: Tensor | float | None = None) -> Tensor:
        """The sample itself; here for pipelines that call it on every scheduler."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | float,
        sample: Tensor,
        mu: Tensor,
        noise: Tensor | None = None,
    ) -> MeanRevertingSchedulerOutput:
        """One step back, to the next time of the grid.

        Args:
            model_output: What the network returned, ``[B, C, H, W]``.
            timestep: One of `timesteps`.
            sample: x_t, ``[B, C, H, W]``.
            mu: ``[B, C, H, W]``.
            noise: Standard normal, ``[B, C, H, W]``; needed by ``em`` and ``posterior`` on every step but the last (there too with
                ``final_noise``).

        Returns:
            The state at the next time and the clean picture predicted on the way.

        Raises:
            ValueError: If the time is not on the grid, or noise is missing.
        """
        index = self._index(timestep)
        clean = self.predict_x0(model_output, self._grid[index], sample, mu)
        if self.config["sampler"] == "dpmpp_2m":
            before = self._second_order(index, clean, sample, mu)
        else:
            before = self._first_order(index, model_output, clean, sample, mu, noise)
        return MeanRevertingSchedulerOutput(prev_sample=before, pred_original_sample=clean)

    def _first_order(self, index: int, output: Tensor, clean: Tensor, sample: Tensor, mu: Tensor, noise: Tensor | None) -> Tensor:
        late, early = self._grid[index], self._grid[index + 1]
        if self.config["sampler"] == "posterior":
            std = self.bridge(late, early)[2]
            mean = self.optimal_state(sample, clean, mu, late, early)
        else:
            score = 1.0 if self.config["sampler"] == "em" else 0.5
            mean = self.reverse_mean(self.predict_noise(output, late, sample, mu), sample, mu, late, early, score)
            times = torch.tensor([late, early])
            std = self.spread * torch.sqrt(2 * (self.curve.elapsed(times[0]) - self.curve.elapsed(times[1])))
        last = index == self.num_inference_steps - 1
        if self.config["sampler"] == "ode" or (last and not self.config["final_noise"]) or float(std) == 0:
            return mean
        if noise is None:
            raise ValueError(
                f"the sampler {self.config['sampler']} is stochastic; it takes standard normal noise of the sample's shape; pass `noise`"
            )
        return mean + per_sample(std, sample) * noise

    def _second_order(self, index: int, clean: Tensor, sample: Tensor, mu: Tensor) -> Tensor:
        late, early = (torch.tensor(value) for value in self._grid[index : index + 2])
        previous, self._previous = self._previous, (index, clean)
        if index == self.num_inference_steps - 1:
            self._previous = None
            return clean
        step = self.curve.log_snr(early) - self.curve.log_snr(late)
        target = clean - mu
        if previous is not None and previous[0] == index - 1:
            before = self.curve.log_snr(late) - self.curve.log_snr(torch.tensor(self._grid[index - 1]))
            target = target + float(step / before) / 2 * (clean - previous[1])
        ratio = self.curve.noise_share(early) / self.curve.noise_share(late)
        return mu + float(ratio) * (sample - mu) - float(self.curve.weight(early) * torch.expm1(-step)) * target

    def _index(self, timestep: Tensor | float) -> int:
        time = float(timestep)
        index = min(range(self.num_inference_steps), key=lambda i: abs(self._grid[i] - time))
        if not math.isclose(self._grid[index], time, rel_tol=1e-4, abs_tol=1e-4):
            raise ValueError(f"time {time} is not on the grid of {self.num_inference_steps} steps; take the times from `timesteps`")
        return index

    def __len__(self) -> int:
        return int(self.curve.steps)
