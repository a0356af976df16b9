"""Hugging Face parquet: a column of pictures (``{bytes, path}`` or plain bytes), all other columns are caption and metadata.

Row groups are what is read at once: a few are kept in memory, within a budget of bytes. They are this collection's shards.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import InputError
from .files import glob_files, labels_of, refuse_twins
from .pictures import decode, picture_kind, sniff
from .record import Bounds, Json, Pixels, Record, UnreadableRecord, plain, take_caption

_LARGEST_GROUP = 4 * 2**30


class Parquet:
    """Rows of parquet files.

    Attributes:
        paths: The files.
        group: Row groups that are read from in turn; as many as fit the budget, at most 8.
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        *,
        root: Path | None = None,
        picture: str | None = None,
        caption: str | None = None,
        channels_last: bool = False,
        budget: int = 512 * 2**20,
    ) -> None:
        """Read the footers of all files.

        Args:
            files: Parquet files of one schema.
            root: Folder that names are relative to; the files' own common folder if left out.
            picture: Column of the pictures; the only one that can be, or ``image``, if left out.
            caption: Column of the captions; ``caption`` or ``text`` if left out.
            channels_last: Whether numpy arrays of three axes inside are ``[H, W, C]``.
            budget: Bytes of row groups that are kept in memory; one is always kept.

        Raises:
            InputError: If pyarrow is missing, a file is empty, damaged or occurs twice, or the columns do not fit.
        """
        self._arrow = _pyarrow()
        self.paths = [Path(file) for file in files]
        if not self.paths:
            raise InputError("no parquet file was given; give at least one")
        refuse_twins(self.paths)
        self.labels, self.budget, self.channels_last, self.caption = labels_of(self.paths, root), budget, channels_last, caption
        self._footers = [self._footer(path) for path in self.paths]
        self._groups: list[tuple[int, int, int]] = []  # file, row group, first row of it in its file
        sizes: list[int] = []
        largest = 1
        for number, footer in enumerate(self._footers):
            first = 0
            for row_group in range(footer.num_row_groups):
                described = footer.row_group(row_group)
                largest = max(largest, described.total_byte_size)
                if described.num_rows:
                    self._groups.append((number, row_group, first))
                    sizes.append(described.num_rows)
                first += described.num_rows
        if largest > _LARGEST_GROUP:
            raise InputError(
                f"a row group of {self.paths[0].parent} has {largest / 2**30:.1f} GiB, too much to read at once; "
                "write the files anew with a smaller row_group_size, such as 100"
            )
        self.group = max(1, min(8, budget // largest))
        self._bounds = Bounds(tuple(sizes))
        self.picture, self._pictures = self._columns(picture)
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[int, threading.Lock] = {}

    @classmethod
    def from_pattern(cls, folder: str | Path, pattern: str = "*.parquet", **settings: Any) -> Parquet:
        """The files of a folder that match a pattern; settings and errors as in the constructor."""
        return cls(glob_files(folder, pattern, "parquet files"), root=Path(folder), **settings)

    def __getstate__(self) -> dict[str, Any]:
        dropped: dict[str, Any] = {"_kept": OrderedDict(), "_lock": None, "_loading": {}, "_arrow": None}
        return {**self.__dict__, **dropped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _arrow=_pyarrow())

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each row group."""
        return self._bounds.sizes

    def __len__(self) -> int:
        return len(self._bounds)

    def name(self, index: int) -> str:
        """``file.parquet#row``, rows counted from 0 through the file."""
        shard, row = self._bounds.find(index)
        file, _, first = self._groups[shard]
        return f"{self.labels[file]}#{first + row}"

    def read(self, index: int) -> Record:
        """Read a row.

        Raises:
            UnreadableRecord: If it has no picture, or it or its row group is damaged.
            InputError: If the file is gone.
            IndexError: If there is no such row.
        """
        shard, row = self._bounds.find(index)
        name = self.name(index)
        try:
            table = self._table(shard)
            values = {column: table.column(column)[row].as_py() for column in table.column_names}
        except FileNotFoundError as error:
            raise InputError(f"the parquet file of {name} is gone; see that it is still there") from error
        except (OSError, ValueError, NotImplementedError) as error:
            raise UnreadableRecord(name, f"its row group: {_line(error)}") from error
        folder = self.paths[self._groups[shard][0]].parent
        picture, extras = self._decoded(values.pop(self.picture), folder, name)
        for column in self._pictures:
            if values.get(column) is not None:
                extras[column], more = self._decoded(values[column], folder, name)
                extras.update({f"{column}.{key}": value for key, value in more.items()})
            values.pop(column, None)
        metadata: dict[str, Json] = {column: plain(value) for column, value in values.items() if not isinstance(value, bytes)}
        return Record(name, picture, take_caption(metadata, self.caption), metadata, extras)

    def _footer(self, path: Path) -> Any:
        try:
            footer = self._arrow.ParquetFile(path).metadata
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as parquet ({_line(error)}); copy it again, or leave it out") from error
        if not footer.num_rows:
            raise InputError(f"the parquet file {path} has no rows; leave it out")
        return footer

    def _columns(self, picture: str | None) -> tuple[str, tuple[str, ...]]:
        """The picture's column, and the columns of further pictures."""
        schema = self._footers[0].schema.to_arrow_schema()
        for path, footer in zip(self.paths, self._footers, strict=True):
            if footer.schema.to_arrow_schema().names != schema.names:
                raise InputError(f"the columns of {path} are not those of {self.paths[0]}; give files of one data set")
        structs = [field.name for field in schema if hasattr(field.type, "get_field_index") and field.type.get_field_index("bytes") >= 0]
        raw = [field.name for field in schema if str(field.type) in ("binary", "large_binary")]
        able = structs or raw
        chosen = picture or ("image" if "image" in able else able[0] if len(able) == 1 else None)
        if chosen is None or chosen not in [*structs, *raw]:
            wanted = f"no column {picture!r} of pictures" if picture else f"{len(able)} columns that may be the picture"
            raise InputError(f"{self.paths[0]} has {wanted} among {', '.join(schema.names)}; 'picture' names the one that is meant")
        return chosen, tuple(name for name in structs if name != chosen)

    def _table(self, shard: int) -> Any:
        with self._lock:
            if shard in self._kept:
                self._kept.move_to_end(shard)
                return self._kept[shard]
            loading = self._loading.setdefault(shard, threading.Lock())
        with loading:
            with self._lock:
                if shard in self._kept:
                    return self._kept[shard]
            table = self._load(shard)
            with self._lock:
                self._kept[shard] = table
                self._loading.pop(shard, None)
                while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self.budget:
                    self._kept.popitem(last=False)
        return table

    def _load(self, shard: int) -> Any:
        file, row_group, _ = self._groups[shard]
        with self._arrow.ParquetFile(self.paths[file], metadata=self._footers[file], page_checksum_verification=True) as opened:
            return opened.read_row_group(row_group, use_threads=False)

    def _decoded(self, value: Any, folder: Path, name: str) -> tuple[Pixels, dict[str, Pixels]]:
        path = value.get("path") if isinstance(value, dict) else None
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None and path:
            data = _beside(folder, str(path), name)
        if not data:
            raise UnreadableRecord(name, "it has no picture")
        kind = sniff(data) or picture_kind(path or "")
        if kind is None:
            raise UnreadableRecord(name, "its bytes are no PNG, JPEG, WebP, TIFF or numpy array")
        return decode(data, kind, name, channels_last=self.channels_last)


def _beside(folder: Path, path: str, name: str) -> bytes:
    """The content of a file that a row refers to, which must lie in the parquet file's folder."""
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise UnreadableRecord(name, f"it refers to {path}, outside its folder")
    try:
        return target.read_bytes()
    except OSError as error:
        raise UnreadableRecord(name, f"it refers to {path}: {error.strerror}") from error


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InputError("reading parquet needs pyarrow; install earthgen[stream]") from error
    return parquet


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
