"""Does the tiling show? A real Sentinel-2 scene through the zoo's model at several tile sizes and batches, 20 steps, deterministic sampler.

All runs share the noise field; what is compared is the stored files, in digital numbers (reflectance times 10000). The network's influence
reaches farther than a tile's halo after many steps, but faintly: the promise is one digital number.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from earthgen.gen.data.radiometry import radiometry_named
from earthgen.pipelines.super_resolution import SuperResolutionPipeline
from earthgen.pipelines.super_resolution_scene import upscale_scene

SCENE = Path(__file__).resolve().parents[3] / "shared/data/s2_multispectral/patch_61808.tif"
SIDE, STEPS = 144, 20
RUNS = ((256, 1), (256, 8), (512, 1), (768, 1))


def run(out: Path) -> dict[str, Any]:
    """Largest difference between the files, in digital numbers, and how often it is not 0."""
    if not SCENE.is_file():
        return {"skipped": f"no scene at {SCENE}"}
    pipeline = SuperResolutionPipeline.load("zoo:ediffsr-x4-small", device="cpu", dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "low.tif"
        with rasterio.open(SCENE) as whole:
            window = Window(24, 24, SIDE, SIDE)
            profile = {**whole.profile, "width": SIDE, "height": SIDE, "count": 4, "transform": whole.window_transform(window)}
            with rasterio.open(source, "w", **profile) as part:
                part.write(whole.read([4, 3, 2, 8], window=window))
                part.descriptions = ("B04", "B03", "B02", "B08")
        pictures, tiles = {}, {}
        for tile, batch in RUNS:
            target = Path(folder) / f"{tile}-{batch}.tif"
            report = upscale_scene(pipeline, source, target, radiometry=radiometry_named("s2"), steps=STEPS, tile=tile, batch=batch)
            with rasterio.open(target) as file:
                pictures[f"tile {tile}, batch {batch}"] = file.read().astype(np.int64)
            tiles[f"tile {tile}, batch {batch}"] = report.tiles
    first, *others = pictures
    differences = {name: np.abs(pictures[name] - pictures[first]) for name in others}
    largest = {name: int(difference.max()) for name, difference in differences.items()}
    return {
        "protocol": f"{SCENE.name}, {SIDE} x {SIDE} pixels, x4, {STEPS} steps of dpmpp_2m, float32, seed 0; against {first}",
        "tiles": tiles,
        "largest_difference_dn": largest,
        "share_of_differing_numbers": {name: float((difference > 0).mean()) for name, difference in differences.items()},
        "target": "at most 1 DN",
        "met": max(largest.values()) <= 1,
    }
