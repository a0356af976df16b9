"""What a super-resolution model looks like during training, and whether it keeps to the sensor's picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ...gen.data.resample import upsample
from ...gen.schedulers.mean_reverting import MeanRevertingScheduler
from ..order import Stream, sample_noise
from .super_resolution_config import SuperResolutionConfig
from .super_resolution_evaluation import HeldOutScore
from .super_resolution_steps import one_step, sample

Rgb = np.ndarray[Any, np.dtype[np.uint8]]
_SHOWN, _GAP, _WHITE = 4, 4, 255  # pictures in a grid; pixels between them
_RED_GREEN_BLUE = (("B04", "B03", "B02"), ("red", "green", "blue"))


class HeldOutViews:
    """Grids and probes on the held-out pictures of a `HeldOutScore`, with the same noise each time and without back-projection."""

    def __init__(self, held_out: HeldOutScore, config: SuperResolutionConfig, scheduler: MeanRevertingScheduler) -> None:
        """Remember the pictures; `scheduler` is the diffusion that the model is trained for."""
        self.held_out, self.config, self.scheduler = held_out, config, scheduler

    def show(self, model: nn.Module) -> dict[str, Rgb]:
        """A grid: one row a picture; from the left the input's pixels, bicubic, one-step mean, sample, and the truth."""
        rows = []
        for number in range(min(_SHOWN, len(self.held_out.high))):
            truth, low, mean, drawn = self._made(model, number)
            blocks = interpolate(low, scale_factor=self.config.scale, mode="nearest")
            rows.append(_row([blocks, upsample(low, self.config.scale), mean, drawn, truth], self._shown_bands(), truth))
        if not rows:
            return {}
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=_WHITE) for row in rows]
        return {"held-out": np.concatenate(padded)}

    def sensor(self, model: nn.Module) -> dict[str, float]:
        """How far the sensor's view of a sample, as the network made it, lies from the input, in the pictures' unit.

        Returns:
            ``error``, the root mean square, and ``error_bicubic``, that of the up-sampled input, which knows nothing. Empty without
            held-out pictures.
        """
        squares = []
        for number in range(len(self.held_out.high)):
            _, low, _, drawn = self._made(model, number)
            seen = [self.held_out.sensor.degrade(picture) - low for picture in (drawn, upsample(low, self.config.scale))]
            squares.append([float(difference.square().mean()) for difference in seen])
        if not squares:
            return {}
        error, plain = np.sqrt(np.mean(squares, axis=0)).tolist()
        return {"error": error, "error_bicubic": plain}

    def _made(self, model: nn.Module, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Truth, input, one-step mean and sample of one held-out picture, ``[1, C, H, W]``."""
        settings = self.config.held_out
        truth = self.held_out.high[number][None].to(next(model.parameters()))
        low = self.held_out.sensor.degrade(truth)
        frame = self.config.frame(low, self.scheduler)
        noise = sample_noise(0, [number], tuple(truth.shape[1:]), Stream.EVALUATION).to(truth)
        drawn = sample(model, self.scheduler, frame, noise * settings.temperature, settings.steps)
        return truth, low, one_step(model, self.scheduler, frame, torch.zeros_like(noise)), drawn

    def _shown_bands(self) -> list[int]:
        bands = self.config.bands
        for names in _RED_GREEN_BLUE:
            if set(names) <= set(bands):
                return [bands.index(name) for name in names]
        return [0, 1, 2] if len(bands) >= 3 else [0]


def _row(pictures: Sequence[Tensor], bands: list[int], truth: Tensor) -> Rgb:
    """Pictures side by side under one stretch, the truth's."""
    shown = truth[0, bands].cpu().numpy()
    low, high = np.percentile(shown, [2, 98])
    gap = np.full((truth.shape[-2], _GAP, 3), _WHITE, dtype=np.uint8)
    parts: list[Rgb] = []
    for picture in pictures:
        scaled = np.clip((picture[0, bands].float().cpu().numpy() - low) / max(high - low, 1e-6), 0, 1)
        pixels = np.round(np.broadcast_to(scaled, (3, *scaled.shape[1:])) * 255).astype(np.uint8)
        parts.extend([np.ascontiguousarray(pixels.transpose(1, 2, 0)), gap])
    return np.concatenate(parts[:-1], axis=1)
