"""Damage that GDAL reads over: bits flipped inside deflated blocks of a TIFF, and PNGs cut short.

Both formats carry checksums, which GDAL's fast paths do not look at. Formats without any (LZW, JPEG, uncompressed TIFFs) cannot be checked.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError

_PIECE = 2**20
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class DeflateGuard:
    """Checks each deflated block of a GeoTIFF once, when it is first read."""

    def __init__(self, dataset: Any, path: Path) -> None:
        """Look at how the file is compressed.

        Args:
            dataset: Open rasterio dataset of the file.
            path: The file itself.
        """
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        self._applies = dataset.driver == "GTiff" and structure.get("COMPRESSION") == "DEFLATE"
        self._by_band = structure.get("INTERLEAVE") == "BAND"
        self._path, self._checked = path, set[tuple[int, int, int]]()
        self._file: BinaryIO | None = None

    def check(self, dataset: Any, indexes: list[int], row: int, col: int, height: int, width: int) -> None:
        """Check the blocks of a window that were not checked before.

        Args:
            dataset: As given at the start.
            indexes: Bands that are read, from 1.
            row: First row.
            col: First column.
            height: Rows.
            width: Columns.

        Raises:
            InputError: If the checksum of a block does not fit its content.
        """
        if not self._applies:
            return
        rows, cols = dataset.block_shapes[0]
        # A block may be larger than the window; its stream ends where the block does, whatever the file claims.
        limit = rows * cols * 8 * (1 if self._by_band else dataset.count)
        for band in indexes if self._by_band else (1,):
            for down in range(row // rows, (row + height - 1) // rows + 1):
                for right in range(col // cols, (col + width - 1) // cols + 1):
                    if (band, down, right) not in self._checked:
                        self._check_block(dataset, band, down, right, limit)
                        self._checked.add((band, down, right))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _check_block(self, dataset: Any, band: int, down: int, right: int, limit: int) -> None:
        start = dataset.get_tag_item(f"BLOCK_OFFSET_{right}_{down}", "TIFF", bidx=band)
        size = dataset.get_tag_item(f"BLOCK_SIZE_{right}_{down}", "TIFF", bidx=band)
        if start is None or size is None:  # sparse: never written
            return
        if self._file is None:
            self._file = self._path.open("rb")
        try:
            _inflate(self._file.fileno(), int(start), int(size), limit)
        except zlib.error as error:
            raise InputError(
                f"cannot read {self._path}: the block at row {down}, column {right} is damaged ({error}); copy or download the file again"
            ) from error


def _inflate(descriptor: int, start: int, size: int, limit: int) -> None:
    """Decompress a stream and forget what comes out; zlib compares the checksum at its end."""
    stream, given = zlib.decompressobj(), 0
    for offset in range(start, start + size, _PIECE):
        data = os.pread(descriptor, min(_PIECE, start + size - offset), offset)
        while data and not stream.eof and given <= limit:
            given += len(stream.decompress(data, _PIECE))
            data = stream.unconsumed_tail


def check_png(path: Path) -> None:
    """Check the chunks of a PNG.

    Args:
        path: The file.

    Raises:
        InputError: If the file ends early or a checksum does not fit.
    """
    with path.open("rb") as file:
        if file.read(8) != _PNG_SIGNATURE:
            raise InputError(f"cannot read {path}: it is damaged at its very beginning; copy or download it again")
        while True:
            head = file.read(8)
            kind, left, checksum = head[4:], int.from_bytes(head[:4], "big"), zlib.crc32(head[4:])
            while left and len(head) == 8:
                piece = file.read(min(left, _PIECE))
                if not piece:
                    break
                left, checksum = left - len(piece), zlib.crc32(piece, checksum)
            expected = file.read(4)
            if len(head) < 8 or left or len(expected) < 4:
                raise InputError(f"cannot read {path}: it was cut short; copy or download it again")
            if int.from_bytes(expected, "big") != checksum:
                raise InputError(f"cannot read {path}: a checksum in it does not fit, so it is damaged; copy or download it again")
            if kind == b"IEND":
                return
