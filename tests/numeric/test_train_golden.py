"""Twenty steps of every recipe at a tiny size, held against numbers in a file.

The data are synthetic and the arithmetic is float64, so that the numbers are the same on every machine. After a wanted change write them
anew: ``python tests/numeric/test_train_golden.py``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from earthgen.train.loop import train
from earthgen.train.recipe import RECIPES, Recipe, check_recipe, dump_recipe, load_recipe
from earthgen.train.task import Batch
from earthgen.train.tasks.super_resolution import SuperResolutionTask

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

GOLDEN = Path(__file__).with_name("golden_losses.json")
NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))
STEPS, BATCH = 20, 2


class InDoublePrecision(SuperResolutionTask):
    """The task itself, computed in float64."""

    def build(self, initialise: Path | None) -> nn.Module:
        return super().build(initialise).double()

    def batch(self, indices: list[int]) -> Batch:
        made = super().batch(indices)
        return Batch(made.indices, made.names, {name: value.double() for name, value in made.tensors.items()})


def shrunk(name: str, folder: Path) -> Recipe:
    """The recipe with everything that costs time made small, and its pictures replaced by keyed ones."""
    table = dump_recipe(load_recipe(name))
    bands = len(table["task"]["bands"])
    steps = np.random.default_rng(11).standard_normal((3, bands, 48, 48)).astype(np.float32)
    np.savez(folder / "pictures.npz", x=0.3 + 0.02 * steps.cumsum(-1).cumsum(-2) / 10)
    source = {"kind": "array", "files": "pictures.npz", "key": "x", "bands": list(range(bands))}
    table.update(samples=STEPS * BATCH, batch=BATCH, accumulate=1, workers=0, precision="no", log_every=BATCH, evaluate_every=0)
    table.update(save_every=STEPS * BATCH, output=str(folder / "runs"), data=str(folder))
    table["optimizer"].update(warm_up=10, lr=1e-3)
    table["task"].update(crop=32, sources=[source], held_out={"sources": []})
    table["task"]["model"].update(width=8, enc_blocks=[1, 1, 1, 1])
    if table["task"]["model"].get("variant") == "cpem_lr":
        table["task"]["model"].update(cpem_width=16)
    return check_recipe(table, name)


def losses(name: str, folder: Path) -> list[float]:
    recipe = shrunk(name, folder)
    trainer = train(recipe, InDoublePrecision(recipe))
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines]


@pytest.mark.parametrize("name", NAMES)
def test_golden_losses(name: str, tmp_path: Path) -> None:
    found, expected = losses(name, tmp_path), json.loads(GOLDEN.read_text())[name]
    assert len(found) == STEPS
    assert found == pytest.approx(expected, rel=1e-6)


def test_gradient_checkpointing_changes_no_number(tmp_path: Path) -> None:
    recipe = shrunk("ediffsr-x4-small", tmp_path).model_copy(update={"gradient_checkpointing": True, "samples": 5 * BATCH})
    trainer = train(recipe, InDoublePrecision(recipe))
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    assert trainer.state.model.gradient_checkpointing is True
    expected = json.loads(GOLDEN.read_text())["ediffsr-x4-small"][:3]
    # Later steps differ by the schedule, whose length is the run's.
    assert [line["loss"] for line in lines[:3]] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_four_pictures_are_learnt_by_heart(tmp_path: Path) -> None:
    """The small network brings its loss on four fixed crops far under that of a network that says nothing."""
    recipe = shrunk("ediffsr-x4-small", tmp_path)
    table = dump_recipe(recipe)
    table.update(samples=4 * 600, batch=4, save_every=10_000, log_every=400, ema_half_life=0)
    table["optimizer"].update(lr=3e-3, warm_up=100)
    table["task"].update(final_time_share=1.0)
    table["task"]["model"].update(width=16, cpem_width=48)
    recipe = check_recipe(table, "overfit")

    class FourPictures(SuperResolutionTask):
        def batch(self, indices: list[int]) -> Batch:
            return super().batch([index % 4 for index in indices])

    trainer = train(recipe, FourPictures(recipe))
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["mean_error"] < 0.1 * lines[-1]["bicubic_error"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    written = {}
    for recipe_name in NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            written[recipe_name] = losses(recipe_name, Path(scratch))
    GOLDEN.write_text(json.dumps(written, indent=1) + "\n")
