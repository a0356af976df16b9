"""Any collection by the name of its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .record import Collection

Format = Literal["webdataset", "parquet", "imagefolder", "tiles"]


def open_collection(
    layout: Format,
    root: Path,
    files: str,
    *,
    picture: str | None = None,
    caption: str | None = None,
    channels_last: bool = False,
    cache: Path | None = None,
) -> Collection:
    """Open a collection.

    Args:
        layout: How it is stored.
        root: Folder that `files` is relative to.
        files: Pattern of the shards or parquet files; for folders of pictures or tiles, the folder.
        picture: Member extension (webdataset) or column (parquet) of the picture, where there are several.
        caption: Metadata key or column of the caption.
        channels_last: Whether numpy arrays of three axes are ``[H, W, C]``.
        cache: Folder to keep indexes of tar shards in.

    Returns:
        The collection; its records' names are relative to `root`.

    Raises:
        InputError: If it is missing, empty or damaged.
    """
    if layout == "webdataset":
        from .webdataset import WebDataset

        return WebDataset.from_pattern(root, files, picture=picture, caption=caption, channels_last=channels_last, cache=cache)
    if layout == "parquet":
        from .parquet import Parquet

        return Parquet.from_pattern(root, files, picture=picture, caption=caption, channels_last=channels_last)
    prefix = "" if files in ("", ".") else f"{files.strip('/')}/"
    if layout == "imagefolder":
        from .image_folder import ImageFolder

        return ImageFolder(root / files, prefix=prefix, caption=caption, channels_last=channels_last)
    from .tile_folder import TileFolder

    return TileFolder(root / files, prefix=prefix)
