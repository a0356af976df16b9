"""The pictures that the demonstration upscales: a procedural one, and real ones that the zoo's training left out.

Each scene has a low picture and, where there is one, the truth on the same ground. Real data are read from a folder laid out as its
README says; a scene whose files are missing is left out.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from affine import Affine

from ..gen.data.radiometry import Radiometry
from ..gen.data.rasters import located, read_raster
from ..gen.data.sensor_model import SensorModel
from .display import Array

RGBN = ("B04", "B03", "B02", "B08")
RGB = ("red", "green", "blue")
SIDE = 256
SCALE = 4
# Signed, so that the small negative values which agreement with the sensor may ask for are kept.
REFLECTANCE = Radiometry(1e-4, 0.0, -32768.0, "reflectance", "int16")
DISPLAY = Radiometry(1.0 / 255.0, 0.0, None, "display", "uint8")
_COPERNICUS = "contains modified Copernicus Sentinel data"
_MERCATOR = 20037508.342789244


@dataclass(frozen=True)
class DemoScene:
    """One strip of the contact sheet.

    Attributes:
        name: Of its folder.
        title: What is seen.
        detail: Source and resolution.
        group: Key of `GROUPS`: scenes that may stand in one table.
        model: Which of the two models takes it.
        low: Dims ``band, y, x``, physical units.
        truth: The same ground, finer; None where nobody has it.
        composite: The three bands shown.
        attribution: Whom to name.
        synthetic: Whether low and truth are themselves made up.
    """

    name: str
    title: str
    detail: str
    group: str
    model: Literal["rgbn", "rgb"]
    low: xr.DataArray
    truth: xr.DataArray | None
    composite: tuple[str, str, str]
    attribution: str
    synthetic: bool = False


@dataclass(frozen=True)
class Group:
    """Scenes under one protocol.

    Attributes:
        title: Of the table.
        degradation: How the low pictures came to be.
        declared: Whether the model's sensor model is how they came to be, so that agreement with it is a figure.
        note: What a reader should know.
    """

    title: str
    degradation: str
    declared: bool = True
    note: str = ""


_BY_SENSOR = "the model's sensor model (Gaussian MTF {mtf:g} at the low Nyquist frequency, decimation by 4), no noise"
GROUPS: Mapping[str, Group] = {
    "world": Group("Procedural world, 10 m to 2.5 m", "the world's own sensor: Gaussian MTF and decimation of its 2.5 m truth"),
    "sentinel": Group("Sentinel-2, 40 m to 10 m, held-out places", _BY_SENSOR),
    "native": Group("Sentinel-2, 10 m to 2.5 m", "none: as the satellite saw it"),
    "aerial": Group("Aerial pictures, four times coarser, held-out places", _BY_SENSOR),
    "tiles-x2": Group(
        "Map tiles of two zoom levels, held-out place (x2)",
        "another zoom level of the same web map, made by its publisher",
        declared=False,
        note="The model works by 4: its output is averaged over 2 x 2 pixels.",
    ),
    "tiles-x4": Group(
        "Map tiles two zoom levels apart (x4)",
        "another zoom level of the same web map, made by its publisher",
        declared=False,
        note="Not held out: tiles of this place are among the training pictures. Shown for the real change of zoom, not as a score.",
    ),
}


def demo_scenes(
    data: Path | None, sensor: SensorModel, rgb_sensor: SensorModel, seed: int, only: Container[str] | None = None
) -> list[DemoScene]:
    """All scenes that can be had here.

    Args:
        data: Folder of the real samples, or None.
        sensor: What makes low pictures for the four-band model.
        rgb_sensor: The same for the three-band model.
        seed: Of the procedural world.
        only: Names of the scenes that are wanted; None = all.

    Returns:
        Scenes in the order of the sheet.
    """
    # Making a world takes seconds, reading a file does not: only the former asks first.
    scenes = list(_world_scenes(seed, only))
    if data is not None:
        scenes += [*_sentinel_scenes(data, sensor), *_aerial_scenes(data, rgb_sensor), *_tile_scenes(data)]
    return [scene for scene in scenes if only is None or scene.name in only]


def _world_scenes(seed: int, only: Container[str] | None) -> Iterator[DemoScene]:
    from ..gen.data.world import World

    world, side = World(seed), SIDE // SCALE
    detail = "EarthGen's own world, 10 m to 2.5 m, known truth"
    for name, title, kind in (("world-village", "Village and fields", "coast"), ("world-town", "Town", "town")):
        if only is not None and name not in only:
            continue
        row, col = (world.find(kind) or [(0, 0)])[0]
        scene = world.window(row - side // 2, col - side // 2, side, side, date="2021-07-15", modalities=("s2",))
        low, truth = (layer.sel(band=list(RGBN)) for layer in (scene.s2_10m, scene.truth))
        yield DemoScene(name, title, detail, "world", "rgbn", low, truth, _shown(RGBN), "EarthGen", synthetic=True)


@dataclass(frozen=True)
class _Patch:
    name: str
    place: str
    file: str
    offset: float
    corner: tuple[int, int]
    """Upper left corner of the native 64 x 64 crop."""


_PATCHES = (
    _Patch("shanxi", "Mountain town, Shanxi, China", "s2_multispectral/patch_61808.tif", 0.0, (88, 92)),
    _Patch("tunisia", "Terraces and fields, Tunisia", "s2_multispectral/patch_70975.tif", 0.0, (140, 20)),
    _Patch("yellowknife", "Road and ponds, Northwest Territories, Canada", "s2_multispectral/patch_8845.tif", -1000.0, (0, 0)),
)


def _sentinel_scenes(data: Path, sensor: SensorModel) -> Iterator[DemoScene]:
    native: list[DemoScene] = []
    for patch in _PATCHES:
        if not (data / patch.file).is_file():
            continue
        bands = [f"{name}={position}" for name, position in zip(RGBN, (4, 3, 2, 8), strict=True)]
        radiometry = Radiometry(1e-4, patch.offset, None, "reflectance", "uint16")
        full = read_raster(data / patch.file, bands=bands, radiometry=radiometry)
        yield _degraded(patch.name, patch.place, "Sentinel-2 L2A, 40 m to 10 m", "sentinel", "rgbn", full, sensor, _COPERNICUS)
        if patch.name != "yellowknife":
            native.append(_native(patch.name, patch.place, full, patch.corner))
    file = data / "sr" / "dsen2_T33UUB_20170527.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as archive:
            # The lower right corner was kept out of training.
            pixels = archive["im10"][:, 312:568, 312:568].astype(np.float32) * np.float32(1e-4)
        full = located(pixels, RGBN, None, Affine.identity())
        yield _degraded(
            "brandenburg", "Fields and villages, Germany", "Sentinel-2 L1C, 40 m to 10 m", "sentinel", "rgbn", full, sensor, _COPERNICUS
        )
        native.append(_native("brandenburg", "Fields and villages, Germany", full, (88, 48)))
    yield from native


_AERIAL = (
    (
        "kampala",
        "Roofs, Kampala, Uganda",
        "drone, 0.28 m to 0.07 m",
        "maps_buildings/oam_uganda/images/OAM-1238424-1046545-21.png",
        "OpenAerialMap contributors, CC BY 4.0",
    ),
    ("sierra", "Forest, Sierra Nevada, USA", "NEON, 0.4 m to 0.1 m", "more/aerial_trees/tiles/SOAP_031.png", "NEON, CC0"),
    (
        "colorado",
        "Road and cars, Colorado Springs, USA",
        "USGS, 0.6 m to 0.15 m",
        "more/aerial/hro_colorado_springs_2014-04.png",
        "USGS, public domain",
    ),
)


def _aerial_scenes(data: Path, sensor: SensorModel) -> Iterator[DemoScene]:
    for name, place, detail, file, attribution in _AERIAL:
        if (data / file).is_file():
            full = located(_rgb(data / file), RGB, None, Affine.identity())
            yield _degraded(name, place, detail, "aerial", "rgb", full, sensor, attribution)


def _tile_scenes(data: Path) -> Iterator[DemoScene]:
    """Web map tiles of one place at two zoom levels. Tile (x, y) of a level covers tiles 2x and 2x + 1, 2y and 2y + 1 of the next."""
    folder, credit = data / "maps_buildings" / "oam_uganda" / "images", "OpenAerialMap contributors, CC BY 4.0"
    for name, title, detail, group, (column, row, zoom), depth in (
        ("zoom-x2", "Roofs, Kampala, Uganda", "real map tiles, zoom 20 to 21, 0.15 m to 0.07 m", "tiles-x2", (619212, 523272, 20), 1),
        (
            "zoom-x4",
            "Houses, Kampala, Uganda",
            "real map tiles, zoom 19 to 21, 0.3 m to 0.07 m; not held out",
            "tiles-x4",
            (309612, 261632, 19),
            2,
        ),
    ):
        factor = 2**depth
        low_file, high_file = _tile(folder, column, row, zoom), _tile(folder, column * factor, row * factor, zoom + depth)
        if low_file is None or high_file is None:
            continue
        gsd = 2 * _MERCATOR / 2**zoom / SIDE
        place = Affine(gsd, 0, column * SIDE * gsd - _MERCATOR, 0, -gsd, _MERCATOR - row * SIDE * gsd)
        share, fine = SIDE // SCALE, SIDE // SCALE * factor
        low = located(_rgb(low_file)[:, :share, :share], RGB, "EPSG:3857", place)
        truth = located(_rgb(high_file)[:, :fine, :fine], RGB, "EPSG:3857", place * Affine.scale(1 / factor))
        yield DemoScene(name, title, detail, group, "rgb", low, truth, RGB, credit)


def _tile(folder: Path, column: int, row: int, zoom: int) -> Path | None:
    return next((path for path in sorted(folder.glob(f"OAM-{column}-{row}-{zoom}.*")) if path.is_file()), None)


def _rgb(path: Path) -> Array:
    from PIL import Image

    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / np.float32(255)


def _degraded(
    name: str, title: str, detail: str, group: str, model: Literal["rgbn", "rgb"], full: xr.DataArray, sensor: SensorModel, credit: str
) -> DemoScene:
    """The centre of a picture as truth, and what a sensor with four times larger pixels would see of it as low picture."""
    height, width = (min(SIDE, size) // SCALE * SCALE for size in full.shape[-2:])
    top, left = ((size - side) // 2 for size, side in zip(full.shape[-2:], (height, width), strict=True))
    truth = full[:, top : top + height, left : left + width]
    pixels = sensor.degrade(torch.from_numpy(np.ascontiguousarray(truth.values))[None])[0].numpy()
    bands = tuple(str(band) for band in truth.coords["band"].values)
    low = located(pixels, bands, truth.rio.crs, truth.rio.transform(recalc=True) * Affine.scale(SCALE))
    return DemoScene(name, title, detail, group, model, low, truth, _shown(bands), credit)


def _native(name: str, title: str, full: xr.DataArray, corner: tuple[int, int]) -> DemoScene:
    side = SIDE // SCALE
    low = full[:, corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    detail = "Sentinel-2 as it is, 10 m to 2.5 m"
    return DemoScene(f"{name}-native", title, detail, "native", "rgbn", low, None, _shown(RGBN), _COPERNICUS)


def _shown(bands: tuple[str, ...]) -> tuple[str, str, str]:
    red, green, blue = bands[:3]
    return red, green, blue
