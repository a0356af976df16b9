"""DOTA: a text file a picture, a row an object: eight numbers in pixels, the class, the difficulty.

Corners are written clockwise from the declared first one, ten columns, without header lines (a widely used reader fails on those); header
lines and nine columns are read. The columns are divided by spaces, so a class name cannot have any.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from ..box import Box, Layout
from ..fragments import mmrotate_config
from .encoding import PerPicture
from .source import AnnotationSet, Layouts, at, checked, found_classes, known_class, listed_classes, numbers, text_lines
from .text_labels import text_layouts

_HEADERS = ("imagesource:", "gsd:")


def read(root: Path, images: Path | None) -> AnnotationSet:
    """Read a folder of DOTA labels, or one file.

    Args:
        root: The folder (with `labelTxt` in it, or that one), or a file.
        images: Folder of the pictures, for their sizes; a `pictures.csv` of ours or a folder `images` beside the labels is found.

    Raises:
        InputError: If a row is damaged, a box has no area or crosses itself or is outside its picture, or a picture is not found.
    """
    listed = listed_classes(root)
    layouts = Layouts(lambda: text_layouts(root, images, lambda path, width, height: rows(path, width, height, listed), background=False))
    return AnnotationSet("dota", found_classes(layouts) if listed is None else listed, layouts)


def rows(path: Path, width: int, height: int, names: list[str] | None) -> list[Box]:
    """The boxes of one file.

    Args:
        path: The file.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        names: Classes that may occur; None takes any.

    Raises:
        InputError: With the line, if one is damaged.
    """
    boxes, columns = [], 0
    for line, text in text_lines(path):
        if text.lower().startswith(_HEADERS):
            continue
        parts = text.split()
        columns = columns or len(parts)
        if len(parts) not in (9, 10) or len(parts) != columns:
            wanted = "eight coordinates, the class (without spaces) and the difficulty, in every row"
            raise at(path, line, f"the row has {len(parts)} columns; a DOTA row is {wanted}, so correct it or complete the file")
        x = numbers(parts[:8], path, line)
        if len(parts) == 10 and not parts[9].isdecimal():
            raise at(path, line, f"the difficulty is {parts[9]!r}; it must be 0 or 1")
        difficult = len(parts) == 10 and parts[9] != "0"
        name = known_class(parts[8], names, path, line)
        try:
            boxes.append(checked(Box(name, ((x[0], x[1]), (x[2], x[3]), (x[4], x[5]), (x[6], x[7])), difficult), width, height))
        except InputError as error:
            raise at(path, line, error) from error
    return boxes


class DotaEncoder(PerPicture):
    """Writes `labelTxt/<picture>.txt`."""

    folder, suffix, listing = "labelTxt", ".txt", True
    rotates = True

    def check_names(self) -> None:
        """Refuse class names that the format cannot hold."""
        spaced = [name for name in self.names if len(name.split()) != 1]
        if spaced:
            better = "-".join(spaced[0].split())
            raise InputError(
                f"DOTA divides columns by spaces, so it cannot hold the class name {spaced[0]!r}; rename it, such as {better!r}"
            )

    def text(self, layout: Layout, picture: str) -> str:
        """The rows of one picture; coordinates with two decimals."""
        lines = []
        for box in layout.boxes:
            (ax, ay), (bx, by), (cx, cy), (dx, dy) = self.solid(box, 2)
            corners = f"{ax:.2f} {ay:.2f} {bx:.2f} {by:.2f} {cx:.2f} {cy:.2f} {dx:.2f} {dy:.2f}"
            lines.append(f"{corners} {box.name} {int(box.difficult)}\n")
        return "".join(lines)

    def fragments(self) -> dict[str, str]:
        """A dataset fragment for MMRotate."""
        return {"mmrotate_config.py": mmrotate_config(self.names, "dota")}
