"""The part of a recipe that describes training EDiffSR."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from ...gen.data.degrade import Decimate, Degradation
from ...gen.data.frames import Frame, LocalContrast, frame_of
from ...gen.data.sources import Source
from ...gen.schedulers.mean_reverting import MeanRevertingScheduler


class HeldOut(BaseModel):
    """How held-out pictures are scored during training."""

    model_config = ConfigDict(extra="forbid")

    sources: list[Source] = Field(default_factory=list)
    crop: int = Field(128, ge=16)
    """Side of the centre crop that is scored."""
    steps: int = Field(10, ge=1)
    mtf: float = Field(0.3, gt=0, lt=1)
    """Fixed transfer at the low-resolution Nyquist frequency: evaluation draws nothing."""
    temperature: float = Field(1.0, ge=0)


class Contrast(BaseModel):
    """Parameters of `LocalContrast`."""

    model_config = ConfigDict(extra="forbid")

    window: int = Field(9, ge=3)
    floor: float = Field(gt=0)


class SuperResolutionConfig(BaseModel):
    """Model, diffusion, data and loss of a super-resolution run."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["super_resolution"] = "super_resolution"
    bands: list[str] = Field(min_length=1)
    unit: str = "reflectance"
    scale: int = Field(4, ge=2, le=16)
    crop: int = Field(64, ge=16)
    """Side of a training crop in sharp pixels."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Configuration of `EANet`."""
    scheduler: dict[str, Any] = Field(default_factory=dict)
    """Configuration of `MeanRevertingScheduler`."""
    loss: Literal["state", "noise_l1", "velocity"] = "velocity"
    """`state` is the published loss; `velocity` is a mean squared error that also trains the first step's prediction."""
    final_time_share: float = Field(0.0, ge=0, le=1)
    """Share of the samples that are noised to the very end (t = T), which is where the one-step mean starts."""
    contrast: Contrast | None = None
    """Local mean and contrast as the unit, so that plain and busy places count alike; None for a constant unit (published)."""
    degradation: list[Degradation]
    sources: list[Source]
    held_out: HeldOut = HeldOut()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _agree(self) -> SuperResolutionConfig:
        """Refuse parts that contradict each other."""
        reduced = math.prod(step.scale for step in self.degradation if isinstance(step, Decimate))
        if reduced != self.scale:
            raise ValueError(f"the degradation reduces {reduced} times and scale is {self.scale}; they must be equal")
        if self.crop % self.scale:
            raise ValueError(f"the crop of {self.crop} pixels is no multiple of the scale {self.scale}")
        wanted = {"noise_l1": "epsilon", "velocity": "v_prediction"}.get(self.loss)
        named = {self.scheduler.get("prediction_type", "epsilon"), self.model.get("prediction", "epsilon")}
        if len(named) > 1 or (wanted and named != {wanted}):
            expected = wanted or "the same in both"
            raise ValueError(
                f"scheduler.prediction_type and model.prediction are {' and '.join(sorted(named))}; the loss {self.loss} needs {expected}"
            )
        return self

    def frame(self, low: Tensor, scheduler: MeanRevertingScheduler) -> Frame:
        """The unit in which the diffusion sees these pictures."""
        contrast = None if self.contrast is None else LocalContrast(self.contrast.window, self.contrast.floor)
        return frame_of(low, self.scale, scheduler.config["data_scale"], contrast)
