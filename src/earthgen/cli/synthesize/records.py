"""A made picture and its record: written so that one is whole, or is made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ...gen.annotations.box import Box, Layout
from ...gen.data.atomic import atomic_path, write_json
from ...gen.errors import InputError
from .project import Project


@dataclass(frozen=True)
class Record:
    """One made picture.

    Attributes:
        index: Its number in the project.
        layout: What is in it; ``picture`` is its file name in the folder of samples.
        facts: How it was made: seed, model, digest, prompt, source of the layout, sha256 of the file, ``synthetic``.
    """

    index: int
    layout: Layout
    facts: dict[str, Any]

    def picture(self, project: Project) -> Path:
        """Its file."""
        return project.samples / str(self.layout.picture)

    def pixels(self, project: Project) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The picture itself, ``[H, W, 3]``.

        Raises:
            InputError: If its file cannot be read.
        """
        from PIL import Image

        path = self.picture(project)
        try:
            with Image.open(path) as file:
                return np.ascontiguousarray(np.asarray(file.convert("RGB"), dtype=np.uint8))
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error}); delete its record, and sample again: only that picture is made anew"
            ) from error


def write_record(project: Project, index: int, pixels: np.ndarray[Any, np.dtype[np.uint8]], layout: Layout, facts: dict[str, Any]) -> None:
    """Write a picture as PNG, then its record: without the latter it counts as not made.

    Args:
        project: Where to.
        index: Its number.
        pixels: ``[H, W, 3]``.
        layout: Its labels.
        facts: How it was made.
    """
    from PIL import Image

    name = f"{index:07d}.png"
    data = BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    with atomic_path(project.samples / name, durable=False) as partial:
        partial.write_bytes(data.getvalue())
    boxes = [
        {"name": box.name, "corners": [list(corner) for corner in box.corners], "truncated": box.truncated, "difficult": box.difficult}
        for box in layout.boxes
    ]
    told = {"index": index, "file": name, "width": layout.width, "height": layout.height, "boxes": boxes}
    write_json(_file(project, index), {**told, **facts, "sha256": hashlib.sha256(data.getvalue()).hexdigest(), "synthetic": True})


def read_record(project: Project, index: int) -> Record | None:
    """The record of a number; None if that picture was not made.

    Raises:
        InputError: If it is damaged.
    """
    path = _file(project, index)
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        boxes = tuple(
            Box(box["name"], tuple((float(x), float(y)) for x, y in box["corners"]), box["difficult"], box["truncated"])  # type: ignore[arg-type]
            for box in told.pop("boxes")
        )
        layout = Layout(int(told.pop("width")), int(told.pop("height")), boxes, str(told.pop("file")))
        return Record(int(told.pop("index")), layout, told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it, and sample again: only that picture is made anew") from error


def records(project: Project) -> Iterator[Record]:
    """All records, by number.

    Raises:
        InputError: If there is none, or one is damaged.
    """
    project.need(project.samples, "sample")
    found = sorted(int(path.stem) for path in project.samples.glob("*.json") if path.stem.isdecimal())
    if not found:
        raise InputError(f"{project.samples} holds no picture yet; run earthgen synthesize sample {project.folder} first")
    for index in found:
        record = read_record(project, index)
        if record is not None:
            yield record


def _file(project: Project, index: int) -> Path:
    return project.samples / f"{index:07d}.json"
