"""Scores of a super-resolution model on held-out places, during training and for the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...gen.data.resample import upsample
from ...gen.data.sensor_model import SensorModel
from ...gen.data.sources import Array, Picture
from ...gen.errors import InputError
from ...gen.schedulers.mean_reverting import MeanRevertingScheduler
from ...metrics.fidelity import psnr
from ...metrics.spectrum import band_power_ratio
from ..order import Stream, sample_noise
from .super_resolution_config import SuperResolutionConfig
from .super_resolution_steps import deterministic, one_step, sample
from .teacher import Teacher


class HeldOutScore:
    """Scores models on the centre crops of held-out pictures, degraded by the sensor model without noise.

    Attributes:
        names: Names of the held-out pictures.
        high: Their centre crops, ``[C, H, W]`` each, physical units.
    """

    def __init__(self, config: SuperResolutionConfig, root: Path, trained: Sequence[Picture]) -> None:
        """Read the held-out pictures.

        Args:
            config: The task's configuration.
            root: Data folder.
            trained: The training pictures.

        Raises:
            InputError: If a held-out picture is also trained on, or its centre holds nodata.
        """
        self.config = config
        self.sensor = SensorModel(config.scale, mtf=config.held_out.mtf)
        pictures = [picture for source in config.held_out.sources for picture in source.pictures(root)]
        self.names = [picture.name for picture in pictures]
        for picture in pictures:
            other = next((other for other in trained if picture.overlaps(other)), None)
            if other is not None:
                raise InputError(
                    f"the held-out picture {picture.name} is also trained on, as {other.name}; "
                    "exclude it from the sources or choose windows apart"
                )
        self._taught: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.high = [torch.from_numpy(_centre(picture, config.held_out.crop, config.scale)) for picture in pictures]

    def __call__(self, model: nn.Module, scheduler: MeanRevertingScheduler) -> dict[str, float]:
        """Mean figures over the pictures.

        Args:
            model: An `EANet`, in evaluation mode.
            scheduler: The diffusion that it is trained for; its grid of times is set here.

        Returns:
            PSNR (dB, data range 1, all bands, no border cut) and ratio of spectral power to the truth's in the upper half band, each of
            bicubic, one-step mean and sample; and ``score``, the one-step PSNR. Empty without held-out pictures.
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
        frame = self.config.frame(low, scheduler)
        drawn = sample(model, scheduler, frame, noise * self.config.held_out.temperature, self.config.held_out.steps)
        pictures = {
            "bicubic": upsample(low, self.config.scale),
            "one_step": self._consistent(one_step(model, scheduler, frame, noise), low),
            "sample": self._consistent(drawn, low),
        }
        return _figures(pictures, truth)

    def compare(self, student: nn.Module, teacher: Teacher, scheduler: MeanRevertingScheduler, steps: int) -> dict[str, float]:
        """Mean figures of a one-step student and of its teacher, both from the same noise at the teacher's temperature.

        Args:
            student: An `EANet`, in evaluation mode.
            teacher: What it learns from.
            scheduler: The diffusion of both.
            steps: Evaluations of the teacher's deterministic solve.

        Returns:
            Figures as of a call, of bicubic, the teacher's one-step mean (without noise), teacher and student; the PSNR of the student's
            pictures against the teacher's; and ``score``, which is the latter: a student is the better the nearer it comes to its teacher.
        """
        rows = []
        for number, high in enumerate(self.high):
            truth = high[None].to(next(student.parameters()))
            low = self.sensor.degrade(truth)
            frame = self.config.frame(low, scheduler)
            noise = sample_noise(0, [number], tuple(high.shape), Stream.EVALUATION).to(truth) * teacher.temperature
            if (number, steps) not in self._taught:
                solved = sample(teacher.model, deterministic(scheduler), frame, noise, steps)
                mean = one_step(teacher.model, scheduler, frame, torch.zeros_like(noise))
                self._taught[number, steps] = (self._consistent(mean, low), self._consistent(solved, low))
            mean, solved = self._taught[number, steps]
            drawn = self._consistent(one_step(student, scheduler, frame, noise), low)
            pictures = {"bicubic": upsample(low, self.config.scale), "one_step_mean": mean, "teacher": solved, "student": drawn}
            rows.append({**_figures(pictures, truth), "psnr_student_to_teacher": float(psnr(drawn, solved, data_range=1.0))})
        figures = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
        return {**figures, "score": figures["psnr_student_to_teacher"]} if figures else {}

    def _consistent(self, image: Tensor, low: Tensor) -> Tensor:
        return self.sensor.back_project(image, low)[0]


def _figures(pictures: Mapping[str, Tensor], truth: Tensor) -> dict[str, float]:
    fidelity = {f"psnr_{name}": float(psnr(picture, truth, data_range=1.0)) for name, picture in pictures.items()}
    power = {f"power_{name}": float(band_power_ratio(picture, truth)) for name, picture in pictures.items()}
    return {**fidelity, **power}


def _centre(picture: Picture, crop: int, scale: int) -> Array:
    height, width = (min(crop, size) // scale * scale for size in picture.pixels.shape[-2:])
    top, left = (picture.pixels.shape[-2] - height) // 2, (picture.pixels.shape[-1] - width) // 2
    cut = np.ascontiguousarray(picture.pixels[:, top : top + height, left : left + width])
    if not np.isfinite(cut).all():
        raise InputError(f"the centre of the held-out picture {picture.name} holds nodata; choose another picture or a window")
    return cut
