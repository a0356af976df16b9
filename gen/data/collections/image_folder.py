"""A folder of pictures, with ``metadata.jsonl`` beside them as Hugging Face has it: one line of JSON a picture, named by ``file_name``.

Keys that end in ``_file_name`` name further pictures, such as masks. Without any ``metadata.jsonl`` every picture below the folder is a
record, and the folder that it lies in is its ``label``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .files import OpenFiles, existing_folder
from .pictures import decode, picture_kind
from .record import Json, NameTable, Pixels, Record, UnreadableRecord, parse_json, take_caption

_TABLE = "metadata.jsonl"


class ImageFolder:
    """Pictures of a folder.

    Attributes:
        root: The folder.
        group: Of no meaning here: the folder is one shard.
    """

    group = 1

    def __init__(self, root: str | Path, *, prefix: str = "", caption: str | None = None, channels_last: bool = False) -> None:
        """Look through the folder; the lines of its tables are checked, pictures are not opened.

        Args:
            root: The folder.
            prefix: What names begin with, such as ``"photos/"``.
            caption: Key of the metadata that is the caption; ``caption`` or ``text`` if left out.
            channels_last: Whether numpy arrays of three axes are ``[H, W, C]``.

        Raises:
            InputError: If the folder is missing or holds no picture, or a line of a table names no picture in its folder, or one twice.
        """
        self.root = existing_folder(root, "pictures")
        self.prefix, self.caption, self.channels_last = prefix, caption, channels_last
        tables = sorted(self.root.rglob(_TABLE))
        names: list[str] = []
        lines: list[tuple[int, int, int]] = []  # table, offset, length
        for number, table in enumerate(tables):
            _read_table(self.root, table, number, names, lines)
        if not tables:
            names = sorted(_pictures_below(self.root))
        if not names:
            raise InputError(f"the folder {self.root} holds no picture; check the path")
        if len(set(names)) < len(names):
            twin = Counter(names).most_common(1)[0][0]
            raise InputError(f"two lines of {_TABLE} below {self.root} name {twin}; leave one of them out")
        self._tables, self._names = tables, NameTable.of(names)
        self._lines: NDArray[np.int64] = np.asarray(lines, dtype=np.int64).reshape(-1, 3)
        self._files = OpenFiles(4)

    @property
    def sizes(self) -> tuple[int, ...]:
        """One shard."""
        return (len(self._names),)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """Path of a picture relative to the folder, after the prefix.

        Raises:
            IndexError: If there is no such picture.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no picture {index} among {len(self)}")
        return f"{self.prefix}{self._names[index]}"

    def read(self, index: int) -> Record:
        """Read a picture and its line.

        Raises:
            UnreadableRecord: If a picture is missing or damaged.
            InputError: If the table is gone.
            IndexError: If there is no such picture.
        """
        name = self.name(index)
        metadata, base = self._metadata(index, name)
        picture, extras = self._picture(self.root / self._names[index], name)
        for key in [key for key in metadata if key.endswith("_file_name")]:
            value = metadata.pop(key)
            target = None if value is None else _inside(base, str(value), self.root)
            if value is not None and target is None:
                raise UnreadableRecord(name, f"its {key} lies outside the folder")
            if target is not None:
                extras[key.removesuffix("_file_name")], _ = self._picture(target, name)
        return Record(name, picture, take_caption(metadata, self.caption), metadata, extras)

    def _metadata(self, index: int, name: str) -> tuple[dict[str, Json], Path]:
        if not len(self._lines):
            parent = Path(self._names[index]).parent.name
            return ({"label": parent} if parent else {}), self.root
        table, offset, length = self._lines[index].tolist()
        metadata = parse_json(self._files.read(self._tables[table], offset, length), name)
        if not isinstance(metadata, dict) or "file_name" not in metadata:
            raise InputError(f"{self._tables[table]} has changed since it was opened; start again")
        metadata.pop("file_name")
        return metadata, self._tables[table].parent

    def _picture(self, path: Path, name: str) -> tuple[Pixels, dict[str, Pixels]]:
        return read_picture(path, name, self.channels_last)


def read_picture(path: Path, name: str, channels_last: bool = False) -> tuple[Pixels, dict[str, Pixels]]:
    """Read a picture file as `decode` does.

    Raises:
        UnreadableRecord: If it is missing, no picture, or damaged.
    """
    kind = picture_kind(path.suffix)
    if kind is None:
        raise UnreadableRecord(name, f"{path.name} is no picture")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableRecord(name, f"{path.name}: {error.strerror}") from error
    return decode(data, kind, name, channels_last=channels_last)


def _read_table(root: Path, table: Path, number: int, names: list[str], lines: list[tuple[int, int, int]]) -> None:
    """Add the lines of one table."""
    offset = 0
    try:
        with table.open("rb") as file:
            for count, line in enumerate(file, 1):
                if line.strip():
                    names.append(_file_name(root, table, count, line))
                    lines.append((number, offset, len(line)))
                offset += len(line)
    except OSError as error:
        raise InputError(f"{table} cannot be read ({error.strerror}); check its permissions") from error


def _file_name(root: Path, table: Path, count: int, line: bytes) -> str:
    where = f"line {count} of {table}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no JSON ({error}); write one object a line") from error
    name = value.get("file_name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name:
        raise InputError(f"{where} has no 'file_name'; name the picture that it describes")
    target = _inside(table.parent, name, root)
    if target is None:
        raise InputError(f"{where} names {name}, which lies outside {root}; name pictures by paths below it")
    if picture_kind(target.suffix) is None:
        raise InputError(f"{where} names {name}, which is no picture; expected PNG, JPEG, WebP, TIFF or numpy files")
    return target.relative_to(root).as_posix()


def _inside(base: Path, name: str, root: Path) -> Path | None:
    """The path of a name, if it stays below `root` by its parts; links are the owner's own affair."""
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts or "\0" in name:
        return None
    target = base / name
    return target if target.is_relative_to(root) else None


def _pictures_below(root: Path) -> list[str]:
    below = (path for path in root.rglob("*") if not path.name.startswith("."))
    return [path.relative_to(root).as_posix() for path in below if picture_kind(path.suffix) and path.is_file()]
