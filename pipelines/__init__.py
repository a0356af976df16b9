"""Conditions in, georeferenced pictures out: one file a pipeline. Each name is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

if __name__ == "pipelines":
    raise ImportError("import earthgen.pipelines, not pipelines; run 'pip install -e .' in the checkout first")

_LAZY = {
    "SuperResolutionPipeline": ".super_resolution",
    "SuperResolutionOutput": ".super_resolution",
    "SuperResolutionSceneStep": ".super_resolution_step",
    "upscale_scene": ".super_resolution_scene",
    "SceneReport": ".super_resolution_scene",
    "EarthPipeline": ".earth",
    "EarthOutput": ".earth_output",
    "generate_scene": ".earth_scene",
    "LayoutToImagePipeline": ".layout",
    "LayoutOutput": ".layout",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
