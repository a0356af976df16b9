"""COCO: one JSON file with pictures, classes and boxes.

Ids are written from 1 on: with an annotation of id 0 a perfect detection is never matched by the reference evaluation. The four corners are
in `segmentation`, where rotated detectors look for them, and in our `obb` extension, x1, y1 to x4, y4, which comes first when reading.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, TextIO

from ...errors import InputError
from ..box import Box, Layout
from ..fragments import mmdetection_config
from .boxlist import read_boxlist
from .encoding import Encoder
from .json_text import integer, line_of, load_json, object_list
from .pictures import picture_size, safe_name
from .source import AnnotationSet, at, checked

_AGREE = 1.0  # px: how far four corners in `segmentation` may stand off the box that they are taken for


def read(path: Path, images: Path | None) -> AnnotationSet:
    """Read a COCO file.

    Args:
        path: The file.
        images: Folder of the pictures, for files without sizes.

    Raises:
        InputError: If it is damaged, an id occurs twice or is not there, or a box has no area, crosses itself or is outside its picture.
    """
    whole = load_json(path)
    first = whole["images"][0] if isinstance(whole, dict) and isinstance(whole.get("images"), list) and whole["images"] else None
    if isinstance(first, dict) and "boxes_xywh" in first:
        return read_boxlist(path, whole)
    return _Reader(path, whole, images).read()


class _Reader:
    def __init__(self, path: Path, whole: Any, images: Path | None) -> None:
        if not isinstance(whole, dict) or not {"images", "annotations", "categories"} <= whole.keys():
            raise InputError(f"{path} is no COCO file: it must be an object with images, annotations and categories")
        self.path, self.folder = path, images
        self.images, self.annotations, self.categories = (object_list(path, whole, n) for n in ("images", "annotations", "categories"))

    def fail(self, section: str, place: int, problem: object) -> InputError:
        return at(self.path, line_of(self.path, section, place), problem)

    def read(self) -> AnnotationSet:
        classes: dict[int, str] = {}
        for place, row in enumerate(self.categories):
            number, name = self._id("categories", place, row), row.get("name")
            if not isinstance(name, str) or not name.strip():
                raise self.fail("categories", place, "the category has no name; give one")
            if number in classes or name in classes.values():
                raise self.fail("categories", place, f"the category {name!r} ({number}) is there twice; keep one of each id and name")
            classes[number] = name
        pictures = self._pictures()
        boxes: dict[int, list[Box]] = {number: [] for number in pictures}
        seen: set[int] = set()
        for place, row in enumerate(self.annotations):
            number = self._id("annotations", place, row)
            if number in seen:
                raise self.fail("annotations", place, f"the annotation id {number} is there twice; give each its own")
            seen.add(number)
            picture, category = row.get("image_id"), row.get("category_id")
            if not isinstance(picture, int) or picture not in pictures:
                raise self.fail("annotations", place, f"the image_id {picture!r} is none of the images; correct it")
            if not isinstance(category, int) or category not in classes:
                raise self.fail("annotations", place, f"the category_id {category!r} is none of the categories; correct it")
            _, width, height = pictures[picture]
            try:
                boxes[picture].append(checked(_box(row, classes[category]), width, height))
            except InputError as error:
                raise self.fail("annotations", place, error) from error
        layouts = [Layout(width, height, tuple(boxes[n]), name) for n, (name, width, height) in pictures.items()]
        return AnnotationSet("coco", list(classes.values()), layouts)

    def _pictures(self) -> dict[int, tuple[str, int, int]]:
        pictures: dict[int, tuple[str, int, int]] = {}
        names: set[str] = set()
        for place, row in enumerate(self.images):
            number = self._id("images", place, row)
            try:
                name = safe_name(str(row.get("file_name", "")))
                width, height = row.get("width"), row.get("height")
                if width is None or height is None:
                    width, height = picture_size((self.folder or self.path.parent) / name)
                width, height = integer(width, "width"), integer(height, "height")
            except InputError as error:
                raise self.fail("images", place, error) from error
            if number in pictures or name in names:
                raise self.fail("images", place, f"the image {name} ({number}) is there twice; keep one of each id and file name")
            if width < 1 or height < 1:
                raise self.fail("images", place, f"the image {name} is {width} x {height} pixels; write its real size")
            names.add(name)
            pictures[number] = (name, width, height)
        return pictures

    def _id(self, section: str, place: int, row: dict[str, Any]) -> int:
        try:
            return integer(row.get("id"), "id")
        except InputError as error:
            raise self.fail(section, place, error) from error


def _box(row: dict[str, Any], name: str) -> Box:
    flags = {"difficult": bool(row.get("difficult") or row.get("iscrowd")), "truncated": bool(row.get("truncated"))}
    score = row.get("score")
    if score is not None and not (type(score) in (int, float) and 0 <= score <= 1):
        raise InputError(f"the score is {json.dumps(score)[:40]}; it must be a number from 0 to 1")
    if "obb" in row:
        return Box(name, _paired(row["obb"], "obb"), score=score, **flags)
    bbox = row.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(type(value) in (int, float) for value in bbox):
        raise InputError(f"the bbox is {json.dumps(bbox)[:80]}; it must be four numbers x, y, width, height in pixels")
    box = Box.horizontal(name, *bbox, score=score, **flags)
    turned = _turned(row.get("segmentation"), box)
    return Box(name, turned, score=score, **flags) if turned is not None else box


def _turned(segmentation: Any, box: Box) -> Any:
    """Four corners of a rectangle in `segmentation`, as rotated data sets in COCO's format have them; None for any other outline."""
    if not isinstance(segmentation, list) or len(segmentation) != 1 or not isinstance(segmentation[0], list) or len(segmentation[0]) != 8:
        return None
    try:
        corners = _paired(segmentation[0], "segmentation")
        turned = Box(box.name, corners)
    except InputError:
        return None
    again = Box.rotated(box.name, *turned.le90)
    square = all(min(abs(x - u) + abs(y - v) for u, v in again.corners) <= _AGREE for x, y in turned.corners)
    return corners if square and all(abs(p - q) <= _AGREE for p, q in zip(turned.xywh, box.xywh, strict=True)) else None


def _paired(flat: Any, key: str) -> Any:
    if not isinstance(flat, list) or len(flat) != 8 or not all(type(value) in (int, float) for value in flat):
        raise InputError(f"the {key} is {json.dumps(flat)[:80]}; it must be eight numbers x1, y1 to x4, y4 in pixels")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


class CocoEncoder(Encoder):
    """Writes `annotations.json`, an annotation a line."""

    rotates = True

    def __init__(self, root: Path, names: list[str]) -> None:
        """As `Encoder`."""
        super().__init__(root, names)
        self._images: TextIO = (root / "images.part").open("w", encoding="utf-8")
        self._annotations: TextIO = (root / "annotations.part").open("w", encoding="utf-8")
        self._picture, self._annotation = 0, 0

    def add(self, layout: Layout, picture: str) -> None:
        """Write one picture and its boxes; pixels with four decimals."""
        self._images.write(",\n" if self._picture else "")
        self._picture += 1
        size = f'"width":{layout.width},"height":{layout.height}'
        self._images.write(f'{{"id":{self._picture},"file_name":{json.dumps(picture, ensure_ascii=False)},{size}}}')
        for box in layout.boxes:
            self._annotations.write(",\n" if self._annotation else "")
            self._annotation += 1
            self._annotations.write(self._row(box))

    def _row(self, box: Box) -> str:
        x, y, w, h = box.xywh
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = box.corners
        quad = f"{ax:.4f},{ay:.4f},{bx:.4f},{by:.4f},{cx:.4f},{cy:.4f},{dx:.4f},{dy:.4f}"
        more = (',"difficult":1' if box.difficult else "") + (',"truncated":1' if box.truncated else "")
        more += f',"score":{box.score:.6f}' if box.score is not None else ""
        return (
            f'{{"id":{self._annotation},"image_id":{self._picture},"category_id":{self.index[box.name] + 1},'
            f'"bbox":[{x:.4f},{y:.4f},{w:.4f},{h:.4f}],"obb":[{quad}],"segmentation":[[{quad}]],"area":{box.area:.4f},"iscrowd":0{more}}}'
        )

    def close(self) -> None:
        """Join the parts."""
        self.discard()
        categories = [{"id": place, "name": name} for place, name in enumerate(self.names, 1)]
        with (self.root / "annotations.json").open("w", encoding="utf-8") as out:
            note = {"description": "written by EarthGen", "obb": "x1,y1,x2,y2,x3,y3,x4,y4 in pixels, clockwise, the first corner kept"}
            out.write(f'{{"info":{json.dumps(note)},\n"categories":{json.dumps(categories, ensure_ascii=False)},\n"images":[\n')
            for part, end in (("images.part", '\n],\n"annotations":[\n'), ("annotations.part", "\n]}\n")):
                with (self.root / part).open(encoding="utf-8") as file:
                    shutil.copyfileobj(file, out)
                out.write(end)
                (self.root / part).unlink()
        super().close()

    def discard(self) -> None:
        """Close what is open."""
        self._images.close()
        self._annotations.close()

    def fragments(self) -> dict[str, str]:
        """A dataset fragment for MMDetection."""
        return {"mmdetection_config.py": mmdetection_config(self.names)}
