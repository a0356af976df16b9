"""One step of EANet: ours as it runs in the pipeline against the straightforward implementation with the same weights.

Both see the same input in inference mode, one call each in turn, and the ratio of each pair of calls is kept: the machine may be shared,
and neighbours in time share it alike. Each number of threads is measured in a process of its own, started with ``OMP_WAIT_POLICY=passive``.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

THREADS = (1, 2)
TARGET_RATIO, TARGET_PSNR = 0.55, 45.0
CONFIGS: dict[str, dict[str, Any]] = {
    "published size: rcab, width 64, [14, 1, 1, 1], global pool, 3 bands": {"bands": 3, "variant": "rcab", "pool": "global"},
    "zoo size: cpem_lr, width 16, [2, 1, 1, 1], local pool 64, 4 bands": {
        "bands": 4,
        "variant": "cpem_lr",
        "width": 16,
        "enc_blocks": (2, 1, 1, 1),
        "pool": "local",
        "pool_size": 64,
    },
}
SIDE, SECONDS = 256, 25.0


def run(out: Path) -> dict[str, Any]:
    """Ratios of times and the PSNR between both outputs, by network and number of threads."""
    figures: dict[str, Any] = {
        "protocol": f"one step at {SIDE} x {SIDE}, batch 1, float32 both; reference: eager, channels first. Ours: channels last, strips of "
        "rows that stay in the cache, gains and modulation folded into norms and 1 x 1 weights; no bfloat16, no compilation. Interleaved "
        "calls, median of the ratios of neighbours; PSNR against the range of the reference's output",
        "target": f"ratio at most {TARGET_RATIO}, PSNR above {TARGET_PSNR} dB",
    }
    for threads in THREADS:
        if threads > (os.cpu_count() or 1):
            continue
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        command = [sys.executable, "-m", "tests.bench.bench_eanet", "measure"]
        outcome = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=1200)
        figures[f"{threads} thread{'s' if threads > 1 else ''}"] = json.loads(outcome.stdout.splitlines()[-1])
    rows = [row for key, rows in figures.items() if "thread" in key for row in rows.values()]
    figures["met"] = all(row["ratio"] <= TARGET_RATIO and row["psnr"] > TARGET_PSNR for row in rows)
    return figures


def measure(config: dict[str, Any]) -> dict[str, float]:
    """Times of both implementations in this process."""
    import torch

    from earthgen.gen.models.eanet import EANet
    from earthgen.gen.models.fast import prepare_for_inference

    from .reference_eanet import ReferenceEANet

    torch.manual_seed(0)
    model = EANet(**config)
    for name, parameter in model.named_parameters():
        if name.endswith(("beta", "gamma")) or "unfold" in name or "ending" in name:
            torch.nn.init.normal_(parameter, std=0.3)  # fresh ones are zero, and nothing would reach the output
    bands, window = config["bands"], config["pool_size"] if config["pool"] == "local" else None
    sizes = (tuple(model.config["enc_blocks"]), 1, tuple(model.config["dec_blocks"]))
    reference = ReferenceEANet(bands, model.config["width"], *sizes, config["variant"], window)
    reference.load_state_dict(model.state_dict(), strict=True)
    reference.eval()
    prepare_for_inference(model, torch.device("cpu"), torch.float32)
    sample, mu = torch.randn(2, 1, bands, SIDE, SIDE)
    arguments = [sample, torch.tensor([50.0]), mu]
    if config["variant"] == "cpem_lr":
        arguments.append(torch.randn(1, bands, SIDE // 4, SIDE // 4))
    times: dict[str, list[float]] = {"reference": [], "ours": []}
    started = time.perf_counter()
    with torch.inference_mode():
        expected, got = reference(*arguments), model(*arguments)
        while time.perf_counter() - started < SECONDS or len(times["ours"]) < 5:
            for name, network in (("reference", reference), ("ours", model)):
                begin = time.perf_counter()
                network(*arguments)
                times[name].append(time.perf_counter() - begin)
    error, span = float((expected - got).square().mean()), float(expected.max() - expected.min())
    ratios = [ours / theirs for ours, theirs in zip(times["ours"], times["reference"], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "psnr": round(10 * math.log10(span**2 / max(error, 1e-30)), 1),
        "reference_seconds": round(statistics.median(times["reference"]), 4),
        "our_seconds": round(statistics.median(times["ours"]), 4),
        "pairs": len(ratios),
    }


if __name__ == "__main__" and sys.argv[1:] == ["measure"]:
    sys.stdout.write(json.dumps({name: measure(config) for name, config in CONFIGS.items()}) + "\n")
