"""What the loop asks of a task: one protocol, which every system implements in about 100 lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """Samples of one forward pass.

    Attributes:
        indices: Sample indices since the start of the run; all further randomness is keyed by them.
        names: Where each sample came from, for error messages.
        tensors: Named tensors, first dimension the batch.
    """

    indices: list[int]
    names: list[str]
    tensors: dict[str, Tensor]


class Task(Protocol):
    """One trainable system."""

    def build(self, initialise: Path | None) -> nn.Module:
        """The model, freshly initialised from the recipe's seed, or with the weights in a folder."""
        ...

    def batch(self, indices: list[int]) -> Batch:
        """The samples of these indices: a pure function of the recipe and the indices."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss over the batch (a mean of per-sample terms, so that accumulation equals a larger batch), and figures to log."""
        ...

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures on held-out data; higher or lower is better as their names say."""
        ...

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        """Write the model as a folder that the pipelines load."""
        ...
