"""Embeddings of scalars and places: diffusion time, metadata, longitude and latitude."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from torch import Tensor, nn

from ..conditioning.place import Convention, cartesian, spherical_harmonics
from ..conditioning.schemas import MetadataSchema, Sinusoid, schema


def sinusoids(value: Tensor, width: int, base: float = 10_000.0) -> Tensor:
    """Sines, then cosines, of a scalar at geometrically spaced frequencies.

    Frequency i of n = width / 2 is ``base ** (-i / (n - 1))``: the last one is 1 / base (Vaswani et al. 2017, in the form that IR-SDE
    uses).

    Args:
        value: ``[B]``, any real number; computed in float32.
        width: Channels of the result, even and at least 4.
        base: Ratio between the highest and the lowest frequency.

    Returns:
        ``[B, width]``, float32.
    """
    count = width // 2
    steps = torch.arange(count, device=value.device, dtype=torch.float32)
    angle = value.float()[:, None] * torch.exp(steps * (-math.log(base) / (count - 1)))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Sinusoids(nn.Module):
    """`sinusoids` as a layer without parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, value: Tensor) -> Tensor:
        """Embed ``[B]`` as ``[B, width]`` float32."""
        return sinusoids(value, self.width)


def scalar_features(value: Tensor, dim: int, layout: Sinusoid) -> Tensor:
    """The vector of a scalar that a metadata head reads.

    Args:
        value: ``[B]``, in the network's range.
        dim: Width; even, or odd for ``octaves``.
        layout: ``cos_sin``: cosines, then sines, at frequencies ``10000 ** (-2 i / dim)``, as diffusers' time projection of Stable
            Diffusion. ``interleaved``: the same numbers as sine, cosine, sine, ... ``octaves``: the value, then sines, then cosines of 1,
            2, 4, ... half-turns.

    Returns:
        ``[B, dim]`` float32.
    """
    if layout == "octaves":
        angles = value.float()[:, None] * (math.pi * 2.0 ** torch.arange(dim // 2, device=value.device))
        return torch.cat([value.float()[:, None], angles.sin(), angles.cos()], dim=1)
    features = get_timestep_embedding(value, dim, flip_sin_to_cos=True, downscale_freq_shift=0)
    if layout == "cos_sin":
        return features
    return torch.stack([features[:, dim // 2 :], features[:, : dim // 2]], dim=2).flatten(1)


class _LinearHead(nn.Module):
    """One linear layer, under the name that CRS-Diff's weights give it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, inputs]`` to ``[B, outputs]``."""
        return self.fc1(features)


class MetadataEmbedding(ModelMixin, ConfigMixin):
    """Metadata as one vector, added to the time embedding of a denoiser (DiffusionSat, CRS-Diff and ours).

    Each field has a head of its own and the outputs are summed. Weights are called as the published ones:
    ``metadata_embedding.{field}.linear_{1,2}`` for ``mlp`` heads, ``mlp_models.{field}.fc1`` for ``linear`` ones. What differs: a field
    may be unknown. Its null is a learned vector in place of the head's output, or a value before the head, as the schema says.
    A fresh one with learned nulls gives zero, so that it can be added to a trained denoiser.
    """

    @register_to_config
    def __init__(self, metadata_schema: str | Mapping[str, Any] = "earthgen", embedding_dim: int = 1280) -> None:
        """Build the heads.

        Args:
            metadata_schema: Name or JSON of a `MetadataSchema`; its JSON is kept in the config.
            embedding_dim: D, the width of the denoiser's time embedding.

        Raises:
            InputError: If there is no such schema.
        """
        super().__init__()
        self.schema: MetadataSchema = schema(metadata_schema)
        self.register_to_config(metadata_schema=self.schema.model_dump(mode="json"))
        inputs = [len(field.columns) * self.schema.dim for field in self.schema.fields]
        if self.schema.head == "linear":
            self.mlp_models = nn.ModuleList(_LinearHead(width, embedding_dim) for width in inputs)
        else:
            self.metadata_embedding = nn.ModuleList(TimestepEmbedding(width, embedding_dim) for width in inputs)
        self._learned = any(field.null == "learned" for field in self.schema.fields)
        if self._learned:
            self.nulls = nn.Parameter(torch.zeros(len(inputs), embedding_dim))
            for head in self._heads():
                for parameter in head.get_submodule("fc1" if self.schema.head == "linear" else "linear_2").parameters():
                    nn.init.zeros_(parameter)

    def forward(self, values: Tensor, known: Tensor | None = None) -> Tensor:
        """Embed metadata.

        Args:
            values: ``[B, F]`` of `MetadataSchema.encode`.
            known: ``[B, F]`` bool; a field with an unknown column is unknown. All are known if left out.

        Returns:
            ``[B, D]`` in the dtype of the weights.
        """
        total = torch.zeros((), device=values.device)
        nulls = self.schema.nulls().to(values)
        known = torch.ones_like(values, dtype=torch.bool) if known is None else known
        for number, (field, span, head) in enumerate(zip(self.schema.fields, self.schema.spans, self._heads(), strict=True)):
            there = known[:, span].all(1, keepdim=True)
            columns = torch.where(there, values[:, span], nulls[span])
            features = torch.cat([scalar_features(column, self.schema.dim, self.schema.sinusoid) for column in columns.unbind(1)], dim=1)
            vector = head(features.to(self.dtype))
            total = total + (torch.where(there, vector, self.nulls[number]) if field.null == "learned" else vector)
        return total

    def _heads(self) -> nn.ModuleList:
        return self.mlp_models if self.schema.head == "linear" else self.metadata_embedding


class _Siren(nn.Module):
    """``act(W x + b)`` with a sine of frequency w0, or without (Sitzmann et al. 2020)."""

    def __init__(self, inputs: int, outputs: int, w0: float, first: bool = False, last: bool = False) -> None:
        super().__init__()
        bound = 1.0 / inputs if first else math.sqrt(6.0 / inputs) / w0
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self.w0, self.last = w0, last

    def forward(self, features: Tensor) -> Tensor:
        """``[B, inputs]`` to ``[B, outputs]``."""
        linear = nn.functional.linear(features, self.weight, self.bias)
        return linear if self.last else torch.sin(self.w0 * linear)


class _SirenNet(nn.Module):
    """Sine layers and a linear one."""

    def __init__(self, inputs: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        sizes = [inputs] + [width] * depth
        self.layers = nn.ModuleList(_Siren(sizes[n], width, 30.0 if n == 0 else 1.0, first=n == 0) for n in range(depth))
        self.last_layer = _Siren(sizes[-1], outputs, 1.0, last=True)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, inputs]`` to ``[B, outputs]``."""
        for layer in self.layers:
            features = layer(features)
        return self.last_layer(features)


class LocationEncoder(ModelMixin, ConfigMixin):
    """Longitude and latitude as a vector: spherical harmonics and a sine network (SatCLIP, Klemmer et al. 2023, arXiv 2311.17179).

    Weights are called as SatCLIP's below ``model.location``: ``nnet.layers.{n}.{weight,bias}``, ``nnet.last_layer.{weight,bias}``.
    ``cartesian`` is the encoding without parameters: the unit vector with sines and cosines of 1, 2, 4, ... half-turns of it.
    """

    @register_to_config
    def __init__(
        self,
        encoding: Literal["harmonics", "cartesian"] = "harmonics",
        degree: int = 40,
        convention: Convention = "satclip",
        width: int = 256,
        depth: int = 2,
        outputs: int = 256,
    ) -> None:
        """Build the network.

        Args:
            encoding: ``harmonics``, or ``cartesian``, which has no weights and takes only `outputs`.
            degree: L; there are L * L harmonics.
            convention: Of `spherical_harmonics`; ``satclip`` for released weights.
            width: Of the hidden layers.
            depth: Number of hidden layers.
            outputs: Width of the result.
        """
        super().__init__()
        if encoding == "harmonics":
            self.nnet = _SirenNet(degree * degree, width, depth, outputs)

    def forward(self, lonlat: Tensor) -> Tensor:
        """Embed places.

        Args:
            lonlat: ``[B, 2]`` degrees, best as float64.

        Returns:
            ``[B, outputs]`` float32, or the dtype of the weights.
        """
        if self.config["encoding"] == "harmonics":
            # float64 throughout the recurrence, which some accelerators lack.
            harmonics = spherical_harmonics(lonlat.detach().cpu(), self.config["degree"], self.config["convention"])
            weight = self.nnet.last_layer.weight
            return self.nnet(harmonics.to(weight))
        vector = cartesian(lonlat.cpu())
        octaves = max(1, -(-(self.config["outputs"] - 3) // 6))
        angles = (vector[:, :, None] * (math.pi * 2.0 ** torch.arange(octaves))).flatten(1)
        features = torch.cat([vector, angles.sin(), angles.cos()], dim=1)
        return features[:, : self.config["outputs"]].to(lonlat.device, torch.float32)
