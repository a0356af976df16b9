"""Readers and writers of the label formats that trainers use, one module a format. Each name is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "AnnotationSet": ".reading",
    "read_annotations": ".reading",
    "AnnotationWriter": ".writing",
    "KINDS": ".writing",
    "detect_format": ".detect",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
