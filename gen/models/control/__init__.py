"""Networks beside a stock U-Net: what they return is added to its skip connections, its middle, or its context.

Each one changes nothing when it is new, so that a trained U-Net stays what it is until the adapter has learnt something.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "ContentTokenAdapter": ".content",
    "HintScaleControlNet": ".hint_scale",
    "LocationResidualNet": ".location",
    "MultiHintAdapter": ".hints",
    "TemporalControlNet": ".temporal",
    "add_residuals": ".residuals",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
