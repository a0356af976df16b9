"""A contact sheet: one strip a scene, one column a version of it, with captions, as a single picture.

Drawn with Pillow alone. Small pictures are enlarged to the cell by repeating pixels, so that what is seen is what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CELL = 256
GAP = 12
MARGIN = 40
HEADER = 132
COLUMN_TITLES = 34
STRIP_TITLE = 34
CAPTION = 24
STRIP_GAP = 26
FOOTER_LINE = 20

PAPER = (250, 250, 248)
INK = (24, 30, 38)
GREY = (112, 120, 130)
FAINT = (226, 228, 230)
ACCENT = (14, 116, 118)

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """One cell.

    Attributes:
        picture: ``[H, W, 3]`` uint8, or None for an empty cell.
        caption: A few words under it.
        strong: Whether the caption stands out.
    """

    picture: Picture | None
    caption: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Strip:
    """One row.

    Attributes:
        title: What is seen.
        detail: Where it comes from, in grey beside the title.
        panels: One for each column.
    """

    title: str
    detail: str
    panels: Sequence[Panel]


def draw_sheet(title: str, subtitle: str, columns: Sequence[str], strips: Sequence[Strip], footer: Sequence[str] = ()) -> Image.Image:
    """Lay the strips out.

    Args:
        title: In large letters.
        subtitle: One line below it.
        columns: Titles of the columns.
        strips: The rows, each with as many panels as there are columns.
        footer: Lines at the bottom.

    Returns:
        An RGB picture.
    """
    width = 2 * MARGIN + len(columns) * CELL + (len(columns) - 1) * GAP
    strip_height = STRIP_TITLE + CELL + CAPTION + STRIP_GAP
    lines = [line for text in footer for line in wrapped(text, width - 2 * MARGIN, 13)]
    height = HEADER + COLUMN_TITLES + len(strips) * strip_height + len(lines) * FOOTER_LINE + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((MARGIN, 40, MARGIN + 5, 90), fill=ACCENT)
    pen.text((MARGIN + 20, 34), title, font=_font(32), fill=INK)
    pen.text((MARGIN + 20, 76), subtitle, font=_font(15), fill=GREY)
    for number, name in enumerate(columns):
        pen.text((_left(number), HEADER), name, font=_font(17), fill=ACCENT)
    pen.line((MARGIN, HEADER + 26, width - MARGIN, HEADER + 26), fill=FAINT, width=1)
    top = HEADER + COLUMN_TITLES
    for strip in strips:
        _draw_strip(sheet, pen, strip, top)
        top += strip_height
    for line in lines:
        pen.text((MARGIN, top), line, font=_font(13), fill=GREY)
        top += FOOTER_LINE
    return sheet


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Break a text into lines of at most `width` pixels."""
    font, lines = _font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def fitted(picture: Picture) -> Image.Image:
    """A picture in a cell: enlarged by a whole factor with repeated pixels where it is small, then brought to the cell's longer side."""
    height, width = picture.shape[:2]
    factor = max(1, CELL // max(height, width))
    image = Image.fromarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
    if max(image.size) == CELL:
        return image
    ratio = CELL / max(image.size)
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    return image.resize(size, Image.Resampling.LANCZOS if ratio < 1 else Image.Resampling.NEAREST)


def _draw_strip(sheet: Image.Image, pen: ImageDraw.ImageDraw, strip: Strip, top: int) -> None:
    title = _font(17)
    pen.text((MARGIN, top + 4), strip.title, font=title, fill=INK)
    pen.text((MARGIN + title.getlength(strip.title) + 12, top + 7), strip.detail, font=_font(14), fill=GREY)
    for number, panel in enumerate(strip.panels):
        left, upper = _left(number), top + STRIP_TITLE
        if panel.picture is None:
            _draw_empty(pen, left, upper, panel.caption)
            continue
        picture = fitted(panel.picture)
        sheet.paste(picture, (left + (CELL - picture.width) // 2, upper + (CELL - picture.height) // 2))
        pen.text((left, upper + CELL + 4), panel.caption, font=_font(14), fill=INK if panel.strong else GREY)


def _draw_empty(pen: ImageDraw.ImageDraw, left: int, top: int, caption: str) -> None:
    pen.rectangle((left, top, left + CELL - 1, top + CELL - 1), fill=(243, 243, 241), outline=FAINT)
    lines = wrapped(caption, CELL - 60, 14)
    for number, line in enumerate(lines):
        middle = top + CELL // 2 + (number - len(lines) / 2 + 0.5) * 20
        pen.text((left + CELL // 2, middle), line, font=_font(14), fill=GREY, anchor="mm")


def _left(number: int) -> int:
    return MARGIN + number * (CELL + GAP)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
