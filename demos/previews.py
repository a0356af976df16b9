"""The scene that a user looks at: what it is, and the small readings of it that a screen needs.

Only previews are read: a decimated overview, and one window at full resolution. A scene of any size can be looked at in bounded memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gen.data.band_names import match_bands
from ..gen.data.radiometry import NAMED, Radiometry
from ..gen.data.raster_info import RasterInfo, inspect_raster
from ..gen.data.raster_reader import RasterReader
from ..gen.data.sensors import Sensor, sensors
from ..gen.errors import InputError
from .display import Stretch, named_composites, stretch_limits, to_picture

Array = NDArray[np.floating[Any]]
Picture = NDArray[np.uint8]

OVERVIEW = 1024  # longest side of an overview, in pixels
SHOWN = 768  # smaller overviews are magnified up to this
DETAIL = 1024  # side of the detail view, in output pixels
_KEPT = 4  # overviews kept for the next change of the stretch


@dataclass(frozen=True)
class Look:
    """How pictures are shown.

    Attributes:
        composite: Title of a named composite, or empty for `rgb`.
        rgb: Bands shown red, green and blue if no composite is named.
        stretch: Values to brightness.
    """

    composite: str = ""
    rgb: tuple[str, str, str] = ("", "", "")
    stretch: Stretch = field(default_factory=Stretch)


@dataclass(frozen=True)
class Scene:
    """An uploaded raster.

    Attributes:
        path: The file.
        info: What it says about itself.
        names: Its bands, by the names that the user sees.
        radiometry: What the numbers mean; None where that is still to be settled, and stored numbers are shown.
        chosen: Name of the radiometry that the user chose, empty for the file's own.
        product: The sensor table's row that named the bands, empty for the file's own names.
    """

    path: Path
    info: RasterInfo
    names: tuple[str, ...]
    radiometry: Radiometry | None
    chosen: str = ""
    product: str = ""
    _overviews: OrderedDict[tuple[str, ...], Array] = field(default_factory=OrderedDict, repr=False, compare=False)

    def selectors(self, bands: Sequence[str]) -> tuple[str, ...]:
        """The bands as the reader wants them: by name, or ``NAME=POSITION`` where the file has no names."""
        if not self.product:
            return tuple(bands)
        return tuple(f"{name}={self.names.index(name) + 1}" for name in bands)

    def suggested(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The bands that a model asks for, empty if they are not all here."""
        try:
            return tuple(self.names[at] for at in match_bands(self.names, wanted))
        except InputError:
            return ()

    def shown(self, look: Look, among: Sequence[str] | None = None) -> tuple[str, str, str]:
        """The three bands of a look; where some are not `among`, the best composite of those."""
        bands = named_composites(self.names).get(look.composite, look.rgb)
        if among is not None and not set(bands) <= set(among):
            return next(iter(named_composites(among).values()))
        if not set(bands) <= set(self.names):
            return next(iter(named_composites(self.names).values()))
        return bands

    def overview(self, bands: tuple[str, ...]) -> Array:
        """The whole scene, decimated to `OVERVIEW` pixels: ``[C, h, w]``, NaN where invalid."""
        if bands not in self._overviews:
            self._overviews[bands] = read_decimated(self.path, self.selectors(bands), self.shown_radiometry, OVERVIEW)
            if len(self._overviews) > _KEPT:
                self._overviews.popitem(last=False)
        return self._overviews[bands]

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width of the picture that `paint_overview` makes."""
        height, width = self.overview(self.shown(Look())).shape[1:]
        factor = magnification(height, width)
        return height * factor, width * factor

    @property
    def shown_radiometry(self) -> Radiometry:
        """The radiometry, or the stored numbers as they are."""
        if self.radiometry is not None:
            return self.radiometry
        return Radiometry(nodata=self.info.nodata, unit="stored", dtype=self.info.dtype)


def open_scene(path: Path, *, chosen: str = "", product: str = "") -> Scene:
    """Look at a file.

    Args:
        path: GeoTIFF, Sentinel-2 zip, PNG or JPEG.
        chosen: Name of a radiometry; empty to trust the file.
        product: Sensor whose names the bands get, in the product's order; empty for the file's own names.

    Raises:
        InputError: If it is no raster, damaged, or does not fit the choices.
    """
    info = inspect_raster(path, sensor=product or None)
    names = info.chosen  # of a product the bands of 10 m; never transparency
    radiometry = info.radiometry
    if chosen:
        if chosen not in NAMED:
            raise InputError(f"there is no radiometry called {chosen!r}; choose one of {', '.join(NAMED)}")
        radiometry = replace(NAMED[chosen], nodata=NAMED[chosen].nodata if info.nodata is None else info.nodata, dtype=info.dtype)
    return Scene(Path(path), info, names, radiometry, chosen, product)


def fitting_products(info: RasterInfo) -> list[Sensor]:
    """The sensors whose bands a file without band names may have: those with as many bands."""
    if any(not name.isdigit() for name in info.bands):
        return []
    return [row for row in sensors().values() if len(row.bands) == len(info.bands)]


def read_decimated(path: Path, bands: Sequence[str], radiometry: Radiometry | None, longest: int = OVERVIEW) -> Array:
    """A whole raster on a coarse grid, by nearest neighbours.

    Args:
        path: The file.
        bands: Names or positions.
        radiometry: What the numbers mean, None to trust the file.
        longest: Longest side of the result at most, in pixels.

    Returns:
        ``[C, h, w]``, NaN where invalid.
    """
    unique = tuple(dict.fromkeys(bands))
    with RasterReader(path, bands=unique, radiometry=radiometry) as reader:
        result = reader.preview(longest)
    return result[[unique.index(band) for band in bands]]


def read_window(path: Path, bands: Sequence[str], radiometry: Radiometry | None, window: tuple[int, int, int, int]) -> Array:
    """A part of a raster at full resolution.

    Args:
        path: The file.
        bands: Names or positions.
        radiometry: What the numbers mean, None to trust the file.
        window: Row, column, height and width, inside the raster.

    Returns:
        ``[C, height, width]``, NaN where invalid.
    """
    unique = tuple(dict.fromkeys(bands))
    with RasterReader(path, bands=unique, radiometry=radiometry) as reader:
        result = reader.read(*window)
    return np.asarray(result)[[unique.index(band) for band in bands]]


def detail_window(height: int, width: int, scale: int, centre: tuple[float, float]) -> tuple[int, int, int, int]:
    """The part of the input that the detail view shows.

    Args:
        height: Of the input, in pixels.
        width: Of the input.
        scale: Output pixels per input pixel side.
        centre: Where the user looks, as fractions of height and width.

    Returns:
        Row, column, height and width in input pixels; as large as `DETAIL` output pixels, and moved inside the scene.
    """
    side = max(1, DETAIL // scale)
    tall, wide = min(side, height), min(side, width)
    row = min(max(0, round(centre[0] * height - tall / 2)), height - tall)
    column = min(max(0, round(centre[1] * width - wide / 2)), width - wide)
    return row, column, tall, wide


def magnification(height: int, width: int) -> int:
    """How often each pixel of a small overview is repeated, so that it fills the screen with sharp pixels instead of a blur."""
    return max(1, SHOWN // max(height, width))


def paint_overview(scene: Scene, look: Look, *, frame: tuple[int, int, int, int] | None = None) -> Picture:
    """The whole scene for the screen.

    Args:
        scene: What to show.
        look: How.
        frame: Window in input pixels to draw a frame around, None for no frame.

    Returns:
        ``[h, w, 3]`` uint8, small scenes magnified by a whole factor.
    """
    image = scene.overview(scene.shown(look))
    factor = magnification(*image.shape[1:])
    picture = to_picture(image, stretch_limits(image, look.stretch)).repeat(factor, axis=0).repeat(factor, axis=1)
    if frame is not None:
        draw_frame(picture, frame, (scene.info.height, scene.info.width))
    return picture


def draw_frame(picture: Picture, window: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    """Draw a yellow frame, dark-edged, into a picture of a raster of `size`, around a window of that raster."""
    ratio = picture.shape[0] / size[0], picture.shape[1] / size[1]
    top, left = int(window[0] * ratio[0]), int(window[1] * ratio[1])
    bottom = min(picture.shape[0], round((window[0] + window[2]) * ratio[0]))
    right = min(picture.shape[1], round((window[1] + window[3]) * ratio[1]))
    for inset, colour in ((0, (20, 20, 20)), (1, (255, 214, 10)), (2, (255, 214, 10)), (3, (20, 20, 20))):
        a, b, c, d = top + inset, bottom - 1 - inset, left + inset, right - 1 - inset
        if b <= a or d <= c:
            return
        picture[[a, b], c : d + 1] = colour
        picture[a : b + 1, [c, d]] = colour
