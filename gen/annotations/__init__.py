"""Labelled boxes: one box type, its geometry, and the formats that trainers read. Each name is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Box": ".box",
    "Layout": ".box",
    "rotated_iou": ".geometry",
    "flip": ".geometry",
    "rot90": ".geometry",
    "rotate": ".geometry",
    "scale": ".geometry",
    "crop": ".geometry",
    "rasterize": ".coverage",
    "AnnotationSet": ".formats.reading",
    "read_annotations": ".formats.reading",
    "AnnotationWriter": ".formats.writing",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
