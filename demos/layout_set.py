"""The labelled pictures as one zip: labels in a trainer's format, the pictures beside them, a manifest that says how each was made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..gen.errors import InputError
from .layout_session import Labelled

FORMATS = {
    "coco": "COCO",
    "dota": "DOTA",
    "yolo": "YOLO",
    "yolo-obb": "YOLO, rotated",
    "dior": "DIOR-R",
    "voc": "Pascal VOC",
    "hrsc": "HRSC",
    "imagefolder": "Hugging Face imagefolder",
}
"""Titles of the formats, the usual ones first."""
MANIFEST = "manifest.jsonl"


def format_choices() -> list[tuple[str, str]]:
    """Titles and names of the formats that can be written."""
    return [(title, kind) for kind, title in FORMATS.items()]


def write_set(labelled: Labelled, kind: str, *, flatten: bool = False) -> tuple[Path, dict[str, int]]:
    """Write the zip, whole or not at all.

    Args:
        labelled: The pictures of a run.
        kind: One of `FORMATS`.
        flatten: Whether turned boxes become their axis-aligned hulls, for formats that hold only those.

    Returns:
        The zip, and how many boxes had to be changed for the format, by what was done.

    Raises:
        InputError: If the format cannot hold a box or a class name; the sentence says what to choose.
    """
    if kind not in FORMATS:
        raise InputError(f"there is no format {kind!r}; choose one of {', '.join(FORMATS)}")
    name = f"labelled-{kind}"
    folder, archive = labelled.folder / name, labelled.folder / f"{name}.zip"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        changes = _write_folder(labelled, folder, kind, flatten)
        partial = archive.with_suffix(".part")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as packed:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    packed.write(path, path.relative_to(folder).as_posix())
        os.replace(partial, archive)
    except InputError as error:
        raise InputError(str(error).replace("--flatten to write hulls", "tick 'axis-aligned hulls'")) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return archive, changes


def _write_folder(labelled: Labelled, folder: Path, kind: str, flatten: bool) -> dict[str, int]:
    from ..gen.annotations.formats import AnnotationWriter

    with AnnotationWriter(folder, kind, list(labelled.names), flatten) as writer:
        for picture, layout in zip(labelled.pictures, labelled.layouts, strict=True):
            writer.add(replace(layout, picture=picture.name))
            shutil.copyfile(picture, writer.picture_path(picture.name))
    rows = (json.dumps(manifest_row(labelled, number), ensure_ascii=False, allow_nan=False) for number in range(len(labelled.pictures)))
    (folder / MANIFEST).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return writer.changes


def manifest_row(labelled: Labelled, number: int) -> dict[str, Any]:
    """What the manifest says of one picture, in the terms of `earthgen synthesize export`.

    Args:
        labelled: The run.
        number: Of the picture.
    """
    picture, layout, scores = labelled.pictures[number], labelled.layouts[number], labelled.scores[number]
    objects = [{"name": box.name, "corners": [round(value, 3) for corner in box.corners for value in corner]} for box in layout.boxes]
    figures = [scores.of(place) for place in range(len(layout.boxes))]
    return {
        "file": picture.name,
        "width": layout.width,
        "height": layout.height,
        "objects": objects,
        **labelled.facts,
        "seed": labelled.seeds[number],
        "sha256": hashlib.sha256(picture.read_bytes()).hexdigest(),
        "synthetic": True,
        "objects_scores": {name: [row[name] for row in figures] for name in scores.names},
    }
