"""Pictures with their boxes drawn over them, for the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .layout_canvas import colour_of

if TYPE_CHECKING:
    from ..gen.annotations import Layout

SHOWN = 640
"""Pictures are enlarged up to this many pixels, by whole factors, so that thin boxes can be drawn over them."""
_CROWDED = 25
_LINE = 4


def paint_boxes(picture: NDArray[np.uint8], layout: Layout, names: Sequence[str]) -> NDArray[np.uint8]:
    """A picture, enlarged by repeating its pixels, under its boxes.

    Args:
        picture: ``[H, W, 3]``.
        layout: Its boxes.
        names: Classes in the order of their colours.

    Returns:
        ``[H * k, W * k, 3]``: an outline a box in the colour of its class, and its name where there are few.
    """
    factor = max(1, SHOWN // max(picture.shape[:2]))
    canvas = Image.fromarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(16)
    for box in layout.boxes:
        colour = colour_of(names.index(box.name)) if box.name in names else "#64748b"
        points = [(x * factor, y * factor) for x, y in box.corners]
        ring = [*points, points[0], points[1]]
        pen.line(ring, fill="#ffffff", width=_LINE + 2, joint="curve")
        pen.line(ring, fill=colour, width=_LINE, joint="curve")
        if len(layout.boxes) <= _CROWDED:
            _label(pen, box.name, points, colour, font, canvas.size)
    return np.asarray(canvas)


def _label(
    pen: ImageDraw.ImageDraw, name: str, points: list[tuple[float, float]], colour: str, font: object, size: tuple[int, int]
) -> None:
    width, height = pen.textlength(name, font=font) + 8, 21  # type: ignore[arg-type]
    left = min(max(0.0, min(x for x, _ in points)), max(0.0, size[0] - width))
    top = min(y for _, y in points) - height - 2
    top = top if top >= 0 else min(max(y for _, y in points) + 2, size[1] - height)
    pen.rectangle((left, top, left + width, top + height), fill=colour)
    pen.text((left + 4, top + 1), name, fill="#ffffff", font=font)  # type: ignore[arg-type]


def save_boxed(picture: Path, layout: Layout, names: Sequence[str], path: Path) -> None:
    """Write the PNG of `paint_boxes` for a picture on disk."""
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    Image.fromarray(paint_boxes(pixels, layout, names)).save(path)
