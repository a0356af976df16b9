"""Networks: tensors in, tensors out. Each name is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "EANet": ".eanet",
    "prepare_for_inference": ".fast",
    "pick_dtype": ".fast",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
