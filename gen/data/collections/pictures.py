"""Pictures and arrays from bytes, as they are stored: no scaling, channels first, headers not believed.

PNG, JPEG and WebP are decoded by Pillow; TIFF and 16-bit colour PNG by GDAL, since Pillow would cut their numbers to 8 bits; numpy arrays
here, since their header decides how much memory is asked for. Nothing is ever unpickled, and nothing is written to the disk.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from .record import Pixels, UnreadableRecord

T = TypeVar("T")

MAX_PIXELS = 89_478_485
"""Most pixels of one picture; the same as Pillow's limit against decompression bombs."""

MAX_BYTES = 2**31
"""Most bytes of one array in memory."""

PICTURES = ("png", "jpg", "jpeg", "webp", "tif", "tiff")
ARRAYS = ("npy", "npz")


def decode(data: bytes, kind: str, name: str, *, channels_last: bool = False) -> tuple[Pixels, dict[str, Pixels]]:
    """Decode a picture.

    Args:
        data: Content of the file.
        kind: File name extension in lower case, one of `PICTURES` or `ARRAYS`.
        name: Of the record, for errors.
        channels_last: Whether numpy arrays of three axes are ``[H, W, C]``.

    Returns:
        ``[C, H, W]`` as stored, and what came with it: ``alpha`` of a picture, the other arrays of an archive.

    Raises:
        UnreadableRecord: If the bytes are damaged, or claim a size that makes no sense.
    """
    if not data:
        raise UnreadableRecord(name, "the file is empty")
    if len(data) > MAX_BYTES:
        raise UnreadableRecord(name, f"the file has {len(data)} bytes, more than {MAX_BYTES}")
    if kind == "npz":
        arrays = _guarded(_archive, data, name)
        able = list(arrays) if len(arrays) == 1 else [key for key in ("image", "picture", "x") if key in arrays]
        if not able:
            raise UnreadableRecord(name, f"of its arrays {', '.join(arrays) or '(none)'} none is called image, picture or x")
        return _as_picture(arrays.pop(able[0]), name, channels_last), arrays
    if kind == "npy":
        return _as_picture(_guarded(decode_array, data, name), name, channels_last), {}
    if kind in ("tif", "tiff") or _is_deep_png(data):
        return _guarded(_by_gdal, data, name), {}
    return _guarded(_by_pillow, data, name)


def decode_array(data: bytes) -> Pixels:
    """The array of a ``.npy`` file; its header must agree with the number of bytes.

    Args:
        data: Content of the file.

    Raises:
        ValueError: If it is no plain array of numbers.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the numpy format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.kind not in "biuf":
        raise ValueError(f"the array holds {dtype}, not numbers")
    wanted, there = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if min(shape, default=0) < 0 or wanted != there:
        raise ValueError(f"the header claims {list(shape)} numbers of {dtype} and {there} bytes follow")
    array = np.frombuffer(data, dtype, math.prod(shape), stream.tell()).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array.astype(dtype.newbyteorder("=")))


def _guarded(decoder: Callable[[bytes], T], data: bytes, name: str) -> T:
    """Run a decoder; whatever it makes of broken bytes is the record's fault."""
    try:
        return decoder(data)
    except UnreadableRecord:
        raise
    except Exception as error:  # decoders of other people fail in every way there is
        raise UnreadableRecord(name, str(error) or type(error).__name__) from error


def _by_pillow(data: bytes) -> tuple[Pixels, dict[str, Pixels]]:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as file:
        if file.width * file.height > MAX_PIXELS:
            raise ValueError(f"{file.width} x {file.height} pixels are more than {MAX_PIXELS}")
        if file.mode.startswith("I"):
            return _sixteen(np.asarray(file))[None], {}
        if file.mode == "L":
            return np.array(file)[None], {}
        if file.mode == "1":
            return np.array(file.convert("L"))[None], {}
        if file.mode in ("LA", "RGBA"):
            whole = np.array(file).transpose(2, 0, 1)
            return np.ascontiguousarray(whole[:-1]), {"alpha": np.ascontiguousarray(whole[-1:])}
        return np.ascontiguousarray(np.asarray(file.convert("RGB")).transpose(2, 0, 1)), {}


def _sixteen(array: Pixels) -> Pixels:
    if array.size and (array.min() < 0 or array.max() > 65535):
        return np.array(array)
    return array.astype(np.uint16)


def _is_deep_png(data: bytes) -> bool:
    """Whether it is a PNG of 16-bit colours."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:25] == b"\x10" and data[25:26] in (b"\x02", b"\x04", b"\x06")


def _by_gdal(data: bytes) -> Pixels:
    from rasterio.io import MemoryFile

    from ..raster_env import check_header, check_read, gdal_session

    with gdal_session("it"), MemoryFile(data) as memory, memory.open(driver=["GTiff", "PNG"], sharing=False) as file:
        check_header(file, "it", len(data))
        check_read(file.count, file.height, file.width, "it")
        if file.width * file.height > MAX_PIXELS:
            raise ValueError(f"{file.width} x {file.height} pixels are more than {MAX_PIXELS}")
        keep = file.indexes
        if file.driver == "PNG" and file.count in (2, 4):
            keep = keep[:-1]  # alpha
        return np.ascontiguousarray(file.read(list(keep)))


def _archive(data: bytes) -> dict[str, Pixels]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        claimed = sum(info.file_size for info in members)
        if claimed > MAX_BYTES or claimed > 2000 * len(data):
            raise ValueError(f"the archive claims {claimed} bytes in {len(data)}")
        return {info.filename[:-4]: decode_array(archive.read(info)) for info in members}


def _as_picture(array: Pixels, name: str, channels_last: bool) -> Pixels:
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3 or not array.size:
        raise UnreadableRecord(name, f"an array of shape {list(array.shape)} is no picture [C, H, W] or [H, W]")
    return np.ascontiguousarray(array.transpose(2, 0, 1)) if channels_last else array


def picture_kind(extension: str) -> str | None:
    """The kind of a file that `decode` takes, by its extension with or without dots before it; None for others."""
    kind = extension.lower().rsplit(".", 1)[-1]
    return kind if kind in PICTURES or kind in ARRAYS else None


def sniff(data: bytes) -> str | None:
    """The kind of a picture by its first bytes; None if it is none that `decode` takes."""
    signs = {
        b"\x89PNG": "png",
        b"\xff\xd8\xff": "jpg",
        b"II*\0": "tif",
        b"MM\0*": "tif",
        b"II+\0": "tif",
        b"\x93NUMPY": "npy",
        b"PK\3\4": "npz",
    }
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for sign, kind in signs.items() if data.startswith(sign)), None)
