"""EarthGen: generative models for remote sensing.

The sub-packages are `earthgen.gen` (models, data, schedulers), `earthgen.pipelines`, `earthgen.train`, `earthgen.metrics` and
`earthgen.demos`.
The classes of saved model folders are reachable here by name too, since `from_pretrained` looks them up in the top-level package; they are
imported when first asked for, so that `import earthgen` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "EANet": "earthgen.gen.models.eanet",
    "MeanRevertingScheduler": "earthgen.gen.schedulers.mean_reverting",
    "SuperResolutionPipeline": "earthgen.pipelines.super_resolution",
    "EarthPipeline": "earthgen.pipelines.earth",
    "MetadataEmbedding": "earthgen.gen.models.embed",
    "LocationEncoder": "earthgen.gen.models.embed",
    "World": "earthgen.gen.data.world",
    "InputError": "earthgen.gen.errors",
    # diffusers finds how to load a component by asking its package for these base classes.
    "ModelMixin": "diffusers",
    "SchedulerMixin": "diffusers",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'earthgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
