"""The training loop: Accelerate for devices and precision, time counted in samples, everything resumable.

The state of a run is (weights, their average, optimizer moments, samples seen). Data, times and noise are functions of the sample index,
the learning rate of the samples seen: there is nothing else to restore, and on a CPU a resumed run gives the uninterrupted run's weights
bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from ..gen.data.atomic import write_json
from ..gen.errors import InputError
from .adapters import build_model, export_plain, frozen_digest
from .checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from .devices import apply_switches, compiled, make_accelerator, make_optimizer, prepare
from .ema import Ema
from .ema_profiles import EmaProfiles
from .feed import micro_batches
from .journal import DISK_FULL
from .lock import run_lock
from .recipe import Recipe, dump_recipe
from .run_state import RunState, changed_settings
from .sharded import is_sharded, same_everywhere
from .step import OptimizerStep, ZeroStep
from .task import Batch, Probed, Shows, Task
from .watch import Watch
from .zero import is_zero

Progress = Callable[[int, int], None]
_WATCHED = ("log_every", "show_every", "probe_every", "trackers")
_SPEED = ("workers", "gradient_checkpointing", "compile", "attention")
_HARMLESS = ("output", "data", "save_every", "evaluate_every", "profile_every", "keep", "card", *_WATCHED, *_SPEED)


class Trainer:
    """One run of a recipe.

    Attributes:
        state: What a checkpoint holds.
        folder: Where the run writes: ``recipe.json``, ``log.jsonl``, ``checkpoints/``, ``profiles/``, ``best/`` and ``final/``.
        watch: Its log, pictures and trackers.
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
        self.watch = Watch(recipe, self.folder, self.accelerator)
        for every, kind, what in ((recipe.show_every, Shows, "show_every"), (recipe.probe_every, Probed, "probe_every")):
            if every and not isinstance(task, kind):
                raise InputError(f"{what} is {every}, but a {type(task).__name__} has nothing to show for it; set {what}=0")
        path, damaged = latest_checkpoint(self.folder / "checkpoints")
        model = build_model(recipe, task, initialise=path is None)
        apply_switches(model, recipe, self.accelerator.device)
        frozen = frozen_digest(model)
        optimizer = make_optimizer(model, recipe.optimizer, self.accelerator.device)
        network, prepared = prepare(self.accelerator, recipe, model, optimizer)
        profiles = EmaProfiles(model, recipe.ema_profiles, self.folder / "profiles" if self.main else None, recipe.profile_every)
        self.state = RunState(model, Ema(model, recipe.ema_half_life), profiles, prepared.optimizer, self.accelerator.scaler, frozen=frozen)
        make_step = ZeroStep if is_zero(prepared.optimizer) else OptimizerStep
        self._take_step = make_step(recipe, task, self.accelerator, compiled(network, recipe), prepared, self.state)
        self._resume(path, damaged)
        self._began = time.perf_counter() - self.state.seconds

    @property
    def samples(self) -> int:
        """Samples seen so far, over all processes."""
        return self.state.samples

    @property
    def per_step(self) -> int:
        """Samples of one optimizer step over all processes."""
        return self._take_step.samples

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
        self.watch.open(self.samples)
        self._began = time.perf_counter() - self.state.seconds
        try:
            with closing(self._feed()) as feed:
                for step in feed:
                    self.step(step)
                    if stop is not None and self._agreed(stop()):
                        self.save(last=True)
                        return self.samples
            self._finish()
        finally:
            self.watch.close()
        return self.samples

    def save(self, last: bool = False) -> Path | None:
        """Write a checkpoint (first process only).

        Args:
            last: Whether nothing follows; then a full disk is an error, else it is said and the run goes on.

        Returns:
            The checkpoint's folder, None where none was written.
        """
        snapshot = self.state.snapshot(dump_recipe(self.recipe), self.main)
        if not self.main:
            return None
        try:
            return save_checkpoint(self.folder / "checkpoints", snapshot, self.recipe.keep)
        except OSError as error:
            if last or error.errno not in DISK_FULL:
                raise
            self._notice("the disk is full: no checkpoint was written, the one before is whole; free some space")
            return None

    def evaluate(self) -> dict[str, float]:
        """Score the averaged weights on the held-out data, log it, and export them if they are the best so far (by ``score``)."""
        state, figures = self.state, {}
        if self._computes:
            with self._averaged() as model:
                figures = same_everywhere(self.task.evaluate(model), model)
                if figures.get("score", -math.inf) > state.best:
                    state.best = figures["score"]
                    self.export(self.folder / "best", figures)
            self.watch.figures(self.samples, state.seconds, figures, "evaluation")
        state.evaluated, state.figures = self.samples, figures
        self.accelerator.wait_for_everyone()
        return figures

    def show(self) -> None:
        """Keep the pictures that the averaged weights make (a task that `Shows`)."""
        if self._computes and isinstance(self.task, Shows):
            with self._averaged() as model:
                self.watch.pictures(self.samples, self.task.show(model))
        self.accelerator.wait_for_everyone()

    def probe(self) -> None:
        """Log how well the averaged weights keep to their conditions (a task that is `Probed`)."""
        if self._computes and isinstance(self.task, Probed):
            with self._averaged() as model:
                figures = {f"{name}/{key}": value for name, probe in self.task.probes.items() for key, value in probe(model).items()}
            self.watch.figures(self.samples, self.state.seconds, figures, "probes")
        self.accelerator.wait_for_everyone()

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        """Write the model as it now is (inside `Ema.applied`: the averaged weights), with its card."""
        record = {"samples": self.samples, "minutes": round(self.state.seconds / 60, 1), "seed": self.recipe.seed, "figures": figures}
        export_plain(self.recipe, self.task, self.state.model, folder, {**self.recipe.card, "training": record}, self.main)

    def _resume(self, path: Path | None, damaged: list[Path]) -> None:
        for folder in damaged:
            self._notice(f"the checkpoint {folder} is damaged and was passed over; going on from {path or 'the start'}")
        if path is None:
            self.watch.journal.resume(0)  # lines of a run that was killed before its first checkpoint
            return
        snapshot = load_checkpoint(path)
        self.state.restore(snapshot, path)
        self.watch.journal.resume(self.samples)
        changed = [key for key in changed_settings(snapshot.meta["recipe"], dump_recipe(self.recipe)) if key.split(".")[0] not in _HARMLESS]
        if "task.digest" in changed:
            raise InputError(f"{path} was taught by another teacher than the recipe now names; name that one, or choose another 'output'")
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
        self.watch.replaced(name for batch in step for name in batch.skipped)
        self._take_step(step)
        self.state.seconds = time.perf_counter() - self._began
        self.state.profiles.update(self.state.model, self.samples, self.recipe.samples, self._notice)
        self._after_step()

    def _after_step(self) -> None:
        recipe, state = self.recipe, self.state
        if self.progress is not None and self.main:
            self.progress(self.samples, recipe.samples)
        if self._due(recipe.log_every):
            counted = {"skipped": float(state.skipped)} if state.skipped else {}
            self.watch.figures(self.samples, state.seconds, {**state.averages.take(), **counted})
            self.watch.report_replaced(self.samples, state.seconds, state.skipped)
        if self._due(recipe.probe_every):
            self.probe()
        if self._due(recipe.show_every):
            self.show()
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
        if self._computes and same_everywhere(not target.exists(), state.model):
            with state.ema.applied(state.model):
                self.export(target, state.figures)
        self.accelerator.wait_for_everyone()

    def _agreed(self, asked: bool) -> bool:
        """Whether any process was asked to stop, so that all stop after the same step."""
        if self.ranks == 1:
            return asked
        flag = torch.tensor([float(asked)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    @property
    def _computes(self) -> bool:
        """Whether this process takes part in what one does alone: the first does, and all where each has a share of the weights."""
        return self.main or is_sharded(self.state.model)

    @contextmanager
    def _averaged(self) -> Iterator[nn.Module]:
        """The model with its averaged weights, in evaluation mode and without gradients."""
        state = self.state
        state.model.eval()
        try:
            with state.ema.applied(state.model), torch.no_grad():
                yield state.model
        finally:
            state.model.train()

    def _notice(self, sentence: str) -> None:
        self.watch.notice(self.samples, self.state.seconds, sentence)


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
