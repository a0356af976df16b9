"""One optimizer step: learning rate, micro-batches, the check for numbers that are not finite, weights and their average."""

from __future__ import annotations

import math
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from ..gen.errors import InputError
from .order import step_seed
from .recipe import Recipe
from .run_state import RunState
from .schedule import learning_rate
from .sharded import whole
from .task import Batch, Task


class NonFiniteLoss(InputError):
    """A loss or gradient was not finite; raised before the optimizer could spoil the weights.

    Attributes:
        indices: Sample indices of the step.
        names: Where those samples came from.
    """

    def __init__(self, what: str, batches: list[Batch]) -> None:
        """Say what happened, and on which samples."""
        self.indices = [index for batch in batches for index in batch.indices]
        self.names = [name for batch in batches for name in batch.names]
        listed = ", ".join(f"{index} ({name})" for index, name in zip(self.indices, self.names, strict=True))
        super().__init__(
            f"{what} is not finite at samples {listed}; the weights were not touched: look at these samples or lower optimizer.lr, "
            "and start again from the last checkpoint"
        )


class OptimizerStep:
    """Takes the micro-batches of this process to new weights, in step with the other processes."""

    def __init__(
        self, recipe: Recipe, task: Task, accelerator: Accelerator, network: nn.Module, optimizer: AcceleratedOptimizer, state: RunState
    ) -> None:
        """Remember the parts.

        Args:
            recipe: What to run.
            task: Gives the loss.
            accelerator: Device, precision and processes.
            network: The model as prepared for them.
            optimizer: Its optimizer, as prepared for them.
            state: The run's state, which a step changes.
        """
        self.recipe, self.task, self.accelerator = recipe, task, accelerator
        self.network, self.optimizer, self.state = network, optimizer, state
        self._parameters = list(network.parameters())

    @property
    def samples(self) -> int:
        """Samples of one step over all processes."""
        return self.recipe.batch * self.recipe.accumulate * self.accelerator.num_processes

    def __call__(self, step: list[Batch]) -> None:
        """Take one step.

        Args:
            step: Micro-batches of this process.

        Raises:
            NonFiniteLoss: If a number is not finite; nothing is changed then.
        """
        state = self.state
        rate = self._set_rate()
        # What the model draws itself (drop-out) is a function of the samples too.
        self._seed(step_seed(self.recipe.seed, state.samples, self.accelerator.process_index))
        rows: list[Tensor] = []
        names: list[str] = []
        for number, batch in enumerate(step, 1):
            loss, figures = self._backward(batch, number == len(step))
            names = ["loss", *figures]
            rows.append(torch.stack([loss.detach().float(), *(value.detach().float() for value in figures.values())]))
        norm = self._norm()
        replaced = sum(len(batch.skipped) for batch in step)
        *averaged, skipped = self._checked(torch.stack(rows), norm, replaced, step)
        taken = self._update()
        state.samples += self.samples
        if taken:
            state.ema.update(state.model, self.samples)
        state.skipped += round(skipped * self.accelerator.num_processes)
        state.averages.add(dict(zip([*names, "grad_norm"], averaged, strict=True)), lr=rate)

    def _backward(self, batch: Batch, last: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Add a micro-batch's gradients to the step's; ``last`` says that none follows."""
        with self.accelerator.accumulate(self.network):
            loss, figures = self.task.loss(self.network, self._on_device(batch))
            self.accelerator.backward(loss)
        return loss, figures

    def _norm(self) -> Tensor:
        """Clip the step's gradients; their norm before that, over all processes."""
        return whole(self.accelerator.clip_grad_norm_(self._parameters, self.recipe.optimizer.clip or math.inf))

    def _update(self) -> bool:
        """Change the weights; whether that was done, since loss scaling may leave a step out."""
        self.optimizer.step()
        self.optimizer.zero_grad()
        return not self.accelerator.optimizer_step_was_skipped

    def _seed(self, seed: int) -> None:
        if self.accelerator.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # all that `torch.manual_seed` does here, in a tenth of its time
        else:
            torch.manual_seed(seed)

    def _set_rate(self) -> float:
        spec = self.recipe.optimizer
        total, seen = self.recipe.samples, self.state.samples
        rate = learning_rate(seen, peak=spec.lr, total=total, warm_up=spec.warm_up, hold=spec.hold, floor=spec.floor)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _checked(self, rows: Tensor, norm: Tensor, replaced: int, step: list[Batch]) -> list[float]:
        """Figures, gradient norm and replaced samples averaged over the processes, in one transfer; all processes stop together."""
        own = [rows.mean(0), norm.detach().float().reshape(1), torch.full((1,), float(replaced), device=rows.device)]
        *figures, length, skipped = self.accelerator.reduce(torch.cat(own), "mean").tolist()
        if not math.isfinite(figures[0]):
            at_fault = [batch for batch, good in zip(step, rows[:, 0].isfinite().tolist(), strict=True) if not good]
            raise NonFiniteLoss("the loss", at_fault or step)
        # Under loss scaling an overflow is expected now and then: the scaler leaves the step out by itself.
        if not math.isfinite(length) and self.accelerator.scaler is None:
            raise NonFiniteLoss("the gradient", step)
        return [*figures, length, skipped]

    def _on_device(self, batch: Batch) -> Batch:
        moved = {name: value.to(self.accelerator.device, non_blocking=True) for name, value in batch.tensors.items()}
        return Batch(batch.indices, batch.names, moved)


class ZeroStep(OptimizerStep):
    """The same under DeepSpeed, whose engine is driven here directly.

    Accelerate would take the optimizer's step inside the last ``backward``; the engine itself has the two apart, so that losses and
    gradients are looked at in between as ever. The engine clips in its step.
    """

    def _backward(self, batch: Batch, last: bool) -> tuple[Tensor, dict[str, Tensor]]:
        engine: Any = self.network
        engine.set_gradient_accumulation_boundary(last)
        loss, figures = self.task.loss(engine, self._on_device(batch))
        engine.backward(loss)
        return loss, figures

    def _norm(self) -> Tensor:
        zero: Any = self.optimizer.optimizer
        norm = torch.as_tensor(zero.scaled_global_norm(), dtype=torch.float32)
        return torch.where(norm >= 0, norm, math.inf)  # -1 stands for what is not finite

    def _update(self) -> bool:
        engine: Any = self.network
        engine.step()
        return True
