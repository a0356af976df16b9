"""Frames of a place at several times as hints: DiffusionSat's 3-D ControlNet (Khanna et al., ICLR 2024).

Frames run folded into the batch through a copy of the U-Net's encoder, each with the target's metadata and its own. Behind the first
convolution and behind each halving, what a tap says is mixed over time,

    y = alpha temporal(x) + (1 - alpha) x,          alpha = clamp(a, 0, 1) with the gradient of a, zero at first,

and all taps are summed over the frames. Hints go through 3 x 3 x 3 convolutions as published (``hint_frames=3``), so that the order of
the frames matters from the start; ours look at one frame at a time (``hint_frames=1``) and leave time to the mixing. A sample can have any
number of frames, also other than its neighbours in the batch: an absent one is left out, as if it had not been given.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.models.controlnets.controlnet import ControlNetOutput
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn

from ...errors import InputError
from .encoder import SD21, EncoderCopy
from .residuals import scale_residuals, zeroed

Pool = Literal["sum", "mean"]


class FrameHints(nn.Module):
    """Hint pictures of all frames to features on the latent grid; every width behind the first halves the sides."""

    def __init__(self, channels: int, widths: Sequence[int], out_channels: int, frames: int) -> None:
        super().__init__()
        kernel, padding = (frames, 3, 3), (frames // 2, 1, 1)
        self.conv_in = nn.Conv3d(channels, widths[0], kernel, padding=padding)
        self.blocks = nn.ModuleList()
        for before, after in pairwise(widths):
            self.blocks.append(nn.Conv3d(before, before, kernel, padding=padding))
            self.blocks.append(nn.Conv3d(before, after, (1, 3, 3), padding=(0, 1, 1), stride=(1, 2, 2)))
        self.conv_out = zeroed(nn.Conv3d(widths[-1], out_channels, kernel, padding=padding))

    def forward(self, hints: Tensor) -> Tensor:
        """``[B, C, T, H, W]`` to ``[B, out_channels, T, h, w]``."""
        value = F.silu(self.conv_in(hints))
        for block in self.blocks:
            value = F.silu(block(value))
        return cast(Tensor, self.conv_out(value))


class TemporalControlNet(EncoderCopy):
    """Frames to residuals for a stock U-Net."""

    @register_to_config
    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        hint_channels: int = 3,
        hint_widths: Sequence[int] = (16, 32, 96, 256),
        hint_frames: int = 1,
        mixing: bool = True,
        pool: Pool = "sum",
    ) -> None:
        """Build the network.

        Args:
            encoder: Settings of the U-Net whose encoder is copied, as in its config; Stable Diffusion 2.1 if left out, with metadata.
            hint_channels: Channels of a frame.
            hint_widths: Channels of the hint encoder; n of them for hints with 2^(n - 1) pixels per latent pixel side.
            hint_frames: Frames that a kernel of the hint encoder spans: 1, or 3 as published.
            mixing: Whether there are temporal transformers.
            pool: What frames are joined by; the published ``sum`` grows with their number.

        Raises:
            InputError: If a setting is out of range or unknown.
        """
        super().__init__()
        if hint_frames not in (1, 3) or pool not in ("sum", "mean") or not hint_widths:
            raise InputError(f"hint_frames is {hint_frames} and pool {pool!r}; they are 1 or 3, and 'sum' or 'mean'; mend them")
        settings = self._build_encoder({**SD21, "class_embed_type": "identity"} if encoder is None else encoder)
        self.register_to_config(encoder=settings)
        channels = settings["block_out_channels"]
        self.controlnet_cond_embedding = FrameHints(hint_channels, hint_widths, channels[0], hint_frames)
        self.controlnet_down_blocks = nn.ModuleList(
            zeroed(nn.Conv3d(conv.in_channels, conv.out_channels, 1)) for conv in self.controlnet_down_blocks
        )
        self.controlnet_mid_block = zeroed(nn.Conv3d(channels[-1], channels[-1], 1))
        if mixing:
            self._build_mixing(settings)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor,
        conditioning_scale: float | Sequence[float] = 1.0,
        class_labels: Tensor | None = None,
        frame_labels: Tensor | None = None,
        present: Tensor | None = None,
    ) -> ControlNetOutput:
        """Residuals for the U-Net.

        Args:
            sample: Noisy latents of the target, ``[B, in_channels, h, w]``.
            timestep: ``[B]`` or a scalar.
            encoder_hidden_states: Context of the U-Net, ``[B, tokens, width]``.
            controlnet_cond: Frames, ``[B, T, hint_channels, H, W]``, usually 0 to 1.
            conditioning_scale: Factor of all residuals, or of each tap and the middle.
            class_labels: The target's metadata as the U-Net takes them, if the encoder's settings have a ``class_embed_type``.
            frame_labels: Metadata of each frame as a vector, ``[B, T, D]``, added to the target's.
            present: ``[B, T]`` bool, which frames there are; all if left out. Without any, the residuals are zero.

        Returns:
            A residual for each tap and the middle.

        Raises:
            InputError: If shapes disagree.
        """
        self._check_sample(sample, encoder_hidden_states)
        self._check_frames(sample, controlnet_cond, frame_labels, present)
        steps = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(len(sample))
        everything = (sample, steps, encoder_hidden_states, class_labels)
        if present is None or bool(present.all()):
            taps = self._residuals(*everything, controlnet_cond, frame_labels)
        else:
            taps = self._ragged(everything, controlnet_cond, frame_labels, present.to(sample.device))
        return scale_residuals(taps[:-1], taps[-1], conditioning_scale)

    def _ragged(self, parts: Sequence[Tensor | None], hints: Tensor, labels: Tensor | None, present: Tensor) -> list[Tensor]:
        """Samples of equally many frames together, each with only the frames that it has."""
        counts = present.sum(dim=1)
        taps: list[Tensor] = []
        for count in cast(list[int], counts.unique().tolist()):
            rows = (counts == count).nonzero()[:, 0]
            # A sample without frames needs the shape of its residuals, which one empty frame gives.
            order = present[rows].to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : max(count, 1)]
            chosen = [None if value is None else value[rows, ...] for value in parts]
            own = None if labels is None else labels[rows[:, None], order]
            found = self._residuals(*cast(tuple[Any, Any, Any, Any], tuple(chosen)), hints[rows[:, None], order], own)
            taps = taps or [tap.new_zeros(len(hints), *tap.shape[1:]) for tap in found]
            if count:
                taps = [whole.index_copy(0, rows, tap) for whole, tap in zip(taps, found, strict=True)]
        return taps

    def _residuals(
        self, sample: Tensor, steps: Tensor, context: Tensor, labels: Tensor | None, hints: Tensor, frame_labels: Tensor | None
    ) -> list[Tensor]:
        """All samples have all T frames."""
        frames = hints.shape[1]
        shared = [None if value is None else value.repeat_interleave(frames, dim=0) for value in (sample, steps, context, labels)]
        sample, steps, context = (cast(Tensor, value) for value in shared[:3])
        extra = None if frame_labels is None else frame_labels.flatten(0, 1)
        embedding = self._embed(steps, sample, shared[3], extra)
        features = self.controlnet_cond_embedding(hints.to(self.dtype).transpose(1, 2))
        hidden = self.conv_in(sample.to(self.dtype)) + features.transpose(1, 2).flatten(0, 1)
        taps = [hidden]
        for block in self.down_blocks:
            text = {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}
            hidden, further = block(hidden, embedding, **text)
            taps += further
        text = {"encoder_hidden_states": context} if getattr(self.mid_block, "has_cross_attention", False) else {}
        middle = self.mid_block(hidden, embedding, **text)
        down, middle = self._zero_convs([self._unfold(tap, frames) for tap in taps], self._unfold(middle, frames))
        mixed = [self._mix(index, tap) for index, tap in enumerate(down)]
        return [tap.sum(dim=2) if self.config["pool"] == "sum" else tap.mean(dim=2) for tap in (*mixed, middle)]

    def _mix(self, index: int, tap: Tensor) -> Tensor:
        """``[B, C, T, h, w]`` in and out."""
        if not self.config["mixing"] or isinstance(self.temporal_blocks[index], nn.Identity):
            return tap
        raw = self.mixing_attns[index]
        alpha = (raw + (raw.clamp(0, 1) - raw).detach()).to(tap.dtype)
        frames = tap.shape[2]
        temporal = self.temporal_blocks[index](tap.transpose(1, 2).flatten(0, 1), num_frames=frames, return_dict=False)[0]
        return alpha * self._unfold(temporal, frames) + (1 - alpha) * tap

    @staticmethod
    def _unfold(value: Tensor, frames: int) -> Tensor:
        """``[B T, C, h, w]`` to ``[B, C, T, h, w]``."""
        return value.unflatten(0, (-1, frames)).transpose(1, 2)

    def _build_mixing(self, settings: dict[str, Any]) -> None:
        """Temporal transformers at the first tap and behind each halving, of the published shapes; the other taps have a placeholder."""
        channels, layers = settings["block_out_channels"], settings["layers_per_block"]
        heads = settings["num_attention_heads"] or settings["attention_head_dim"]
        heads = [heads] * len(channels) if isinstance(heads, int) else heads
        groups = settings["norm_num_groups"]
        shapes: list[tuple[int, int, int] | None] = [(channels[0], 8, 64)]
        for level, width in enumerate(channels):
            shapes += [None] * layers
            if level < len(channels) - 1:
                # Published with the two numbers in this order: few channels in each of many heads.
                shapes.append((width, width // heads[level], heads[level]))
        self.temporal_blocks = nn.ModuleList(
            nn.Identity() if shape is None else TransformerTemporalModel(shape[1], shape[2], shape[0], norm_num_groups=groups)
            for shape in shapes
        )
        self.mixing_attns = nn.ParameterList(nn.Parameter(torch.zeros(()), requires_grad=shape is not None) for shape in shapes)

    def _check_frames(self, sample: Tensor, hints: Tensor, labels: Tensor | None, present: Tensor | None) -> None:
        channels, scale = self.config["hint_channels"], 2 ** (len(self.config["hint_widths"]) - 1)
        if hints.ndim != 5 or hints.shape[0] != sample.shape[0] or hints.shape[2] != channels or not hints.shape[1]:
            raise InputError(
                f"the frames have shape {tuple(hints.shape)}; this network takes [{len(sample)}, T, {channels}, H, W]; mend them"
            )
        if tuple(-(-side // scale) for side in hints.shape[3:]) != tuple(sample.shape[2:]):
            height, width = (side * scale for side in sample.shape[2:])
            raise InputError(
                f"the frames are {hints.shape[3]} x {hints.shape[4]} pixels; the latents are for {height} x {width}; resize the frames"
            )
        shape = tuple(hints.shape[:2])
        if (present is not None and tuple(present.shape) != shape) or (labels is not None and tuple(labels.shape[:2]) != shape):
            raise InputError(
                f"the mask or the metadata of the frames do not fit {shape[0]} samples of {shape[1]} frames; give one for each"
            )
