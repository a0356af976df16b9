"""Hugging Face imagefolder: `metadata.jsonl` beside the pictures, a line a picture, boxes in `objects`.

`objects` has `bbox` (x, y, width, height in pixels), `categories` (class names) and, of ours, `obb` (four corners), `difficult`,
`truncated`. Coordinates are always written with a decimal point: a column of whole numbers would be taken for integers, and a later file
with fractions would not fit. Pictures without objects have empty lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ...errors import InputError
from ..box import Box, Layout
from .encoding import Encoder
from .json_text import integer
from .pictures import picture_size, safe_name
from .source import AnnotationSet, Layouts, at, checked, found_classes, known_class, listed_classes, text_lines

_KEYS = ("bbox", "categories", "obb", "difficult", "truncated")


def read(path: Path, images: Path | None) -> AnnotationSet:
    """Read a `metadata.jsonl`.

    Args:
        path: The file.
        images: Folder of the pictures, for lines without sizes; default: the file's own.

    Raises:
        InputError: If a line is damaged, a picture is there twice, or a box has no area, crosses itself or is outside its picture.
    """
    names = listed_classes(path)
    layouts = Layouts(lambda: _layouts(path, images or path.parent, names))
    return AnnotationSet("imagefolder", found_classes(layouts) if names is None else names, layouts)


def _layouts(path: Path, folder: Path, names: list[str] | None) -> Iterator[Layout]:
    seen: set[int] = set()
    for line, text in text_lines(path):
        try:
            row = json.loads(text)
            if not isinstance(row, dict):
                raise InputError("the line is no JSON object; it must be one with file_name and objects")
            name = safe_name(str(row.get("file_name", "")))
            if hash(name) in seen:
                raise InputError(f"the picture {name} is there twice; keep one")
            seen.add(hash(name))
            width, height = row.get("width"), row.get("height")
            if width is None or height is None:
                width, height = picture_size(folder / name)
            width, height = integer(width, "width"), integer(height, "height")
            boxes = tuple(checked(box, width, height) for box in _boxes(row.get("objects") or {}, names, path, line))
            layout = Layout(width, height, boxes, name)
        except InputError as error:
            raise (error if str(error).startswith(f"{path}, line") else at(path, line, error)) from error
        except (ValueError, RecursionError) as error:
            raise at(path, line, "the line is no whole JSON; the file is damaged or half-written, so replace it") from error
        yield layout


def _boxes(objects: Any, names: list[str] | None, path: Path, line: int) -> Iterator[Box]:
    if not isinstance(objects, dict):
        raise InputError("`objects` is no JSON object; it must hold the lists bbox and categories")
    lists: dict[str, Any] = {key: objects[key] for key in _KEYS if objects.get(key) is not None}
    if "category" in objects:
        lists.setdefault("categories", objects["category"])
    bare = [key for key in ("bbox", "categories") if key not in lists]
    if bare and lists:
        raise InputError(f"`objects` has no `{bare[0]}`; give a list with an entry for each object")
    if len(sizes := {len(value) if isinstance(value, list) else -1 for value in lists.values()}) > 1 or -1 in sizes:
        raise InputError(f"the lists {', '.join(lists)} of `objects` differ in length; each needs an entry for each object")
    for place, category in enumerate(lists.get("categories", [])):
        if not isinstance(category, str | int):
            raise InputError(f"a category is {str(category)[:40]!r}; it must be the name of a class")
        name = names[category] if type(category) is int and names and 0 <= category < len(names) else str(category)
        flags: dict[str, bool] = {key: bool(lists[key][place]) for key in ("difficult", "truncated") if key in lists}
        yield _box(known_class(name, names, path, line), lists["bbox"][place], lists["obb"][place] if "obb" in lists else None, flags)


def _box(name: str, bbox: Any, obb: Any, flags: dict[str, bool]) -> Box:
    values = bbox if obb is None else obb
    if not isinstance(values, list) or len(values) != (4 if obb is None else 8) or not all(type(value) in (int, float) for value in values):
        raise InputError(f"a box is {str(values)[:60]}; it must be x, y, width, height (bbox) or the eight numbers of four corners (obb)")
    if obb is None:
        return Box.horizontal(name, *values, **flags)
    a, b, c, d = zip(values[::2], values[1::2], strict=True)
    return Box(name, (a, b, c, d), **flags)


class ImagefolderEncoder(Encoder):
    """Writes `metadata.jsonl`."""

    rotates = True
    pictures = ""

    def __init__(self, root: Path, names: list[str]) -> None:
        """As `Encoder`."""
        super().__init__(root, names)
        self._file: TextIO = (root / "metadata.jsonl").open("w", encoding="utf-8")

    def add(self, layout: Layout, picture: str) -> None:
        """Write the line of one picture; pixels with four decimals."""
        hulls = ", ".join("[{:.4f}, {:.4f}, {:.4f}, {:.4f}]".format(*box.xywh) for box in layout.boxes)
        quads = ", ".join("[" + ", ".join(f"{x:.4f}, {y:.4f}" for x, y in box.corners) + "]" for box in layout.boxes)
        names = json.dumps([box.name for box in layout.boxes], ensure_ascii=False)
        hard, cut = (json.dumps([getattr(box, flag) for box in layout.boxes]) for flag in ("difficult", "truncated"))
        self._file.write(
            f'{{"file_name": {json.dumps(picture, ensure_ascii=False)}, "width": {layout.width}, "height": {layout.height}, "objects": '
            f'{{"bbox": [{hulls}], "categories": {names}, "obb": [{quads}], "difficult": {hard}, "truncated": {cut}}}}}\n'
        )

    def close(self) -> None:
        """Close the file and write the list of classes."""
        self.discard()
        super().close()

    def discard(self) -> None:
        """Close the file."""
        self._file.close()
