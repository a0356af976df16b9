"""How long a run will take: a small measurement of the model on this machine, times the pixels of all tiles."""

from __future__ import annotations

import threading
from functools import lru_cache

from .upscale_job import Settings, load_pipeline

_TILE = 512  # output pixels of a tile's core, as in `upscale_scene`
_timing = threading.Lock()


@lru_cache(maxsize=8)
def _pace(model: str) -> float:
    from ..pipelines.pace import seconds_per_pixel

    return seconds_per_pixel(load_pipeline(model))


def pace(model: str) -> float:
    """Seconds that one step takes per output pixel, measured once for each model; it loads the model, which the run then finds loaded.

    Args:
        model: A folder or ``zoo:name``.

    Raises:
        InputError: If the model cannot be loaded.
    """
    with _timing:
        return _pace(model)


def expected_seconds(settings: Settings, height: int, width: int) -> float:
    """Expected time of a run.

    Args:
        settings: Model, steps and samples.
        height: Of the input, in pixels.
        width: Of the input, in pixels.

    Returns:
        Seconds, without loading the model.

    Raises:
        InputError: If the model cannot be loaded.
    """
    from ..gen.data.tile_plan import plan_scene
    from ..pipelines.super_resolution_step import SuperResolutionSceneStep
    from ..pipelines.upscaling import UpscaleSettings

    pipeline = load_pipeline(settings.model)
    chosen = UpscaleSettings(steps=settings.steps, samples=settings.samples, consistency=settings.consistency)
    step = SuperResolutionSceneStep(pipeline, chosen, settings.seed, pipeline.bands)
    plan = plan_scene(height, width, scale=step.scale, halo=step.halo, multiple=step.multiple, tile=_TILE)
    rows, columns = (sum(cell.window[1] - cell.window[0] for cell in cells) for cells in (plan.rows, plan.cols))
    return pace(settings.model) * rows * columns * step.scale**2 * settings.steps * settings.samples
