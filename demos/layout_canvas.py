"""The canvas of the Layout tab: an editor of boxes in the browser, whose value is a table of corners and classes.

The editor is ours (``layout_canvas.js``, plain SVG and no library), so nothing is fetched; what comes back from the browser is checked here
like any other input.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..gen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..gen.annotations import Layout

Value = dict[str, Any]

SWATCHES = (
    "#e11d48", "#2563eb", "#16a34a", "#d97706", "#7c3aed", "#0891b2", "#db2777", "#65a30d", "#ea580c", "#4f46e5", "#0d9488", "#a16207",
)  # fmt: skip
"""Colours of classes, in their order."""
MAX_BOXES, MAX_SIDE = 2000, 4096
_KEYS = (
    ("drag on the picture", "draw a box of the chosen class; Shift makes it square, Ctrl draws it over another box"),
    ("drag a box, its white or its coloured handle", "move, resize, turn; Shift keeps the shape, or turns in steps of 15°"),
    ("thick edge", "the first one of a box: an object's front, where a data set has fronts"),
    ("Tab", "go to the next box"),
    ("arrows, with Shift, with Alt", "move by 1 pixel, by 10, change the size"),
    ("R, Shift+R, . and ,", "turn by 5° either way, by 1°"),
    ("1 to 9", "label the chosen box; with none chosen, the class of new ones"),
    ("N, D, Delete, Ctrl+Z, Ctrl+Y", "a new box, a copy, away with it, undo, redo"),
)
_FIELDS = (("x", "Centre x"), ("y", "y"), ("w", "Width"), ("h", "Height"), ("angle", "Angle °"))
_TOOLS = (("add", "New box"), ("duplicate", "Copy"), ("delete", "Delete"), ("undo", "Undo"), ("redo", "Redo"), ("clear", "Clear"))


def build_canvas(value: Value, elem_id: str) -> Any:
    """The editor as a gradio component; its value goes both ways.

    Args:
        value: What it shows first, of `canvas_value`.
        elem_id: Its id in the page.

    Returns:
        A `gradio.HTML`.
    """
    import gradio as gr

    folder = Path(__file__).parent
    script = (folder / "layout_canvas.js").read_text(encoding="utf-8").replace('"@swatches"', json.dumps(SWATCHES))
    style = (folder / "layout_canvas.css").read_text(encoding="utf-8")
    return gr.HTML(
        value,
        html_template=_page(),
        css_template=style,
        js_on_load=script,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="eg-flat",
    )


def canvas_value(layout: Layout, names: Sequence[str], *, known: Sequence[str] | None = None, picture: str = "") -> Value:
    """A layout as the editor's value.

    Args:
        layout: The boxes.
        names: Classes of the palette; those of the boxes are added.
        known: Classes that the model knows; None if any will do.
        picture: Data URI of what lies underneath; empty for none.
    """
    palette = list(dict.fromkeys([*names, *layout.names]))
    boxes = [
        {"name": box.name, "corners": [list(corner) for corner in box.corners], "difficult": box.difficult, "truncated": box.truncated}
        for box in layout.boxes
    ]
    return {
        "width": layout.width,
        "height": layout.height,
        "palette": [[name, colour_of(number)] for number, name in enumerate(palette)],
        "known": None if known is None else list(known),
        "picture": picture,
        "boxes": boxes,
    }


def canvas_layout(value: Any) -> Layout:
    """The editor's value as a layout.

    Raises:
        InputError: If it is no such value: the browser may send anything.
    """
    from ..gen.annotations import Box, Layout

    try:
        width, height, table = int(value["width"]), int(value["height"]), value["boxes"]
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and isinstance(table, list)):
            raise ValueError(f"{width} x {height} pixels")
        boxes = [(str(row["name"]), _corners(row["corners"]), bool(row.get("difficult")), bool(row.get("truncated"))) for row in table]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"the canvas holds no layout that can be read ({type(error).__name__}: {error}); reload the page") from error
    if len(boxes) > MAX_BOXES:
        raise InputError(f"the canvas holds {len(boxes)} boxes; draw at most {MAX_BOXES}")
    return Layout(width, height, tuple(Box(*box) for box in boxes))


def canvas_names(value: Any) -> list[str]:
    """Classes of the editor's palette, in their order."""
    palette = value.get("palette") if isinstance(value, Mapping) else None
    rows = palette if isinstance(palette, list) else []
    return [str(row[0]) for row in rows if isinstance(row, list) and row]


def colour_of(number: int) -> str:
    """Colour of the class with a number, as ``#rrggbb``."""
    return SWATCHES[number % len(SWATCHES)]


def data_uri(picture: NDArray[np.uint8]) -> str:
    """A picture ``[H, W, 3]`` as a data URI: lossless while it is small, else JPEG."""
    from PIL import Image

    small = picture.shape[0] * picture.shape[1] <= 256 * 256
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, **({"format": "PNG"} if small else {"format": "JPEG", "quality": 88}))
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _corners(rows: Any) -> Any:
    corners = tuple((float(x), float(y)) for x, y in rows)
    if len(corners) != 4 or not all(math.isfinite(value) and abs(value) < 10 * MAX_SIDE for corner in corners for value in corner):
        raise ValueError("corners that are not four finite points near the picture")
    return corners


def _page() -> str:
    tools = "".join(f'<button type="button" data-do="{do}">{title}</button>' for do, title in _TOOLS)
    fields = "".join(f'<label>{title}<input type="number" step="any" data-field="{name}" disabled></label>' for name, title in _FIELDS)
    keys = "".join(f"<dt>{key}</dt><dd>{meaning}</dd>" for key, meaning in _KEYS)
    return (
        '<div class="editor"><div class="bar"><div class="classes" role="group" aria-label="Class of new boxes"></div>'
        '<form class="new-class"><input type="text" maxlength="60" placeholder="new class" aria-label="Name of a new class">'
        '<button type="submit">Add</button></form></div>'
        f'<div class="bar tools">{tools}<span class="tally" role="status"></span></div>'
        '<div class="stage"><svg tabindex="0" role="application" aria-label="Layout: boxes on a picture"></svg></div>'
        f'<div class="bar fields"><label>Class<select disabled></select></label>{fields}</div>'
        f'<details class="keys"><summary>Mouse and keys</summary><dl>{keys}</dl></details></div>'
    )
