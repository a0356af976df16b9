"""Small pretrained models that ship with the package, each with its card, and the format of a model folder.

Names are imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "resolve_model": ".names",
    "zoo_models": ".names",
    "read_card": ".card",
    "model_digest": ".folder",
    "write_model_folder": ".folder",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
