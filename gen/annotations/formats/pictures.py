"""The pictures that labels belong to: their names, and their sizes where the label format does not hold them.

Our own exports list every picture with its size in `pictures.csv`; for those of others the pictures themselves are looked at.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...errors import InputError
from .source import at

LISTING = "pictures.csv"
HEADER = ("file_name", "width", "height")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".jp2", ".PNG", ".JPG", ".JPEG", ".TIF", ".TIFF", ".BMP")
FOLDERS = ("images", "JPEGImages", "AllImages", "JPEGImages-trainval", "JPEGImages-test", "Images")
_PLAIN = re.compile(r"\w[\w-]*\.\w+")
_LABEL_FOLDERS = ("labels", "labelTxt", "Annotations", "Oriented Bounding Boxes", "Oriented_Bounding_Boxes")


def safe_name(picture: str) -> str:
    """A picture's name that stays inside its folder.

    Args:
        picture: Relative path with forward slashes.

    Raises:
        InputError: If it is empty, absolute, leads out of the folder, or has control characters or backslashes in it.
    """
    if _PLAIN.fullmatch(picture):
        return picture
    parts = PurePosixPath(picture).parts
    if not parts or picture.startswith("/") or ".." in parts or "\\" in picture or ":" in parts[0] or not picture.isprintable():
        raise InputError(
            f"{picture[:80]!r} is no name for a picture; give one relative to the folder of the pictures, such as images/1.png"
        )
    return "/".join(parts)


def label_key(picture: str) -> str:
    """Where the labels of a picture are, below the folder of labels: its path without ``images/`` and without the suffix."""
    if _PLAIN.fullmatch(picture):
        return picture[: picture.index(".")]
    parts = PurePosixPath(picture).parts
    inner = parts[1:] if len(parts) > 1 and parts[0] in FOLDERS else parts
    return PurePosixPath(*inner).with_suffix("").as_posix()


def key_of_label(label: Path, root: Path) -> str:
    """The picture's key by its label file's path: relative to `root`, without the folders that only say that labels are inside."""
    if not root.is_dir():
        return label.stem
    parts = [part for part in label.relative_to(root).parent.parts if part not in _LABEL_FOLDERS and not part.startswith("labelTxt")]
    return PurePosixPath(*parts, label.stem).as_posix()


def picture_file(folder: Path, picture: str) -> Path:
    """The file of a picture that labels name: in the folder as named, else in one of the usual folders in it.

    Args:
        folder: Of the pictures, or of the whole data set.
        picture: Name as in its layout.

    Raises:
        InputError: If there is none.
    """
    name = safe_name(picture)
    for place in (folder, *(folder / usual for usual in FOLDERS)):
        if (place / name).is_file():
            return place / name
    raise InputError(f"there is no picture {name} in {folder}; give the folder of the pictures with --images")


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the file's head.

    Raises:
        InputError: If it is no picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return _raster_size(path)


def _raster_size(path: Path) -> tuple[int, int]:
    import rasterio

    try:
        with rasterio.open(path) as raster:
            return int(raster.width), int(raster.height)
    except rasterio.errors.RasterioError as error:
        raise InputError(f"the size of {path} cannot be read, so it is no whole picture; replace it, or leave it out") from error


def listed_pictures(root: Path) -> Path | None:
    """The listing of an export: in `root`, or above it if that is the export's folder of labels; None if there is none."""
    folder = root if root.is_dir() else root.parent
    places = (folder, folder.parent) if folder.name in ("labels", "labelTxt") else (folder,)
    return next((place / LISTING for place in places if (place / LISTING).is_file()), None)


def read_listing(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, width and height of each picture of a listing.

    Raises:
        InputError: If a row is not three columns with two sizes above 0.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        try:
            for row in rows:
                if rows.line_num == 1 and tuple(row) == HEADER:
                    continue
                try:
                    name, width, height = safe_name(row[0]), int(row[1]), int(row[2])
                except (IndexError, ValueError) as error:
                    raise at(path, rows.line_num, f"{','.join(row)[:80]!r} is no picture; a row is file_name,width,height") from error
                if len(row) != 3 or width < 1 or height < 1:
                    raise at(path, rows.line_num, f"{','.join(row)[:80]!r} is no picture; a row is file_name,width,height")
                yield name, width, height
        except (csv.Error, UnicodeDecodeError) as error:
            raise at(path, rows.line_num, f"{error}; the listing is damaged, so export it again") from error


class PictureFinder:
    """Finds the picture of a label file among folders."""

    def __init__(self, root: Path, images: Path | None) -> None:
        """Look at which folders there are.

        Args:
            root: Folder or file of the labels.
            images: Folder of the pictures, if it was given.

        Raises:
            InputError: If `images` was given and is no folder.
        """
        if images is not None and not images.is_dir():
            raise InputError(f"there is no folder {images} with pictures; check --images")
        folder = root if root.is_dir() else root.parent
        places = [folder / name for name in FOLDERS] + [folder.parent / name for name in FOLDERS] + [folder]
        self._folders = [images] if images is not None else [place for place in places if place.is_dir()]
        self._given = images is not None
        self._found: set[Path] = set()

    def find(self, key: str, label: Path) -> tuple[str, int, int]:
        """Name, width and height of the picture of a label file.

        Args:
            key: Its path without the suffix, relative to the pictures' folder.
            label: The label file.

        Raises:
            InputError: If there is none, or it is damaged.
        """
        for folder in self._folders:
            for name in dict.fromkeys((key, PurePosixPath(key).name)):
                for extension in EXTENSIONS:
                    path = folder / (name + extension)
                    if path.is_file():
                        self._found.add(path)
                        return key + extension, *picture_size(path)
        if not self._given:
            # The rule of ultralytics: the last folder called labels in the path stands beside one called images.
            parts = list(label.parent.parts)
            if "labels" in parts:
                parts[len(parts) - 1 - parts[::-1].index("labels")] = "images"
            for extension in EXTENSIONS:
                path = Path(*parts) / (label.stem + extension)
                if path.is_file():
                    self._found.add(path)
                    return key + extension, *picture_size(path)
        raise InputError(f"there is no picture for {label}, and its size is needed; give the folder of the pictures with --images")

    def without_labels(self) -> Iterator[tuple[str, int, int]]:
        """Name, width and height of the pictures of the first folder that no label file asked for: background."""
        for folder in self._folders[:1]:
            for place, below, files in os.walk(folder):
                below.sort()
                for file in sorted(files):
                    path = Path(place) / file
                    if path.suffix in EXTENSIONS and path not in self._found:
                        parts = [part for part in path.relative_to(folder).parts if part not in FOLDERS]
                        yield "/".join(parts), *picture_size(path)
