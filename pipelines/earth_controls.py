"""Control networks beside the denoiser: each is called in its own way, all give residuals that are added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..gen.models.control import add_residuals


@dataclass(frozen=True)
class BoundControl:
    """A control network with what it is told for a batch.

    Attributes:
        module: The network: a ControlNet of diffusers, or one of `earthgen.gen.models.control`.
        picture: Hints ``[B, C, H, W]``, or frames ``[B, T, C, H, W]``; None for one that reads a place.
        weight: Factor of its residuals.
        present: Which hints, frames or places there are, ``[B, n]`` or ``[B]`` bool; None for all.
        strengths: Weight of each of its hints, ``[n]``.
        location: Embedding of the place, ``[B, w]``.
        frame_labels: Metadata of each frame, ``[B, T, D]``.
        labels: Whether it takes the denoiser's metadata.
    """

    module: Any
    picture: Tensor | None = None
    weight: float = 1.0
    present: Tensor | None = None
    strengths: Tensor | None = None
    location: Tensor | None = None
    frame_labels: Tensor | None = None
    labels: bool = False

    def cropped(self, rows: slice, cols: slice, factor: int, scale: int) -> BoundControl:
        """For a window of the latents; `factor` pixels per latent, `scale` of them per pixel of the hints."""
        if self.picture is None:
            return self
        down, across = (slice(span.start * factor // scale, span.stop * factor // scale) for span in (rows, cols))
        return replace(self, picture=self.picture[..., down, across])

    def __call__(self, sample: Tensor, time: Tensor, words: Tensor, labels: Tensor | None) -> Any:
        """Residuals for a batch, as `ControlNetOutput`."""
        if self.location is not None:
            return self.module(time, self.location, conditioning_scale=self.weight, present=self.present)
        more: dict[str, Any] = {}
        if self.labels:
            more["class_labels"] = None if labels is None else labels.to(self.module.dtype)
        for name in ("present", "strengths", "frame_labels"):
            if getattr(self, name) is not None:
                more[name] = getattr(self, name)
        picture = None if self.picture is None else self.picture.to(self.module.dtype)
        return self.module(sample, time, words, picture, conditioning_scale=self.weight, **more)


def residuals_of(controls: Sequence[BoundControl], sample: Tensor, time: Tensor, words: Tensor, labels: Tensor | None) -> dict[str, Any]:
    """The keyword arguments of a stock U-Net for all control networks together; none without any."""
    if not controls:
        return {}
    outputs = [control(sample, time, words, labels) for control in controls]
    total = add_residuals(outputs)
    return {"down_block_additional_residuals": total.down_block_res_samples, "mid_block_additional_residual": total.mid_block_res_sample}


def takes_labels(module: Any) -> bool:
    """Whether a control network has a place for the denoiser's metadata."""
    config = module.config
    encoder = config.get("encoder") or {}
    found = encoder.get("class_embed_type") if "encoder" in config else config.get("class_embed_type")
    return found is not None


def unread_pixels(module: Any) -> int:
    """Pixels of the picture per pixel of the hints that a control network takes."""
    return int(module.config.get("hint_scale", 1)) if type(module).__name__ == "HintScaleControlNet" else 1


def stacked(pictures: Sequence[Sequence[Tensor | None]], channels: Sequence[int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Hints of a batch for one network.

    Args:
        pictures: For each picture of the batch its hints ``[C, H, W]``, None where absent.
        channels: Of each hint.
        size: H and W.

    Returns:
        ``[B, sum of channels, H, W]`` with zeros where absent, and ``[B, hints]`` bool.
    """
    present = torch.tensor([[hint is not None for hint in row] for row in pictures])
    rows = [
        torch.cat([torch.zeros(count, *size) if hint is None else hint for hint, count in zip(row, channels, strict=True)])
        for row in pictures
    ]
    return torch.stack(rows), present
