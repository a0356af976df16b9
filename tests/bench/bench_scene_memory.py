"""Peak resident memory of streaming a scene: 10,980 x 10,980 against 2,196 x 2,196 pixels, 4 bands of 16 bits, GeoTIFF to GeoTIFF.

The network is a stub, bicubic up-sampling plus the noise field: what is measured is the streaming. Each run is a process of its own, and
its peak is what the kernel says. Input and output lie in a temporary folder and are removed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

SIDES = (2196, 10980)
SCALE = 2
LIMIT_GIB = 2.5
BANDS = ("red", "green", "blue", "nir")


def run(out: Path, sides: Sequence[int] = SIDES, scale: int = SCALE) -> dict[str, Any]:
    """Measure.

    Args:
        out: Folder of the results; nothing is left there.
        sides: Of the square scenes, input pixels.
        scale: Output pixels per input pixel along an axis.

    Returns:
        Per side the peak in MiB and the seconds, the ratio of the last peak to the first, and whether both promises are kept.
    """
    figures: dict[str, Any] = {"scale": scale, "bands": len(BANDS), "dtype": "uint16", "tile": 512, "batch": 1}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for side in sides:
        with tempfile.TemporaryDirectory(prefix="earthgen-bench-") as folder:
            for task in ("make", "stream"):
                command = [sys.executable, __file__, task, folder, str(side), str(scale)]
                said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
                if said.returncode:
                    raise RuntimeError(f"the process ended with {said.returncode}: {said.stderr}")
            figures[f"{side} x {side}"] = json.loads(said.stdout)
    peaks = [figures[f"{side} x {side}"]["peak MiB"] for side in sides]
    figures["ratio of peaks"] = round(peaks[-1] / peaks[0], 3)
    figures["within 10 %"] = abs(figures["ratio of peaks"] - 1) <= 0.1
    figures[f"under {LIMIT_GIB} GiB"] = max(peaks) < LIMIT_GIB * 1024
    return figures


def make(path: Path, side: int) -> None:
    """A scene of smooth fields and noise, block by block."""
    import numpy as np
    from rasterio.transform import from_origin

    from earthgen.gen.data.noise import noise_field
    from earthgen.gen.data.radiometry import NAMED
    from earthgen.gen.data.raster_writer import RasterWriter

    place = {"crs": "EPSG:32632", "transform": from_origin(300_000, 5_300_040, 10, 10)}
    with RasterWriter(path, bands=BANDS, height=side, width=side, radiometry=NAMED["s2"], compress="none", **place) as writer:
        for row in range(0, side, 512):
            for col in range(0, side, 512):
                height, width = min(512, side - row), min(512, side - col)
                waves = np.sin(np.arange(row, row + height) / 97)[:, None] * np.cos(np.arange(col, col + width) / 131)
                writer.write(row, col, 0.2 + 0.1 * waves + 0.005 * noise_field(0, 4, row, col, height, width).numpy())


def double(source: Path, target: Path, scale: int) -> dict[str, float]:
    """Stream it, in this process."""
    import torch
    from rasterio.transform import Affine

    from earthgen.gen.data.noise import noise_field
    from earthgen.gen.data.raster_reader import RasterReader
    from earthgen.gen.data.raster_writer import RasterWriter
    from earthgen.gen.data.resample import upsample
    from earthgen.gen.data.tiles import TilePixels, remove_spool, stream

    class Stub:
        halo, multiple = 20, 4
        layers: ClassVar = {"image": BANDS}

        def __init__(self) -> None:
            self.scale = scale

        def run(self, tiles: Sequence[TilePixels]) -> list[dict[str, Any]]:
            results = []
            for tile in tiles:
                image = upsample(torch.from_numpy(tile.pixels)[None], scale)[0]
                image += 0.01 * noise_field(0, len(image), tile.row * scale, tile.col * scale, *image.shape[1:])
                results.append({"image": image.numpy()})
            return results

    began = time.perf_counter()
    spool = target.with_suffix(".spool")
    with RasterReader(source) as reader:
        shape = {"height": reader.height * scale, "width": reader.width * scale}
        place = {"crs": reader.crs, "transform": reader.transform @ Affine.scale(1 / scale), "radiometry": reader.radiometry}
        with RasterWriter(target, bands=BANDS, compress="none", **shape, **place) as writer:
            report = stream(Stub(), reader, {"image": writer}, spool=spool)
    remove_spool(spool)
    return {"peak MiB": round(peak_mib(), 1), "seconds": round(time.perf_counter() - began, 1), "tiles": report.tiles}


def peak_mib() -> float:
    """Peak resident memory of this process. What ``getrusage`` says may be that of the process that started it, so it comes second."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    own = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return (own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


if __name__ == "__main__":
    task, place, wide, times = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if task == "make":
        make(place / "in.tif", wide)
    else:
        sys.stdout.write(json.dumps(double(place / "in.tif", place / "out.tif", times)))
