"""Folders of web map tiles named ``z_x_y.png``, as the tools around slippy maps write them.

A tile's name says where it lies: its metadata are the zoom, the latitude and longitude of its centre (degrees), and the ground sampling
distance there (metres a pixel), which shrinks with the cosine of the latitude. Further folders of equally named tiles give extras: maps,
masks, another date.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...errors import InputError
from .files import existing_folder
from .image_folder import read_picture
from .pictures import picture_kind
from .record import Json, NameTable, Record, UnreadableRecord

_NAME = re.compile(r"^(?:.*_)?(\d{1,2})_(\d{1,8})_(\d{1,8})\.(\w+)$")
_CIRCUMFERENCE = 2 * math.pi * 6_378_137.0
_MAX_ZOOM = 24


def tile_centre(zoom: int, x: float, y: float) -> tuple[float, float]:
    """Latitude and longitude of a tile's centre, in degrees (WGS 84, spherical Mercator).

    Args:
        zoom: Level; the world is ``2 ** zoom`` tiles wide.
        x: Column from 180 degrees west.
        y: Row from the north.
    """
    count = 2**zoom
    latitude = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * (y + 0.5) / count))))
    return latitude, (x + 0.5) / count * 360.0 - 180.0


def tile_gsd(zoom: int, latitude: float, size: int = 256) -> float:
    """Metres a pixel of a tile: ``156543.03 cos(latitude) / 2 ** zoom`` for 256 pixels.

    Args:
        zoom: Level.
        latitude: In degrees.
        size: Pixels along the tile.
    """
    return _CIRCUMFERENCE * math.cos(math.radians(latitude)) / 2**zoom / size


def tile_metadata(zoom: int, x: int, y: int, size: int = 256) -> dict[str, Json]:
    """What a tile's number says: ``zoom``, ``x``, ``y``, ``lat``, ``lon`` and ``gsd``; arguments as in the functions above."""
    latitude, longitude = tile_centre(zoom, x, y)
    return {"zoom": zoom, "x": x, "y": y, "lat": latitude, "lon": longitude, "gsd": tile_gsd(zoom, latitude, size)}


class TileFolder:
    """Tiles of one folder.

    Attributes:
        root: The folder.
        group: Of no meaning here: the folder is one shard.
    """

    group = 1

    def __init__(self, root: str | Path, extras: Mapping[str, str | Path] | None = None, *, prefix: str = "") -> None:
        """List the folder; sorted by zoom, column and row.

        Args:
            root: Folder of ``z_x_y.png`` files (or .jpg, .jpeg, .webp, .tif), also with a word before: ``osm_tile_z_x_y.jpeg``.
            extras: Further folders by the name that their pictures get.
            prefix: What names begin with, such as ``"tiles/"``.

        Raises:
            InputError: If a folder is missing, there is no tile, one occurs twice, or its number does not exist at its zoom.
        """
        self.root, self.prefix = existing_folder(root, "map tiles"), prefix
        rows = sorted(_tiles(self.root))
        if not rows:
            raise InputError(f"the folder {self.root} holds no tile named z_x_y.png; check the path")
        for (*before, first), (*after, second) in pairwise(rows):
            if before == after:
                raise InputError(f"the tile {'_'.join(map(str, after))} occurs twice in {self.root}, as {first} and {second}; remove one")
        self._tiles = np.asarray([row[:3] for row in rows], dtype=np.int64)
        self._names = NameTable.of([row[3] for row in rows])
        self._extras = {name: _by_number(existing_folder(folder, f"tiles for {name!r}")) for name, folder in (extras or {}).items()}

    @property
    def sizes(self) -> tuple[int, ...]:
        """One shard."""
        return (len(self._names),)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """File name of a tile, after the prefix.

        Raises:
            IndexError: If there is no such tile.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no tile {index} among {len(self)}")
        return f"{self.prefix}{self._names[index]}"

    def read(self, index: int) -> Record:
        """Read a tile and what lies beside it.

        Raises:
            UnreadableRecord: If a picture is missing or damaged.
            IndexError: If there is no such tile.
        """
        name = self.name(index)
        zoom, x, y = self._tiles[index].tolist()
        picture, extras = read_picture(self.root / self._names[index], name)
        for key, tiles in self._extras.items():
            path = tiles.get((zoom, x, y))
            if path is None:
                raise UnreadableRecord(name, f"there is no {key} tile for it")
            extras[key], _ = read_picture(path, name)
        return Record(name, picture, None, tile_metadata(zoom, x, y, picture.shape[-1]), extras)


def _by_number(folder: Path) -> dict[tuple[int, int, int], Path]:
    return {(zoom, x, y): folder / name for zoom, x, y, name in _tiles(folder)}


def _tiles(folder: Path) -> list[tuple[int, int, int, str]]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.match(entry.name)
            if match is None or picture_kind(match[4]) is None or not entry.is_file():
                continue
            zoom, x, y = int(match[1]), int(match[2]), int(match[3])
            if zoom > _MAX_ZOOM or max(x, y) >= 2**zoom:
                raise InputError(
                    f"the tile {entry.name} in {folder} does not exist: at zoom {zoom} columns and rows go to {2**zoom - 1}; "
                    "names are z_x_y, the zoom first"
                )
            found.append((zoom, x, y, entry.name))
    return found
