"""The part of a recipe that describes the distillation of a many-step model into a one-step student."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .super_resolution_config import SuperResolutionConfig


class DistillationWeights(BaseModel):
    """How much each term of the loss counts; 0 leaves its evaluations out."""

    model_config = ConfigDict(extra="forbid")

    teacher: float = Field(1.0, ge=0)
    """On the distance between the student's picture and the teacher's from the same start state."""
    inverse: float = Field(0.1, ge=0)
    """On the distance between the noise that the student reads out of the teacher's picture at t = 0 and the noise it was made from."""
    truth: float = Field(0.0, ge=0)
    """On the distance between the true picture and the student's from the noise that it reads out of the true picture."""
    texture: float = Field(0.0, ge=0)
    """On the difference of the logarithms of local high-frequency energy, student's against teacher's: distances alone are smallest for a
    picture that is a little too smooth."""


class DistillationConfig(BaseModel):
    """Teacher, loss and the system that both belong to."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["distillation"] = "distillation"
    teacher: str
    """Model folder, or a name of the zoo."""
    digest: str | None = None
    """Digest of the teacher's weights. It is filled in when the run begins; another teacher is refused from then on."""
    steps: int = Field(10, ge=2, le=1000)
    """Evaluations of the teacher's deterministic solve."""
    bank: int = Field(0, ge=0)
    """Distinct samples: after so many, data and noise come again and the teacher's pictures out of memory; 0 never repeats. The teacher's
    solve is most of the cost of a sample, and a student of this size learns no noise by heart."""
    loss: Literal["l1", "l2"] = "l2"
    weights: DistillationWeights = DistillationWeights()  # type: ignore[call-arg]
    of: SuperResolutionConfig
    """The system: bands, network, diffusion, data. Its own loss is not used."""

    @model_validator(mode="after")
    def _teaches(self) -> DistillationConfig:
        """Refuse weights that leave nothing to learn from."""
        if not (self.weights.teacher or self.weights.truth):
            raise ValueError("both weights.teacher and weights.truth are 0; the student needs one of them to learn pictures from")
        if self.of.scheduler.get("prediction_type", "epsilon") != "v_prediction":
            raise ValueError(
                "of.scheduler.prediction_type is epsilon; at the start a picture predicted from noise has 200 times its error, "
                "so teach with a model of v_prediction"
            )
        return self
