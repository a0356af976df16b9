"""`read_annotations`: any known format, told by its content."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from . import coco, dior, dota, hrsc, imagefolder, voc, yolo
from .detect import coco_file, detect_format, metadata_file
from .source import AnnotationSet

__all__ = ["AnnotationSet", "read_annotations"]


def read_annotations(path: str | Path, images: str | Path | None = None) -> AnnotationSet:
    """Read a file or folder of annotations: COCO, DOTA, DIOR, VOC, HRSC, YOLO, YOLO-OBB or imagefolder.

    Args:
        path: A file, or the folder of a data set.
        images: Folder of the pictures, for formats that do not hold their sizes. Default: the usual places beside the labels.

    Returns:
        Classes and layouts. Folders of text files are read while the layouts are gone through, and again the next time: what is wrong with
        a file is then raised there.

    Raises:
        InputError: If there is nothing, the format is unknown, or something in it is wrong: the file and line, what was expected.
    """
    path, folder = Path(path), None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise InputError(f"there is no folder {folder} with pictures; check --images")
    kind = detect_format(path)
    if kind == "coco":
        return coco.read(coco_file(path) or path if path.is_dir() else path, folder)
    if kind == "imagefolder":
        return imagefolder.read(metadata_file(path) or path if path.is_dir() else path, folder)
    if kind in ("yolo", "yolo-obb"):
        return yolo.read(path, folder, kind)
    return {"dota": dota.read, "dior": dior.read, "voc": voc.read, "hrsc": hrsc.read}[kind](path, folder)
