"""Training of EDiffSR: mean-reverting diffusion of the residual between a picture and its up-sampled low-resolution counterpart.

The published loss (`state`) scores the mean of a reverse step against the optimal one. `velocity` scores ``v = a eps - s y0`` of the equivalent variance-preserving
diffusion ``y = (x - mu) / lambda`` instead: its prediction at t = T is the residual itself, so that one evaluation from the start state gives the posterior mean, which a
noise prediction cannot (there the signal weight 0.005 multiplies its error by 200).

Residuals are far smaller over plain ground than over towns. `contrast_floor` weighs each sample and band by the inverse of the squared error that the best linear
estimate would make, its variance taken from the low-resolution picture's local contrast. The weight depends on the condition alone, so the optimum is unchanged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...gen.data.datasets import PairDataset
from ...gen.data.degrade import build_degradation
from ...gen.data.resample import upsample
from ...gen.models.eanet import EANet
from ...gen.schedulers.mean_reverting import MeanRevertingScheduler
from ...gen.schedulers.training import optimal_state_loss
from ..order import Stream, sample_noise, sample_rng, sample_uniform
from ..task import Batch
from .super_resolution_config import SuperResolutionConfig
from .super_resolution_evaluation import HeldOutScore

if TYPE_CHECKING:
    from ..recipe import Recipe


class SuperResolutionTask:
    """One super-resolution system: network, diffusion, pairs and scores."""

    def __init__(self, recipe: Recipe) -> None:
        """Read the pictures.

        Args:
            recipe: The run's recipe; its ``task`` part describes this.

        Raises:
            InputError: If the data do not fit the recipe, or a held-out place is also trained on.
        """
        self.recipe: Recipe = recipe
        self.config: SuperResolutionConfig = recipe.task
        self.scheduler = MeanRevertingScheduler(**self.config.scheduler)
        self.data = PairDataset(self.config.sources, recipe.data, self.config.crop, build_degradation(self.config.degradation))
        self.held_out = HeldOutScore(self.config, recipe.data, self.data.names)

    def build(self, initialise: Path | None) -> nn.Module:
        """A fresh network, or the one stored in a model folder (its ``model`` part)."""
        if initialise is not None:
            return EANet.from_pretrained(initialise / "model" if (initialise / "model").is_dir() else initialise, torch_dtype=torch.float32)
        return EANet(bands=len(self.config.bands), scale=self.config.scale, **self.config.model)

    def batch(self, indices: list[int]) -> Batch:
        """Pairs, diffusion times and noise of these samples."""
        seed = self.recipe.seed
        pairs = [self.data.item(sample_rng(seed, index, Stream.DATA)) for index in indices]
        high = torch.stack([pair.high for pair in pairs])
        tensors = {
            "high": high,
            "low": torch.stack([pair.low for pair in pairs]),
            "noise": sample_noise(seed, indices, tuple(high.shape[1:])),
            "time": self._times(sample_uniform(seed, indices, 2)),
        }
        return Batch(indices, [pair.name for pair in pairs], tensors)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over samples of the configured loss, and the plain error of the samples at t = T."""
        high, low = (batch.tensors[name] * self.scheduler.config.data_scale for name in ("high", "low"))
        noise, time = batch.tensors["noise"], batch.tensors["time"]
        mu = upsample(low, self.config.scale)
        state = self.scheduler.add_noise(high, mu, noise, time)
        output = model(state - mu, time, mu, low)
        if self.config.loss == "state":
            return optimal_state_loss(self.scheduler, output, state, high, mu, time), {}
        if self.config.loss == "noise_l1":
            return (output - noise).abs().mean(), {}
        return self._velocity_loss(output, high - mu, noise, time, low)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out figures of the bicubic, the one-step mean and the samples."""
        return self.held_out(model, self.scheduler)

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        """Write the model as a pipeline folder with its card."""
        from .super_resolution_export import export_model

        export_model(model, self.scheduler, self.recipe, folder, card, self.data.names, self.held_out.names)

    def _times(self, uniform: Tensor) -> Tensor:
        """Whole steps 1..T, with the extra share at T."""
        final = self.scheduler.config.num_train_timesteps
        time = torch.floor(uniform[:, 0] * final) + 1
        return torch.where(uniform[:, 1] < self.config.final_time_share, torch.full_like(time, float(final)), time).to(torch.float32)

    def _velocity_loss(
        self, output: Tensor, residual: Tensor, noise: Tensor, time: Tensor, low: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        spread = self.scheduler.config.max_sigma / 255.0
        weight, std = (value.view(-1, 1, 1, 1).to(residual) for value in self.scheduler.marginal(time))
        share = std / spread
        clean = residual / spread
        error = (output - (weight * noise - share * clean)).square()
        with torch.no_grad():
            last = (time == self.scheduler.config.num_train_timesteps).to(error)
            plain = (error.detach().mean((1, 2, 3)) * last).sum() / last.sum().clamp(min=1)
            bicubic = (clean.square().mean((1, 2, 3)) * last).sum() / last.sum().clamp(min=1)
        if self.config.contrast_floor > 0:
            floor = self.config.contrast_floor * self.scheduler.config.data_scale
            variance = (local_variance(low) + floor**2) / spread**2
            error = error * (weight.square() + share.square() / variance[:, :, None, None])
        return error.mean(), {"mean_error": plain, "bicubic_error": bicubic}


def local_variance(low: Tensor) -> Tensor:
    """Mean squared difference of each band's pixels from their 3 x 3 mean: ``[B, C, h, w]`` to ``[B, C]``."""
    return (low - F.avg_pool2d(low, 3, 1, 1, count_include_pad=False)).square().mean((2, 3))
