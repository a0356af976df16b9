"""From a recipe's name to a finished run: what `python -m earthgen.train` and `earthgen train` share."""

from __future__ import annotations

import importlib
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from ..gen.errors import InputError
from .checkpoint import latest_checkpoint, load_checkpoint
from .ema import load_floating
from .loop import Progress, Trainer, train
from .recipe import Recipe, check_recipe, load_recipe
from .task import Task

_TASKS = {
    "super_resolution": (".tasks.super_resolution", "SuperResolutionTask"),
    "distillation": (".tasks.distillation", "DistillationTask"),
}


def run_recipe(name: str, overrides: Sequence[str] = (), progress: Progress | None = None) -> Trainer:
    """Train a recipe to its end, or until SIGTERM asks for a checkpoint and an early return.

    Args:
        name: Recipe name or TOML file.
        overrides: ``dotted.key=value``.
        progress: Called with (samples seen, samples in all).

    Returns:
        The trainer, after its last checkpoint.

    Raises:
        InputError: If the recipe or its data are wrong.
    """
    recipe = load_recipe(name, overrides)
    task = build_task(recipe)
    with termination() as asked:
        return train(recipe, task, progress, lambda: bool(asked))


@dataclass(frozen=True)
class CheckReport:
    """What two steps of a recipe show.

    Attributes:
        parameters: Weights of the model.
        trainable: Those that are trained.
        pictures: Samples of one optimizer step.
        seconds: Time of the second step.
        memory: Peak MiB: of the GPU where there is one, else of the process.
        device: Where it ran.
    """

    parameters: int
    trainable: int
    pictures: int
    seconds: float
    memory: float
    device: str

    def sentence(self) -> str:
        """All of it, for a terminal."""
        return (
            f"{self.parameters:,} parameters, {self.trainable:,} of them trained; {self.pictures / self.seconds:.2f} samples a second "
            f"({self.pictures} a step), peak memory {self.memory:,.0f} MiB, on {self.device}"
        )


def check_run(name: str, overrides: Sequence[str] = ()) -> CheckReport:
    """Build everything that a recipe needs, run two steps and save, in a folder that is thrown away.

    Args:
        name: Recipe name or TOML file.
        overrides: ``dotted.key=value``.

    Returns:
        What it showed.

    Raises:
        InputError: If the recipe or its data are wrong.
    """
    recipe = load_recipe(name, overrides)
    times: list[float] = []
    with tempfile.TemporaryDirectory(prefix="earthgen-check-") as scratch:
        elsewhere = recipe.model_copy(update={"output": Path(scratch)})
        trainer = Trainer(elsewhere, build_task(recipe), lambda done, total: times.append(time.perf_counter()))
        trainer.run(lambda: len(times) >= 2)
        model, device = trainer.state.model, trainer.accelerator.device
        if len(times) < 2:
            raise InputError(f"the recipe has {len(times)} steps of {trainer.per_step} samples; a check runs two, so set samples higher")
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return CheckReport(
        parameters=sum(size for size, _ in sizes),
        trainable=sum(size for size, trained in sizes if trained),
        pictures=trainer.per_step,
        seconds=times[1] - times[0],
        memory=peak_memory(device),
        device=str(device),
    )


def peak_memory(device: torch.device) -> float:
    """Most memory in use so far, in MiB: of a CUDA device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def build_task(recipe: Recipe) -> Task:
    """The task that a recipe's ``task`` part describes."""
    module, name = _TASKS[recipe.task.kind]
    make: Callable[[Recipe], Task] = getattr(importlib.import_module(module, __package__), name)
    return make(recipe)


def export_run(run: Path, folder: Path, trained: bool = False) -> int:
    """Write the model of a run's newest whole checkpoint, at whatever point the run stands.

    Args:
        run: The run's folder, with ``recipe.json`` and ``checkpoints``.
        folder: Model folder to write.
        trained: Take the weights as trained instead of their average.

    Returns:
        Samples that the weights have seen.

    Raises:
        InputError: If there is no run or no whole checkpoint in the folder, or its recipe is not readable.
    """
    path, _ = latest_checkpoint(run / "checkpoints")
    if path is None:
        raise InputError(f"{run} has no whole checkpoint; give the folder of a run, for example runs/ediffsr-x4-small")
    snapshot = load_checkpoint(path)
    recipe = check_recipe(snapshot.meta["recipe"], str(path / "state.json"))
    task = build_task(recipe)
    model = task.build(None)
    load_floating(model, snapshot.tensors["model" if trained else "ema"])
    figures = snapshot.meta["figures"] if snapshot.meta.get("evaluated") == snapshot.samples and not trained else {}
    record = {
        "samples": snapshot.samples,
        "minutes": round(float(snapshot.meta["seconds"]) / 60, 1),
        "seed": recipe.seed,
        "figures": figures,
    }
    task.export(model.eval(), folder, {**recipe.card, "training": record})
    return snapshot.samples


@contextmanager
def termination() -> Iterator[list[int]]:
    """Collect SIGTERMs in the list instead of dying of the first; the old handler is put back afterwards."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
