"""Distillation: a student that does in one evaluation what its teacher's deterministic solve does in many.

The teacher's solve is a function of the condition and the start state, hence of the noise z in it. The student learns that function and
keeps z as its input, so that other seeds give other pictures and an ensemble still has a spread. After SinSR (Wang et al., CVPR 2024), but:

- the mapping back from a picture to its noise is the same network at t = 0, where a noise or velocity prediction is the noise anyway;
- a picture nearest to the teacher's in the mean is a little too smooth, since not all of the mapping fits into one evaluation; the texture
  term weighs local high-frequency energy against the teacher's and needs no perceptual network.

Generic over `Distillable`, what a system must offer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...gen.errors import InputError
from ..task import Batch
from .distillation_config import DistillationConfig
from .teacher import Teacher

if TYPE_CHECKING:
    from ..recipe import Recipe

ENERGY_WINDOW = 8  # pixels: side of the patches whose high-frequency energy is compared
ENERGY_FLOOR = 1e-3  # of the noise's variance: energy that counts as none


class Distillable(Protocol):
    """A system whose models can be distilled. Pictures are in the system's own unit; ``noise`` in a batch is what the start is made of."""

    @property
    def spread(self) -> float:
        """Standard deviation of the noise at the start, in that unit."""
        ...

    def teacher(self, name: str, starts: bool) -> Teacher:
        """Read a trained model, and refuse one of another system."""
        ...

    def build(self, initialise: Path | None) -> nn.Module:
        """As of a task."""
        ...

    def batch(self, indices: list[int]) -> Batch:
        """As of a task."""
        ...

    def truth(self, batch: Batch) -> Tensor:
        """The true pictures, ``[B, C, H, W]``."""
        ...

    def solve(self, model: nn.Module, batch: Batch, steps: int) -> Tensor:
        """Pictures from the batch's noise by a deterministic solve."""
        ...

    def one_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Pictures from the batch's noise by one evaluation."""
        ...

    def invert(self, model: nn.Module, clean: Tensor, batch: Batch) -> Tensor:
        """The noise that the model reads out of pictures, by one evaluation."""
        ...

    def compare(self, student: nn.Module, teacher: Teacher, steps: int) -> dict[str, float]:
        """Held-out figures of both."""
        ...

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any], steps: int | None = None) -> None:
        """As of a task; `steps` is the number of evaluations that the model is made for."""
        ...


class DistillationTask:
    """One student and its teacher.

    Attributes:
        system: What both belong to.
        teacher: The teacher, frozen.
    """

    def __init__(self, recipe: Recipe, system: Distillable | None = None) -> None:
        """Read teacher and pictures.

        Args:
            recipe: The run's recipe; its ``task`` part describes this. The teacher's digest is written into it, so that checkpoints and
                ``recipe.json`` name the teacher's very weights.
            system: The system; built from ``task.of`` if left out.

        Raises:
            InputError: If the teacher belongs to another system, or is not the one that the recipe's digest names.
        """
        if not isinstance(recipe.task, DistillationConfig):
            raise TypeError(f"the recipe {recipe.name} describes {recipe.task.kind}, not distillation")
        self.recipe: Recipe = recipe
        self.config: DistillationConfig = recipe.task
        self.system: Distillable = _system(recipe, self.config) if system is None else system
        self.teacher = self.system.teacher(self.config.teacher, starts=recipe.initialise is None)
        if self.config.digest not in (None, self.teacher.digest):
            raise InputError(
                f"the teacher {self.teacher.name} has the weights {self.teacher.digest}, but the run was begun with {self.config.digest}; "
                "give the former teacher, or choose another 'output' or 'name' to begin anew"
            )
        self.config.digest = self.teacher.digest
        self._bank: dict[int, Tensor] = {}

    def build(self, initialise: Path | None) -> nn.Module:
        """The student: with the teacher's weights, or with those in a folder."""
        return self.system.build(self.teacher.folder if initialise is None else initialise)

    def batch(self, indices: list[int]) -> Batch:
        """The system's samples, with noise at the teacher's temperature."""
        made = self.system.batch(self._distinct(indices))
        return replace(made, indices=indices, tensors={**made.tensors, "noise": made.tensors["noise"] * self.teacher.temperature})

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the terms, each a mean over the batch in units of the start state's standard deviation, and the terms."""
        system, weights = self.system, self.config.weights
        target = self.taught(batch)
        drawn = system.one_step(model, batch)
        terms = {"teacher": self._distance((drawn - target) / system.spread)}
        if weights.texture:
            terms["texture"] = texture_distance(drawn / system.spread, target / system.spread)
        if weights.inverse:
            terms["inverse"] = self._distance(system.invert(model, target, batch) - batch.tensors["noise"])
        if weights.truth:
            terms["truth"] = self._truth_term(model, batch)
        loss = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
        return loss, {name: value.detach() for name, value in terms.items()}

    def taught(self, batch: Batch) -> Tensor:
        """The teacher's pictures for this batch, out of the bank where it has them."""
        model, noise, keys = self.teacher.model, batch.tensors["noise"], self._distinct(batch.indices)
        if all(key in self._bank for key in keys):
            return torch.stack([self._bank[key] for key in keys]).to(noise.device)
        first = next(model.parameters())
        if first.device != noise.device or first.dtype != noise.dtype:
            model.to(device=noise.device, dtype=noise.dtype)
        with torch.inference_mode(), torch.autocast(noise.device.type, enabled=False):
            solved = self.system.solve(model, batch, self.config.steps)
        target = solved.clone()  # outside inference mode: an ordinary tensor
        if self.config.bank:
            self._bank.update(zip(keys, target.cpu(), strict=True))
        return target

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out figures of bicubic, the teacher in one and in many steps, and the student."""
        return self.system.compare(model, self.teacher, self.config.steps)

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        """Write the student as a folder that the system's pipeline runs in one step unless told otherwise; the card names the teacher."""
        teacher = {"name": self.teacher.name, "digest": self.teacher.digest, "steps": self.config.steps}
        weights = self.config.weights.model_dump()
        record = {**card.get("training", {}), "loss": f"distillation, {self.config.loss}", "weights": weights, "bank": self.config.bank}
        self.system.export(model, folder, {**card, "teacher": teacher, "training": record}, steps=1)

    def _distinct(self, indices: list[int]) -> list[int]:
        return [index % self.config.bank for index in indices] if self.config.bank else indices

    def _truth_term(self, model: nn.Module, batch: Batch) -> Tensor:
        """From the true picture to its noise and back: the noise is held fixed, so that only the way to the picture is trained."""
        truth = self.system.truth(batch)
        with torch.no_grad():
            noise = self.system.invert(model, truth, batch)
        there = replace(batch, tensors={**batch.tensors, "noise": noise})
        return self._distance((self.system.one_step(model, there) - truth) / self.system.spread)

    def _distance(self, error: Tensor) -> Tensor:
        measure: Callable[[Tensor], Tensor] = torch.abs if self.config.loss == "l1" else torch.square
        return measure(error).mean()


def texture_distance(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the logarithms of local high-frequency energy.

    Energy is the mean square, over patches, of what a 3 x 3 box mean leaves. A picture k times as rough gives ``(2 log k)**2``.

    Args:
        drawn: ``[B, C, H, W]``, in units of the start state's standard deviation, at least one patch large.
        target: Of the same shape.

    Returns:
        A scalar.
    """
    ratio = torch.log(_energy(drawn) + ENERGY_FLOOR) - torch.log(_energy(target) + ENERGY_FLOOR)
    return ratio.square().mean()


def _energy(picture: Tensor) -> Tensor:
    rough = picture - F.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)
    return F.avg_pool2d(rough.square(), ENERGY_WINDOW)


def _system(recipe: Recipe, config: DistillationConfig) -> Distillable:
    from .super_resolution import SuperResolutionTask

    return SuperResolutionTask(recipe, config.of)
