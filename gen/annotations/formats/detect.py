"""Which format a file or folder of annotations has, told by its content."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import InputError
from .source import text_lines
from .text_labels import label_files
from .xml_tree import parse_xml


def detect_format(path: Path) -> str:
    """Tell the format.

    Args:
        path: A file or folder.

    Returns:
        ``"coco"``, ``"dota"``, ``"dior"``, ``"voc"``, ``"hrsc"``, ``"yolo"``, ``"yolo-obb"`` or ``"imagefolder"``.

    Raises:
        InputError: If there is nothing, or nothing that is known.
    """
    if path.is_file():
        by_suffix = {".json": "coco", ".jsonl": "imagefolder"}
        if path.suffix in by_suffix:
            return by_suffix[path.suffix]
        return _by_content(path, [path])
    if not path.is_dir():
        raise InputError(f"there is no {path}; give a file or folder of annotations")
    if metadata_file(path) is not None:
        return "imagefolder"
    if coco_file(path) is not None:
        return "coco"
    return _by_content(path, label_files(path, ".xml") or label_files(path, ".txt"))


def metadata_file(folder: Path) -> Path | None:
    """The `metadata.jsonl` of a folder, in it or in its `train` folder; None if there is none."""
    return next((file for file in (folder / "metadata.jsonl", folder / "train" / "metadata.jsonl") if file.is_file()), None)


def coco_file(folder: Path) -> Path | None:
    """The COCO file of a folder; None if there is none.

    Raises:
        InputError: If there are several.
    """
    for place in (folder, folder / "annotations"):
        for name in ("annotations.json", "_annotations.coco.json"):
            if (place / name).is_file():
                return place / name
    found = sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")])
    if len(found) > 1:
        raise InputError(f"{folder} has {len(found)} JSON files ({found[0].name}, {found[1].name}, ...); give the one to read")
    return found[0] if found else None


def _by_content(path: Path, files: list[Path]) -> str:
    for file in files:
        if file.suffix == ".xml":
            return _xml_kind(file)
        if file.suffix == ".txt" and (kind := _text_kind(file)):
            return kind
    if files and files[0].suffix == ".txt":
        if any(part.startswith("labelTxt") for part in files[0].parts) or path.name.startswith("labelTxt"):
            return "dota"
        return "yolo"  # all of them empty: pictures without objects
    listed = ", ".join(sorted(os.listdir(path))[:4]) if path.is_dir() else path.name
    raise InputError(
        f"{path} holds no annotations of a known format (found: {listed or 'nothing'}); give COCO, DOTA, DIOR, VOC, HRSC or YOLO"
    )


def _xml_kind(file: Path) -> str:
    root = parse_xml(file)
    if root.tag == "HRSC_Image":
        return "hrsc"
    if root.tag != "annotation":
        raise InputError(f"{file}, line {root.line}: <{root.tag}> is the root of no known format; give files of VOC, DIOR or HRSC")
    boxes = {child.tag for thing in root.all("object") for child in thing.children}
    dior = "robndbox" in boxes or file.parent.name.replace("_", " ").endswith("Bounding Boxes")
    return "dior" if dior else "voc"


def _text_kind(file: Path) -> str | None:
    for line, text in text_lines(file):
        if text.lower().startswith(("imagesource:", "gsd:")):
            return "dota"
        parts = text.split()
        numeric = [_is_number(part) for part in parts]
        if len(parts) in (9, 10) and all(numeric[:8]) and not numeric[8]:
            return "dota"
        if len(parts) in (5, 6) and all(numeric):
            return "yolo"
        if len(parts) in (9, 10) and all(numeric):
            return "yolo-obb"
        raise InputError(f"{file}, line {line}: {text[:80]!r} is a row of no known format; expected one of DOTA, YOLO or YOLO-OBB")
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
