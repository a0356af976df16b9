"""What the training loop costs over a bare PyTorch loop, and what killing it fifty times loses.

Both loops train the same network (EDiffSR small) on the same batches with the same optimizer; ours adds the averaged weights, clipping, the
check for numbers that are not finite, the log and the learning-rate schedule. For time they take their steps in turn in one process, the
order changing, so that whatever else the machine does hits both alike; the figure is the median over the rounds, with a bootstrap
interval. For memory each has a process of its own. Promises: at most 5 % time and 2 % memory over the bare loop; no kill loses anything
that was reported as saved, and the final weights are the uninterrupted run's bit for bit.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
TRIALS = HERE.parents[1] / "fault" / "train_trials.py"
WARM, ROUNDS, MEMORY_STEPS, BATCH, KILLS = 3, 100, 4, 4, 50
KINDS = ("bare", "fused", "ours")  # a plain loop with AdamW as PyTorch gives it, the same with the fused AdamW that ours has, ours
Step = Callable[[list[Any]], None]


def run(out: Path) -> dict[str, Any]:
    """Measure both loops, then kill runs.

    Args:
        out: Folder for scratch files.

    Returns:
        Seconds a step and peak MiB of both loops, their ratios, and the trials' counts.
    """
    timed = _child("time")
    memory = {kind: _child(kind)["mib"] for kind in ("bare", "ours")}
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        command = [sys.executable, str(TRIALS), scratch, f"--trials={KILLS}"]
        killed = json.loads(subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[-1])
    return {
        **timed,
        "peak_mib": memory,
        "memory_ratio": round(memory["ours"] / memory["bare"], 4),
        "kills": killed,
        "reached": {
            "time": timed["time_ratio"]["bare"] <= 1.05,
            "memory": memory["ours"] <= 1.02 * memory["bare"],
            "kills": not killed["wrong"],
        },
        "settings": {"rounds": ROUNDS, "batch": BATCH, "crop": 64, "precision": "float32", "threads": 1},
    }


def _child(what: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(HERE), what], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _loops(scratch: Path, kinds: tuple[str, ...], samples: int) -> tuple[Any, dict[str, Step]]:
    """The task, and what takes one step in each loop."""
    import numpy as np
    import torch

    from earthgen.train.loop import Trainer
    from earthgen.train.recipe import check_recipe, dump_recipe, load_recipe
    from earthgen.train.tasks.super_resolution import SuperResolutionTask

    torch.set_num_threads(1)
    np.savez(scratch / "x.npz", x=np.random.default_rng(0).random((2, 4, 128, 128), dtype=np.float32))
    table = dump_recipe(load_recipe("ediffsr-x4-small"))
    source = {"kind": "array", "files": "x.npz", "key": "x", "bands": [0, 1, 2, 3]}
    table.update(samples=samples, batch=BATCH, precision="no", evaluate_every=0, output=str(scratch), data=str(scratch))
    table.update(log_every=BATCH, save_every=10**9)
    table["task"].update(sources=[source], held_out={"sources": []})
    recipe = check_recipe(table, "bench")
    task = SuperResolutionTask(recipe)
    steps: dict[str, Step] = {}
    if "ours" in kinds:
        trainer = Trainer(recipe, task)
        trainer.folder.mkdir(parents=True, exist_ok=True)
        steps["ours"] = trainer.step
    steps.update({kind: _bare(task, fused=kind == "fused") for kind in kinds if kind != "ours"})
    return task, steps


def _bare(task: Any, fused: bool) -> Step:
    import torch

    model = task.build(None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4, fused=fused)

    def step(batches: list[Any]) -> None:
        optimizer.zero_grad()
        task.loss(model, batches[0])[0].backward()
        optimizer.step()

    return step


def _memory(kind: str) -> dict[str, Any]:
    """Peak resident memory of one loop in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        task, steps = _loops(Path(scratch), (kind,), MEMORY_STEPS * BATCH)
        for number in range(MEMORY_STEPS):
            steps[kind]([task.batch(list(range(number * BATCH, (number + 1) * BATCH)))])
    return {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _time() -> dict[str, Any]:
    """Seconds a step of the loops, taken in turn in this process, data included; ours over each of the bare ones."""
    import numpy as np

    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as scratch:
        task, steps = _loops(Path(scratch), KINDS, (WARM + ROUNDS) * BATCH)
        for number in range(WARM + ROUNDS):
            for kind in KINDS if number % 2 else KINDS[::-1]:
                began = time.perf_counter()
                steps[kind]([task.batch(list(range(number * BATCH, (number + 1) * BATCH)))])
                if number >= WARM:
                    seconds[kind].append(time.perf_counter() - began)
    ratios = {kind: np.array(seconds["ours"]) / np.array(seconds[kind]) for kind in KINDS[:2]}
    picks = np.random.default_rng(0).integers(ROUNDS, size=(2000, ROUNDS))
    intervals = {kind: np.percentile(np.median(values[picks], axis=1), (2.5, 97.5)) for kind, values in ratios.items()}
    return {
        "seconds_per_step": {kind: round(float(np.median(values)), 4) for kind, values in seconds.items()},
        "time_ratio": {kind: round(float(np.median(values)), 4) for kind, values in ratios.items()},
        "time_ratio_interval": {kind: [round(float(edge), 4) for edge in edges] for kind, edges in intervals.items()},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_time() if sys.argv[1] == "time" else _memory(sys.argv[1])) + "\n")
