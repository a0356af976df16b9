"""Conditions -> tensors: text, metadata, place and time, hints; the null of each, drop-out, guidance. Imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Metadata": ".metadata",
    "MetadataSchema": ".schemas",
    "schema": ".schemas",
    "guide": ".guidance",
    "plan_guidance": ".guidance",
    "tokenize": ".text",
    "compose_caption": ".captions",
    "kept_independently": ".dropout",
    "kept_by_scheme": ".dropout",
    "make_hint": ".hints",
    "render_osm": ".osm",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
