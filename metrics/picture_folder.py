"""A folder of pictures as a set: red, green and blue as displayed, in the order of their names, with a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..gen.errors import InputError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


class PictureFolder:
    """8-bit pictures below a folder.

    Attributes:
        paths: The files, sorted by name.
    """

    def __init__(self, folder: str | Path) -> None:
        """List the pictures.

        Args:
            folder: Searched with its sub-folders; hidden files are left out.

        Raises:
            InputError: If it is no folder or holds no picture.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"there is no folder {self.folder}; give a folder of PNG or JPEG pictures")
        found = (path for path in self.folder.rglob("*") if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."))
        self.paths = sorted(found)
        if not self.paths:
            raise InputError(f"the folder {self.folder} holds no picture; expected files ending in {', '.join(sorted(_SUFFIXES))}")
        self._digest = ""

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Tensor]:
        """The pictures as ``[3, H, W]`` float32, 0 to 1."""
        return (read_picture(path) for path in self.paths)

    @property
    def digest(self) -> str:
        """First 12 digits of a sha256 over names and contents."""
        if not self._digest:
            digest = hashlib.sha256()
            for path in self.paths:
                digest.update(path.relative_to(self.folder).as_posix().encode())
                digest.update(path.read_bytes())
            self._digest = digest.hexdigest()[:12]
        return self._digest


def read_picture(path: Path) -> Tensor:
    """One picture as ``[3, H, W]`` float32, 0 to 1; alpha is dropped.

    Raises:
        InputError: If it cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB"), dtype=np.float32).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}); copy it again or take it out") from error
    return torch.from_numpy(np.ascontiguousarray(pixels)) / 255.0
