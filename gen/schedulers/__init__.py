"""Schedulers that diffusers lacks, and the training side of the forward process. Each name is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "MeanRevertingScheduler": ".mean_reverting",
    "MeanRevertingSchedulerOutput": ".mean_reverting",
    "noise_l1_loss": ".training",
    "noise_loss_weight": ".training",
    "optimal_state_loss": ".training",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
