"""How GDAL is run here: bounded cache, few drivers, errors as one sentence, and headers that are not believed blindly."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ..errors import InputError

CACHE_BYTES = 64 * 2**20
"""GDAL's block cache. Its default, 5% of the machine's memory, is not ours to take."""

DRIVERS = ("GTiff", "PNG", "JPEG", "JP2OpenJPEG")
"""What is opened. Formats that refer to other files or hosts, such as VRT, are not: opening a picture must not fetch or run anything."""

MAX_READ_BYTES = 4 * 2**30
"""Largest array, as float32, that one read may ask for."""

_MAX_BLOCK_BYTES = 2**30
_MAX_SIDE = 2_000_000
_SMALL = 64 * 2**20

_OPTIONS = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_PAM_ENABLED": "YES",
    # A damaged JPEG is an error, not a grey patch.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    # No listing of the folder (it may be huge), no look at hosts.
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "GDAL_HTTP_MAX_RETRY": "0",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
}

# rasterio logs what GDAL says; without a handler Python would print it on top of our sentence.
logging.getLogger("rasterio").addHandler(logging.NullHandler())


@contextmanager
def gdal_session(path: object, doing: str = "read", **options: Any) -> Iterator[None]:
    """Run GDAL with our settings; what it raises becomes an `InputError` about `path`.

    Args:
        path: Named in the error.
        doing: What was being done, for the error: "read", "write".
        **options: More GDAL configuration.

    Raises:
        InputError: For any error of rasterio or GDAL inside the block, and for numbers and texts in a header that make no sense.
    """
    from rasterio._err import CPLE_BaseError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.Env(**{**_OPTIONS, **options}):
                yield
    except InputError:
        raise
    except (RasterioError, CPLE_BaseError, UnicodeError, OverflowError) as error:
        raise InputError(explain(path, doing, error)) from error


def explain(path: object, doing: str, error: BaseException) -> str:
    """One sentence about a failure of GDAL."""
    reason = " ".join(str(error.__cause__ or error).split()).strip(" .")
    reason = reason.replace("See previous exception for details", "").strip(" .")
    if len(reason) > 200:
        reason = f"{reason[:200]}..."
    if doing == "write":
        return f"cannot write {path} ({reason}); see that the disk has room and the folder may be written"
    return f"cannot read {path} ({reason}); the file is damaged, cut short, or not a GeoTIFF, JPEG 2000, PNG or JPEG"


def check_file(path: Path) -> None:
    """Refuse a path that cannot be a raster, before GDAL sees it.

    Args:
        path: A file.

    Raises:
        InputError: If it is missing, no regular file, unreadable or empty.
    """
    try:
        if not path.exists():
            raise InputError(f"there is no file {path}; check the path")
        if not path.is_file():
            raise InputError(f"{path} is not a file; give a GeoTIFF, PNG, JPEG, or a Sentinel-2 .SAFE folder or .zip")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy or download it again")
        with path.open("rb"):
            pass
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} may not be read; change its permissions") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot open {path!s} ({error}); check the path") from error


def check_header(dataset: Any, path: object, size: int) -> None:
    """Refuse a header that claims more than the file can hold, before anything is allocated for it.

    Args:
        dataset: Open rasterio dataset.
        path: Named in the error.
        size: Bytes of the file.

    Raises:
        InputError: If the sides, the number of blocks or the size of one block make no sense for the file.
    """
    height, width, count = dataset.height, dataset.width, dataset.count
    claim = f"{path} claims {width} x {height} pixels in {count} bands but has {size} bytes"
    if count < 1:
        raise InputError(f"{path} holds no raster band; give a raster file")
    if max(height, width) > _MAX_SIDE:
        raise InputError(f"{claim}; the header is damaged, or the file is no raster")
    depth = max(_bytes_of(name) for name in dataset.dtypes)
    rows, cols = dataset.block_shapes[0]
    block = rows * cols * depth
    blocks = math.ceil(height / rows) * math.ceil(width / cols)
    raw = height * width * count * depth
    # Every block of a TIFF has an entry of its own in the file's tables, also where the block is empty. PNG and JPEG shrink at most about
    # a thousandfold, and so does one block.
    shrinks = 2000 * size
    if raw > _SMALL and (size < blocks or (block > _SMALL and block > shrinks) or (dataset.driver != "GTiff" and raw > shrinks)):
        raise InputError(f"{claim}; the header is damaged, or the file was cut short")
    if block > _MAX_BLOCK_BYTES:
        raise InputError(f"{path} is stored in blocks of {cols} x {rows} pixels, too large to read in parts; rewrite it as a tiled GeoTIFF")


def check_read(bands: int, height: int, width: int, path: object) -> None:
    """Refuse a window too large for memory.

    Raises:
        InputError: If ``bands * height * width`` float32 numbers are more than `MAX_READ_BYTES`.
    """
    if bands * height * width * 4 > MAX_READ_BYTES:
        gib = bands * height * width * 4 / 2**30
        raise InputError(
            f"{path}: {bands} bands of {width} x {height} pixels are {gib:.1f} GiB at once; "
            "read windows with RasterReader, or upscale the file by its path, which streams it"
        )


def _bytes_of(dtype: str) -> int:
    return {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4, "complex64": 8}.get(dtype, 8)
