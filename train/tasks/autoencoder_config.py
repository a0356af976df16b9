"""The part of a recipe that describes training a KL autoencoder."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...gen.data.sources import Source
from .picture_config import PictureConfig


class AutoencoderWeights(BaseModel):
    """How much each term of the loss counts; 0 leaves it out."""

    model_config = ConfigDict(extra="forbid")

    l1: float = Field(1.0, ge=0)
    """On the mean absolute error."""
    colour: float = Field(1.0, ge=0)
    """On the mean absolute error of averages over 8 x 8 pixels: colours of whole fields, which single pixels teach slowly."""
    gradient: float = Field(1.0, ge=0)
    """On the mean absolute error of horizontal and vertical differences, at full and half resolution: edges."""
    spectrum: float = Field(0.05, ge=0)
    """On the difference of the logarithms of local energy in three octaves: distances alone are smallest for a blurred picture."""
    kl: float = Field(1e-4, ge=0)
    """On the divergence of the latents from the standard normal, per latent."""


class AutoencoderConfig(BaseModel):
    """Network, data and loss."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["autoencoder"] = "autoencoder"
    bands: list[str] = Field(min_length=1)
    unit: str = "display"
    model: dict[str, Any] = Field(default_factory=dict)
    """Configuration of `AutoencoderKL`; its blocks follow from ``block_out_channels``."""
    weights: AutoencoderWeights = AutoencoderWeights()  # type: ignore[call-arg]
    pictures: PictureConfig | None = None
    """Display pictures (three bands), divided by place."""
    sources: list[Source] = Field(default_factory=list)
    """Pictures of any number of bands in physical units, instead; 0 to 1 is what the network sees."""
    held_out: list[Source] = Field(default_factory=list)
    """What is held out of `sources`."""
    crop: int = Field(64, ge=16)
    """Side of a crop of `sources`."""

    @model_validator(mode="after")
    def _one_kind_of_data(self) -> AutoencoderConfig:
        """Refuse none or both kinds of data."""
        if (self.pictures is None) == (not self.sources):
            raise ValueError("give either pictures or sources; the first are display pictures, the second any bands")
        if self.pictures is not None and len(self.bands) != 3:
            raise ValueError(f"display pictures have three bands, and bands names {len(self.bands)}; give sources for others")
        return self
