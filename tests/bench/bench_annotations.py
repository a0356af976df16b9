"""Labels out and in: how far boxes move, whether any is lost, how many pictures a second, and whether memory grows.

100,000 random boxes in 10,000 pictures of 1,000 to 4,000 pixels a side. Speed is per core: pictures by the processor's time of this process
(the wall's is beside it), including the files that are made. Memory is the growth of the process between 2,000 and 20,000 pictures.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from earthgen.gen.annotations import AnnotationWriter, Box, Layout, read_annotations
from earthgen.gen.annotations.formats import KINDS

PICTURES, BOXES = 10_000, 10
SHELF = "/dev/shm" if Path("/dev/shm").is_dir() else None  # memory, so that the disk is not what is measured
NAMES = ["plane", "ship", "storage-tank", "vehicle"]
LIMITS = {"dota": 0.05, "yolo": 1e-4, "yolo-obb": 1e-4, "coco": 1e-4, "imagefolder": 1e-4, "dior": 0.5, "voc": 0.5, "hrsc": 0.05}


def layouts(count: int, turned: bool, seed: int = 0) -> Iterator[Layout]:
    """Random layouts, the same for each seed."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        width, height = (int(side) for side in rng.integers(1000, 4000, 2))
        sides, angles = rng.uniform(4, 200, (BOXES, 2)), rng.uniform(-math.pi, math.pi, BOXES) * turned
        centres = 150 + rng.uniform(0, 1, (BOXES, 2)) * (width - 300, height - 300)
        boxes = tuple(
            Box.rotated(NAMES[(number + place) % 4], *centres[place].tolist(), *sides[place].tolist(), float(angles[place]))
            for place in range(BOXES)
        )
        yield Layout(width, height, boxes, f"p{number:06d}.png")


def run(out: Path) -> dict[str, Any]:
    """Displacement, loss, speed and memory of every format."""
    formats: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=SHELF) as folder:
        for kind in KINDS:
            formats[kind] = _measure(kind, Path(folder))
        memory = {kind: _memory(kind, Path(folder)) for kind in ("dota", "coco", "yolo")}
    return {
        "protocol": f"{PICTURES * BOXES} boxes in {PICTURES} pictures, turned where the format holds that; one process; files in memory",
        "bare_file_us": round(_bare_file(), 1),
        "formats": formats,
        "memory_growth_mb": memory,
        "target": "DOTA 0.05 px, YOLO 1e-4 px, none lost, 5000 pictures/s of a core, memory constant",
        "met": all(row["lost"] == 0 and row["largest_shift_px"] <= LIMITS[kind] for kind, row in formats.items())
        and all(formats[kind]["pictures_per_core_second"] >= 5000 for kind in ("dota", "yolo"))
        and max(memory.values()) < 4,
    }


def _measure(kind: str, folder: Path) -> dict[str, Any]:
    turned = kind not in ("voc", "yolo")
    made = list(layouts(PICTURES, turned))
    wall, core = time.perf_counter(), time.process_time()
    with AnnotationWriter(folder / kind, kind, NAMES) as writer:
        for layout in made:
            writer.add(layout)
    wall, core = time.perf_counter() - wall, time.process_time() - core
    reading = time.process_time()
    found = {layout.picture: layout for layout in read_annotations(folder / kind).layouts}
    reading = time.process_time() - reading
    lost, shift = 0, 0.0
    for layout in made:
        again = found[layout.picture]
        lost += len(layout.boxes) - len(again.boxes) + sum(a != b for a, b in zip(layout.names, again.names, strict=True))
        gaps = np.abs(layout.quads[:, :, None] - again.quads[:, None]).max(axis=-1)  # to every corner: which comes first may be lost
        shift = max(shift, float(gaps.min(axis=2).max()))
    return {
        "lost": lost,
        "largest_shift_px": round(shift, 7),
        "pictures_per_core_second": round(PICTURES / core),
        "pictures_per_second": round(PICTURES / wall),
        "read_pictures_per_core_second": round(PICTURES / reading),
    }


def _memory(kind: str, folder: Path) -> float:
    process = psutil.Process()
    with AnnotationWriter(folder / f"{kind}-memory", kind, NAMES) as writer:
        for number, layout in enumerate(layouts(20_000, kind != "yolo")):
            writer.add(layout)
            if number == 2_000:
                before = process.memory_info().rss
        grown = process.memory_info().rss - before
    return round(grown / 2**20, 2)


def _bare_file() -> float:
    """Microseconds of the processor that making one file of 500 bytes takes on this machine, whatever is in it."""
    with tempfile.TemporaryDirectory(dir=SHELF) as folder:
        start = time.process_time()
        for number in range(5_000):
            with open(f"{folder}/{number}.txt", "xb") as file:
                file.write(b"x" * 500)
        return (time.process_time() - start) / 5_000 * 1e6
