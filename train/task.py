"""What the loop asks of a task: one protocol, which every system implements in about 100 lines, and two that it may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

Probe = Callable[[nn.Module], dict[str, float]]
"""Figures on how well a model keeps to its conditions."""


@dataclass(frozen=True)
class Batch:
    """Samples of one forward pass.

    Attributes:
        indices: Sample indices since the start of the run; all further randomness is keyed by them.
        names: Where each sample came from, for error messages.
        tensors: Named tensors, first dimension the batch.
        skipped: What could not be read and was replaced by another sample.
    """

    indices: list[int]
    names: list[str]
    tensors: dict[str, Tensor]
    skipped: tuple[str, ...] = ()


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


@runtime_checkable
class Shows(Protocol):
    """A task that can show what its model makes."""

    def show(self, model: nn.Module) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
        """Pictures ``[H, W, 3]`` by name, the same conditions and noise each time."""
        ...


@runtime_checkable
class Probed(Protocol):
    """A task that can tell whether its model keeps to its conditions: the sensor's picture, a layout, a date."""

    @property
    def probes(self) -> Mapping[str, Probe]:
        """Probes by name; each is called with the averaged weights, in evaluation mode."""
        ...
