"""Several hint pictures at once: the local adapter of CRS-Diff (Tang et al., TGRS 2024), which extends Uni-ControlNet's.

All hints are stacked into one picture, encoded by a pyramid of convolutions, and let into the first residual block of every level of a copy
of the U-Net's encoder (`fdn`). What differs from the published network, each of it a setting:

- hints have names and any number of channels, and a sample says which ones it has: an absent hint is a learnt null, not a black picture,
  and a sample without hints gets residuals of zero (``absent="null"``; ``"zeros"`` is as published);
- a strength for each hint goes from its null (0) over the hint (1) beyond it; the published sliders did nothing;
- metadata reach this network too (``class_embed_type`` of the encoder's settings).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.controlnets.controlnet import ControlNetOutput
from torch import Tensor, nn

from ...errors import InputError
from .encoder import SD15, EncoderCopy
from .fdn import InjectionBlock
from .hint_pyramid import HintPyramid
from .residuals import scale_residuals

PUBLISHED_HINTS = ("mlsd", "hed", "sketch", "road", "depth", "segmentation")
Absent = Literal["null", "zeros"]


class MultiHintAdapter(EncoderCopy):
    """Named hint pictures to residuals for a stock U-Net."""

    @register_to_config
    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        hints: Sequence[str] = PUBLISHED_HINTS,
        hint_channels: int | Sequence[int] = 3,
        hint_scale: int = 8,
        pyramid_channels: Sequence[int] = (32, 64, 128),
        inject_channels: Sequence[int] = (192, 256, 384, 512),
        hint_attention: bool = True,
        absent: Absent = "null",
    ) -> None:
        """Build the network.

        Args:
            encoder: Settings of the U-Net whose encoder is copied, as in its config; Stable Diffusion 1.5 if left out.
            hints: Names, in the order of their channels.
            hint_channels: Channels of every hint, or of each.
            hint_scale: Pixels of the hints per latent pixel side: 1, 2, 4 or 8.
            pyramid_channels: Channels of the first three sizes of the pyramid.
            inject_channels: Channels of what is injected at each level, the largest first; more than there are levels are ignored.
            hint_attention: Whether norms have attention over positions, as published.
            absent: What an absent hint is.

        Raises:
            InputError: If a setting is out of range or unknown.
        """
        super().__init__()
        self.gradient_checkpointing = False
        settings = self._build_encoder(SD15 if encoder is None else encoder)
        self.register_to_config(encoder=settings)
        self.hint_sizes = _sizes(hints, hint_channels)
        levels = len(settings["block_out_channels"])
        if len(inject_channels) < levels or absent not in ("null", "zeros"):
            raise InputError(
                f"there are {len(inject_channels)} inject_channels for {levels} levels and absent is {absent!r}; "
                "give one number for each level, and 'null' or 'zeros'"
            )
        self.feature_extractor = HintPyramid(sum(self.hint_sizes), pyramid_channels, inject_channels[:levels], hint_scale)
        for level, block in enumerate(self.down_blocks):
            stock = block.resnets[0]
            block.resnets[0] = InjectionBlock(
                stock.in_channels,
                stock.out_channels,
                self.time_embedding.linear_2.out_features,
                inject_channels[level],
                groups=settings["norm_num_groups"],
                eps=settings["norm_eps"],
                attention=hint_attention,
            )
        if absent == "null":
            self.null = nn.Parameter(torch.zeros(sum(self.hint_sizes)))

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor,
        conditioning_scale: float | Sequence[float] = 1.0,
        class_labels: Tensor | None = None,
        present: Tensor | None = None,
        strengths: Tensor | None = None,
    ) -> ControlNetOutput:
        """Residuals for the U-Net.

        Args:
            sample: Noisy latents, ``[B, in_channels, h, w]``.
            timestep: ``[B]`` or a scalar.
            encoder_hidden_states: Context of the U-Net, ``[B, tokens, width]``.
            controlnet_cond: All hints stacked, ``[B, sum of hint_channels, H, W]`` with h = ceil(H / hint_scale), usually 0 to 1. What an
                absent hint holds does not matter.
            conditioning_scale: Factor of all residuals, or of each tap and the middle.
            class_labels: What the U-Net gets as metadata, if the encoder's settings have a ``class_embed_type``.
            present: ``[B, hints]`` bool, which hints each sample has; all if left out.
            strengths: ``[B, hints]`` or ``[hints]``; 0 is as if absent, 1 the hint. 1 if left out.

        Returns:
            A residual for each tap and the middle.

        Raises:
            InputError: If shapes disagree.
        """
        self._check_sample(sample, encoder_hidden_states)
        weights = self._weights(sample.shape[0], present, strengths).to(sample.device)
        features = self.feature_extractor(self._mix(controlnet_cond, sample, weights))
        embedding = self._embed(timestep, sample, class_labels)
        hidden = self.conv_in(sample.to(self.dtype))
        taps = [hidden]
        for block, hint in zip(self.down_blocks, features, strict=True):
            attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
            for index, (resnet, attention) in enumerate(zip(block.resnets, attentions, strict=True)):
                hidden = self._run(resnet, hidden, embedding, *([hint] if index == 0 else []))
                if attention is not None:
                    hidden = attention(hidden, encoder_hidden_states=encoder_hidden_states, return_dict=False)[0]
                taps.append(hidden)
            for down in block.downsamplers or ():
                hidden = down(hidden)
                taps.append(hidden)
        context = {"encoder_hidden_states": encoder_hidden_states} if getattr(self.mid_block, "has_cross_attention", False) else {}
        middle = self.mid_block(hidden, embedding, **context)
        gate = (weights != 0).any(dim=1) if self.config["absent"] == "null" else None
        return scale_residuals(*self._zero_convs(taps, middle), conditioning_scale, gate)

    def _run(self, layer: nn.Module, *values: Tensor) -> Tensor:
        """A residual block, whose inner values are computed again in training if checkpointing is on."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return cast(Tensor, self._gradient_checkpointing_func(layer, *values))
        return cast(Tensor, layer(*values))

    def _weights(self, batch: int, present: Tensor | None, strengths: Tensor | None) -> Tensor:
        """``[B, hints]``: how much there is of each hint."""
        shape = (batch, len(self.hint_sizes))
        given = {"present": present, "strengths": strengths}
        for name, value in given.items():
            if value is not None and tuple(value.shape) not in (shape, shape[1:]):
                raise InputError(f"{name} has shape {tuple(value.shape)}; it is {list(shape)} or [{shape[1]}], one for each hint; mend it")
        weights = torch.ones(shape)
        for value in given.values():
            weights = weights if value is None else weights.to(value.device) * value.float()
        return weights

    def _mix(self, hints: Tensor, sample: Tensor, weights: Tensor) -> Tensor:
        """Each hint between its null and itself, by its weight."""
        scale, count = self.config["hint_scale"], sum(self.hint_sizes)
        expected = (sample.shape[0], count)
        if hints.ndim != 4 or tuple(hints.shape[:2]) != expected:
            names = ", ".join(f"{name} {size}" for name, size in zip(self.config["hints"], self.hint_sizes, strict=True))
            raise InputError(f"the hints have shape {tuple(hints.shape)}; this network takes {list(expected)} and a picture ({names})")
        if tuple(-(-side // scale) for side in hints.shape[2:]) != tuple(sample.shape[2:]):
            height, width = (side * scale for side in sample.shape[2:])
            raise InputError(
                f"the hints are {hints.shape[2]} x {hints.shape[3]} pixels; the latents are for {height} x {width}; resize the hints"
            )
        sizes = torch.tensor(self.hint_sizes, device=sample.device)
        spread = weights.repeat_interleave(sizes, dim=1)[:, :, None, None].to(self.dtype)
        if self.config["absent"] == "zeros":
            return torch.where(spread == 0, 0, hints.to(self.dtype) * spread)
        null = self.null[None, :, None, None]
        return torch.where(spread == 0, null, null + spread * (hints.to(self.dtype) - null))


def _sizes(hints: Sequence[str], channels: int | Sequence[int]) -> list[int]:
    sizes = [channels] * len(hints) if isinstance(channels, int) else list(channels)
    if not hints or len(sizes) != len(hints) or len(set(hints)) != len(hints) or min(sizes) < 1:
        raise InputError(f"the hints {', '.join(hints)} have channels {sizes}; name each once and give each at least one channel")
    return sizes
