"""Tar shards in WebDataset's layout: files that share a name up to the first dot (``001.jpg``, ``001.json``, ``001.seg.png``) are a sample.

Members are read in place by offset, with a few shards open at a time. The picture is the member with a picture's extension and no further
dots, or the one that `picture` names; other pictures and arrays are extras. ``json`` is metadata, ``txt`` the caption, ``cls`` a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from .files import OpenFiles, glob_files, labels_of, refuse_twins
from .pictures import MAX_BYTES, decode, picture_kind
from .record import Bounds, Json, Pixels, Record, UnreadableRecord, parse_json, take_caption
from .tar_index import Member, check_cache, index_tar

_TEXT_BYTES = 16 * 2**20


class WebDataset:
    """Samples of tar shards.

    Attributes:
        paths: The shards.
        group: Shards that are read from in turn.
    """

    group = 8

    def __init__(
        self,
        shards: Sequence[str | Path],
        *,
        root: Path | None = None,
        cache: str | Path | None = None,
        picture: str | None = None,
        caption: str | None = None,
        channels_last: bool = False,
    ) -> None:
        """Index all shards: one pass over the headers, no content is read.

        Args:
            shards: Uncompressed tar files.
            root: Folder that names are relative to; the shards' own common folder if left out.
            cache: Folder to keep indexes in, made if needed.
            picture: Extension of the member that is the picture, such as ``"rgb.npy"``.
            caption: Key of the metadata that is the caption; ``txt``, ``caption`` or ``text`` if left out.
            channels_last: Whether numpy arrays of three axes are ``[H, W, C]``.

        Raises:
            InputError: If a shard is empty, damaged, occurs twice or holds a sample twice, or the cache folder cannot be written.
        """
        self.paths = [Path(shard) for shard in shards]
        if not self.paths:
            raise InputError("no tar shard was given; give at least one")
        missing = [path for path in self.paths if not path.is_file()]
        if missing:
            raise InputError(f"there is no shard {missing[0]}; check the path")
        refuse_twins(self.paths)
        folder = None if cache is None else check_cache(Path(cache))
        self.labels = labels_of(self.paths, root)
        self.indexes = [index_tar(path, folder) for path in self.paths]
        self.picture = picture.lower().lstrip(".") if picture else None
        self.caption, self.channels_last = caption, channels_last
        self._bounds = Bounds(tuple(len(index) for index in self.indexes))
        self._files = OpenFiles(2 * self.group)

    @classmethod
    def from_pattern(cls, folder: str | Path, pattern: str = "*.tar", **settings: object) -> WebDataset:
        """The shards of a folder that match a pattern; settings and errors as in the constructor."""
        return cls(glob_files(folder, pattern, "tar shards"), root=Path(folder), **settings)  # type: ignore[arg-type]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples of each shard."""
        return self._bounds.sizes

    def __len__(self) -> int:
        return len(self._bounds)

    def name(self, index: int) -> str:
        """``shard.tar/key``."""
        shard, number = self._bounds.find(index)
        return f"{self.labels[shard]}/{self.indexes[shard].keys[number]}"

    def read(self, index: int) -> Record:
        """Read a sample.

        Raises:
            UnreadableRecord: If it has no picture, or a member is damaged.
            InputError: If the shard is gone or has changed.
            IndexError: If there is no such sample.
        """
        shard, number = self._bounds.find(index)
        name, members = self.name(index), self.indexes[shard].sample(number)
        chosen = self._chosen(members, name)
        picture, extras = self._decoded(shard, chosen, name)
        metadata: dict[str, Json] = {}
        caption = None
        for member in members:
            if member is chosen:
                continue
            field, _, kind = member.extension.rpartition(".")
            if picture_kind(kind):
                extras[field or kind], more = self._decoded(shard, member, name)
                extras.update({f"{field or kind}.{key}": value for key, value in more.items()})
            elif kind in ("json", "txt", "cls"):
                value = self._text(shard, member, kind, name)
                if kind == "txt" and field in ("", "caption", "text"):
                    caption = str(value)
                elif isinstance(value, dict) and field in ("", "metadata"):
                    metadata.update(value)
                else:
                    metadata[field or {"cls": "class"}.get(kind, kind)] = value
        if self.caption or caption is None:
            caption = take_caption(metadata, self.caption) or caption
        return Record(name, picture, caption, metadata, extras)

    def _chosen(self, members: list[Member], name: str) -> Member:
        if self.picture is not None:
            wanted = [member for member in members if self.picture in (member.extension, member.extension.rpartition(".")[0])]
        else:
            pictures = [member for member in members if picture_kind(member.extension)]
            plain = [member for member in pictures if "." not in member.extension]
            wanted = plain or pictures
        if len(wanted) != 1:
            there = ", ".join(member.extension for member in members)
            what = "no picture" if not wanted else f"{len(wanted)} pictures"
            raise UnreadableRecord(name, f"it has {what} among its members {there}; 'picture' names the one that is meant")
        return wanted[0]

    def _decoded(self, shard: int, member: Member, name: str) -> tuple[Pixels, dict[str, Pixels]]:
        kind = picture_kind(member.extension)
        if kind is None:
            raise UnreadableRecord(name, f"its {member.extension} is no picture")
        if member.size > MAX_BYTES:
            raise UnreadableRecord(name, f"its {member.extension} has {member.size} bytes, more than {MAX_BYTES}")
        return decode(self._bytes(shard, member, name), kind, name, channels_last=self.channels_last)

    def _text(self, shard: int, member: Member, kind: str, name: str) -> Json:
        if member.size > _TEXT_BYTES:
            raise UnreadableRecord(name, f"its {member.extension} has {member.size} bytes")
        try:
            text = self._bytes(shard, member, name).decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise UnreadableRecord(name, f"its {member.extension} is no UTF-8 text") from error
        if kind == "json":
            return parse_json(text, name)
        if kind == "cls" and text.removeprefix("-").isdecimal():
            return int(text)
        return text

    def _bytes(self, shard: int, member: Member, name: str) -> bytes:
        try:
            data = self._files.read(self.paths[shard], member.offset, member.size, self.indexes[shard].stamp)
        except OSError as error:
            raise UnreadableRecord(name, f"the disk cannot read its {member.extension}: {error.strerror}") from error
        if len(data) < member.size:
            raise UnreadableRecord(name, f"its {member.extension} is cut short")
        return data
