"""What a generator hands back: arrays, pictures, or rasters with a place on Earth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from affine import Affine
from diffusers.utils import BaseOutput
from torch import Tensor

from ..gen.conditioning.metadata import Metadata
from ..gen.conditioning.place import utm_epsg
from ..gen.data.radiometry import Radiometry
from ..gen.errors import InputError

OutputType = Literal["np", "pt", "pil", "xarray", "latent"]


@dataclass
class EarthOutput(BaseOutput):
    """What the pipeline returns.

    Attributes:
        images: ``[B, C, H, W]`` float32 in the model's unit, 0 to 1 (array or tensor); for ``pil`` and ``xarray`` a list.
        seeds: The seed of each picture.
        notes: What was decided on the way, one sentence each: a prompt cut into chunks, a field that the model does not know.
        tags: For each picture how it was made, as tags for a file.
    """

    images: Any
    seeds: list[int]
    notes: list[str]
    tags: list[dict[str, str]]


def check_output_type(kind: str) -> None:
    """Refuse a form that does not exist."""
    if kind not in get_args(OutputType):
        raise InputError(f"output_type is {kind!r}; it is one of {', '.join(get_args(OutputType))}")


def placement(metadata: Metadata, height: int, width: int) -> tuple[Any, Affine] | None:
    """CRS and transform of a picture whose centre and pixel size are known: the UTM zone of its centre.

    Args:
        metadata: Of the picture.
        height: Rows.
        width: Columns.

    Returns:
        None if latitude, longitude or pixel size are unknown.
    """
    if metadata.lat is None or metadata.lon is None or metadata.metres is None:
        return None
    from rasterio.crs import CRS
    from rasterio.warp import transform

    crs = CRS.from_epsg(utm_epsg(metadata.lon, metadata.lat))
    (x,), (y,) = transform("EPSG:4326", crs, [metadata.lon], [metadata.lat])
    size = metadata.metres
    left, top = (round(value / size) * size for value in (x - size * width / 2, y + size * height / 2))
    return crs, Affine(size, 0.0, left, 0.0, -size, top)


def formed(
    images: Tensor, kind: OutputType, bands: Sequence[str], unit: str, metadata: Sequence[Metadata], tags: Sequence[Mapping[str, str]]
) -> Any:
    """Pictures ``[B, C, H, W]`` in the form that was asked for."""
    if kind in ("pt", "latent"):
        return images
    arrays = images.cpu().float().numpy()
    if kind == "np":
        return arrays
    if kind == "pil":
        return [to_pil(array) for array in arrays]
    return [raster(*entry, bands, unit) for entry in zip(arrays, metadata, tags, strict=True)]


def raster(array: np.ndarray, metadata: Metadata, tags: Mapping[str, str], bands: Sequence[str], unit: str) -> Any:
    """One picture as a DataArray, at its place where that is known."""
    from ..gen.data.rasters import located

    place = placement(metadata, *array.shape[-2:])
    crs, transform = place if place is not None else (None, Affine.identity())
    return located(array, bands, crs, transform, {"tags": dict(tags), "radiometry": radiometry_of(unit), "units": unit})


def radiometry_of(unit: str) -> Radiometry:
    """How generated numbers are stored: display values in 8 bits, reflectance in 16."""
    if unit == "display":
        return Radiometry(1.0 / 255.0, unit="display", dtype="uint8")
    return Radiometry(1e-4, unit=unit, dtype="uint16") if unit == "reflectance" else Radiometry(unit=unit)


def write_picture(path: Path, image: Any) -> None:
    """Write a DataArray of `formed`: GeoTIFF, PNG or JPEG by the path's ending, with its tags."""
    from ..gen.data.rasters import write_raster

    write_raster(path, image)


def to_pil(array: np.ndarray) -> Any:
    """A picture ``[C, H, W]``, 0 to 1, of one or three bands as PIL shows it, in 8 bits.

    Raises:
        InputError: If it has another number of bands.
    """
    from PIL import Image

    if array.shape[0] not in (1, 3):
        raise InputError(f"a picture of {array.shape[0]} bands cannot be shown as it is; ask for np, pt or xarray")
    pixels = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
