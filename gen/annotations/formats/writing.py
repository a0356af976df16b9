"""`AnnotationWriter`: layouts one after the other into a folder of any format; the folder is whole at the end, or not there."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self

from ...data.atomic import check_output_path
from ...errors import InputError
from ..box import Box, Layout
from .encoding import Encoder
from .pictures import label_key, safe_name
from .source import checked

_ENCODERS = {
    "coco": ("coco", "CocoEncoder"),
    "dota": ("dota", "DotaEncoder"),
    "dior": ("dior", "DiorEncoder"),
    "voc": ("voc", "VocEncoder"),
    "hrsc": ("hrsc", "HrscEncoder"),
    "yolo": ("yolo", "YoloEncoder"),
    "yolo-obb": ("yolo", "YoloObbEncoder"),
    "imagefolder": ("imagefolder", "ImagefolderEncoder"),
}
KINDS = tuple(_ENCODERS)


class AnnotationWriter:
    """Writes labels; use it in a `with` block.

    Everything goes into a temporary folder beside the target, which gets its name when the block ends well and is removed when it does
    not. Nothing of a layout is kept, so memory does not grow with the number of pictures.
    """

    def __init__(self, folder: str | Path, kind: str, names: list[str], flatten: bool = False) -> None:
        """Check what is asked for.

        Args:
            folder: To be made; it may exist if it is empty.
            kind: One of `KINDS`.
            names: All classes, in the order that they get in the export.
            flatten: Whether turned boxes become their axis-aligned hulls. Without, a format that holds only those refuses turned ones.

        Raises:
            InputError: If the format does not exist, a class is named twice, or the folder is in use.
        """
        self.folder, self.kind, self.names, self.flatten = Path(folder), kind, list(names), flatten
        if kind not in _ENCODERS:
            raise InputError(f"there is no format {kind!r}; there are {', '.join(KINDS)}")
        _check_names(self.names)
        _check_folder(self.folder)
        self.pictures = 0
        self.boxes = 0
        self._partial = self.folder.with_name(f".{self.folder.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.part")
        self._encoder: Encoder | None = None

    @property
    def changes(self) -> dict[str, int]:
        """How many boxes were changed, by what was done: ``{"cut at the picture's edge": 3}``."""
        return dict(self._encoder.changes) if self._encoder is not None else {}

    def __enter__(self) -> Self:
        module, name = _ENCODERS[self.kind]
        encoder: type[Encoder] = getattr(import_module(f".{module}", __package__), name)
        self._partial.mkdir()
        try:
            self._encoder = encoder(self._partial, self.names)
        except BaseException:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise
        return self

    def add(self, layout: Layout) -> None:
        """Write the labels of one picture.

        Args:
            layout: Its boxes; a picture without a name is called by its number, `000001.png`.

        Raises:
            InputError: If a class is unknown, a box is outside the picture or turned where the format cannot hold that, or the picture's
                name is taken.
        """
        encoder = self._open()
        picture = safe_name(layout.picture or f"{self.pictures + 1:06d}.png")
        try:
            boxes = tuple([self._prepared(box, layout, encoder) for box in layout.boxes])
            encoder.add(Layout(layout.width, layout.height, boxes, layout.picture), picture)
        except InputError as error:
            raise InputError(f"{picture}: {error}") from error
        self.pictures += 1
        self.boxes += len(boxes)

    def picture_path(self, picture: str) -> Path:
        """Where to save a picture so that it becomes part of the export, next to its labels; the folder is made.

        Args:
            picture: Name as in its layout.

        Raises:
            InputError: If the name leads out of the folder.
        """
        encoder, name = self._open(), safe_name(picture)
        inner = label_key(name) + Path(name).suffix if encoder.pictures else name
        path = encoder.root / encoder.pictures / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        encoder = self._open()
        try:
            if kind is None:
                encoder.close()
                if self.folder.is_dir():
                    self.folder.rmdir()
                os.replace(self._partial, self.folder)
            else:
                encoder.discard()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _open(self) -> Encoder:
        if self._encoder is None:
            raise RuntimeError("use the writer in a with block")
        return self._encoder

    def _prepared(self, box: Box, layout: Layout, encoder: Encoder) -> Box:
        if box.name not in encoder.index:
            raise InputError(f"the class {box.name!r} is not among those of the export ({', '.join(self.names)}); add it to the list")
        checked(box, layout.width, layout.height)
        if (self.flatten or not encoder.rotates) and not box.is_horizontal:
            if not self.flatten:
                able = "coco, dota, dior, hrsc, yolo-obb or imagefolder"
                raise InputError(
                    f"{self.kind} cannot hold the turned box of class {box.name!r}; choose {able}, or --flatten to write hulls"
                )
            encoder.changes["flattened to its hull"] += 1
            return replace(box, corners=Box.horizontal(box.name, *box.xywh).corners)
        return box


def _check_names(names: list[str]) -> None:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the class {twice!r} is listed twice; classes are told by name, so keep one")
    if wrong := next((name for name in names if not name.strip() or name != name.strip() or not name.isprintable()), None):
        raise InputError(f"{wrong!r} is no class name; give one on one line, without spaces at its ends")


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        if any(folder.iterdir()):
            raise InputError(f"the folder {folder} is not empty; choose a new one, so that nothing is mixed up or lost")
        check_output_path(folder / "classes.txt")
    else:
        if folder.exists():
            raise InputError(f"{folder} is a file; give the name of a folder to make")
        check_output_path(folder)
