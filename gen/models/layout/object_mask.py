"""AeroGen's layout mask attention, for its published weights.

It lets each object change the first features of the U-Net within its mask: project, add what the object's class says, a feed-forward
layer, project back; the sum over objects is mixed with the features as ``0.2 sum + 0.8 features``. As published the class comes in by
attention to one single key. A softmax over one key is 1, so that the class's value is simply added; the queries, the keys and the norm
before them do nothing and are left out. Only cells within masks are computed.
"""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from .mask import timestep_gate

SHARE = 0.2
"""Share of the objects in the mixture."""
LEAST = 200.0
"""Time from which objects are mixed in."""


class _OneKey(nn.Module):
    """Attention to a single token."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.to_v = nn.Linear(width, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, token: Tensor) -> Tensor:
        """``[..., width]`` to ``[..., channels]``."""
        return self.to_out[0](self.to_v(token))


class ObjectMaskInjector(nn.Module):
    """Class vectors and masks of objects into the first features."""

    def __init__(self, width: int = 768, channels: int = 320, least: float = LEAST) -> None:
        """Build the layers.

        Args:
            width: V, of class vectors.
            channels: C, of the features.
            least: Time below which the features stay as they are.
        """
        super().__init__()
        self.least = least
        self.proj_in = nn.Linear(channels, channels)
        self.crossattn = _OneKey(width, channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ffn = FeedForward(channels, activation_fn="geglu")
        self.proj_out = nn.Linear(channels, channels)
        for parameter in self.proj_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor, vectors: Tensor, masks: Tensor, timestep: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """Mix objects in.

        Args:
            features: ``[B, C, h, w]``.
            vectors: Class vectors ``[B, N, V]``.
            masks: Bool ``[B, N, h, w]``; none of an object that is not there.
            timestep: ``[B]``. Each sample goes by its own; the published code lets the first one decide for all.
            scale: Factor of the share, one or ``[B]``; 1 as published, 0 leaves the features alone.

        Returns:
            ``[B, C, h, w]``.
        """
        if isinstance(scale, float | int) and scale == 0:
            return features
        batch, channels, height, width = features.shape
        sample, thing, cell = masks.flatten(2).nonzero(as_tuple=True)
        place = sample * (height * width) + cell
        tokens = self.proj_in(features.flatten(2).mT).flatten(0, 1)[place] + self.crossattn(vectors.to(features.dtype))[sample, thing]
        tokens = tokens + self.ffn(self.norm3(tokens))
        flat = torch.zeros(batch * height * width, channels, device=features.device, dtype=features.dtype)
        total = flat.index_add(0, place, self.proj_out(tokens)).view(batch, height * width, channels).mT.reshape(features.shape)
        share = SHARE * (scale.view(-1, 1, 1, 1).to(features.dtype) if isinstance(scale, Tensor) else scale)
        return torch.where(timestep_gate(timestep, self.least), share * total + (1 - share) * features, features)
