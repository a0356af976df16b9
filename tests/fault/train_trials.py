"""Kills training runs at random moments and looks at what is left; run by path, so that one process imports torch once for many trials.

Prints one JSON object: trials, kills, checkpoints reported as saved, and what went wrong, if anything did.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
from torch import Tensor, nn

from earthgen.gen.data.atomic import write_json
from earthgen.train.checkpoint import latest_checkpoint, load_checkpoint
from earthgen.train.loop import Trainer, train
from earthgen.train.order import sample_noise
from earthgen.train.recipe import Recipe, check_recipe
from earthgen.train.step import NonFiniteLoss
from earthgen.train.task import Batch

DECIMATE = {"kind": "decimate", "scale": 2}
TASK = {"kind": "super_resolution", "bands": ["a"], "scale": 2, "loss": "state", "degradation": [DECIMATE], "sources": []}


class Regression:
    """A small network on keyed random numbers."""

    def __init__(self, dropout: float = 0.1, poison: int = -1) -> None:
        self.dropout, self.poison = dropout, poison

    def build(self, initialise: Path | None) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.Dropout(self.dropout), nn.Tanh(), nn.Linear(16, 2))

    def batch(self, indices: list[int]) -> Batch:
        draws = sample_noise(1, indices, (10,))
        if self.poison in indices:
            draws[indices.index(self.poison)] = float("nan")
        return Batch(indices, [str(index) for index in indices], {"x": draws[:, :8], "y": draws[:, 8:]})

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return (model(batch.tensors["x"]) - batch.tensors["y"]).square().mean(), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {"score": -float(sum(value.square().sum() for value in model.state_dict().values()))}

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "card.json", card["training"]["samples"])


class Reporting(Trainer):
    """Says which checkpoints are saved, once they are."""

    report: int = -1

    def save(self, last: bool = False) -> Path | None:
        path = super().save(last)
        if path is not None and self.report >= 0:
            os.write(self.report, f"{int(path.name)}\n".encode())
        return path


def recipe(output: Path, **changes: Any) -> Recipe:
    table: dict[str, Any] = {
        "name": "run",
        "samples": 480,
        "batch": 4,
        "workers": 1,
        "save_every": 24,
        "evaluate_every": 120,
        "log_every": 16,
        "output": str(output),
        "ema_half_life": 40,
        "task": TASK,
    }
    return check_recipe({**table, **changes}, "trials")


def train_in_child(output: Path, report: int) -> int:
    """Fork a run; returns the child's process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        trainer = Reporting(recipe(output), Regression())
        trainer.report = report
        trainer.run()
        code = 0
    finally:
        os._exit(code)


def finish(output: Path) -> None:
    child = train_in_child(output, -1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise AssertionError(f"the resumed run ended with {status}")


def result(output: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    path, damaged = latest_checkpoint(output / "run/checkpoints")
    assert path is not None, "there is no checkpoint at the end"
    assert not damaged, f"damaged: {damaged}"
    snapshot = load_checkpoint(path)
    lines = [json.loads(line) for line in (output / "run/log.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    tensors = {f"{part}.{name}": value for part, group in snapshot.tensors.items() for name, value in group.items()}
    return tensors, lines


def trial(output: Path, rng: random.Random, seconds: float) -> tuple[int, int]:
    """Kill a run up to three times, then let it finish; returns kills and checkpoints that were reported before."""
    kills = reported = 0
    for _ in range(rng.randint(1, 3)):
        reader, writer = os.pipe()
        child = train_in_child(output, writer)
        os.close(writer)
        time.sleep(rng.uniform(0.0, seconds))
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        with os.fdopen(reader) as pipe:
            saved = [int(line) for line in pipe.read().split()]
        kills += killed
        reported += len(saved)
        if saved:
            path, _ = latest_checkpoint(output / "run/checkpoints")
            assert path is not None, f"{saved[-1]} was reported and nothing is there"
            assert int(path.name) >= saved[-1], f"{saved[-1]} was reported and {path.name} is the newest"
    finish(output)
    return kills, reported


def once(given: argparse.Namespace) -> int:
    """Train without drop-out, so that a number of processes can be compared with another; 3 where a loss was not finite."""
    try:
        train(recipe(given.folder, samples=given.samples, batch=given.once, workers=0), Regression(0.0, given.poison))
    except NonFiniteLoss as error:
        sys.stderr.write(f"rank {os.environ.get('RANK', '0')}: {error}\n")
        return 3
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--once", type=int, default=0, metavar="BATCH", help="train once, in as many processes as the launcher started")
    parser.add_argument("--samples", type=int, default=240)
    parser.add_argument("--poison", type=int, default=-1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.once:
        return once(given)
    began = time.monotonic()
    finish(given.folder / "whole")
    seconds = time.monotonic() - began
    expected, lines = result(given.folder / "whole")
    rng = random.Random(given.seed)
    counts = {"trials": 0, "kills": 0, "reported": 0}
    wrong: list[str] = []
    for number in range(given.trials):
        output = given.folder / f"trial{number}"
        try:
            kills, reported = trial(output, rng, seconds)
            tensors, log = result(output)
            assert tensors.keys() == expected.keys(), "other tensors"
            assert all(torch.equal(value, tensors[name]) for name, value in expected.items()), "other weights"
            assert log == lines, "another log"
        except AssertionError as error:
            wrong.append(f"trial {number}: {error}")
        else:
            counts["trials"] += 1
            counts["kills"] += kills
            counts["reported"] += reported
    sys.stdout.write(json.dumps({**counts, "wrong": wrong, "seconds_of_one_run": round(seconds, 2)}) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
