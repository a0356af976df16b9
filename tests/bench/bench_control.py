"""Memory of CRS-Diff's attention over positions: ours against the published form, which holds the map of all pairs.

One block at the top level for a 512 px picture: 320 channels on 64 x 64 positions. Each figure is measured in a process of its own, as the
growth of the process's largest resident size over what it has with weights and input; on a GPU also by its allocator.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

CHANNELS, SIDE = 320, 64
TARGET = 0.5


def run(out: Path) -> dict[str, Any]:
    """Megabytes and their ratio, without and with gradients."""
    figures: dict[str, Any] = {
        "protocol": f"one block, {CHANNELS} channels, {SIDE} x {SIDE} positions, batch 1, float32; peak beyond weights and input",
        "target": f"ours at most {TARGET} of the published form",
    }
    for place in ("cpu", "cuda"):
        if place == "cuda" and not _has_gpu():
            figures["cuda"] = "not measured: there is no GPU"
            continue
        for mode in ("inference", "training"):
            row = {name: _measure(place, mode, name) for name in ("ours", "published")}
            figures[f"{place}, {mode}"] = {**row, "ratio": round(row["ours"]["megabytes"] / row["published"]["megabytes"], 3)}
    rows = [value for key, value in figures.items() if isinstance(value, dict)]
    figures["met"] = all(row["ratio"] <= TARGET for row in rows)
    return figures


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _measure(place: str, mode: str, name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.bench_control", place, mode, name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MALLOC_TRIM_THRESHOLD_": "0"}
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=1200)
    return dict(json.loads(outcome.stdout.splitlines()[-1]))


def measure(place: str, mode: str, name: str) -> dict[str, float]:
    """The peak in this process."""
    import time

    import torch

    from earthgen.gen.models.control.fdn import PositionAttention

    from .reference_control import position_attention

    torch.manual_seed(0)
    layer = PositionAttention(CHANNELS).to(place)
    state = {f"a.{key}": value for key, value in layer.named_parameters()}

    def call(value: torch.Tensor) -> None:
        result = layer(value) if name == "ours" else position_attention(state, "a", value)
        if mode == "training":
            result.sum().backward()

    with torch.set_grad_enabled(mode == "training"):
        call(torch.randn(1, CHANNELS, 8, 8, device=place))  # kernels and buffers of the libraries
        value = torch.randn(1, CHANNELS, SIDE, SIDE, device=place, requires_grad=mode == "training")
        if place == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before: float = torch.cuda.memory_allocated()
        else:
            before = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        call(value)
        seconds = time.perf_counter() - started
        after = torch.cuda.max_memory_allocated() if place == "cuda" else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"megabytes": round((after - before) / 1e6, 1), "seconds": round(seconds, 3)}


if __name__ == "__main__" and len(sys.argv) == 4:
    sys.stdout.write(json.dumps(measure(*sys.argv[1:])) + "\n")
