"""How long the procedural world takes: one window with every layer, at the two sizes that a user may mean by 256 x 256."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from earthgen import World
from earthgen.gen.data.world import LAYERS

PLACES = ("farmland", "town", "city", "coast", "woodland", "airfield")
REPEATS = 5


def _all_layers(world: World, row: int, col: int, size: int, **rest: Any) -> tuple[float, float]:
    """Wall and processor seconds of a window with all its layers, objects, caption and metadata."""
    wall, processor = time.perf_counter(), time.process_time()
    scene = world.window(row, col, size, size, modalities=("all",), **rest)
    for name in LAYERS:
        scene.layer(name)
    _ = scene.objects, scene.caption, scene.metadata
    return time.perf_counter() - wall, time.process_time() - processor


def run(out: Path) -> dict[str, Any]:
    """Measure; one thread.

    Args:
        out: Folder for the JSON file of details.

    Returns:
        Best and median seconds for 256 x 256 pixels of the 2.5 m truth grid (64 x 64 of the 10 m grid) by place, and seconds for
        256 x 256 of the 10 m grid (1024 x 1024 of the truth grid).
    """
    world = World(1)
    places = {name: world.find(name)[0] for name in PLACES}
    _all_layers(world, 0, 0, 16)  # imports and tables
    truth_256: dict[str, dict[str, float]] = {}
    for name, (row, col) in places.items():
        times = [_all_layers(world, row - 32, col - 32, 64) for _ in range(REPEATS)]
        wall, processor = sorted(time for time, _ in times), sorted(time for _, time in times)
        truth_256[name] = {"best_wall_s": wall[0], "median_wall_s": wall[len(wall) // 2], "best_processor_s": processor[0]}
    wide = {}
    for name in ("farmland", "city"):
        row, col = places[name]
        wall_s, processor_s = _all_layers(world, row - 128, col - 128, 256)
        wide[name] = {"wall_s": wall_s, "processor_s": processor_s}
    result = {
        "what": "one window: truth, Sentinel-2 at 10/20/60 m clear and cloudy, radar, height, land cover, map, clouds, objects, caption",
        "truth_256x256_at_2.5m": truth_256,
        "worst_best_processor_s": max(entry["best_processor_s"] for entry in truth_256.values()),
        "goal_s": 0.5,
        "wide_256x256_at_10m": wide,
    }
    (out / "world_details.json").write_text(json.dumps(result, indent=2))
    return result
