"""A plain list of boxes a picture, as small collections have it: `{"format": "...; class Tree", "images": [{"file", "boxes_xywh"}]}`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..box import Box, Layout
from .json_text import integer, line_of, object_list
from .pictures import safe_name
from .source import AnnotationSet, at, checked

_CLASS = re.compile(r"\bclass\s+([\w-]+)")


def read_boxlist(path: Path, whole: dict[str, Any]) -> AnnotationSet:
    """The boxes of such a file; all are of the one class that its `format` names.

    Args:
        path: The file, for errors.
        whole: Its content.

    Raises:
        InputError: If no class is named, a picture is there twice, or a box is none or outside its picture.
    """
    named = _CLASS.search(str(whole.get("format", "")))
    if named is None:
        raise InputError(
            f"{path} does not say which class its boxes are of; write it into `format`, such as 'x,y,w,h in pixels; class tree'"
        )
    name, layouts, seen = named.group(1), [], set[str]()
    for place, row in enumerate(object_list(path, whole, "images")):
        try:
            picture = safe_name(str(row.get("file", "")))
            if picture in seen:
                raise InputError(f"the picture {picture} is there twice; keep one")
            seen.add(picture)
            width, height = integer(row.get("width"), "width"), integer(row.get("height"), "height")
            boxes = tuple(checked(_box(name, values), width, height) for values in row.get("boxes_xywh") or ())
            layouts.append(Layout(width, height, boxes, picture))
        except InputError as error:
            raise at(path, line_of(path, "images", place), error) from error
    return AnnotationSet("coco", [name], layouts)


def _box(name: str, values: Any) -> Box:
    if not isinstance(values, list) or len(values) != 4 or not all(type(value) in (int, float) for value in values):
        raise InputError(f"a box is {str(values)[:60]}; it must be four numbers x, y, width, height in pixels")
    return Box.horizontal(name, *values)
