"""Collections of pictures too large for memory: tar shards, parquet, folders with metadata, map tiles; one protocol for all."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Collection": ".record",
    "Record": ".record",
    "UnreadableRecord": ".record",
    "ImageFolder": ".image_folder",
    "Parquet": ".parquet",
    "Selected": ".selected",
    "TileFolder": ".tile_folder",
    "Tolerant": ".tolerant",
    "WebDataset": ".webdataset",
    "open_collection": ".opening",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
