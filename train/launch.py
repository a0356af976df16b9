"""From a recipe's name to a finished run: what `python -m earthgen.train` and `earthgen train` share."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from .loop import Progress, Trainer, train
from .recipe import Recipe, load_recipe
from .task import Task


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


def build_task(recipe: Recipe) -> Task:
    """The task that a recipe's ``task`` part describes."""
    from .tasks.super_resolution import SuperResolutionTask

    return SuperResolutionTask(recipe)


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
