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
from typing import Any

import torch

from ..gen.errors import InputError
from .adapters import build_model, check_base, export_plain, frozen_digest
from .checkpoint import Snapshot, checkpoints, latest_checkpoint, load_checkpoint
from .ema import load_floating
from .ema_reconstruction import Reconstruction, is_width, reconstruct
from .loop import Progress, Trainer, train
from .recipe import Recipe, check_recipe, load_recipe
from .task import Task

_TASKS = {
    "super_resolution": (".tasks.super_resolution", "SuperResolutionTask"),
    "distillation": (".tasks.distillation", "DistillationTask"),
    "autoencoder": (".tasks.autoencoder", "AutoencoderTask"),
    "generation": (".tasks.generation", "GenerationTask"),
    "features": (".tasks.features", "FeatureTask"),
    "layout": (".tasks.layout", "LayoutTask"),
    "layout_prior": (".tasks.layout_prior", "LayoutPriorTask"),
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


def export_run(run: Path, folder: Path, trained: bool = False, length: float | None = None) -> int:
    """Write the model of a run's newest whole checkpoint, at whatever point the run stands, or another average of its weights.

    Args:
        run: The run's folder, with ``recipe.json`` and ``checkpoints``.
        folder: Model folder to write.
        trained: Take the weights as trained instead of their average.
        length: Take an average of this length, a relative width or a decay per optimizer step, as `reconstruct` makes it at the newest
            snapshot of a run with ``ema_profiles``; any run has the decay of its own average. Left out: the run's own average.

    Returns:
        Samples that the weights have seen.

    Raises:
        InputError: If there is no run or no whole checkpoint in the folder, its recipe is not readable, the average cannot be made, or both
            `trained` and `length` are given.
    """
    if trained and length is not None:
        raise InputError("--trained takes no average and --ema says which one to take; give one of them")
    path, _ = latest_checkpoint(run / "checkpoints")
    if path is None:
        raise InputError(f"{run} has no whole checkpoint; give the folder of a run, for example runs/ediffsr-x4-small")
    snapshot = load_checkpoint(path)
    recipe = check_recipe(snapshot.meta["recipe"], str(path / "state.json"))
    made = None if length is None else _other_average(run, length, snapshot, recipe)
    task = build_task(recipe)
    model = build_model(recipe, task, initialise=False)
    check_base(snapshot.meta.get("frozen", ""), frozen_digest(model), path)
    load_floating(model, snapshot.tensors["model"])
    if not trained:
        load_floating(model, snapshot.tensors["ema"] if made is None else made.weights)
    samples = snapshot.samples if made is None else made.samples
    record: dict[str, Any] = {"samples": samples, "seed": recipe.seed, "figures": {}}
    if samples == snapshot.samples:
        record["minutes"] = round(float(snapshot.meta["seconds"]) / 60, 1)
    if not trained and made is None:
        record["average"] = f"exponential, half-life {recipe.ema_half_life:g} samples" if recipe.ema_half_life else "none"
        record["figures"] = snapshot.meta["figures"] if snapshot.meta.get("evaluated") == samples else {}
    elif made is not None:
        record |= made.record()
    export_plain(recipe, task, model.eval(), folder, {**recipe.card, "training": record})
    return samples


def _other_average(run: Path, length: float, snapshot: Snapshot, recipe: Recipe) -> Reconstruction | None:
    """The average of a length; None where it is the run's own, which the checkpoint has."""
    steps, per_process = max(1, snapshot.meta["ema_steps"]), recipe.batch * recipe.accumulate
    per_step = per_process * max(1, round(snapshot.samples / steps / per_process))
    own = 0.5 ** (per_step / recipe.ema_half_life) if recipe.ema_half_life else 0.0
    if not is_width(length) and abs(length - own) <= 1e-9:
        return None
    if not checkpoints(run / "profiles"):
        raise InputError(
            f"{run} was trained without ema_profiles, so its only average is its own, of decay {own:.10g} per step; leave --ema out, or "
            "train with ema_profiles = [0.05, 0.10] to choose the length afterwards"
        )
    return reconstruct(run / "profiles", length)


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
