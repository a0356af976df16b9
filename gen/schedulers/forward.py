"""The forward process of latent diffusion and flow matching for training: noising, targets, signal-to-noise ratio.

Pure functions of (x_0, noise, t). Times are those that the denoiser is told: whole steps 0 to T - 1 of a diffusion, or 1000 t of a flow
with t in (0, 1), as diffusers' schedulers do at sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from .weighting import Target, logit_normal_times, min_snr_weight, shifted_times

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]


class ForwardProcess(Protocol):
    """From clean to noise."""

    @property
    def prediction(self) -> Prediction:
        """What the denoiser's output is."""
        ...

    def times(self, uniform: Tensor) -> Tensor:
        """Times ``[B]`` float32 from uniform numbers ``[B]`` in [0, 1)."""
        ...

    def noised(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """State at a time ``[B]`` of clean data and noise ``[B, ...]``."""
        ...

    def target(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What the denoiser's output should be."""
        ...

    def weight(self, time: Tensor) -> Tensor:
        """How much the squared error at a time counts, ``[B]``."""
        ...

    def clean(self, output: Tensor, state: Tensor, time: Tensor) -> Tensor:
        """The clean data that an output stands for."""
        ...


@dataclass(frozen=True)
class VariancePreserving:
    """Diffusion ``x_t = a x_0 + s noise`` with ``a^2 + s^2 = 1``.

    Attributes:
        signal: ``a^2`` of each step, ``[T]`` float64.
        prediction: ``epsilon``, ``v_prediction`` (``v = a noise - s x_0``) or ``sample``.
        gamma: Of min-SNR weighting on x_0, correct for each prediction; None for an unweighted error.
    """

    signal: Tensor
    prediction: Prediction = "epsilon"
    gamma: float | None = None

    def times(self, uniform: Tensor) -> Tensor:
        """Whole steps, all equally likely."""
        return torch.floor(uniform * len(self.signal)).clamp(max=len(self.signal) - 1).to(torch.float32)

    def noised(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """``a x_0 + s noise``."""
        a, s = self._factors(time, clean)
        return a * clean + s * noise

    def target(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Noise, v, or x_0."""
        a, s = self._factors(time, clean)
        if self.prediction == "epsilon":
            return noise
        return a * noise - s * clean if self.prediction == "v_prediction" else clean

    def snr(self, time: Tensor) -> Tensor:
        """``a^2 / s^2``, ``[B]`` float64."""
        signal = self.signal.to(time.device)[time.long()]
        return signal / (1 - signal)

    def weight(self, time: Tensor) -> Tensor:
        """Min-SNR weight for the prediction, or ones."""
        if self.gamma is None:
            return torch.ones_like(time, dtype=torch.float32)
        kinds: dict[Prediction, Target] = {"epsilon": "epsilon", "v_prediction": "v_prediction", "sample": "sample"}
        return min_snr_weight(self.snr(time), self.gamma, kinds[self.prediction]).to(torch.float32)

    def clean(self, output: Tensor, state: Tensor, time: Tensor) -> Tensor:
        """x_0 of an output; for ``epsilon`` not finite where the signal is 0."""
        a, s = self._factors(time, state)
        if self.prediction == "epsilon":
            return (state - s * output) / a
        return a * state - s * output if self.prediction == "v_prediction" else output

    def _factors(self, time: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        signal = self.signal.to(time.device)[time.long()]
        shape = (-1, *(1,) * (like.ndim - 1))
        return signal.sqrt().to(like).view(shape), (1 - signal).sqrt().to(like).view(shape)


@dataclass(frozen=True)
class StraightFlow:
    """Flow ``x_t = (1 - t) x_0 + t noise`` whose velocity ``noise - x_0`` is learnt (Lipman et al. 2023).

    Attributes:
        mean: Of the logit-normal density of times.
        std: Its spread.
        shift: Towards noise; 1 for none.
    """

    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    prediction: Prediction = "flow"

    def times(self, uniform: Tensor) -> Tensor:
        """``1000 t``, logit-normal."""
        return (1000.0 * shifted_times(logit_normal_times(uniform, self.mean, self.std), self.shift)).to(torch.float32)

    def noised(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """``(1 - t) x_0 + t noise``."""
        t = self._share(time, clean)
        return (1 - t) * clean + t * noise

    def target(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """``noise - x_0``."""
        return noise - clean

    def weight(self, time: Tensor) -> Tensor:
        """Ones: the density of times does the weighting."""
        return torch.ones_like(time, dtype=torch.float32)

    def clean(self, output: Tensor, state: Tensor, time: Tensor) -> Tensor:
        """``x_t - t v``."""
        return state - self._share(time, state) * output

    def _share(self, time: Tensor, like: Tensor) -> Tensor:
        return (time / 1000.0).to(like).view(-1, *(1,) * (like.ndim - 1))


def forward_process(settings: dict[str, Any], gamma: float | None = None) -> ForwardProcess:
    """The process of a diffusers scheduler.

    Args:
        settings: Configuration of a diffusers scheduler: ``prediction_type`` and the betas of a diffusion, or ``flow_prediction`` with
            ``logit_mean``, ``logit_std`` and ``shift``.
        gamma: Of min-SNR weighting; None for none. A flow takes none.

    Raises:
        ValueError: If the settings are none of these.
    """
    settings = dict(settings)
    if settings.get("prediction_type") == "flow_prediction":
        return StraightFlow(
            float(settings.get("logit_mean", 0.0)), float(settings.get("logit_std", 1.0)), float(settings.get("flow_shift", 1.0))
        )
    scheduler = DDPMScheduler.from_config(settings)
    kind = scheduler.config["prediction_type"]
    if kind not in ("epsilon", "v_prediction", "sample"):
        raise ValueError(f"the prediction type {kind!r} is unknown; it is epsilon, v_prediction, sample or flow_prediction")
    return VariancePreserving(scheduler.alphas_cumprod.double(), kind, gamma)
