"""Networks that paint objects where a layout says: an encoder of boxes, attention to objects, and a raster let in behind the first layer.

After AeroGen (Tang et al., CVPR 2025, arXiv 2411.15497) and GLIGEN (Li et al., CVPR 2023). A new one changes nothing in the U-Net that it
is put into, does not care for padding, and takes any number of objects.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "GatedFuser": ".gated",
    "LayoutCrossAttnProcessor": ".attention",
    "LayoutEncoder": ".encoder",
    "LayoutUNet": ".unet",
    "MaskInjector": ".mask",
    "ObjectMaskInjector": ".object_mask",
    "install_layout": ".attention",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
