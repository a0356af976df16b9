"""Uploaded annotations and pictures: one file, several that belong together, or a zip of a data set's folder."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..gen.errors import InputError
from .layout_canvas import MAX_BOXES
from .layout_session import Imported, LayoutSession

if TYPE_CHECKING:
    from ..gen.annotations import AnnotationSet

MAX_LAYOUTS = 5000
"""Layouts of an import that are kept."""
MAX_BACKGROUND = 1536
"""Longest side of a picture underneath, in pixels."""
_MAX_FILES, _MAX_BYTES = 20_000, 2**30
_LABELS = (".json", ".jsonl", ".xml")


def import_annotations(session: LayoutSession, files: Sequence[Path]) -> Imported:
    """Read what was uploaded; what was imported before is replaced only if that succeeds.

    Args:
        session: Keeps it.
        files: One file of labels, several with their pictures or list of classes, or one zip.

    Returns:
        What was found.

    Raises:
        InputError: If there is nothing, the format is unknown, or something in it is wrong; files are called by the user's names.
    """
    if not files:
        raise InputError("no file of annotations was chosen; choose one of COCO, DOTA, YOLO, VOC, DIOR or HRSC, or a zip of a folder")
    folder = session.fresh_folder("import")
    try:
        _gather(files, folder)
        session.imported = _read(_root(folder))
    except InputError as error:
        plain = str(error).replace(f"{folder}/", "").replace(str(folder), "the upload")
        wanted = "choose the pictures together with the labels, or a zip of both"
        raise InputError(
            plain.replace("give the folder of the pictures with --images", wanted).replace("with --images", "with it")
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return session.imported


def keep_background(session: LayoutSession, file: Path | None) -> NDArray[np.uint8] | None:
    """Take the picture that lies under the boxes.

    Args:
        session: Keeps a copy of it as PNG.
        file: What was uploaded, None to take it away.

    Returns:
        ``[H, W, 3]``, None if there is none.

    Raises:
        InputError: If it is no picture, or too large.
    """
    session.background = None
    if file is None:
        return None
    picture = read_picture(file)
    from PIL import Image

    path = session.folder / "background.png"
    Image.fromarray(picture).save(path)
    session.background = path
    return picture


def read_picture(file: Path) -> NDArray[np.uint8]:
    """A picture of up to `MAX_BACKGROUND` pixels a side as ``[H, W, 3]``: PNG, JPEG, or a raster whose first bands are stretched.

    Raises:
        InputError: If it is no picture, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    from ..gen.data.raster_reader import RasterReader
    from .display import Stretch, stretch_limits, to_picture

    try:
        with Image.open(file) as opened:
            _check_size(file, *opened.size)
            if opened.mode in ("L", "LA", "P", "RGB", "RGBA"):
                return np.asarray(opened.convert("RGB")).copy()
    except InputError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass  # no picture of 8 bits: perhaps a raster
    with RasterReader(file) as reader:
        _check_size(file, reader.width, reader.height)
        image = np.asarray(reader.read(0, 0, reader.height, reader.width))
    shown = image[:3] if image.shape[0] >= 3 else image[:1]
    return to_picture(shown, stretch_limits(shown, Stretch()))


def _check_size(file: Path, width: int, height: int) -> None:
    if max(width, height) > MAX_BACKGROUND:
        raise InputError(f"{file.name} is {width} x {height} pixels; choose a picture, or cut one, of at most {MAX_BACKGROUND} a side")


def _gather(files: Sequence[Path], folder: Path) -> None:
    """Copies of the files, and what is in a zip, below `folder`."""
    if len(files) == 1 and files[0].suffix.lower() == ".zip":
        _unpack(files[0], folder)
        return
    for file in files:
        if file.suffix.lower() == ".zip":
            raise InputError(f"{file.name} was chosen beside other files; choose one zip alone, or the files without it")
        shutil.copyfile(file, folder / file.name)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            size = sum(member.file_size for member in members)
            if len(members) > _MAX_FILES or size > _MAX_BYTES:
                raise InputError(
                    f"{archive.name} holds {len(members)} files of {size / 2**20:.0f} MB; choose one of at most {_MAX_FILES} files and "
                    f"{_MAX_BYTES // 2**20} MB, or use `earthgen annotations`"
                )
            for member in members:
                parts = PurePosixPath(member.filename.replace("\\", "/")).parts
                outside = not parts or ".." in parts or parts[0].startswith("/") or ":" in parts[0]
                if outside or stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
                    raise InputError(
                        f"{archive.name} holds {member.filename[:80]!r}, which is locked or leads out of it; zip the folder anew"
                    )
                target = folder.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                # The size in the table may be a lie; what is read is bounded by it.
                with packed.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise InputError(f"{archive.name} cannot be unpacked ({error}); zip the folder anew") from error


def _root(folder: Path) -> Path:
    """The file or folder to read: a single label file, or the innermost folder that holds everything."""
    while True:
        inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        if len(inside) == 1 and inside[0].is_dir() and inside[0].name not in ("labels", "labelTxt", "Annotations"):
            folder = inside[0]
            continue
        files = [path for path in inside if path.is_file() and path.suffix.lower() in _LABELS]
        return files[0] if len(files) == 1 and all(path.is_file() for path in inside) else folder


def _read(root: Path) -> Imported:
    from ..gen.annotations import read_annotations

    found: AnnotationSet = read_annotations(root)
    layouts = tuple(islice(found.layouts, MAX_LAYOUTS + 1))
    if not layouts:
        raise InputError(f"{root.name} holds no pictures; choose annotations of at least one")
    crowded = next((layout for layout in layouts if len(layout.boxes) > MAX_BOXES), None)
    if crowded is not None:
        raise InputError(
            f"{crowded.picture} has {len(crowded.boxes)} boxes; the canvas takes at most {MAX_BOXES}, so cut the picture first"
        )
    return Imported(found.kind, tuple(found.names), layouts[:MAX_LAYOUTS], len(layouts) > MAX_LAYOUTS)
