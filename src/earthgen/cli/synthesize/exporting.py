"""The labelled set in a trainer's format, with its manifest; and the check of one that lies there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...gen.annotations.box import Layout
from ...gen.annotations.formats.reading import read_annotations
from ...gen.annotations.formats.writing import AnnotationWriter
from ...gen.annotations.geometry import rotated_iou
from ...gen.data.atomic import atomic_path
from ...gen.errors import InputError
from .filtering import Verdict, read_verdicts
from .project import Project
from .records import Record, records

MANIFEST = "manifest.jsonl"
_ALIKE = 0.85  # overlap of a label read back with the one that was meant: whole pixels of small boxes


def export(project: Project, target: Path, kind: str, flatten: bool, everything: bool) -> tuple[int, int, int]:
    """Write pictures, labels and the manifest.

    Args:
        project: With samples.
        target: Folder to make.
        kind: Format.
        flatten: Whether turned boxes become their hulls.
        everything: Whether to take what the filter rejects, or that it has not seen.

    Returns:
        Pictures and boxes that were written, and pictures that were left out.

    Raises:
        InputError: If there is nothing to write, or the format cannot hold the boxes.
    """
    verdicts = {} if everything else {verdict.index: verdict for verdict in read_verdicts(project)}
    left_out, lines = 0, []
    with AnnotationWriter(target, kind, list(project.settings.names), flatten) as writer:
        for record in records(project):
            verdict = verdicts.get(record.index)
            if not everything and (verdict is None or not verdict.accepted):
                left_out += 1
                continue
            writer.add(record.layout)
            shutil.copyfile(record.picture(project), writer.picture_path(str(record.layout.picture)))
            lines.append(_line(record, verdict))
        if not lines:
            raise InputError(f"none of the {left_out} pictures was accepted; look at {project.verdicts}, or export with --all")
    with atomic_path(target / MANIFEST) as partial:
        partial.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines), encoding="utf-8")
    return writer.pictures, writer.boxes, left_out


def verify(folder: Path) -> tuple[int, int]:
    """Read an export back: every picture and label of its manifest is there, unchanged and in its place, and nothing else.

    Args:
        folder: As `export` wrote it.

    Returns:
        Pictures and boxes.

    Raises:
        InputError: If something is missing, changed, or contradicts the manifest.
    """
    told = dict(_manifest(folder))
    files = {path.name: path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".bmp", ".jpg")}
    boxes, seen = 0, set()
    for layout in read_annotations(folder).layouts:
        name = Path(layout.picture or "").name
        key = next((key for key in told if Path(key).stem == Path(name).stem), None)
        if key is None:
            raise InputError(f"{folder} has labels of {name}, which the manifest does not name; export again into a new folder")
        _check_labels(name, layout, told[key])
        seen.add(key)
        boxes += len(layout.boxes)
    missing = sorted(set(told) - seen)
    if missing:
        raise InputError(f"{folder} has no labels of {missing[0]} ({len(missing)} are missing); export again into a new folder")
    for name, line in told.items():
        if name not in files:
            raise InputError(f"the picture {name} is missing in {folder}; export again into a new folder")
        if hashlib.sha256(files[name].read_bytes()).hexdigest() != line["sha256"]:
            raise InputError(f"the picture {files[name]} is not the one that was exported; export again into a new folder")
    return len(told), boxes


def _line(record: Record, verdict: Verdict | None) -> dict[str, Any]:
    boxes = record.layout.boxes
    objects = [{"name": box.name, "corners": [round(value, 3) for corner in box.corners for value in corner]} for box in boxes]
    scores = {} if verdict is None else {"scores": verdict.image, "objects_scores": verdict.objects, "accepted": verdict.accepted}
    size = {"width": record.layout.width, "height": record.layout.height}
    return {"file": record.layout.picture, **size, "objects": objects, **record.facts, **scores}


def _manifest(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} has no {MANIFEST}; give a folder that earthgen synthesize export wrote")
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            if line["synthetic"] is not True or not line["sha256"]:
                raise ValueError("it does not say that the picture is synthetic")
            yield str(line["file"]), line
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}: {error}; export again into a new folder") from error


def _check_labels(name: str, layout: Layout, line: Mapping[str, Any]) -> None:
    wanted = np.array([entry["corners"] for entry in line["objects"]], np.float64).reshape(-1, 4, 2)
    if len(layout.boxes) != len(wanted):
        raise InputError(f"{name} has {len(layout.boxes)} labels, the manifest {len(wanted)}; export again into a new folder")
    if sorted(layout.names) != sorted(str(entry["name"]) for entry in line["objects"]):
        raise InputError(f"the classes of {name} are not those of the manifest; export again into a new folder")
    if not len(wanted):
        return
    hulls = np.array([replace(box).xyxy for box in layout.boxes])
    meant = np.concatenate([wanted.min(1), wanted.max(1)], 1)
    turned = not all(box.is_horizontal for box in layout.boxes)
    overlap = rotated_iou(layout.quads, wanted) if turned else _hull_overlap(hulls, meant, layout)
    if float(overlap.max(1).min()) < _ALIKE:
        raise InputError(f"a label of {name} lies elsewhere than the manifest says; export again into a new folder")


def _hull_overlap(
    hulls: np.ndarray[Any, np.dtype[np.float64]], meant: np.ndarray[Any, np.dtype[np.float64]], layout: Layout
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Overlap of axis-aligned boxes, the meant ones cut to the picture as the formats cut them."""
    cut = np.clip(meant, 0, np.array([layout.width, layout.height] * 2))
    low, high = np.maximum(hulls[:, None, :2], cut[None, :, :2]), np.minimum(hulls[:, None, 2:], cut[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (hulls, cut)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None] - both))
