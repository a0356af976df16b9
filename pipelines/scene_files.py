"""The files of an upscaled scene: opening what is read, checking and opening what is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rasterio.transform import IDENTITY

from ..gen.data.atomic import check_output_path
from ..gen.data.band_names import match_bands
from ..gen.data.radiometry import Radiometry
from ..gen.data.raster_reader import RasterReader
from ..gen.data.raster_writer import RasterWriter
from ..gen.errors import InputError
from .georeference import finer_transform
from .pictures import check_range, check_unit
from .super_resolution import SuperResolutionPipeline


def open_bands(
    pipeline: SuperResolutionPipeline,
    source: str | Path,
    bands: Sequence[str | int] | None = None,
    radiometry: Radiometry | None = None,
    *,
    sensor: str | None = None,
    gsd: int | None = None,
) -> RasterReader:
    """Open a raster with the bands that the model takes, in the model's order.

    Args:
        pipeline: The model.
        source: The raster.
        bands: Which, by name or position; names that the model knows are put into its order, others are taken as given.
        radiometry: Overrides what the tags say.
        sensor: A row of the sensor table that names the bands.
        gsd: Of a product: take all bands at this pixel size in m.

    Raises:
        InputError: If it cannot be read, or the bands are not there or too many or too few.
    """
    wanted = list(pipeline.bands if bands is None else bands)
    if len(wanted) != len(pipeline.bands):
        raise InputError(
            f"{len(wanted)} bands were asked for; the model {pipeline.name} takes {len(pipeline.bands)}: {', '.join(pipeline.bands)}; "
            "name as many"
        )
    reader = RasterReader(source, wanted, radiometry, sensor=sensor, gsd=gsd)
    try:
        order = match_bands(reader.bands, pipeline.bands)
    except InputError:
        return reader
    if list(order) == sorted(order):
        return reader
    reader.close()
    return RasterReader(source, [wanted[position] for position in order], radiometry, sensor=sensor, gsd=gsd)


def check_scene(pipeline: SuperResolutionPipeline, reader: RasterReader) -> None:
    """Refuse a scene without data, in another unit, or with stored numbers taken for physical ones."""
    if reader.radiometry.unit != "unknown":
        check_unit(reader.radiometry.unit, pipeline.unit)
    if not reader.has_data():
        raise InputError(f"no pixel of {reader.path} has data in the bands {', '.join(reader.bands)}; check its nodata value and the bands")
    check_range(reader.preview(), pipeline.unit)


def check_outputs(source: Path, wanted: Mapping[str, str | Path | None], samples: int) -> dict[str, Path]:
    """Refuse outputs that cannot be written, before any work is done.

    Args:
        source: What is read.
        wanted: Paths by layer; None where a layer is not wanted.
        samples: Members of the ensemble.

    Returns:
        The wanted layers' paths.

    Raises:
        InputError: If a path is no good, is the source, or is named twice.
    """
    if wanted["uncertainty"] is not None and samples < 2:
        raise InputError("the uncertainty is the spread of an ensemble, and one sample was asked for; ask for 2 samples or more")
    outputs: dict[str, Path] = {}
    for layer, path in wanted.items():
        if path is not None:
            check_output_path(path, source)
            if Path(path).resolve() in {other.resolve() for other in outputs.values()}:
                raise InputError(f"{path} is named for two outputs; give each a name of its own")
            outputs[layer] = Path(path)
    return outputs


def layer_writer(
    path: Path, layer: str, reader: RasterReader, scale: int, tags: Mapping[str, str], cog: bool, compress: str
) -> RasterWriter:
    """A file for one layer: the source's corner, bounds, CRS and bands on the finer grid; for the picture its number type and units too."""
    located = reader.crs is not None or reader.transform != IDENTITY
    return RasterWriter(
        path,
        bands=reader.bands,
        height=reader.height * scale,
        width=reader.width * scale,
        crs=reader.crs,
        transform=finer_transform(reader.transform, scale) if located else IDENTITY,
        radiometry=reader.radiometry if layer == "image" else _difference_radiometry(reader.radiometry),
        tags=tags,
        cog=cog,
        compress=compress,
    )


def _difference_radiometry(radiometry: Radiometry) -> Radiometry:
    """How differences are stored: 16 bits without offset, in steps of the input's (a hundredth of an 8-bit step); floats stay floats."""
    if not radiometry.is_integer:
        return replace(radiometry, scale=1.0, offset=0.0, nodata=math.nan)
    fine = abs(radiometry.scale) / (100.0 if radiometry.dtype in ("uint8", "int8") else 1.0)
    return replace(radiometry, scale=fine, offset=0.0, nodata=65535.0, dtype="uint16")
