"""Formats with one text file of labels a picture (DOTA, YOLO): which files there are, and which picture each belongs to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ...errors import InputError
from ..box import Box, Layout
from .pictures import PictureFinder, key_of_label, label_key, listed_pictures, read_listing
from .source import CLASS_LISTS

Parse = Callable[[Path, int, int], list[Box]]

_NO_LABELS = {
    *CLASS_LISTS,
    "train.txt",
    "val.txt",
    "valid.txt",
    "test.txt",
    "trainval.txt",
    "README.txt",
    "readme.txt",
    "README.dataset.txt",
}


def label_files(root: Path, suffix: str) -> list[Path]:
    """The label files below a folder, sorted; where some are in folders called labels or labelTxt, only those.

    Args:
        root: A folder, or one label file.
        suffix: ``".txt"`` or ``".xml"``.

    Raises:
        InputError: If there is nothing at `root`.
    """
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise InputError(f"there is no {root}; give a file or folder of annotations")
    found: list[Path] = []
    labelled: list[Path] = []
    for place, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith(".") and name != "ImageSets")
        inside = any(part == "labels" or part.startswith("labelTxt") for part in Path(place).relative_to(root.parent).parts)
        for name in sorted(files):
            if name.endswith(suffix) and not name.startswith(".") and name not in _NO_LABELS:
                (labelled if inside else found).append(Path(place) / name)
    return labelled or found


def text_layouts(root: Path, images: Path | None, parse: Parse, *, background: bool) -> Iterator[Layout]:
    """The layouts of a folder of text labels.

    Args:
        root: Folder or file of the labels.
        images: Folder of the pictures, if it was given.
        parse: Reads the boxes of one file, given the picture's width and height.
        background: Whether a picture without a label file is one without objects; otherwise it is left out.

    Raises:
        InputError: If a picture is not found, or a file is damaged.
    """
    listing = listed_pictures(root) if images is None and root.is_dir() else None
    if listing is not None:
        yield from _listed_layouts(listing, parse)
        return
    finder = PictureFinder(root, images)
    for label in label_files(root, ".txt"):
        key = key_of_label(label, root)
        name, width, height = finder.find(key, label)
        yield Layout(width, height, tuple(parse(label, width, height)), name)
    if background and root.is_dir():
        for name, width, height in finder.without_labels():
            yield Layout(width, height, (), name)


def _listed_layouts(listing: Path, parse: Parse) -> Iterator[Layout]:
    folder = next((listing.parent / name for name in ("labels", "labelTxt") if (listing.parent / name).is_dir()), listing.parent)
    count = 0
    for name, width, height in read_listing(listing):
        label = folder / f"{label_key(name)}.txt"
        if not label.is_file():
            raise InputError(f"{listing} lists {name}, but there is no {label}; the folder is incomplete, so export it again")
        count += 1
        yield Layout(width, height, tuple(parse(label, width, height)), name)
    there = sum(name.endswith(".txt") for _, _, files in os.walk(folder) for name in files)
    if folder != listing.parent and there != count:
        raise InputError(f"{folder} has {there} label files but {listing} lists {count} pictures; give the pictures' folder with --images")
