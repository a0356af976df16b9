"""Opening a raster, whatever it comes as, into a list of bands on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from ..errors import InputError
from .band_names import chosen_bands, names_from_descriptions
from .radiometry import DTYPES, fitting_nodata
from .raster_env import DRIVERS, check_file, check_header, gdal_session
from .raster_integrity import DeflateGuard, check_png
from .raster_radiometry import BandFacts, Detected, detect_radiometry
from .safe import SafeProduct, is_product, read_product
from .sensors import sensor, sensors_with


@dataclass(frozen=True)
class BandHandle:
    """One band of an open file.

    Attributes:
        dataset: Open rasterio dataset.
        index: Band of the dataset, from 1.
        facts: What the file says of it.
        masked: Whether the file has a mask or transparency for it.
        colours: ``[256]`` brightness by stored number, for a band that is a colour of a palette.
    """

    dataset: Any
    index: int
    facts: BandFacts
    masked: bool = False
    colours: NDArray[np.uint8] | None = None


@dataclass
class OpenRaster:
    """Open files and the bands chosen from them; close it when done.

    Attributes:
        path: As given by the user.
        handles: The chosen bands, all on one grid.
        bands: Names of all bands that there are.
        tags: The file's tags.
        driver: GDAL's name of the format; "SENTINEL2" for products.
        sensor: Name of the product (or its family, where the level is open); None if unknown.
        detected: Radiometry of the chosen bands.
        notes: Sentences that the user may want to know.
        guard: Looks for damage that GDAL reads over; None where nothing can be looked for.
    """

    path: Path
    handles: list[BandHandle]
    bands: tuple[str, ...]
    tags: dict[str, str]
    driver: str
    sensor: str | None
    detected: Detected
    notes: list[str] = field(default_factory=list)
    guard: DeflateGuard | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Close all files."""
        self._stack.close()

    def __enter__(self) -> OpenRaster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_raster(
    path: str | Path, *, bands: Sequence[str | int] | None = None, sensor_name: str | None = None, gsd: int | None = None
) -> OpenRaster:
    """Open a GeoTIFF, JPEG 2000, PNG or JPEG file, or a Sentinel-2 product.

    Args:
        path: File, `.SAFE` folder or `.zip`.
        bands: Names or positions from 1, as `match_bands` takes them; None takes all (of a product: its 10 m bands).
        sensor_name: A row of the sensor table that names the file's bands, in its order.
        gsd: For products: take all bands at this ground sampling distance in m.

    Raises:
        InputError: If it cannot be read, or a band is not there.
    """
    path = Path(path)
    try:
        product = is_product(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot open {path!s} ({error}); check the path") from error
    if product and (path.is_dir() or path.exists()):
        return _open_product(read_product(path), path, bands, gsd)
    check_file(path)
    return _open_file(path, bands, sensor_name)


def _open_dataset(stack: ExitStack, file: str, path: Path, size: int) -> Any:
    with gdal_session(path):
        dataset = stack.enter_context(DatasetReader(file, driver=list(DRIVERS), sharing=False))
        check_header(dataset, path, size)
    if dataset.driver == "PNG":
        check_png(path)
    return dataset


def _open_file(path: Path, bands: Sequence[str | int] | None, sensor_name: str | None) -> OpenRaster:
    stack = ExitStack()
    try:
        dataset = _open_dataset(stack, str(path.resolve()), path, path.stat().st_size)
        with gdal_session(path):
            handles, notes = _handles_of(dataset)
            tags = {**dataset.tags()}
        names = [handle.facts.name for handle in handles]
        if sensor_name is not None:
            names = _named_by_sensor(names, sensor_name, path)
        visible = [name for name in names if name != "alpha"] if bands is None else bands
        positions, given = chosen_bands(names, visible)
        chosen = [_renamed(handles[at], name) for at, name in zip(positions, given, strict=True)]
        if any(handle.facts.colour == "alpha" for handle in chosen):
            # Asked for as a band, it is data: near infrared is often stored this way.
            chosen = [_unmasked(handle) for handle in chosen]
        detected = detect_radiometry(path, [handle.facts for handle in chosen], tags, dataset.driver)
        guard = DeflateGuard(dataset, path)
        stack.callback(guard.close)
        product = sensor_name or _sensor_of([name for name in names if name != "alpha"], tags)
        return OpenRaster(path, chosen, tuple(names), tags, dataset.driver, product, detected, notes, guard, stack)
    except BaseException:
        stack.close()
        raise


def _open_product(product: SafeProduct, path: Path, bands: Sequence[str | int] | None, gsd: int | None) -> OpenRaster:
    stack = ExitStack()
    try:
        images = product.choose(bands, gsd)
        _, given = chosen_bands(product.bands, bands if bands is not None else [image.band for image in images])
        handles = []
        for image, name in zip(images, given, strict=True):
            dataset = _open_dataset(stack, image.file, path, image.size)
            facts = BandFacts(name, dataset.dtypes[0], product.nodata)
            handles.append(BandHandle(dataset, 1, facts))
        grids = {(h.dataset.height, h.dataset.width, h.dataset.transform, h.facts.dtype) for h in handles}
        if len(grids) > 1:
            raise InputError(f"the images of {path} are not on one grid, though their bands have one pixel size; download it again")
        radiometry, source = product.radiometry([image.band for image in images])
        objection = None if radiometry else f"{source}; give --radiometry s2 (no offset) or s2-offset (-1000)"
        detected = Detected(radiometry, source if radiometry else "", objection)
        return OpenRaster(path, handles, product.bands, dict(product.tags), "SENTINEL2", product.sensor, detected, [], None, stack)
    except BaseException:
        stack.close()
        raise


def _handles_of(dataset: Any) -> tuple[list[BandHandle], list[str]]:
    notes: list[str] = []
    colours = [getattr(colour, "name", "undefined").lower() for colour in dataset.colorinterp]
    names = names_from_descriptions(dataset.descriptions, colours)
    if colours == ["palette"] and dataset.driver == "PNG":
        return _palette_handles(dataset), notes
    handles = []
    for number, flags in enumerate(dataset.mask_flag_enums):
        facts = BandFacts(
            names[number],
            dataset.dtypes[number],
            fitting_nodata(dataset.nodatavals[number], dataset.dtypes[number]) if dataset.dtypes[number] in DTYPES else None,
            dataset.scales[number],
            dataset.offsets[number],
            (dataset.units[number] or "").strip(),
            colours[number],
        )
        masked = MaskFlags.all_valid not in flags and MaskFlags.nodata not in flags
        handles.append(BandHandle(dataset, number + 1, facts, masked))
    if "alpha" in colours:
        at = colours.index("alpha") + 1
        notes.append(
            f"band {at} is marked as transparency: 0 in it is no data; if it is a real band (near infrared), ask for it by position"
        )
    return handles, notes


def _palette_handles(dataset: Any) -> list[BandHandle]:
    table = np.zeros((256, 4), np.uint8)
    for number, colour in dataset.colormap(1).items():
        if 0 <= number < 256:
            table[number] = colour
    masked = MaskFlags.all_valid not in dataset.mask_flag_enums[0]
    return [
        BandHandle(dataset, 1, BandFacts(name, "uint8", None, colour=name), masked, table[:, channel])
        for channel, name in enumerate(("red", "green", "blue"))
    ]


def _named_by_sensor(names: list[str], sensor_name: str, path: Path) -> list[str]:
    given = sensor(sensor_name).band_names
    if len(given) != len(names):
        raise InputError(f"{path} has {len(names)} bands, but {sensor_name} has {len(given)} ({', '.join(given)}); give positions instead")
    return list(given)


def _sensor_of(names: list[str], tags: dict[str, str]) -> str | None:
    found = sensors_with(names)
    if "L2A" in tags.get("PROCESSING_LEVEL", "").replace("Level-2A", "L2A"):
        found = tuple(row for row in found if row.name != "sentinel-2-l1c")
    if len(found) == 1:
        return found[0].name
    families = {row.family for row in found}
    return families.pop() if len(families) == 1 else None


def _renamed(handle: BandHandle, name: str) -> BandHandle:
    return replace(handle, facts=replace(handle.facts, name=name))


def _unmasked(handle: BandHandle) -> BandHandle:
    return replace(handle, masked=False)
