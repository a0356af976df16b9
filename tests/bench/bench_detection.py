"""What labelled pictures are worth to a detector, on real trees and buildings, without any generator: the instrument and its controls.

The full table is 3 training subsets x 3 seeds for each arm; `EARTHGEN_DETECTION=smoke` shows in a minute or two that everything runs. The
records of finished runs stay in ``out``, so a stopped benchmark goes on. Two processes train at a time, each on one thread.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from earthgen.train.detection.arms import cheap_sources, standard_arms
from earthgen.train.detection.benchmark import Plan, run_benchmark
from earthgen.train.detection.places import DetectionSets
from earthgen.train.detection.table import write_table
from earthgen.train.detection.training import DetectorTraining, train_detector

from .detection_sets import neon_trees, oam_buildings

SHARED = Path(os.environ.get("EARTHGEN_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
PROCESSES = 2


def run(out: Path) -> dict[str, Any]:
    """Table of each data set; ``out/NAME/table.md`` is the one for people."""
    smoke = os.environ.get("EARTHGEN_DETECTION") == "smoke"
    plan = Plan.smoke() if smoke else Plan()
    made = {"plan": asdict(plan), "seconds_per_step": seconds_per_step(neon_trees(SHARED), plan.training)}
    for name, sets in (("trees", neon_trees(SHARED)), ("buildings", oam_buildings(SHARED))):
        folder = out / f"detection-{name}{'-smoke' if smoke else ''}"
        records = run_benchmark(sets, standard_arms(), cheap_sources(sets), folder, plan, PROCESSES)
        table = write_table(records, folder, plan.training.words(), pairs=[("copy-paste", "flat rectangles")])
        made[name] = {key: table[key] for key in ("rows", "pairs", "verdict")}
    return made


def seconds_per_step(sets: DetectionSets, training: DetectorTraining, steps: int = 20) -> dict[str, float]:
    """Of one process on one thread, on the clock and of its processor time; a first run warms up."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_detector(sets.subsets[0], sets.names, 3, horizontal=sets.horizontal, training=training)
        start = time.perf_counter(), time.process_time()
        train_detector(sets.subsets[0], sets.names, steps, horizontal=sets.horizontal, training=training)
        return {"clock": (time.perf_counter() - start[0]) / steps, "processor": (time.process_time() - start[1]) / steps}
    finally:
        torch.set_num_threads(threads)
