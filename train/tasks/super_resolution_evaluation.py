"""Scores of a super-resolution model on held-out places, during training and for the card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...gen.data.resample import upsample
from ...gen.data.sensor_model import SensorModel
from ...gen.errors import InputError
from ...gen.schedulers.mean_reverting import MeanRevertingScheduler
from ..order import Stream, sample_noise
from .super_resolution_config import SuperResolutionConfig


class HeldOutScore:
    """Scores models on the centre crops of held-out pictures, degraded by the sensor model without noise.

    Attributes:
        names: Names of the held-out pictures.
        high: Their centre crops, ``[C, H, W]`` each, physical units.
    """

    def __init__(self, config: SuperResolutionConfig, root: Path, trained: list[str]) -> None:
        """Read the held-out pictures.

        Args:
            config: The task's configuration.
            root: Data folder.
            trained: Names of the training pictures.

        Raises:
            InputError: If a held-out picture is also trained on.
        """
        self.config = config
        self.sensor = SensorModel(config.scale, mtf=config.held_out.mtf)
        pictures = [picture for source in config.held_out.sources for picture in source.pictures(root)]
        self.names = [picture.name for picture in pictures]
        both = sorted(set(self.names) & set(trained))
        if both:
            raise InputError(f"held-out pictures are also trained on: {', '.join(both[:3])}; exclude them from the sources")
        self.high = [torch.from_numpy(_centre(picture.pixels, config.held_out.crop, config.scale)) for picture in pictures]

    def __call__(self, model: nn.Module, scheduler: MeanRevertingScheduler) -> dict[str, float]:
        """Mean figures over the pictures.

        Returns:
            PSNR (dB, data range 1, all bands, no border cut) of bicubic, one-step mean and samples, ratio of spectral power to the truth's in the upper half band for bicubic and samples,
            and ``score``, the one-step PSNR.
        """
        if not self.high:
            return {}
        rows = [self._one(model, scheduler, number, high) for number, high in enumerate(self.high)]
        figures = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return {**figures, "score": figures["psnr_one_step"]}

    def _one(self, model: nn.Module, scheduler: MeanRevertingScheduler, number: int, high: Tensor) -> dict[str, float]:
        truth = high[None].to(next(model.parameters()))
        low = self.sensor.degrade(truth)
        noise = sample_noise(0, [number], tuple(high.shape), Stream.EVALUATION).to(truth)
        mean = self._consistent(one_step(model, scheduler, low, noise, self.config.scale), low)
        temperature = self.config.held_out.temperature
        drawn = self._consistent(sample(model, scheduler, low, noise * temperature, self.config.scale, self.config.held_out.steps), low)
        bicubic = upsample(low, self.config.scale)
        return {
            "psnr_bicubic": psnr(bicubic, truth),
            "psnr_one_step": psnr(mean, truth),
            "psnr_sample": psnr(drawn, truth),
            "power_bicubic": upper_power(bicubic, truth),
            "power_one_step": upper_power(mean, truth),
            "power_sample": upper_power(drawn, truth),
        }

    def _consistent(self, image: Tensor, low: Tensor) -> Tensor:
        return self.sensor.back_project(image, low)[0]


def one_step(model: nn.Module, scheduler: MeanRevertingScheduler, low: Tensor, noise: Tensor, scale: int) -> Tensor:
    """Prediction of the clean picture from the start state in one evaluation (physical units in and out)."""
    unit = scheduler.config.data_scale
    mu = upsample(low * unit, scale)
    state = scheduler.init_state(mu, noise)
    final = torch.full((len(low),), float(scheduler.config.num_train_timesteps), device=low.device)
    output = model(state - mu, final, mu, low * unit)
    return scheduler.predict_x0(output, final, state, mu) / unit


def sample(model: nn.Module, scheduler: MeanRevertingScheduler, low: Tensor, noise: Tensor, scale: int, steps: int) -> Tensor:
    """One sample with the scheduler's deterministic sampler (physical units in and out)."""
    unit = scheduler.config.data_scale
    mu = upsample(low * unit, scale)
    scheduler.set_timesteps(steps, low.device)
    state = scheduler.init_state(mu, noise)
    for time in scheduler.timesteps:
        times = time.expand(len(low)).to(torch.float32)
        output = model(state - mu, times, mu, low * unit)
        state = scheduler.step(output, time, state, mu).prev_sample
    return state / unit


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB at data range 1, over all bands."""
    return float(-10.0 * torch.log10((image - truth).square().mean()))


def upper_power(image: Tensor, truth: Tensor) -> float:
    """Power of the picture in the upper half band (radial frequency 0.25 to 0.5 cycles per pixel) over that of the truth, summed over bands."""
    window = torch.hann_window(image.shape[-2], periodic=False)[:, None] * torch.hann_window(image.shape[-1], periodic=False)
    radius = (torch.fft.fftfreq(image.shape[-2])[:, None] ** 2 + torch.fft.fftfreq(image.shape[-1]) ** 2).sqrt()
    upper = (radius >= 0.25) & (radius <= 0.5)

    def power(value: Tensor) -> Tensor:
        value = (value - value.mean((-2, -1), keepdim=True)).cpu().float() * window
        return torch.fft.fft2(value).abs().square()[..., upper].sum()

    return float(power(image) / power(truth))


def _centre(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.float32]], crop: int, scale: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    height, width = (min(crop, size) // scale * scale for size in pixels.shape[-2:])
    top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
    return np.ascontiguousarray(pixels[:, top : top + height, left : left + width])
