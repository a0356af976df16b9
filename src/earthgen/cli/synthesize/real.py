"""The real pictures of a project: read once, brought to the project's resolution, divided by place, cut into squares."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from ...gen.annotations.box import Layout
from ...gen.annotations.formats.pictures import picture_file
from ...gen.annotations.formats.reading import read_annotations
from ...gen.errors import InputError
from ...train.detection.places import Place, crops, shrunk
from ...train.detection.samples import Sample
from .project import Project, Settings

TYPICAL = 36.0
"""Side in pixels that an object has in the middle of what the models are trained for."""
MIN_VISIBLE = 0.4
"""Share of an object that must be inside a square for it to be labelled there."""


def begin(
    annotations: Path, images: Path | None, rename: Mapping[str, str], size: int, scale: float | None, held_out: float, place: str
) -> Settings:
    """Settings for some labelled pictures.

    Args:
        annotations: File or folder in any format that is read.
        images: Folder of the pictures; that of the annotations if left out.
        rename: From the annotations' classes to the model's.
        size: Side of the squares in pixels.
        scale: Real pixels over the project's; None lets the median object have about 36 pixels.
        held_out: Share of the places.
        place: Pattern of a place in a file's name.

    Raises:
        InputError: If there is no object, a class is renamed that does not occur, or there are too few places.
    """
    found = read_annotations(annotations, images)
    layouts = [layout for layout in found.layouts if layout.picture]
    strange = sorted(set(rename) - set(found.names))
    if strange:
        raise InputError(f"--rename names the class {strange[0]!r}, and the annotations have {', '.join(found.names)}; correct it")
    boxes = [box for layout in layouts for box in layout.boxes]
    if not boxes:
        raise InputError(f"{annotations} holds no labelled object; give labels with at least one")
    places = sorted({place_of(layout.picture or "", place) for layout in layouts})
    if len(places) < 3:
        raise InputError(f"the pictures are of {len(places)} places ({', '.join(places)}); at least 3 are needed, since some are held out")
    turned = {rename.get(box.name, box.name) for box in boxes if not box.is_horizontal}
    names = tuple(dict.fromkeys(rename.get(name, name) for name in found.names))
    chosen = scale if scale is not None else min(1.0, TYPICAL / median(math.sqrt(box.area) for box in boxes))
    count = max(1, round(held_out * len(places)))
    order = sorted(places, key=lambda name: hashlib.sha256(name.encode()).digest())
    return Settings(
        annotations=str(annotations.resolve()),
        images=str((images or (annotations if annotations.is_dir() else annotations.parent)).resolve()),
        names=names,
        rename=dict(rename),
        horizontal=tuple(name for name in names if name not in turned),
        size=size,
        scale=round(chosen, 4),
        place=place,
        held_out=tuple(sorted(order[:count])),
    )


def place_of(picture: str, pattern: str) -> str:
    """The place of a picture: the pattern's match in its name (groups joined by spaces), else the name without its ending."""
    found = re.search(pattern, picture) if pattern else None
    if found is None:
        return Path(picture).stem
    return " ".join(group for group in found.groups() if group) or found.group(0)


def places_of(project: Project, held_out: bool) -> list[Place]:
    """The real pictures at the project's resolution: those that are held out, or the others.

    Raises:
        InputError: If a picture cannot be read.
    """
    settings = project.settings
    found = read_annotations(Path(settings.annotations), Path(settings.images))
    places = []
    for layout in found.layouts:
        name = place_of(layout.picture or "", settings.place)
        if layout.picture and (name in settings.held_out) == held_out:
            boxes = tuple(replace(box, name=settings.rename.get(box.name, box.name)) for box in layout.boxes)
            picture = _picture(picture_file(Path(settings.images), layout.picture), layout)
            places.append(shrunk(Place(name, picture, replace(layout, boxes=boxes)), settings.scale))
    if not places:
        what = "of a held-out place" if held_out else "to train on"
        raise InputError(f"{settings.annotations} names no picture {what}; check the project")
    return places


def squares_of(places: Sequence[Place], size: int, least_objects: int = 1) -> list[Sample]:
    """Squares of places, each with its labels."""
    made = [sample for place in places for sample in crops(place, size, MIN_VISIBLE, least_objects=least_objects)]
    if not made:
        raise InputError(f"no picture has room for a square of {size} pixels with an object; take a smaller --size or a larger --scale")
    return made


def _picture(path: Path, layout: Layout) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from PIL import Image

    try:
        with Image.open(path) as file:
            pixels = np.ascontiguousarray(np.asarray(file.convert("RGB"), dtype=np.uint8))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}); copy it again, or take it out of the annotations") from error
    if pixels.shape[:2] != (layout.height, layout.width):
        raise InputError(
            f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, its annotations say {layout.width} x {layout.height}; correct one"
        )
    return pixels
