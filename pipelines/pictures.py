"""What a pipeline takes and hands back: a path, a DataArray, a NumPy array or a tensor, all as one batch of physical float32 in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ..gen.data.band_names import match_bands
from ..gen.data.radiometry import Radiometry
from ..gen.data.rasters import read_raster
from ..gen.errors import InputError
from .georeference import finer_grid

Picture = str | Path | xr.DataArray | NDArray[Any] | Tensor
OutputType = Literal["np", "pt", "xarray"]

UNIT_RANGE = frozenset({"reflectance", "display"})  # units in which pictures lie between 0 and 1, more or less
_FAR_OUT = 3.0  # a median above this is no reflectance and no display value
_SAMPLED = 1 << 16


@dataclass(frozen=True)
class Pictures:
    """A batch, and the way back to what it was.

    Attributes:
        pixels: ``[B, C, h, w]`` float32, physical units, NaN where there is no data.
        kind: What came in: ``np``, ``pt`` or ``xarray``.
        single: Whether it had no batch axis.
        template: The DataArray, with the bands chosen.
        device: Where the tensor lived.
    """

    pixels: Tensor
    kind: OutputType
    single: bool
    template: xr.DataArray | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def give_back(self, values: Tensor, bands: Sequence[str], scale: int, kind: OutputType | None, tags: Mapping[str, str]) -> Any:
        """Results in the form of the input, or of `kind`.

        Args:
            values: ``[B, C, h * scale, w * scale]``.
            bands: Their names, for a DataArray that is made from an array.
            scale: Ratio of the grids.
            kind: Another form than the input's.
            tags: Added to ``attrs["tags"]`` of a DataArray.
        """
        kind = kind or self.kind
        values = values[0] if self.single else values
        if kind == "pt":
            return values.to(self.device)
        array = values.cpu().numpy()
        if kind == "np":
            return array
        if self.template is not None:
            return finer_grid(self.template, array, scale, tags)
        dims = ("band", "y", "x") if self.single else ("time", "band", "y", "x")
        return xr.DataArray(array, dims=dims, coords={"band": list(bands)}, attrs={"tags": dict(tags)})


def read_pictures(image: Picture, bands: Sequence[str], unit: str) -> Pictures:
    """Take whatever the user gave.

    Args:
        image: A path, a DataArray with the dims ``[time,] band, y, x``, or a float array or tensor ``[C, H, W]`` or ``[B, C, H, W]``.
        bands: What the model takes; a raster's bands are found by name, an array's are taken in order.
        unit: The model's unit.

    Raises:
        InputError: If type, shape, bands or values do not fit, or there is no data at all.
    """
    if isinstance(image, str | Path):
        image = read_raster(Path(image), bands=list(bands))
    if isinstance(image, xr.DataArray):
        pictures = _from_dataarray(image, bands, unit)
    elif isinstance(image, Tensor):
        pictures = _from_tensor(image)
    elif isinstance(image, np.ndarray):
        if image.dtype.kind not in "fiub":
            raise InputError(f"the array holds {image.dtype}; give floats")
        pictures = _from_tensor(torch.from_numpy(np.ascontiguousarray(image)), "np")
    else:
        raise InputError(f"a {type(image).__name__} is no picture; give a path, a DataArray, an array or a tensor")
    _check(pictures.pixels, bands, unit)
    return pictures


def check_output_type(kind: str | None) -> None:
    """Refuse a form that does not exist."""
    if kind is not None and kind not in get_args(OutputType):
        raise InputError(f"output_type is {kind!r}; it is one of {', '.join(get_args(OutputType))}, or None for the form of the input")


def check_unit(found: str, wanted: str) -> None:
    """Refuse a picture whose unit the model cannot take. Reflectance and display values may stand in for each other."""
    if found != wanted and not {found, wanted} <= UNIT_RANGE:
        raise InputError(f"the picture holds {found}, the model was trained on {wanted}; take a model that was trained on {found}")


def check_range(values: Tensor | NDArray[np.float32], unit: str) -> None:
    """Refuse stored numbers that were taken for physical ones: reflectance and display values lie between 0 and 1, more or less."""
    flat = torch.as_tensor(values).reshape(-1)
    flat = flat[:: max(1, flat.numel() // _SAMPLED)]
    flat = flat[torch.isfinite(flat)]
    if unit in UNIT_RANGE and flat.numel() and float(flat.median()) > _FAR_OUT:
        raise InputError(
            f"the picture's median is {float(flat.median()):g}, but {unit} lies between 0 and 1; these look like stored numbers, "
            "so apply their scale and offset first, for example (DN - 1000) / 10000 for Sentinel-2 or DN / 255 for 8 bits"
        )


def _from_dataarray(image: xr.DataArray, bands: Sequence[str], unit: str) -> Pictures:
    dims = tuple(str(dim) for dim in image.dims)
    if sorted(dims) not in (["band", "x", "y"], ["band", "time", "x", "y"]):
        raise InputError(f"the DataArray has the dims {', '.join(dims)}; it takes band, y, x, or time, band, y, x; rename or add them")
    image = image.transpose(*(["time"] if "time" in dims else []), "band", "y", "x")
    radiometry = image.attrs.get("radiometry")
    if isinstance(radiometry, Radiometry):
        check_unit(radiometry.unit, unit)
    names = [str(name) for name in image["band"].values] if "band" in image.coords else []
    unnamed = not names or all(name.isdigit() for name in names)
    if not (unnamed and image.sizes["band"] == len(bands)):
        image = image.isel(band=list(match_bands(names or [str(n + 1) for n in range(image.sizes["band"])], list(bands))))
    pixels = torch.from_numpy(np.ascontiguousarray(_floats(image.values)))
    single = pixels.ndim == 3
    return Pictures(pixels[None] if single else pixels, "xarray", single, image)


def _from_tensor(image: Tensor, kind: OutputType = "pt") -> Pictures:
    if image.ndim not in (3, 4):
        raise InputError(f"the picture has the shape {tuple(image.shape)}; it takes [C, H, W] or [B, C, H, W]; add or drop axes")
    if not image.is_floating_point():
        raise InputError(
            f"the picture holds whole numbers ({str(image.dtype).removeprefix('torch.')}), whose scale is unknown; "
            "give physical floats, for example DN / 10000 for Sentinel-2 or DN / 255 for 8 bits"
        )
    single = image.ndim == 3
    pixels = image.detach().to(torch.float32)
    return Pictures(pixels[None] if single else pixels, kind, single, None, image.device)


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype.kind != "f":
        raise InputError(
            f"the DataArray holds whole numbers ({values.dtype}), whose scale is unknown; "
            "read the file with read_raster, which applies its scale and offset"
        )
    return values.astype(np.float32)


def _check(pixels: Tensor, bands: Sequence[str], unit: str) -> None:
    if pixels.shape[1] != len(bands):
        raise InputError(f"the picture has {pixels.shape[1]} bands; the model takes {len(bands)}: {', '.join(bands)}, in this order")
    if 0 in pixels.shape:
        raise InputError(f"the picture has the shape {tuple(pixels.shape)} and no pixels; give one of at least 1 x 1")
    empty = ~torch.isfinite(pixels).all(1).flatten(1).any(1)
    if bool(empty.any()):
        which = f"picture {int(empty.nonzero()[0])} of the batch" if len(pixels) > 1 else "the picture"
        raise InputError(f"{which} has no pixel with data in all bands; check the nodata value and the bands")
    check_range(pixels, unit)
