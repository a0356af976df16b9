"""The conditions of a batch as tensors, each with its null, and the denoiser that is asked with some of them on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..gen.conditioning.guidance import GuidancePlan, guide
from .earth_controls import BoundControl, residuals_of, unread_pixels


@dataclass(frozen=True)
class Conditions:
    """What a batch of B pictures is told. Pairs are (off, on).

    Attributes:
        words: Encoded text, two of ``[B, T, D]``.
        heard: Which tokens count, two of ``[B, T]`` bool; None where all do.
        labels: Metadata for the denoiser's time embedding, two of ``[B, D]`` or ``[B]``; None without.
        control_labels: Metadata for control networks, where these have an embedding of their own; else those of the denoiser.
        hints: Hint channels of the denoiser's input, two of ``[B, K + 1, h, w]``; None without.
        kept: Repaint mask and latents of what is kept, ``[B, 1 + Z, h, w]``; None for a denoiser without these channels.
        controls: Control networks; they are part of the hints.
        factor: Pixels per latent and axis.
        groups: Groups of conditions that say something.
    """

    words: tuple[Tensor, Tensor]
    heard: tuple[Tensor | None, Tensor | None]
    labels: tuple[Tensor | None, Tensor | None]
    control_labels: tuple[Tensor | None, Tensor | None]
    hints: tuple[Tensor | None, Tensor | None]
    kept: Tensor | None
    controls: tuple[BoundControl, ...]
    factor: int
    groups: tuple[str, ...]

    def window(self, rows: slice, cols: slice) -> Conditions:
        """The same for a window of the latents."""
        off, on = (None if hint is None else hint[:, :, rows, cols] for hint in self.hints)
        controls = tuple(control.cropped(rows, cols, self.factor, unread_pixels(control.module)) for control in self.controls)
        kept = None if self.kept is None else self.kept[:, :, rows, cols]
        return replace(self, hints=(off, on), kept=kept, controls=controls)


def predict(unet: Any, conditions: Conditions, sample: Tensor, time: Tensor, on: frozenset[str]) -> Tensor:
    """One evaluation of the denoiser with some groups of conditions on.

    Args:
        unet: A `UNet2DConditionModel`.
        conditions: Of the batch.
        sample: Scaled noisy latents, ``[B, Z, h, w]``.
        time: A scalar.
        on: Groups that are on; the others are at their null.

    Returns:
        ``[B, Z, h, w]`` float32.
    """
    words, heard = conditions.words["text" in on], conditions.heard["text" in on]
    labels, hints = conditions.labels["metadata" in on], conditions.hints["hints" in on]
    extra = [part for part in (conditions.kept, hints) if part is not None]
    dtype = unet.dtype
    inputs = torch.cat([sample, *extra], dim=1).to(dtype)
    latents = sample.to(dtype)
    if labels is not None and unet.config["class_embed_type"] != "timestep":
        labels = labels.to(dtype)
    told = conditions.control_labels["metadata" in on]
    residuals = residuals_of(conditions.controls, latents, time, words, told) if "hints" in on else {}
    output = unet(inputs, time, words, class_labels=labels, encoder_attention_mask=heard, **residuals)
    return output.sample.float()


def guided(unet: Any, conditions: Conditions, plan: GuidancePlan, sample: Tensor, time: Tensor) -> Tensor:
    """The denoiser's prediction with guidance."""
    return guide([predict(unet, conditions, sample, time, stage) for stage in plan.stages], plan.scales)


def encode_words(text_encoder: Any, ids: Tensor) -> Tensor:
    """Chunks of tokens to the denoiser's context.

    Args:
        text_encoder: A `CLIPTextModel`.
        ids: ``[B, N, L]``.

    Returns:
        ``[B, N * L, D]``.
    """
    count, chunks, length = ids.shape
    device = next(text_encoder.parameters()).device
    encoded: Tensor = text_encoder(ids.reshape(-1, length).to(device)).last_hidden_state
    return encoded.reshape(count, chunks * length, -1)


def heard_tokens(counts: Sequence[int], chunks: int, length: int) -> Tensor | None:
    """Which tokens count where prompts have different numbers of chunks, ``[B, chunks * length]`` bool; None where all have all."""
    if all(count == chunks for count in counts):
        return None
    numbers = torch.arange(chunks * length) // length
    return numbers[None] < torch.tensor(list(counts))[:, None]
