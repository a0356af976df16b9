"""What a recipe says about an adapter; the part that does the work is in `adapters`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Adapter(BaseModel):
    """LoRA: beside each chosen layer a product of two thin matrices is trained, and the layer itself stays as it was.

    The layer ``W x`` becomes ``W x + (alpha / rank) B A x`` with A drawn at random and B zero, so that the start is the model itself.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["lora"] = "lora"
    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)
    """Strength; left out it is the rank, which makes the factor one."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the inputs of A that is dropped in training."""
    targets: list[str] = Field(min_length=1)
    """Patterns (``*``, ``?``) of linear layers and plain convolutions: names, whole (``blocks.0.to_q``) or from a dot on (``to_q``)."""

    @property
    def factor(self) -> float:
        """What B A is multiplied by."""
        return (self.rank if self.alpha is None else self.alpha) / self.rank
