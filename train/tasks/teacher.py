"""What a distillation knows of its teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn


@dataclass(frozen=True)
class Teacher:
    """A frozen model.

    Attributes:
        name: As the recipe calls it.
        folder: Where it lies.
        digest: Of its weights.
        temperature: Factor on its noise.
        model: Its network, float32, in evaluation mode, without gradients.
    """

    name: str
    folder: Path
    digest: str
    temperature: float
    model: nn.Module
