"""Do the borders of windows and tiles show? A scene of 2048 x 2048 pixels by `zoo:earth-small`, guided, few steps, one thread.

A scene is sampled in overlapping windows of 64 pixels whose grid moves from step to step, and decoded in tiles of 512. For each of these
borders the mean absolute step across them is held against that inside, for rows and columns. Beside it stands what the measure says where
windows are made one by one and glued. About 15 minutes on one core (2.6 GHz): 7,600 windows, each evaluated twice.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

SIDE, STEPS, TILE, GLUED = 2048, 4, 512, 8
LIMIT = 1.05
PROMPT, FACTS = "farmland with fields and a river", {"gsd": 10.0, "date": "2021-06"}


def run(out: Path, side: int = SIDE, tile: int = TILE) -> dict[str, Any]:
    """Ratio of steps across borders to those inside, for each kind of border."""
    import torch

    from earthgen.metrics.seams import seams
    from earthgen.pipelines.earth import EarthPipeline
    from earthgen.pipelines.earth_scene import cut, generate_scene, scene_request

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pipeline = EarthPipeline.load("zoo:earth-small", device="cpu", dtype="float32")
        began = time.perf_counter()
        scene = generate_scene(pipeline, prompt=PROMPT, **FACTS, height=side, width=side, steps=STEPS, batch=16, tile=tile)
        seconds = time.perf_counter() - began
        glued = glue(pipeline, GLUED)
    finally:
        torch.set_num_threads(threads)
    assert scene.image is not None
    windows = cut(pipeline, scene_request(pipeline, PROMPT, side, side, FACTS), None, None, 16)
    borders = {"tiles of decoding": range(tile, side, tile), "grid of windows, unmoved": range(pipeline.size[0], side, pipeline.size[0])}
    for step in range(STEPS):
        borders[f"windows of step {step + 1}"] = sorted({rows[0] * pipeline.factor for rows, _ in windows.spans(step)})
    measured: dict[str, Any] = {}
    for name, found in borders.items():
        near = 64 if name.startswith("tiles") else 0  # few borders: each is held against its own neighbourhood
        like = seams(scene.image, found, found, phase=pipeline.factor, reach=near)
        every = seams(scene.image, found, found, reach=near)
        measured[name] = {"rows": round(like.rows, 4), "cols": round(like.cols, 4), "against all steps": round(every.ratio, 4)}
    edges = range(pipeline.size[0], GLUED * pipeline.size[0], pipeline.size[0])
    save(out / "seams.png", scene.image)
    worst = max(max(entry.values()) for entry in measured.values())
    return {
        "protocol": f"zoo:earth-small, {PROMPT!r}, {FACTS}, {side} x {side}, {STEPS} steps, guidance of the model, seed 0, float32; mean "
        f"absolute step across borders over that inside at the same place of the latents' grid of {pipeline.factor} pixels, and over all",
        "threads": 1,
        "load": round(os.getloadavg()[0], 1),
        "seconds": round(seconds, 1),
        "windows_per_step": scene.windows,
        "ratio": measured,
        "worst": worst,
        "glued_without_overlap": round(seams(glued, edges, edges, phase=pipeline.factor).ratio, 4),
        "target": f"at most {LIMIT}",
        "met": worst <= LIMIT,
    }


def glue(pipeline: Any, count: int) -> np.ndarray:
    """``count x count`` pictures of the model's size, each made alone, side by side, ``[C, H, W]``."""
    made = pipeline(PROMPT, **FACTS, num_images=count * count, num_inference_steps=STEPS, batch_size=16, output_type="pt").images
    rows = [np.concatenate([np.asarray(picture) for picture in made[at : at + count]], 2) for at in range(0, count * count, count)]
    return np.concatenate(rows, 1)


def save(path: Path, image: np.ndarray) -> None:
    """The scene, to be looked at."""
    from PIL import Image

    Image.fromarray((image.clip(0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)).save(path)
