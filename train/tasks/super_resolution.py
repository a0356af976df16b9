"""Training of EDiffSR: mean-reverting diffusion of the residual between a picture and its up-sampled low-resolution counterpart.

The published loss (`state`) scores the mean of a reverse step against the optimal one. `velocity` scores ``v = a eps - s y0`` of the
equivalent variance-preserving diffusion ``y = (x - mu) / lambda`` instead: its prediction at t = T is the residual itself, so that one
evaluation from the start state gives the posterior mean, which a noise prediction cannot (there the signal weight 0.005 multiplies its
error by 200).

Residuals are far smaller over plain ground than over towns. With ``task.contrast`` the diffusion works relative to the place's own contrast
(`gen.data.frames`); without, in physical values times a constant, as published.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from ...gen.data.datasets import PairDataset
from ...gen.data.degrade import build_degradation
from ...gen.errors import InputError
from ...gen.models.eanet import EANet
from ...gen.schedulers.mean_reverting import MeanRevertingScheduler
from ...gen.schedulers.training import noise_l1_loss, optimal_state_loss, velocity_target
from ..order import Stream, sample_noise, sample_rng, sample_uniform
from ..task import Batch, Probe
from .super_resolution_config import SuperResolutionConfig
from .super_resolution_evaluation import HeldOutScore
from .super_resolution_steps import deterministic, predict_clean, read_noise, solve
from .super_resolution_teacher import read_teacher
from .super_resolution_views import HeldOutViews, Rgb
from .teacher import Teacher

if TYPE_CHECKING:
    from ..recipe import Recipe

T = TypeVar("T")


class SuperResolutionTask:
    """One super-resolution system: network, diffusion, pairs and scores."""

    def __init__(self, recipe: Recipe, config: SuperResolutionConfig | None = None) -> None:
        """Read the pictures.

        Args:
            recipe: The run's recipe.
            config: What describes this system; the recipe's ``task`` part if left out.

        Raises:
            InputError: If the data do not fit the recipe, or a held-out place is also trained on.
        """
        self.recipe: Recipe = recipe
        self.config: SuperResolutionConfig = _own_part(recipe) if config is None else config
        self.scheduler = configured(MeanRevertingScheduler, self.config.scheduler, "task.scheduler")
        degradation = build_degradation(self.config.degradation)
        self.data = PairDataset(self.config.sources, recipe.data, self.config.crop, degradation, recipe.seed)
        if self.data.bands != len(self.config.bands):
            raise InputError(f"the sources give {self.data.bands} bands, but task.bands names {len(self.config.bands)}; make them agree")
        self.data.keep_out(self.config.held_out.sources, recipe.data)
        self.held_out = HeldOutScore(self.config, recipe.data, self.data.pictures)
        self._views = HeldOutViews(self.held_out, self.config, self.scheduler)

    def build(self, initialise: Path | None) -> nn.Module:
        """A fresh network, or the one stored in a model folder (its ``model`` part)."""
        if initialise is not None:
            return EANet.from_pretrained(_model_part(initialise), torch_dtype=torch.float32).to(memory_format=torch.channels_last)
        given = {"bands": len(self.config.bands), "scale": self.config.scale, **self.config.model}
        return configured(EANet, given, "task.model").to(memory_format=torch.channels_last)

    def batch(self, indices: list[int]) -> Batch:
        """Pairs, diffusion times and noise of these samples."""
        seed = self.recipe.seed
        pairs = [self.data.item(sample_rng(seed, index, Stream.DATA), index) for index in indices]
        high = torch.stack([pair.high for pair in pairs])
        tensors = {
            "high": high,
            "low": torch.stack([pair.low for pair in pairs]),
            "noise": sample_noise(seed, indices, tuple(high.shape[1:])),
            "time": self._times(sample_uniform(seed, indices, 2)),
        }
        return Batch(indices, [pair.name for pair in pairs], tensors, tuple(name for pair in pairs for name in pair.replaced))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over samples of the configured loss, and the plain error of the samples at t = T."""
        noise, time = batch.tensors["noise"], batch.tensors["time"]
        frame = self.config.frame(batch.tensors["low"], self.scheduler)
        high, low, mu = frame.enter(batch.tensors["high"]), frame.low, frame.mu
        state = self.scheduler.add_noise(high, mu, noise, time)
        output = model(state - mu, time, mu, low)
        if self.config.loss == "state":
            return optimal_state_loss(self.scheduler, output, state, high, mu, time), {}
        if self.config.loss == "noise_l1":
            return noise_l1_loss(output, noise), {}
        error = (output - velocity_target(self.scheduler, high, mu, noise, time)).square()
        figures = self._final_errors(error.detach(), high - mu, time)
        return error.mean(), figures

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out figures of the bicubic, the one-step mean and the samples."""
        return self.held_out(model, self.scheduler)

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any], steps: int | None = None) -> None:
        """Write the model as a pipeline folder with its card; `steps` is the number of evaluations that it is made for, if it says one."""
        from .super_resolution_export import export_model

        export_model(model, self.scheduler, self.recipe, self.config, folder, card, self.data.names, self.held_out.names, steps)

    def show(self, model: nn.Module) -> dict[str, Rgb]:
        """A grid of held-out pictures."""
        return self._views.show(model)

    @property
    def probes(self) -> dict[str, Probe]:
        """Whether a sample, seen by the sensor, is the input."""
        return {"sensor": self._views.sensor}

    @property
    def spread(self) -> float:
        """Standard deviation of the noise at the start, in the diffusion's unit."""
        return self.scheduler.spread

    def teacher(self, name: str, starts: bool) -> Teacher:
        """Read a trained model of this very system; `starts` says whether its weights must fit this task's network too."""
        return read_teacher(name, self.config, self.scheduler, with_network=starts)

    def truth(self, batch: Batch) -> Tensor:
        """The true pictures in the diffusion's unit, ``[B, C, H, W]``."""
        return self.config.frame(batch.tensors["low"], self.scheduler).enter(batch.tensors["high"])

    def solve(self, model: nn.Module, batch: Batch, steps: int) -> Tensor:
        """What `steps` evaluations of the deterministic sampler make of the batch's noise, ``[B, C, H, W]`` in the diffusion's unit."""
        frame = self.config.frame(batch.tensors["low"], self.scheduler)
        return solve(model, deterministic(self.scheduler), frame, batch.tensors["noise"], steps)

    def one_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """What one evaluation makes of it."""
        frame = self.config.frame(batch.tensors["low"], self.scheduler)
        return predict_clean(model, self.scheduler, frame, batch.tensors["noise"])

    def invert(self, model: nn.Module, clean: Tensor, batch: Batch) -> Tensor:
        """The noise that the model reads out of pictures in the diffusion's unit, in one evaluation at t = 0."""
        return read_noise(model, self.scheduler, self.config.frame(batch.tensors["low"], self.scheduler), clean)

    def compare(self, student: nn.Module, teacher: Teacher, steps: int) -> dict[str, float]:
        """Held-out figures of a one-step student beside its teacher's."""
        return self.held_out.compare(student, teacher, self.scheduler, steps)

    def _times(self, uniform: Tensor) -> Tensor:
        """Whole steps 1..T, with the extra share at T."""
        final = self.scheduler.config.num_train_timesteps
        time = torch.floor(uniform[:, 0] * final) + 1
        return torch.where(uniform[:, 1] < self.config.final_time_share, torch.full_like(time, float(final)), time).to(torch.float32)

    def _final_errors(self, error: Tensor, residual: Tensor, time: Tensor) -> dict[str, Tensor]:
        """Mean squared error of the samples at t = T, in units of lambda^2, of the network and of bicubic; 0 where there is none."""
        last = (time == self.scheduler.config.num_train_timesteps).to(error)
        count = last.sum().clamp(min=1)
        clean = (residual / self.scheduler.spread).square()
        both = {"mean_error": error, "bicubic_error": clean}
        return {name: (value.mean((1, 2, 3)) * last).sum() / count for name, value in both.items()}


def _own_part(recipe: Recipe) -> SuperResolutionConfig:
    if not isinstance(recipe.task, SuperResolutionConfig):
        raise TypeError(f"the recipe {recipe.name} describes {recipe.task.kind}, not super-resolution")
    return recipe.task


def configured(make: Callable[..., T], settings: Mapping[str, Any], where: str) -> T:
    """Build an object from a recipe's table.

    Args:
        make: Class.
        settings: Its arguments.
        where: The table's dotted name, for errors.

    Raises:
        InputError: If an argument is unknown or out of range.
    """
    known = [name for name in inspect.signature(make).parameters if name != "self"]
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            raise InputError(
                f"unknown key '{where}.{name}'" + (f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}")
            )
    try:
        return make(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error


def _model_part(folder: Path) -> Path:
    from ...gen.zoo.names import resolve_model

    if (folder / "config.json").is_file():
        return folder
    return resolve_model(folder) / "model"
