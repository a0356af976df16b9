"""A straight flow whose clean end is predicted: for pixels in patches, where a narrow network cannot hand the noise on.

A patch of RGB pixels has as many numbers as the network has channels or nearly so, and noise fills all of them, while pictures do not. A
network that predicts the picture, trained on the error of the velocity that follows from it, is spared the noise (Li and He 2025,
arXiv 2511.13720).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...gen.schedulers.forward import ForwardProcess, Prediction, StraightFlow, forward_process


@dataclass(frozen=True)
class CleanFlow:
    """Flow ``x_t = (1 - t) x_0 + t noise`` with ``x_0`` as the network's output; errors count as those of ``(x_t - x_0) / t`` do.

    Attributes:
        flow: Times and noising.
        least: Share of noise below which the weight grows no further.
    """

    flow: StraightFlow = field(default_factory=StraightFlow)
    least: float = 0.1
    prediction: Prediction = "sample"

    def times(self, uniform: Tensor) -> Tensor:
        """``1000 t``, logit-normal."""
        return self.flow.times(uniform)

    def noised(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """``(1 - t) x_0 + t noise``."""
        return self.flow.noised(clean, noise, time)

    def target(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """``x_0``."""
        return clean

    def weight(self, time: Tensor) -> Tensor:
        """``1 / t^2``, with t at least `least`."""
        return (time / 1000.0).clamp(min=self.least).pow(-2).to(torch.float32)

    def clean(self, output: Tensor, state: Tensor, time: Tensor) -> Tensor:
        """The output itself."""
        return output


def layout_process(settings: dict[str, Any], gamma: float | None) -> ForwardProcess:
    """The process of a diffusers scheduler: that of a flow whose prediction is ``sample``, or what `forward_process` knows.

    Args:
        settings: Configuration of a diffusers scheduler, with ``logit_mean``, ``logit_std`` and ``flow_shift`` of a flow.
        gamma: Of min-SNR weighting; None for none.

    Raises:
        ValueError: If the settings are none of these.
    """
    if not (settings.get("use_flow_sigmas") and settings.get("prediction_type") == "sample"):
        return forward_process(settings, gamma)
    flow = forward_process({**settings, "prediction_type": "flow_prediction"})
    if not isinstance(flow, StraightFlow):
        raise TypeError("a flow's settings gave no flow")
    return CleanFlow(flow)
