"""The part of a recipe that describes training a generator of pictures from layouts of objects."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .generation_config import TextConfig
from .layout_sources import ObjectSource


class LayoutDropConfig(BaseModel):
    """Probability that a condition is left out of a training sample."""

    model_config = ConfigDict(extra="forbid")

    layout: float = Field(0.1, ge=0, le=1)
    """Of the whole layout, for guidance; the objects stay in the picture."""
    object: float = Field(0.1, ge=0, le=1)
    """Of each object, which stays in the picture unlisted."""
    text: float = Field(0.15, ge=0, le=1)
    everything: float = Field(0.05, ge=0, le=1)
    """Of text and layout at once, on top of the others."""


class RepaintConfig(BaseModel):
    """Samples in which a part of the picture is given and the rest is painted."""

    model_config = ConfigDict(extra="forbid")

    share: float = Field(0.4, ge=0, le=1)
    """Of all samples."""
    objects: float = Field(0.6, ge=0, le=1)
    """Share of those whose mask lies around an object; in the others it lies where there is none, so that empty ground is learnt too."""
    margin: tuple[float, float] = (0.05, 0.35)
    """Least and most room around an object, in shares of its sides."""
    outside: float = Field(0.15, ge=0, le=1)
    """How much the error outside the mask counts beside that inside it."""


class ForegroundConfig(BaseModel):
    """How much more pixels of objects count (GeoDiffusion, Chen et al., ICLR 2024); the mean over a picture is 1."""

    model_config = ConfigDict(extra="forbid")

    factor: float = Field(2.0, gt=0)
    """Of a pixel of an object as large as the picture against one of the background."""
    power: float = Field(0.2, ge=0)
    """Of the area: the smaller an object, the more its pixels count."""


class LayoutGuidanceConfig(BaseModel):
    """How pictures are drawn for sample sheets, and what models are saved with."""

    model_config = ConfigDict(extra="forbid")

    steps: int = Field(10, ge=1)
    text: float = Field(1.5, ge=0)
    layout: float = Field(2.0, ge=0)
    count: int = Field(64, ge=1)
    """Held-out crops whose loss is taken."""
    shown: int = Field(8, ge=1)


class ObjectCropConfig(BaseModel):
    """Where crops come from and how they are cut (`gen.data.objects_crops.CropRule`)."""

    model_config = ConfigDict(extra="forbid")

    sources: list[ObjectSource] = Field(min_length=1)
    size: int = Field(128, ge=16)
    extent: tuple[float, float] = (18.0, 56.0)
    scales: tuple[float, float] = (0.25, 2.5)
    min_visible: float = Field(0.3, ge=0, le=1)
    min_pixels: float = Field(5.0, ge=0)
    background: float = Field(0.1, ge=0, le=1)
    balance: float = Field(0.5, ge=0, le=1)


class LayoutConfig(BaseModel):
    """Network, diffusion, conditions and data of a layout-to-image generator in pixel space."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["layout"] = "layout"
    names: list[str] = Field(min_length=1)
    """Classes, in the network's order."""
    patch: int = Field(4, ge=1)
    """Pixels along a cell of the network's grid."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Further settings of `LayoutUNet`."""
    text: TextConfig | None = None
    """Tokenizer and text encoder; None for a model without text."""
    scheduler: dict[str, Any] = Field(default_factory=dict)
    """Configuration of the diffusers scheduler that the model is saved with."""
    sampler: Literal["DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler"] = (
        "DPMSolverMultistepScheduler"
    )
    min_snr: float | None = Field(None, gt=0)
    drop: LayoutDropConfig = LayoutDropConfig()  # type: ignore[call-arg]
    repaint: RepaintConfig = RepaintConfig()  # type: ignore[call-arg]
    foreground: ForegroundConfig = ForegroundConfig()  # type: ignore[call-arg]
    objects: ObjectCropConfig
    bank: int = Field(0, ge=0)
    """Distinct crops that are kept in memory, turned and flipped anew for each sample; 0 cuts a new one for every sample."""
    guidance: LayoutGuidanceConfig = LayoutGuidanceConfig()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _agree(self) -> LayoutConfig:
        """Refuse parts that contradict each other."""
        if len(set(self.names)) != len(self.names):
            raise ValueError("a class is named twice in 'names'; name each once")
        if self.objects.size % self.patch:
            raise ValueError(f"crops of {self.objects.size} pixels are no multiple of the patch of {self.patch}")
        if self.scheduler.get("prediction_type") == "flow_prediction" and self.min_snr is not None:
            raise ValueError("min_snr is for diffusion; a flow weights by its density of times, so leave it out")
        return self
