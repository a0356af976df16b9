"""A scene as overlapping windows of latents whose predictions are blended at every step (MultiDiffusion, Bar-Tal et al. 2023).

The weights of the windows at a latent sum to one. The grid of windows moves from step to step, so that no border stays in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..gen.conditioning.guidance import GuidancePlan
from .earth_conditions import Conditions, guided
from .earth_resume import SceneWork

Span = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """How a scene is cut.

    Attributes:
        height: Of the scene, latents.
        width: Of the scene, latents.
        side: Height and width of a window, latents.
        overlap: Latents that neighbours share, at least.
        batch: Windows per network call.
    """

    height: int
    width: int
    side: tuple[int, int]
    overlap: int
    batch: int = 4

    def spans(self, step: int) -> list[tuple[Span, Span]]:
        """Rows and columns of each window at a step: all of the scene is covered, all windows have one size."""
        rows, cols = (
            starts(length, min(side, length), max(1, min(side, length) - self.overlap), step)
            for length, side in zip((self.height, self.width), self.side, strict=True)
        )
        high, wide = min(self.side[0], self.height), min(self.side[1], self.width)
        return [((top, top + high), (left, left + wide)) for top in rows for left in cols]

    def predictor(
        self, unet: Any, conditions: Conditions, plan: GuidancePlan, report: Callable[[int, int], None] | None = None,
        work: SceneWork | None = None,
    ) -> Callable[[Tensor, Tensor, int], Tensor]:  # fmt: skip
        """The guided prediction of a whole scene ``[1, Z, h, w]``.

        Args:
            unet: The denoiser.
            conditions: Of the scene.
            plan: Of guidance.
            report: Called with windows done and all windows of the step.
            work: Predictions that an earlier run finished; new ones are stored there.
        """

        def predict(sample: Tensor, time: Tensor, step: int) -> Tensor:
            known = None if work is None else work.step(step, sample)
            if known is not None:
                return known
            spans = self.spans(step)
            blend = _Blend(sample)
            for at in range(0, len(spans), self.batch):
                parts = [(slice(*rows), slice(*cols)) for rows, cols in spans[at : at + self.batch]]
                inputs = torch.cat([sample[:, :, rows, cols] for rows, cols in parts])
                made = None if work is None else work.group(step, at // self.batch, inputs)
                new = made is None
                if made is None:
                    made = guided(unet, _together([conditions.window(*part) for part in parts]), plan, inputs, time)
                blend.add(parts, made)
                if new and work is not None:
                    work.keep_group(step, at // self.batch, made, blend.result if at + self.batch >= len(spans) else None)
                if report is not None:
                    report(at + len(parts), len(spans))
            return blend.result

        return predict


class _Blend:
    """The weighted mean of windows that come one after the other."""

    def __init__(self, scene: Tensor) -> None:
        self._total, self._weights = torch.zeros_like(scene), torch.zeros_like(scene[:, :1])

    def add(self, parts: Sequence[tuple[slice, slice]], made: Tensor) -> None:
        """Take windows ``[B, Z, h, w]`` at their places."""
        profile = window_weights(made.shape[-2], made.shape[-1]).to(made)
        for (rows, cols), one in zip(parts, made, strict=True):
            self._total[:, :, rows, cols] += one * profile
            self._weights[:, :, rows, cols] += profile

    @property
    def result(self) -> Tensor:
        """The scene, once it is covered."""
        return self._total / self._weights


def starts(length: int, side: int, stride: int, step: int) -> list[int]:
    """First latents of the windows along an axis, moved by a share of the stride at every step.

    Args:
        length: Of the axis.
        side: Of a window, at most `length`.
        stride: Between windows.
        step: Number of the step.

    Returns:
        Ascending, the first is 0 and the last ``length - side``.
    """
    if side >= length:
        return [0]
    # Steps of the golden section visit all places of the grid evenly, whatever their number.
    shift = int(stride * (step * 0.6180339887498949 % 1.0))
    inner = range(shift if shift > 0 else stride, length - side, stride)
    return sorted({0, *inner, length - side})


def window_weights(height: int, width: int) -> Tensor:
    """``[height, width]``: the product of two raised cosines, above 0 everywhere."""
    down, across = (torch.sin(torch.pi * (torch.arange(side) + 0.5) / side).square() + 1e-3 for side in (height, width))
    return down[:, None] * across[None, :]


def _together(windows: Sequence[Conditions]) -> Conditions:
    """Conditions of several windows of one picture as those of a batch."""
    first, count = windows[0], len(windows)

    def pair(name: str) -> Any:
        return tuple(None if part is None else part.repeat(count, *[1] * (part.ndim - 1)) for part in getattr(first, name))

    def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
        return None if parts[0] is None else torch.cat([part for part in parts if part is not None])

    hints = (joined([window.hints[0] for window in windows]), joined([window.hints[1] for window in windows]))
    controls = tuple(
        replace(
            control,
            picture=joined([window.controls[number].picture for window in windows]),
            present=None if control.present is None else control.present.repeat(count, *[1] * (control.present.ndim - 1)),
            location=None if control.location is None else control.location.repeat(count, 1),
            frame_labels=None if control.frame_labels is None else control.frame_labels.repeat(count, 1, 1),
        )
        for number, control in enumerate(first.controls)
    )
    return replace(
        first, words=pair("words"), heard=pair("heard"), labels=pair("labels"), control_labels=pair("control_labels"),
        hints=hints,
        kept=joined([window.kept for window in windows]), controls=controls,
    )  # fmt: skip
