"""The training loop: Accelerate for devices and precision, time counted in samples, everything resumable.

The state of a run is (weights, their average, optimizer moments, samples seen). Data, times and noise are functions of the sample index,
the learning rate of the samples seen: there is nothing else to restore, and on a CPU a resumed run gives the uninterrupted run's weights
bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from ..gen.data.atomic import write_json
from ..gen.errors import InputError
from .checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from .devices import apply_switches, compiled, make_accelerator, make_optimizer
from .ema import Ema
from .feed import micro_batches
from .journal import DISK_FULL, Journal
from .lock import run_lock
from .order import step_seed
from .recipe import Recipe, dump_recipe
from .run_state import RunState, changed_settings
from .schedule import learning_rate
from .task import Batch, Task

Progress = Callable[[int, int], None]
_HARMLESS = ("output", "data", "workers", "save_every", "evaluate_every", "log_every", "keep", "card", "gradient_checkpointing", "compile")


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


class Trainer:
    """One run of a recipe.

    Attributes:
        state: What a checkpoint holds.
        folder: Where the run writes: ``recipe.json``, ``log.jsonl``, ``checkpoints/``, ``best/`` and ``final/``.
        journal: Its log.
    """

    def __init__(self, recipe: Recipe, task: Task, progress: Progress | None = None, accelerator: Accelerator | None = None) -> None:
        """Build the model, or take up the newest whole checkpoint in the output folder.

        Args:
            recipe: What to run.
            task: What is trained.
            progress: Called with (samples seen, samples in all) after every step.
            accelerator: Device and processes; made from the recipe if left out.

        Raises:
            InputError: If the output folder holds a run of another model.
        """
        self.recipe, self.task, self.progress = recipe, task, progress
        self.accelerator = accelerator or make_accelerator(recipe)
        self.ranks, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.main: bool = self.accelerator.is_main_process
        self.folder = recipe.output / recipe.name
        self.journal = Journal(self.folder / "log.jsonl", self.main)
        path, damaged = latest_checkpoint(self.folder / "checkpoints")
        torch.manual_seed(recipe.seed)
        model = task.build(None if path else recipe.initialise)
        apply_switches(model, recipe)
        optimizer = make_optimizer(model, recipe.optimizer, self.accelerator.device)
        network, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.network = compiled(network, recipe)
        self.state = RunState(model, Ema(model, recipe.ema_half_life), self.optimizer.optimizer, self.accelerator.scaler)
        self._resume(path, damaged)
        self._began = time.perf_counter() - self.state.seconds

    @property
    def samples(self) -> int:
        """Samples seen so far, over all processes."""
        return self.state.samples

    @property
    def per_step(self) -> int:
        """Samples of one optimizer step over all processes."""
        return self.recipe.batch * self.recipe.accumulate * self.ranks

    def run(self, stop: Callable[[], bool] | None = None) -> int:
        """Train to the recipe's length, evaluate, save and export.

        Args:
            stop: Asked after every step; when it says yes, a checkpoint is written and the run returns early.

        Returns:
            Samples seen.

        Raises:
            NonFiniteLoss: If a loss or gradient was not finite.
            OSError: If the last checkpoint cannot be written.
        """
        if self.main:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "recipe.json", dump_recipe(self.recipe))
        self._began = time.perf_counter() - self.state.seconds
        with closing(self._feed()) as feed:
            for step in feed:
                self.step(step)
                if stop is not None and self._agreed(stop()):
                    self.save(last=True)
                    return self.samples
        self._finish()
        return self.samples

    def save(self, last: bool = False) -> Path | None:
        """Write a checkpoint (first process only).

        Args:
            last: Whether nothing follows; then a full disk is an error, else it is said and the run goes on.

        Returns:
            The checkpoint's folder, None where none was written.
        """
        if not self.main:
            return None
        try:
            return save_checkpoint(self.folder / "checkpoints", self.state.snapshot(dump_recipe(self.recipe)), self.recipe.keep)
        except OSError as error:
            if last or error.errno not in DISK_FULL:
                raise
            self._notice("the disk is full: no checkpoint was written, the one before is whole; free some space")
            return None

    def evaluate(self) -> dict[str, float]:
        """Score the averaged weights on the held-out data, log it, and export them if they are the best so far (by ``score``)."""
        state, figures = self.state, {}
        if self.main:
            state.model.eval()
            with state.ema.applied(state.model), torch.no_grad():
                figures = self.task.evaluate(state.model)
                if figures.get("score", -math.inf) > state.best:
                    state.best = figures["score"]
                    self.export(self.folder / "best", figures)
            state.model.train()
            self.journal.write(self.samples, state.seconds, {"evaluation": figures})
        state.evaluated, state.figures = self.samples, figures
        self.accelerator.wait_for_everyone()
        return figures

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        """Write the model as it now is (inside `Ema.applied`: the averaged weights), with its card."""
        record = {"samples": self.samples, "minutes": round(self.state.seconds / 60, 1), "seed": self.recipe.seed, "figures": figures}
        self.task.export(self.state.model, folder, {**self.recipe.card, "training": record})

    def _resume(self, path: Path | None, damaged: list[Path]) -> None:
        for folder in damaged:
            self._notice(f"the checkpoint {folder} is damaged and was passed over; going on from {path or 'the start'}")
        if path is None:
            return
        snapshot = load_checkpoint(path)
        self.state.restore(snapshot, path)
        self.journal.resume(self.samples)
        changed = [key for key in changed_settings(snapshot.meta["recipe"], dump_recipe(self.recipe)) if key.split(".")[0] not in _HARMLESS]
        if changed:
            self._notice(f"the run goes on from {path} with other settings than it was begun with: {', '.join(changed)}")

    def _feed(self) -> Generator[list[Batch], None, None]:
        recipe = self.recipe
        sizes = {"batch": recipe.batch, "accumulate": recipe.accumulate, "workers": recipe.workers}
        return micro_batches(self.task.batch, self.samples, recipe.samples, rank=self.rank, ranks=self.ranks, **sizes)

    def step(self, step: list[Batch]) -> None:
        """One optimizer step, with the logging, evaluation and saving that are due after it.

        Args:
            step: Micro-batches of this process.

        Raises:
            NonFiniteLoss: If a number is not finite; nothing is changed then.
        """
        self._optimise(step)
        self.state.seconds = time.perf_counter() - self._began
        self._after_step()

    def _optimise(self, step: list[Batch]) -> None:
        spec, state = self.recipe.optimizer, self.state
        rate = learning_rate(self.samples, peak=spec.lr, total=self.recipe.samples, warm_up=spec.warm_up, hold=spec.hold, floor=spec.floor)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # What the model draws itself (drop-out) is a function of the samples too.
        torch.manual_seed(step_seed(self.recipe.seed, self.samples, self.rank))
        rows: list[Tensor] = []
        names: list[str] = []
        for batch in step:
            with self.accelerator.accumulate(self.network):
                loss, figures = self.task.loss(self.network, self._on_device(batch))
                self.accelerator.backward(loss)
            names = ["loss", *figures]
            rows.append(torch.stack([loss.detach().float(), *(value.detach().float() for value in figures.values())]))
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), spec.clip or math.inf)
        averaged = self._checked(torch.stack(rows), norm, step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        state.samples += self.per_step
        if not self.accelerator.optimizer_step_was_skipped:
            state.ema.update(state.model, self.per_step)
        state.averages.add(dict(zip([*names, "grad_norm"], averaged, strict=True)), lr=rate)

    def _checked(self, rows: Tensor, norm: Tensor, step: list[Batch]) -> list[float]:
        """Figures and gradient norm averaged over micro-batches and processes, in one transfer; all processes stop together."""
        shared = self.accelerator.reduce(torch.cat([rows.mean(0), norm.detach().float().reshape(1)]), "mean")
        *figures, length = shared.tolist()
        if not math.isfinite(figures[0]):
            at_fault = [batch for batch, good in zip(step, rows[:, 0].isfinite().tolist(), strict=True) if not good]
            raise NonFiniteLoss("the loss", at_fault or step)
        # Under loss scaling an overflow is expected now and then: the scaler leaves the step out by itself.
        if not math.isfinite(length) and self.accelerator.scaler is None:
            raise NonFiniteLoss("the gradient", step)
        return [*figures, length]

    def _on_device(self, batch: Batch) -> Batch:
        moved = {name: value.to(self.accelerator.device, non_blocking=True) for name, value in batch.tensors.items()}
        return Batch(batch.indices, batch.names, moved)

    def _after_step(self) -> None:
        recipe, state = self.recipe, self.state
        if self.progress is not None and self.main:
            self.progress(self.samples, recipe.samples)
        if self._due(recipe.log_every):
            self.journal.write(self.samples, state.seconds, state.averages.take())
        if self._due(recipe.evaluate_every):
            self.evaluate()
        if self._due(recipe.save_every):
            self.save()

    def _due(self, every: int) -> bool:
        """Whether the last step went past a multiple of `every` samples; never for 0."""
        return bool(every) and self.samples // every > (self.samples - self.per_step) // every

    def _finish(self) -> None:
        """Last evaluation, checkpoint and export; nothing where an earlier process did it."""
        state, target = self.state, self.folder / "final"
        if self.recipe.evaluate_every and state.evaluated != self.samples:
            self.evaluate()
        self.save(last=True)
        if self.main and not target.exists():
            with state.ema.applied(state.model):
                self.export(target, state.figures)
        self.accelerator.wait_for_everyone()

    def _agreed(self, asked: bool) -> bool:
        """Whether any process was asked to stop, so that all stop after the same step."""
        if self.ranks == 1:
            return asked
        flag = torch.tensor([float(asked)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    def _notice(self, sentence: str) -> None:
        self.journal.notice(self.samples, self.state.seconds, sentence)


def train(recipe: Recipe, task: Task, progress: Progress | None = None, stop: Callable[[], bool] | None = None) -> Trainer:
    """Run a recipe to its end (or to `stop`), resuming what its output folder holds.

    Returns:
        The trainer, after its last checkpoint.

    Raises:
        InputError: If another process trains into the same folder, the folder holds another model, or a loss is not finite.
    """
    accelerator = make_accelerator(recipe)
    with run_lock(recipe.output / recipe.name) if accelerator.is_main_process else nullcontext():
        trainer = Trainer(recipe, task, progress, accelerator)
        trainer.run(stop)
    return trainer
