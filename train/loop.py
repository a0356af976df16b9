"""The training loop: Accelerate for devices and precision, time counted in samples, everything resumable.

The state of a run is (weights, their average, optimizer moments, samples seen). Data, times and noise are functions of the sample index, the learning rate of the samples seen:
there is nothing else to restore, and on a CPU a resumed run gives the uninterrupted run's weights bit for bit.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..gen.data.atomic import write_json
from ..gen.errors import InputError
from .checkpoint import Snapshot, latest_checkpoint, load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from .ema import Ema
from .order import batches
from .recipe import Recipe, dump_recipe
from .schedule import learning_rate
from .task import Batch, Task

Progress = Callable[[int, int], None]


class NonFiniteLoss(RuntimeError):
    """A loss or gradient was not finite; raised before the optimizer could spoil the weights.

    Attributes:
        indices: Sample indices of the step.
        names: Where those samples came from.
    """

    def __init__(self, what: str, indices: list[int], names: list[str]) -> None:
        """Say what happened, and on which samples."""
        listed = ", ".join(f"{index} ({name})" for index, name in zip(indices, names, strict=True))
        super().__init__(f"{what} is not finite at samples {listed}; the weights are those of the step before")
        self.indices, self.names = indices, names


class Trainer:
    """One run of a recipe.

    Attributes:
        samples: Samples seen so far, over all processes.
        model: The model being trained.
        ema: Its average.
    """

    def __init__(self, recipe: Recipe, task: Task, progress: Progress | None = None) -> None:
        """Build the model, or take up the newest whole checkpoint in the output folder.

        Args:
            recipe: What to run.
            task: What is trained.
            progress: Called with (samples seen, samples in all) after every step.

        Raises:
            InputError: If the output folder holds a run of another recipe.
        """
        self.recipe, self.task, self.progress = recipe, task, progress
        self.accelerator = Accelerator(mixed_precision=recipe.precision, gradient_accumulation_steps=recipe.accumulate)
        self.ranks, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.folder = recipe.output / recipe.name
        torch.manual_seed(recipe.seed)
        self.model = task.build(recipe.initialise)
        self.ema = Ema(self.model, recipe.ema_half_life)
        spec = recipe.optimizer
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay)
        self.samples, self.seconds, self.best = 0, 0.0, -math.inf
        self._resume(optimizer)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        for name, value in self.ema.shadow.items():
            self.ema.shadow[name] = value.to(self.accelerator.device)
        self._log_sums: dict[str, float] = {}
        self._log_steps = 0

    @property
    def per_step(self) -> int:
        """Samples of one optimizer step over all processes."""
        return self.recipe.batch * self.recipe.accumulate * self.ranks

    def run(self, stop: Callable[[], bool] | None = None) -> int:
        """Train to the recipe's length.

        Args:
            stop: Asked after every step; when it says yes, a checkpoint is written and the run returns early.

        Returns:
            Samples seen.

        Raises:
            NonFiniteLoss: If a loss or gradient was not finite.
        """
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "recipe.json", dump_recipe(self.recipe))
        began = time.perf_counter() - self.seconds
        for step in self._steps():
            self._step(step)
            self.seconds = time.perf_counter() - began
            self._after_step()
            if stop is not None and stop():
                break
        self.save()
        return self.samples

    def save(self) -> Path | None:
        """Write a checkpoint (main process only)."""
        if not self.accelerator.is_main_process:
            return None
        tensors = {
            "model": dict(self.model.state_dict()),
            "ema": self.ema.state(),
            "optimizer": optimizer_tensors(self.optimizer.optimizer),
        }
        meta = {"ema_steps": self.ema.steps, "seconds": self.seconds, "best": None if self.best == -math.inf else self.best}
        return save_checkpoint(
            self.folder / "checkpoints", Snapshot(self.samples, tensors, {**meta, "recipe": dump_recipe(self.recipe)}), self.recipe.keep
        )

    def evaluate(self) -> dict[str, float]:
        """Score the averaged weights on the held-out data, log it, and export them if they are the best so far (by the figure named ``score``)."""
        self.model.eval()
        with self.ema.applied(self.model), torch.no_grad():
            figures = self.task.evaluate(self.model)
            if figures.get("score", -math.inf) > self.best:
                self.best = figures["score"]
                self.export(self.folder / "best", figures)
        self.model.train()
        self._write_log({"evaluation": figures})
        return figures

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        """Write the model as it now is (inside `Ema.applied`: the averaged weights), with its card."""
        record = {"samples": self.samples, "minutes": round(self.seconds / 60, 1), "seed": self.recipe.seed, "figures": figures}
        self.task.export(self.model, folder, {**self.recipe.card, "training": record})

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        path, damaged = latest_checkpoint(self.folder / "checkpoints")
        for folder in damaged:
            self.accelerator.print(f"passed over the damaged checkpoint {folder}")
        if path is None:
            return
        snapshot = load_checkpoint(path)
        model = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        if {name: tuple(value.shape) for name, value in snapshot.tensors["model"].items()} != model:
            raise InputError(f"{path} belongs to another model than this recipe's; choose another 'output' or 'name'")
        self.model.load_state_dict(snapshot.tensors["model"])
        self.ema.load(snapshot.tensors["ema"], snapshot.meta["ema_steps"])
        restore_optimizer(optimizer, snapshot.tensors["optimizer"])
        self.samples, self.seconds = snapshot.samples, float(snapshot.meta["seconds"])
        self.best = -math.inf if snapshot.meta["best"] is None else float(snapshot.meta["best"])

    def _steps(self) -> Iterator[list[Batch]]:
        """Micro-batches of each optimizer step; worker threads prepare them ahead, which changes no number."""
        whole = self.recipe.batch * self.recipe.accumulate
        plan = batches(self.samples, self.recipe.samples, whole, self.rank, self.ranks)
        size = self.recipe.batch
        if not self.recipe.workers:
            for indices in plan:
                yield [self.task.batch(indices[at : at + size]) for at in range(0, whole, size)]
            return
        with ThreadPoolExecutor(self.recipe.workers) as pool:
            waiting: list[Any] = []
            for indices in plan:
                waiting.append([pool.submit(self.task.batch, indices[at : at + size]) for at in range(0, whole, size)])
                if len(waiting) > self.recipe.workers:
                    yield [future.result() for future in waiting.pop(0)]
            for rest in waiting:
                yield [future.result() for future in rest]

    def _step(self, step: list[Batch]) -> None:
        spec = self.recipe.optimizer
        schedule = {"total": self.recipe.samples, "warm_up": spec.warm_up}
        rate = learning_rate(self.samples, peak=spec.lr, hold=spec.hold, floor=spec.floor, **schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        indices = [index for batch in step for index in batch.indices]
        names = [name for batch in step for name in batch.names]
        for batch in step:
            with self.accelerator.accumulate(self.wrapped):
                loss, figures = self.task.loss(self.wrapped, self._on_device(batch))
                if not bool(torch.isfinite(loss)):
                    raise NonFiniteLoss("the loss", batch.indices, batch.names)
                self.accelerator.backward(loss)
                self._collect(loss, figures)
                if self.accelerator.sync_gradients:
                    norm = self._clip(spec.clip)
                    if not math.isfinite(norm):
                        raise NonFiniteLoss("the gradient", indices, names)
                    self._log_sums["grad_norm"] = self._log_sums.get("grad_norm", 0.0) + norm * len(step)
                self.optimizer.step()
                self.optimizer.zero_grad()
        self.samples += self.per_step
        self.ema.update(self.model, self.per_step)
        self._log_sums["lr"] = rate * (self._log_steps or 1)

    def _clip(self, limit: float) -> float:
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), limit if limit > 0 else math.inf)
        return float(norm) if norm is not None else 0.0

    def _on_device(self, batch: Batch) -> Batch:
        return Batch(batch.indices, batch.names, {name: value.to(self.accelerator.device) for name, value in batch.tensors.items()})

    def _collect(self, loss: Tensor, figures: dict[str, Tensor]) -> None:
        for name, value in {"loss": loss, **figures}.items():
            self._log_sums[name] = self._log_sums.get(name, 0.0) + float(value.detach())
        self._log_steps += 1

    def _after_step(self) -> None:
        recipe, before = self.recipe, self.samples - self.per_step
        if self.progress is not None:
            self.progress(self.samples, recipe.samples)
        if self.samples // recipe.log_every > before // recipe.log_every:
            self._write_log({name: value / self._log_steps for name, value in self._log_sums.items()})
            self._log_sums, self._log_steps = {}, 0
        if recipe.evaluate_every and self.samples // recipe.evaluate_every > before // recipe.evaluate_every:
            self.evaluate()
        if self.samples // recipe.save_every > before // recipe.save_every:
            self.save()

    def _write_log(self, figures: dict[str, Any]) -> None:
        if not self.accelerator.is_main_process:
            return
        line = {"samples": self.samples, "seconds": round(self.seconds, 1), **figures}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def train(recipe: Recipe, task: Task, progress: Progress | None = None, stop: Callable[[], bool] | None = None) -> Trainer:
    """Run a recipe to its end (or to `stop`), resuming what its output folder holds; returns the trainer."""
    trainer = Trainer(recipe, task, progress)
    trainer.run(stop)
    return trainer


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside a distributed wrapper."""
    inner = getattr(model, "module", None)
    return inner if isinstance(inner, nn.Module) else model
