"""The part of a recipe that describes training a diffusion over rasters of layouts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .layout_sources import AnnotatedObjects

COSINE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}


class LayoutPriorConfig(BaseModel):
    """Network, diffusion and data."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["layout_prior"] = "layout_prior"
    names: list[str] = Field(min_length=1)
    """Classes, one channel each; objects of others are left out."""
    size: int = Field(64, ge=8)
    """Cells per side of a raster."""
    window: int = Field(0, ge=0)
    """Side in pixels of the windows that are cut at random from larger pictures; 0 takes whole pictures."""
    min_visible: float = Field(0.4, ge=0, le=1)
    """Share of an object that a window must show."""
    zoom: tuple[float, float] = (0.9, 1.1)
    """Range of the factor by which layouts are enlarged about their middle."""
    sources: list[AnnotatedObjects] = Field(min_length=1)
    """Their pictures are divided by place into training, validation and test."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Of `build_layout_prior`."""
    scheduler: dict[str, Any] = Field(default=COSINE)
    """Of the diffusion; the sampler is `DPMSolverMultistepScheduler` over it."""
    gamma: float | None = Field(5.0, gt=0)
    """Of min-SNR weighting."""
    steps: int = Field(25, ge=1)
    """Evaluations of the sampler."""
    count: int = Field(64, ge=1)
    """Layouts that an evaluation draws."""
