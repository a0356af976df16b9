"""What the training loop costs over a bare PyTorch loop, and what killing it fifty times loses.

Both loops train the same network (EDiffSR small) on the same batches with the same optimizer; ours adds the averaged weights, clipping, the
check for numbers that are not finite, the log and the learning-rate schedule. Each run is a process of its own, in turn, so that peak
memory is its own and a busy machine hits both alike. Promises: at most 5 % time and 2 % memory over the bare loop; no kill loses anything
that was reported as saved, and the final weights are the uninterrupted run's bit for bit.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
TRIALS = HERE.parents[1] / "fault" / "train_trials.py"
REPEATS, WARM, STEPS, BATCH, KILLS = 3, 2, 12, 4, 50


def run(out: Path) -> dict[str, Any]:
    """Measure both loops, then kill runs.

    Args:
        out: Folder for scratch files.

    Returns:
        Seconds a step and peak MiB of both loops, their ratios, and the trials' counts.
    """
    rounds = [{kind: _child(kind) for kind in ("bare", "ours")} for _ in range(REPEATS)]
    seconds = {kind: statistics.median(entry[kind]["seconds"] for entry in rounds) for kind in ("bare", "ours")}
    memory = {kind: statistics.median(entry[kind]["mib"] for entry in rounds) for kind in ("bare", "ours")}
    paired = statistics.median(entry["ours"]["seconds"] / entry["bare"]["seconds"] for entry in rounds)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        command = [sys.executable, str(TRIALS), scratch, f"--trials={KILLS}"]
        killed = json.loads(subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[-1])
    return {
        "seconds_per_step": seconds,
        "peak_mib": memory,
        "time_ratio": round(paired, 4),
        "memory_ratio": round(memory["ours"] / memory["bare"], 4),
        "kills": killed,
        "reached": {"time": paired <= 1.05, "memory": memory["ours"] <= 1.02 * memory["bare"], "kills": not killed["wrong"]},
        "settings": {"steps": STEPS, "batch": BATCH, "repeats": REPEATS, "crop": 64, "precision": "float32", "processor time": True},
    }


def _child(kind: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, str(HERE), kind], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(kind: str) -> dict[str, float]:
    """One loop in this process: processor seconds a step after warming up, and peak resident memory."""
    import numpy as np
    import torch

    from earthgen.train.loop import Trainer
    from earthgen.train.recipe import check_recipe, dump_recipe, load_recipe
    from earthgen.train.tasks.super_resolution import SuperResolutionTask

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        np.savez(Path(scratch) / "x.npz", x=np.random.default_rng(0).random((2, 4, 128, 128), dtype=np.float32))
        table = dump_recipe(load_recipe("ediffsr-x4-small"))
        source = {"kind": "array", "files": "x.npz", "key": "x", "bands": [0, 1, 2, 3]}
        table.update(samples=(WARM + STEPS) * BATCH, batch=BATCH, precision="no", evaluate_every=0, output=scratch, data=scratch)
        table.update(log_every=BATCH, save_every=10**9)
        table["task"].update(sources=[source], held_out={"sources": []})
        recipe = check_recipe(table, "bench")
        task = SuperResolutionTask(recipe)
        if kind == "ours":
            trainer = Trainer(recipe, task)
            trainer.folder.mkdir(parents=True, exist_ok=True)
            step = trainer.step
        else:
            model = task.build(None)
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)

            def step(batches: list[Any]) -> None:
                optimizer.zero_grad()
                task.loss(model, batches[0])[0].backward()
                optimizer.step()

        began = 0.0
        for number in range(WARM + STEPS):
            if number == WARM:
                began = time.process_time()
            step([task.batch(list(range(number * BATCH, (number + 1) * BATCH)))])
        seconds = (time.process_time() - began) / STEPS
    return {"seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(sys.argv[1])) + "\n")
