"""How fast a super-resolution model runs on this machine, by a small measurement."""

from __future__ import annotations

import time

import numpy as np

from .super_resolution import SuperResolutionPipeline

_SIDE = 64  # input pixels of the picture that is timed


def seconds_per_pixel(pipeline: SuperResolutionPipeline) -> float:
    """Seconds that one network evaluation takes per output pixel; it runs the model for a moment.

    Args:
        pipeline: The model, on the device where it is to run.
    """
    low = np.full((len(pipeline.bands), _SIDE, _SIDE), 0.2, dtype=np.float32)
    pipeline(low, num_inference_steps=1)  # the first call allocates and compiles
    started = time.perf_counter()
    pipeline(low, num_inference_steps=2)
    return (time.perf_counter() - started) / 2 / (_SIDE * pipeline.scale) ** 2
