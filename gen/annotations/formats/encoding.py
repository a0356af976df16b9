"""What every writer shares: an encoder takes one layout after the other and keeps none of them."""

from __future__ import annotations

import csv
import os
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TextIO

from ...errors import InputError
from ..box import Box, Corners, Layout
from .pictures import HEADER, LISTING, label_key


class Encoder(ABC):
    """Writes one format into a folder.

    Attributes:
        rotates: Whether the format can hold turned boxes.
        pictures: Folder of the pictures in an export, relative to it.
        changes: How many boxes had to be changed, by what was done.
    """

    rotates: ClassVar[bool] = False
    pictures: ClassVar[str] = "images"

    def __init__(self, root: Path, names: list[str]) -> None:
        """Begin an export.

        Args:
            root: An empty folder.
            names: Classes in their order.

        Raises:
            InputError: If the format cannot hold one of the names.
        """
        self.root, self.names = root, names
        self.index = {name: place for place, name in enumerate(names)}
        self.changes: Counter[str] = Counter()
        self.check_names()

    def check_names(self) -> None:
        """Refuse class names that the format cannot hold."""
        return

    @abstractmethod
    def add(self, layout: Layout, picture: str) -> None:
        """Write the labels of one picture."""

    def close(self) -> None:
        """Write what comes last: the list of classes, and fragments of trainers' configurations."""
        (self.root / "classes.txt").write_text("".join(f"{name}\n" for name in self.names), encoding="utf-8")
        for name, text in self.fragments().items():
            (self.root / name).write_text(text, encoding="utf-8")

    def discard(self) -> None:
        """Close what is open; the folder is going to be removed."""
        return

    def fragments(self) -> dict[str, str]:
        """Files for trainers, by name."""
        return {}

    def solid(self, box: Box, decimals: int) -> Corners:
        """The corners rounded as the format has them, if they still make a box.

        Raises:
            InputError: If rounding leaves nothing of it.
        """
        # Rounding moves a corner by less than a unit, which a box that is thicker than two survives.
        left, top, right, bottom = box.xyxy
        if box.area > 2 * 10.0**-decimals * (right - left + bottom - top):
            return box.corners
        a, b, c, d = ((round(x, decimals), round(y, decimals)) for x, y in box.corners)
        try:
            return replace(box, corners=(a, b, c, d)).corners
        except InputError as error:
            raise InputError(f"the format rounds to {10.0**-decimals:g} pixels, which leaves nothing of a box: {error}") from error


class PerPicture(Encoder):
    """A format with one label file a picture.

    Attributes:
        folder: Of the label files.
        suffix: Of the label files.
        listing: Whether the format lacks the pictures' sizes, so that they are listed.
    """

    folder: ClassVar[str]
    suffix: ClassVar[str]
    listing: ClassVar[bool] = False

    def __init__(self, root: Path, names: list[str]) -> None:
        """As `Encoder`."""
        super().__init__(root, names)
        self._last = root / self.folder
        self._last.mkdir(parents=True)
        self._base = f"{self._last}/"
        self._file: TextIO | None = None
        self._rows: Any = None
        if self.listing:
            self._file = (root / LISTING).open("w", encoding="utf-8", newline="")
            self._rows = csv.writer(self._file, lineterminator="\n")
            self._rows.writerow(HEADER)

    @abstractmethod
    def text(self, layout: Layout, picture: str) -> str:
        """The content of one label file."""

    def add(self, layout: Layout, picture: str) -> None:
        """Write the label file of one picture.

        Raises:
            InputError: If another picture has the same name without the suffix.
        """
        content = self.text(layout, picture)
        key = label_key(picture)
        path = self._base + key + self.suffix
        if "/" in key:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                os.write(file, content.encode())
            finally:
                os.close(file)
        except FileExistsError as error:
            raise InputError(f"two pictures have labels of the name {key}{self.suffix}; pictures need different names") from error
        if self._rows is not None:
            self._rows.writerow((picture, layout.width, layout.height))

    def close(self) -> None:
        """As `Encoder.close`."""
        self.discard()
        super().close()

    def discard(self) -> None:
        """Close the listing."""
        if self._file is not None:
            self._file.close()
