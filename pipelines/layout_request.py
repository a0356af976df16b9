"""What a call for pictures of layouts asks: layouts from objects or files, a background, and what is put in or taken out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gen.annotations.box import Box, Layout
from ..gen.annotations.geometry import fit_inside, rotated_iou, visible_share
from ..gen.annotations.geometry import scale as scaled
from ..gen.conditioning.layout import coverage_of, widened
from ..gen.errors import InputError
from .earth_hints import read_image

Boxes = Layout | Box | Iterable[Box] | str | Path
Picture = NDArray[np.float32]
LEAST_ROOM = 3.0
"""Pixels that a mask leaves around an object at least."""


@dataclass(frozen=True)
class LayoutRequest:
    """One picture that is to be made.

    Attributes:
        told: What the network is told; objects may reach out of the picture.
        labels: What is then true of the picture: cut to it, without what is hardly seen.
        background: ``[3, H, W]`` float32, 0 to 1; None for a picture from nothing.
        mask: Where it is painted, ``[H, W]`` bool; None for everywhere.
        notes: What was decided on the way.
    """

    told: Layout
    labels: Layout
    background: Picture | None = None
    mask: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()


def layouts_of(given: Any) -> list[Layout]:
    """Layouts from a `Layout`, several, or a file or folder of annotations in any format that `read_annotations` knows.

    Raises:
        InputError: If it is none of these, or the file is wrong.
    """
    if isinstance(given, Layout):
        return [given]
    if isinstance(given, str | Path):
        from ..gen.annotations.formats.reading import read_annotations

        found = list(read_annotations(given).layouts)
        if not found:
            raise InputError(f"{given} holds no layout; give a file with at least one picture")
        return found
    listed = list(given) if isinstance(given, Iterable) else []
    if not listed or not all(isinstance(entry, Layout) for entry in listed):
        raise InputError(f"the layout is a {type(given).__name__}; give a Layout, a list of them, or the path of an annotation file")
    return listed


def boxes_of(given: Boxes | None, what: str) -> tuple[Box, ...]:
    """Boxes from a `Layout`, a `Box`, several, or an annotation file with one picture."""
    if given is None:
        return ()
    if isinstance(given, Box):
        return (given,)
    if isinstance(given, Layout | str | Path):
        found = layouts_of(given)
        if len(found) != 1:
            raise InputError(f"{what} names {len(found)} pictures; give the boxes of one")
        return found[0].boxes
    listed = tuple(given)
    if not all(isinstance(entry, Box) for entry in listed):
        raise InputError(f"{what} holds something that is no Box; give boxes, a Layout, or an annotation file")
    return listed


def request_of(
    names: Sequence[str],
    min_visible: float,
    layout: Layout | None,
    size: tuple[int, int] | None,
    background: Any = None,
    mask: Any = None,
    insert: Boxes | None = None,
    remove: Boxes | Iterable[int] | None = None,
    margin: float = 0.2,
) -> LayoutRequest:
    """Check the arguments for one picture.

    Args:
        names: The model's classes.
        min_visible: Share of an object that must be inside.
        layout: What is in the picture, or will be; None for no object but those of `insert`.
        size: Height and width; those of the background or layout if left out.
        background: A picture to change.
        mask: Where it is painted anew; around `insert` and `remove` if left out.
        insert: Objects to put in.
        remove: Objects to take out: boxes, or numbers of boxes of `layout`.
        margin: Room that the mask leaves around an object, in shares of its sides.

    Raises:
        InputError: If something is missing, or does not fit together.
    """
    picture = None if background is None else _rgb(background, "the background")
    if picture is None and (mask is not None or insert is not None or remove is not None):
        raise InputError("mask, insert and remove change a picture; give it as background")
    whole = picture.shape[1:] if picture is not None else size if size is not None else None
    if layout is None and whole is None:
        raise InputError("neither a layout nor a background is given; give a layout, or a picture with insert or remove")
    height, width = (int(side) for side in whole) if whole is not None else (layout.height, layout.width)  # type: ignore[union-attr]
    base = Layout(width, height) if layout is None else _fitted(layout, height, width, picture is not None)
    gone = _removed(base, remove)
    new = boxes_of(insert, "insert")
    kept = tuple(box for number, box in enumerate(base.boxes) if number not in _matching(base, gone))
    told, labels, notes = _verified(replace(base, boxes=(*kept, *new)), names, min_visible)
    if picture is None:
        return LayoutRequest(told, labels, notes=notes)
    place = _mask_of(mask, height, width) if mask is not None else None
    if place is None and (new or gone):
        place = around((*new, *gone), height, width, margin)
    if place is None or not place.any():
        raise InputError("nothing of the background is to be painted; give insert, remove, or a mask with white in it")
    return LayoutRequest(told, labels, picture, place, notes)


def around(boxes: Sequence[Box], height: int, width: int, margin: float) -> NDArray[np.bool_]:
    """Pixels of objects and the room around them, ``[H, W]``."""
    if not 0 <= margin <= 5:
        raise InputError(f"the margin around objects is {margin:g} of their sides; give 0 to 5")
    quads = widened(np.array([box.corners for box in boxes], np.float64), margin, LEAST_ROOM)
    return np.asarray(coverage_of(quads, height, width) > 0.01)


def _fitted(layout: Layout, height: int, width: int, exact: bool) -> Layout:
    if (layout.height, layout.width) == (height, width):
        return layout
    if exact:
        raise InputError(
            f"the layout is {layout.width} x {layout.height} and the background {width} x {height} pixels; give the layout of this picture"
        )
    return scaled(layout, width, height)


def _removed(base: Layout, remove: Boxes | Iterable[int] | None) -> tuple[Box, ...]:
    if remove is None or isinstance(remove, Layout | Box | str | Path):
        return boxes_of(remove, "remove")
    listed: list[Any] = list(remove)
    numbers = [entry for entry in listed if isinstance(entry, int)]
    wrong = [number for number in numbers if not 0 <= number < len(base.boxes)]
    if wrong:
        raise InputError(f"object {wrong[0]} is to be removed, but the layout has {len(base.boxes)}, counted from 0; name one of them")
    others = boxes_of([entry for entry in listed if not isinstance(entry, int)], "remove")
    return (*(base.boxes[number] for number in numbers), *others)


def _matching(base: Layout, gone: Sequence[Box]) -> set[int]:
    """Numbers of the objects that a removed box means: those that it overlaps by half."""
    if not gone or not base.boxes:
        return set()
    overlap = rotated_iou(base.quads, np.array([box.corners for box in gone], np.float64))
    return set(np.flatnonzero((overlap >= 0.5).any(1)).tolist())


def _verified(layout: Layout, names: Sequence[str], min_visible: float) -> tuple[Layout, Layout, tuple[str, ...]]:
    """What is told and what is true: known classes, of which enough is inside."""
    strange = sorted({name for name in layout.names if name not in names})
    if strange:
        raise InputError(f"the model cannot paint {strange[0]!r}; it knows {', '.join(names)}, so rename the classes or take another model")
    seen = [box for box in layout.boxes if (share := visible_share(box, layout.width, layout.height)) > 0 and share >= min_visible]
    left = len(layout.boxes) - len(seen)
    notes = (f"{left} of {len(layout.boxes)} objects lie mostly outside the picture and were left out",) if left else ()
    cut = tuple(fit_inside(box, layout.width, layout.height) for box in seen)
    return replace(layout, boxes=tuple(seen)), replace(layout, boxes=cut), notes


def _rgb(given: Any, name: str) -> Picture:
    image = read_image(given, name).numpy()
    if image.shape[0] == 1:
        image = np.repeat(image, 3, axis=0)
    if image.shape[0] != 3 or image.min() < 0 or image.max() > 1:
        raise InputError(
            f"{name} has {image.shape[0]} channels from {image.min():g} to {image.max():g}; give red, green, blue from 0 to 1, or 8 bits"
        )
    return np.ascontiguousarray(image, np.float32)


def _mask_of(mask: Any, height: int, width: int) -> NDArray[np.bool_]:
    place = read_image(mask, "the mask").mean(0).numpy()
    if place.shape != (height, width):
        raise InputError(
            f"the mask is {place.shape[1]} x {place.shape[0]} and the background {width} x {height} pixels; give one of its size"
        )
    return np.asarray(place > 0.5)
