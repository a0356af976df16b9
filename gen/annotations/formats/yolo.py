"""YOLO and YOLO-OBB: a text file a picture, a row an object, coordinates as shares of the picture's width and height.

YOLO rows are `class cx cy w h`, YOLO-OBB rows `class x1 y1 ... x4 y4`; a row may end with a confidence. A file has rows of one kind. An
empty or missing file is a picture without objects. What we write stays within 0 and 1: boxes that reach out are cut to their visible part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..box import Box, Corners, Layout
from ..fragments import ultralytics_yaml
from ..geometry import fit_inside
from .encoding import PerPicture
from .source import AnnotationSet, Layouts, at, checked, listed_classes, numbers, text_lines
from .text_labels import text_layouts

_SLACK = 0.01  # a share of the picture: what ultralytics lets pass
_MAX_YAML = 2**20


def read(root: Path, images: Path | None, kind: str) -> AnnotationSet:
    """Read a folder of YOLO labels, or one file.

    Args:
        root: The folder (with `data.yaml` and `labels` in it, or that one), or a file.
        images: Folder of the pictures, for their sizes; a `pictures.csv` of ours or a folder `images` beside the labels is found.
        kind: ``"yolo"`` or ``"yolo-obb"``.

    Raises:
        InputError: If there is no list of classes, a row is damaged or of the other kind, a class number is not in the list, a box has no
            area or is outside its picture, or a picture is not found.
    """
    names = _names(root)
    columns = 9 if kind == "yolo-obb" else 5

    def parse(path: Path, width: int, height: int) -> list[Box]:
        return rows(path, width, height, names, columns)

    return AnnotationSet(kind, names, Layouts(lambda: text_layouts(root, images, parse, background=True)))


def rows(path: Path, width: int, height: int, names: Sequence[str], columns: int) -> list[Box]:
    """The boxes of one file.

    Args:
        path: The file.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        names: Classes by their number.
        columns: Columns of a row without confidence: 5, or 9 for corners.

    Raises:
        InputError: With the line, if one is damaged.
    """
    boxes = []
    for line, text in text_lines(path):
        parts = text.split()
        if len(parts) not in (columns, columns + 1):
            hint = "files of 5 and 9 columns cannot be mixed" if len(parts) in (5, 9) else "polygons and cut rows are no boxes"
            raise at(path, line, f"the row has {len(parts)} columns, not {columns}; {hint}, so correct or complete the file")
        if not parts[0].isdecimal() or len(parts[0]) > 9 or int(parts[0]) >= len(names):
            raise at(path, line, f"the class number {parts[0][:20]!r} is not among the {len(names)} classes listed; they count from 0")
        values = numbers(parts[1:], path, line)
        score = values.pop() if len(parts) == columns + 1 else None
        if score is not None and not 0 <= score <= 1:
            raise at(path, line, f"the last column, a confidence, is {score:g}; it must be from 0 to 1")
        if not all(-_SLACK <= value <= 1 + _SLACK for value in values):
            raise at(path, line, "coordinates of YOLO are shares of the picture from 0 to 1, and one is outside; divide by its size")
        try:
            box = _corners(names[int(parts[0])], values, width, height, score)
            boxes.append(checked(box, width, height))
        except InputError as error:
            raise at(path, line, error) from error
    return boxes


def _corners(name: str, v: list[float], width: int, height: int, score: float | None) -> Box:
    if len(v) == 4:
        return Box.horizontal(name, (v[0] - v[2] / 2) * width, (v[1] - v[3] / 2) * height, v[2] * width, v[3] * height, score=score)
    a, b, c, d = ((v[at] * width, v[at + 1] * height) for at in (0, 2, 4, 6))
    return Box(name, (a, b, c, d), score=score)


class YoloEncoder(PerPicture):
    """Writes `labels/<picture>.txt` and `data.yaml`."""

    folder, suffix, listing = "labels", ".txt", True

    def text(self, layout: Layout, picture: str) -> str:
        """The rows of one picture; 9 decimals, a ten-thousandth of a pixel in a picture of 30,000."""
        across, down, lines = 1 / layout.width, 1 / layout.height, []
        for box in layout.boxes:
            left, top, right, bottom = box.xyxy
            if left < 0 or top < 0 or right > layout.width or bottom > layout.height:
                self.changes["cut at the picture's edge"] += 1
                left, top, right, bottom = fit_inside(box, layout.width, layout.height).xyxy
            centre = f"{(left + right) / 2 * across:.9f} {(top + bottom) / 2 * down:.9f}"
            lines.append(f"{self.index[box.name]} {centre} {(right - left) * across:.9f} {(bottom - top) * down:.9f}\n")
        return "".join(lines)

    def fragments(self) -> dict[str, str]:
        """The data set file of ultralytics."""
        return {"data.yaml": ultralytics_yaml(self.names)}


class YoloObbEncoder(YoloEncoder):
    """Writes `labels/<picture>.txt` with corners, and `data.yaml`."""

    rotates = True

    def text(self, layout: Layout, picture: str) -> str:
        """The rows of one picture; 9 decimals."""
        across, down, lines = 1 / layout.width, 1 / layout.height, []
        for box in layout.boxes:
            (ax, ay), (bx, by), (cx, cy), (dx, dy) = self._within(box, layout)
            lines.append(
                f"{self.index[box.name]} {ax * across:.9f} {ay * down:.9f} {bx * across:.9f} {by * down:.9f} "
                f"{cx * across:.9f} {cy * down:.9f} {dx * across:.9f} {dy * down:.9f}\n"
            )
        return "".join(lines)

    def _within(self, box: Box, layout: Layout) -> Corners:
        left, top, right, bottom = box.xyxy
        if left >= 0 and top >= 0 and right <= layout.width and bottom <= layout.height:
            return box.corners
        self.changes["cut at the picture's edge"] += 1
        fitted = fit_inside(box, layout.width, layout.height)
        a, b, c, d = ((min(max(x, 0.0), layout.width), min(max(y, 0.0), layout.height)) for x, y in fitted.corners)
        return replace(fitted, corners=(a, b, c, d)).corners


def _names(root: Path) -> list[str]:
    folder = root if root.is_dir() else root.parent
    for place in (folder, folder.parent, folder.parent.parent):
        for name in ("data.yaml", "data.yml", "dataset.yaml"):
            if (place / name).is_file():
                return _yaml_names(place / name)
    listed = listed_classes(root)
    if listed is None:
        raise InputError(f"there is no list of classes for {root}, and YOLO rows only number them; put data.yaml or classes.txt beside it")
    return listed


def _yaml_names(path: Path) -> list[str]:
    import yaml

    data = path.read_bytes()
    if len(data) > _MAX_YAML:
        raise InputError(f"{path} has {len(data)} bytes, too much for a list of classes; check what it is")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, Loader=yaml.SafeLoader)):
            raise InputError(f"{path} has YAML aliases, which a list of classes has no use for; write the names out")
        names: Any = (yaml.safe_load(data) or {}).get("names")
    except (yaml.YAMLError, AttributeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{where}: this is no readable YAML with `names`; write them as a list, or as number: name") from error
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[place] for place in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
        raise InputError(f"{path}: `names` must be a list of class names, or number: name from 0 on without gaps; correct it")
    texts = [str(name) for name in names]
    if len(set(texts)) != len(texts):
        raise InputError(f"{path}: a class is named twice in `names`; classes are told by name, so keep one")
    return texts
