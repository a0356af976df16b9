"""The arithmetic of super-resolution on tensors: fill holes, sample, agree with the sensor, average an ensemble, mask.

Pictures in memory and tiles of a scene take the same way through here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..gen.data.frames import LocalContrast, frame_of
from ..gen.data.nodata import FILL_REACH, fill_holes
from ..gen.data.resample import upsample
from ..gen.data.sensor_model import SensorModel
from ..gen.errors import InputError
from ..gen.models.eanet import EANet
from ..gen.schedulers.mean_reverting import MeanRevertingScheduler
from .agreement import Limits, agree
from .ensemble import RunningMoments
from .noise_sources import STEPS_PER_SAMPLE, NoiseSource
from .progress import OnStep

Consistency = Literal["ibp", "none"]
Reduce = Literal["mean", "first"]


@dataclass(frozen=True)
class UpscaleSettings:
    """What a caller may choose.

    Attributes:
        steps: Network evaluations per sample; 1 is the one-step mean.
        samples: Members of the ensemble.
        consistency: ``ibp``: back-project until the sensor model sees the input; ``none``.
        temperature: Factor on the noise: 1 as trained, 0 none.
        reduce: What the picture of an ensemble is: its ``mean`` or its ``first`` member.
        sampler: Another one than the scheduler's own.
        limits: Range that corrected pictures keep to, physical units, as far as the input allows.
    """

    steps: int = 20
    samples: int = 1
    consistency: Consistency = "ibp"
    temperature: float = 1.0
    reduce: Reduce = "mean"
    sampler: str | None = None
    limits: Limits | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (("consistency", self.consistency, Consistency), ("reduce", self.reduce, Reduce)):
            if value not in get_args(allowed):
                raise InputError(f"{name} is {value!r}; it is one of {', '.join(get_args(allowed))}; choose one of them")
        if self.steps < 1 or self.samples < 1:
            raise InputError(f"{self.steps} steps and {self.samples} samples were asked for; both are at least 1")
        if not 0.0 <= self.temperature <= 10.0:
            raise InputError(f"the temperature is {self.temperature:g}; it is between 0 (no noise) and 10, and 1 as trained")


@dataclass(frozen=True)
class Upscaled:
    """What comes out, physical units, NaN where the input has no data.

    Attributes:
        image: ``[B, C, H, W]``.
        uncertainty: Standard deviation over the ensemble, of the same shape; None for one sample.
        invented: ``|image - upsample(low)|``, of the same shape.
        error: Largest ``|low - sensor(image)|`` over pixels with data, ``[B]``; 0 where there are none.
    """

    image: Tensor
    uncertainty: Tensor | None
    invented: Tensor
    error: Tensor


class Upscaler:
    """Upscales batches with fixed settings. It has a scheduler of its own, so that callers in other threads are not disturbed."""

    def __init__(
        self,
        model: EANet,
        scheduler: MeanRevertingScheduler,
        sensor: SensorModel,
        settings: UpscaleSettings,
        contrast: LocalContrast | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            model: The denoiser; only read.
            scheduler: Copied.
            sensor: What the low-resolution picture was seen by.
            settings: What the caller chose.
            contrast: The unit that the model works in; None for a constant one.

        Raises:
            InputError: If the sampler does not exist or does not take so many steps.
        """
        self.model, self.sensor, self.settings, self.contrast = model, sensor, settings, contrast
        try:
            self.scheduler = copy.deepcopy(scheduler)
            if settings.sampler is not None and settings.sampler != scheduler.config["sampler"]:
                self.scheduler = type(scheduler).from_config(scheduler.config, sampler=settings.sampler)
            self.scheduler.set_timesteps(settings.steps)
        except ValueError as error:
            raise InputError(str(error)) from error

    @torch.no_grad()
    def __call__(self, low: Tensor, noises: Sequence[NoiseSource], on_step: OnStep | None = None) -> Upscaled:
        """Upscale a batch.

        Args:
            low: ``[B, C, h, w]`` float32, physical units, NaN where there is no data, on the model's device.
            noises: One source per picture.
            on_step: Called after each step.

        Returns:
            Pictures of ``h * scale`` times ``w * scale`` pixels.

        Raises:
            InputError: If values become infinite or NaN on the way.
        """
        filled, valid = fill_holes(low, FILL_REACH)
        moments, first = RunningMoments(), None
        for member in range(self.settings.samples):
            image = self._sample(filled, noises, member * STEPS_PER_SAMPLE, on_step)
            if self.settings.consistency == "ibp":
                image = agree(image, filled, self.sensor, self.settings.limits)
            first = image if first is None else first
            moments.update(image)
        image = first if first is not None and self.settings.reduce == "first" else moments.mean
        return self._masked(image, moments, filled, valid)

    def _masked(self, image: Tensor, moments: RunningMoments, filled: Tensor, valid: Tensor) -> Upscaled:
        scale = self.sensor.scale
        holes = ~valid[:, None]
        error = (filled - self.sensor.degrade(image)).abs().masked_fill(holes, 0.0).amax((1, 2, 3))
        fine = holes.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        invented = (image - upsample(filled, scale)).abs()
        std = moments.std().masked_fill(fine, torch.nan) if self.settings.samples > 1 else None
        return Upscaled(image.masked_fill(fine, torch.nan), std, invented.masked_fill(fine, torch.nan), error)

    def _sample(self, low: Tensor, noises: Sequence[NoiseSource], draw: int, on_step: OnStep | None) -> Tensor:
        """One member of the ensemble, before back-projection."""
        scheduler = self.scheduler
        frame = frame_of(low, self.sensor.scale, scheduler.config["data_scale"], self.contrast)
        low, mu = frame.low, frame.mu
        state = scheduler.init_state(mu, self._noise(noises, draw, mu))
        scheduler.set_timesteps(self.settings.steps)
        stochastic = self.settings.steps > 1 and scheduler.config["sampler"] in ("em", "posterior")
        for step, time in enumerate(scheduler.timesteps):
            output = self.model(state - mu, time.expand(len(low)).to(low.device), mu, low)
            if self.settings.steps == 1:
                state = clean = scheduler.predict_x0(output, time, state, mu)
            else:
                noise = self._noise(noises, draw + 1 + step, mu) if stochastic else None
                result = scheduler.step(output, time, state, mu, noise=noise)
                state, clean = result.prev_sample, result.pred_original_sample
            if not bool(torch.isfinite(state).all()):
                raise InputError(
                    f"the picture has values that are not finite after step {step + 1} of {self.settings.steps}; "
                    "check the input's range, use the dtype float32, or take another model"
                )
            if on_step is not None:
                state = (on_step(step, time, {"sample": state, "pred_original_sample": clean}) or {}).get("sample", state)
        return frame.leave(state)

    def _noise(self, noises: Sequence[NoiseSource], draw: int, like: Tensor) -> Tensor:
        if self.settings.temperature == 0.0:
            return torch.zeros_like(like)
        _, bands, height, width = like.shape
        noise = torch.stack([source(draw, (bands, height, width)) for source in noises])
        return noise.to(like) * self.settings.temperature
