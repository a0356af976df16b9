"""OpenStreetMap vectors (GeoJSON) as rasters: shares of classes, codes, a map, a segmentation.

Lines are drawn with their width in metres on the ground, whatever the raster's coordinate system, and every pixel gets the share that
each class covers (from 4 x 4 points), so that edges are smooth. Later classes of `osm_classes.CLASSES` cover earlier ones. The data are
"(c) OpenStreetMap contributors", ODbL.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .osm_classes import CLASSES, LOVEDA, class_of

NAMES = tuple(CLASSES)
_RADIUS = 6_371_008.8  # mean of the Earth, metres
_POINTS = 4


@dataclass(frozen=True)
class OsmRaster:
    """What is drawn.

    Attributes:
        shares: ``[C, H, W]`` float32, share of each class of `NAMES`; they sum to 1.
        drawn: Features by class.
        skipped: Features that are not drawn: points, unknown tags, tunnels.
    """

    shares: NDArray[np.float32]
    drawn: Mapping[str, int]
    skipped: int

    @property
    def codes(self) -> NDArray[np.uint8]:
        """``[H, W]``, position in `NAMES` of the class that covers most."""
        return self.shares.argmax(0).astype(np.uint8)

    @property
    def one_hot(self) -> NDArray[np.float32]:
        """``[C, H, W]``, 1 for the class that covers most."""
        return (self.codes[None] == np.arange(len(NAMES))[:, None, None]).astype(np.float32)

    @property
    def map(self) -> NDArray[np.uint8]:
        """``[3, H, W]``, the map's colours mixed by share."""
        return _mixed(self.shares, [drawn.colour for drawn in CLASSES.values()])

    @property
    def segmentation(self) -> NDArray[np.uint8]:
        """``[H, W]``, position in `LOVEDA` of the class that covers most."""
        segments = list(LOVEDA)
        shares = np.zeros((len(segments), *self.shares.shape[1:]), np.float32)
        for share, drawn in zip(self.shares, CLASSES.values(), strict=True):
            shares[segments.index(drawn.segment)] += share
        return shares.argmax(0).astype(np.uint8)

    @property
    def segmentation_colours(self) -> NDArray[np.uint8]:
        """``[3, H, W]``, the segmentation in `LOVEDA`'s colours, not mixed."""
        return np.moveaxis(np.array(list(LOVEDA.values()), np.uint8)[self.segmentation], -1, 0)


def render_osm(source: str | Path | Mapping[str, Any], *, crs: Any, transform: Any, height: int, width: int) -> OsmRaster:
    """Draw vectors on a raster's grid.

    Args:
        source: GeoJSON file or its parsed content; properties are OpenStreetMap tags, flat or under ``tags``.
        crs: Coordinate system of the raster, anything rasterio takes.
        transform: Affine map from (column, row) to its coordinates; ``rasterio.transform.from_bounds`` makes one.
        height: Rows.
        width: Columns.

    Returns:
        The raster.

    Raises:
        InputError: If the GeoJSON is empty or broken, an area crosses itself, the coordinates are not in the declared system or nowhere
            near the raster, or no feature has tags that are drawn.
    """
    if height < 1 or width < 1:
        raise InputError(f"a raster of {height} x {width} pixels has no area; give at least one row and column")
    content, name = _read(source)
    plane = _Plane(_declared_crs(content, name), crs, transform, height, width)
    layers: dict[str, list[Any]] = {}
    drawn: dict[str, int] = {}
    skipped, near = 0, False
    for where, geometry, tags in _features(content, name):
        found = class_of(tags, geometry.geom_type.endswith("LineString"))
        if found is None or geometry.geom_type.endswith("Point"):
            skipped += 1
            continue
        shape = plane.flattened(_valid(geometry, where))
        shape = shape.buffer(found[1] / 2, cap_style="flat") if found[1] else shape
        near = near or plane.meets(shape)
        layers.setdefault(found[0], []).append(shape)
        drawn[found[0]] = drawn.get(found[0], 0) + 1
    if not layers:
        raise InputError(f"{name} has {skipped} features and none with tags that are drawn (building, highway, natural, landuse, ...)")
    if not near:
        raise InputError(
            f"nothing in {name} lies on the raster; its coordinates are another place's, or not in the system that it declares"
        )
    shares = np.zeros((len(NAMES), height, width), np.float32)
    shares[0] = 1.0
    for code, kind in enumerate(NAMES):
        if kind in layers:
            cover = plane.coverage(layers[kind])
            shares *= 1.0 - cover
            shares[code] += cover
    return OsmRaster(shares, drawn, skipped)


class _Plane:
    """Metres from the raster's corner, columns to the right and rows down: where widths are true whatever the coordinate system."""

    def __init__(self, source: Any, target: Any, transform: Any, height: int, width: int) -> None:
        from rasterio.crs import CRS
        from rasterio.errors import CRSError

        try:
            self.source, self.target = source, CRS.from_user_input(target)
        except CRSError as error:
            raise InputError(f"the raster's coordinate system {target!r} is not known ({error}); give one such as EPSG:32632") from error
        self.inverse, self.height, self.width = ~transform, height, width
        self.across, self.down = self._pixel(transform)

    def flattened(self, geometry: Any) -> Any:
        """A geometry in this plane."""
        import shapely

        return shapely.transform(geometry, self._points)

    def meets(self, geometry: Any) -> bool:
        """Whether its bounds touch the raster."""
        left, top, right, bottom = geometry.bounds
        return bool(right > 0 and bottom > 0 and left < self.width * self.across and top < self.height * self.down)

    def coverage(self, geometries: list[Any]) -> NDArray[np.float32]:
        """``[H, W]`` share of each pixel that they cover together."""
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        fine = Affine.scale(self.across / _POINTS, self.down / _POINTS)
        shape = (self.height * _POINTS, self.width * _POINTS)
        burnt = rasterize([g for g in geometries if not g.is_empty], out_shape=shape, transform=fine, default_value=1, dtype="uint8")
        blocks = burnt.reshape(self.height, _POINTS, self.width, _POINTS)
        return np.asarray(blocks.mean((1, 3), dtype=np.float32), dtype=np.float32)

    def _points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        from rasterio.warp import transform

        x, y = transform(self.source, self.target, points[:, 0].tolist(), points[:, 1].tolist())
        columns, rows = _applied(self.inverse, np.asarray(x), np.asarray(y))
        return np.stack([columns * self.across, rows * self.down], 1)

    def _pixel(self, transform: Any) -> tuple[float, float]:
        """Width and height of the middle pixel in metres on the ground."""
        from rasterio.warp import transform as moved

        column, row = self.width / 2, self.height / 2
        x, y = _applied(transform, column + np.array([0.0, 1.0, 0.0]), row + np.array([0.0, 0.0, 1.0]))
        lon, lat = moved(self.target, "EPSG:4326", x.tolist(), y.tolist())
        lengths = [_distance(lon[0], lat[0], lon[i], lat[i]) for i in (1, 2)]
        if not all(math.isfinite(length) and length > 0 for length in lengths):
            raise InputError("the raster's transform does not lie on the Earth in its coordinate system; check both")
        return lengths[0], lengths[1]


def _applied(transform: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An affine map of many points."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * x + b * y + c, d * x + e * y + f


def _read(source: str | Path | Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    if isinstance(source, Mapping):
        return source, "the GeoJSON"
    try:
        content = json.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{source} cannot be read as GeoJSON ({error}); give a file that ogr2ogr or a map tool wrote") from error
    if not isinstance(content, dict):
        raise InputError(f"{source} holds a {type(content).__name__}; GeoJSON is an object with a type")
    return content, str(source)


def _declared_crs(content: Mapping[str, Any], name: str) -> Any:
    """WGS 84 by the standard, or what the older form of GeoJSON declares."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    declared = content.get("crs")
    text = declared.get("properties", {}).get("name", "") if isinstance(declared, Mapping) else "EPSG:4326"
    try:
        return CRS.from_user_input("EPSG:4326" if str(text).endswith("CRS84") else text)
    except CRSError as error:
        raise InputError(f"{name} declares the coordinate system {text!r}, which is not known; save it as WGS 84") from error


def _features(content: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any, dict[str, str]]]:
    """Name for errors, geometry and tags; collections of geometries are taken apart."""
    from shapely.errors import ShapelyError
    from shapely.geometry import shape

    rows = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{name} has no features; export the area again, or choose a larger one")
    for number, row in enumerate(rows):
        where = f"feature {row.get('id', number) if isinstance(row, Mapping) else number} of {name}"
        if not isinstance(row, Mapping) or row.get("type") != "Feature":
            raise InputError(f"{where} is no GeoJSON feature; give a FeatureCollection")
        if row.get("geometry") is None:
            continue
        try:
            geometry = shape(row["geometry"])
        except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise InputError(f"{where} has a geometry that cannot be read ({error}); export it again") from error
        _on_earth(geometry, content, where)
        properties = row.get("properties") or {}
        inner = properties.get("tags")
        tags = inner if isinstance(inner, Mapping) else properties
        named = {str(key): str(value) for key, value in tags.items() if value is not None}
        for part in getattr(geometry, "geoms", [geometry]) if geometry.geom_type == "GeometryCollection" else [geometry]:
            if not part.is_empty:
                yield where, part, named


def _on_earth(geometry: Any, content: Mapping[str, Any], where: str) -> None:
    if "crs" in content or geometry.is_empty:
        return
    left, bottom, right, top = geometry.bounds
    if left < -180 or right > 180 or bottom < -90 or top > 90:
        raise InputError(
            f"{where} has coordinates such as {left:g}, {bottom:g}, which are no degrees; reproject it to WGS 84, or declare its system "
            "in 'crs'"
        )


def _valid(geometry: Any, where: str) -> Any:
    from shapely.validation import explain_validity

    if not geometry.is_valid:
        raise InputError(f"{where} is no valid area ({explain_validity(geometry)}); mend it, for example by shapely.make_valid")
    return geometry


def _mixed(shares: NDArray[np.float32], colours: list[tuple[int, int, int]]) -> NDArray[np.uint8]:
    mixed = np.einsum("chw,ck->khw", shares, np.array(colours, np.float32))
    return np.floor(mixed + 0.5).clip(0, 255).astype(np.uint8)


def _distance(lon_1: float, lat_1: float, lon_2: float, lat_2: float) -> float:
    """Great circle in metres (haversine), exact enough for pixels."""
    a, b = math.radians(lat_1), math.radians(lat_2)
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(lon_2 - lon_1) / 2) ** 2
    return 2 * _RADIUS * math.asin(min(1.0, math.sqrt(half)))
