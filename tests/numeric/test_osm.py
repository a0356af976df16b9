"""OpenStreetMap vectors on a raster: areas that are counted by hand, true widths in any coordinate system, and bad GeoJSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.transform import Affine, from_bounds
from rasterio.warp import transform as moved

from earthgen.gen.conditioning.osm import NAMES, OsmRaster, render_osm
from earthgen.gen.conditioning.osm_classes import CLASSES, LOVEDA, class_of
from earthgen.gen.errors import InputError

UTM, EAST, NORTH = "EPSG:32632", 500_000.0, 5_300_000.0
GRID = Affine(1.0, 0.0, EAST, 0.0, -1.0, NORTH)


def feature(kind: str, points: list[tuple[float, float]], tags: dict[str, Any], crs: str = UTM) -> dict[str, Any]:
    """A feature whose points are metres to the right of and below the corner, as lon/lat."""
    lon, lat = moved(crs, "EPSG:4326", [EAST + x for x, _ in points], [NORTH - y for _, y in points])
    ring = [list(pair) for pair in zip(lon, lat, strict=True)]
    coordinates: Any = [ring] if kind == "Polygon" else ring[0] if kind == "Point" else ring
    return {"type": "Feature", "properties": tags, "geometry": {"type": kind, "coordinates": coordinates}}


def box(left: float, top: float, right: float, bottom: float, **tags: str) -> dict[str, Any]:
    return feature("Polygon", [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], tags)


def drawn(*features: dict[str, Any], height: int = 8, width: int = 10) -> OsmRaster:
    return render_osm({"type": "FeatureCollection", "features": list(features)}, crs=UTM, transform=GRID, height=height, width=width)


def share(raster: OsmRaster, name: str) -> np.ndarray:
    return raster.shares[NAMES.index(name)]


def test_an_area_by_hand() -> None:
    """A building from (2, 1) to (5.5, 3): half of column 5."""
    raster = drawn(box(2, 1, 5.5, 3, building="yes"))
    expected = np.zeros((8, 10), np.float32)
    expected[1:3, 2:5], expected[1:3, 5] = 1, 0.5
    assert np.array_equal(share(raster, "building"), expected)
    assert np.allclose(raster.shares.sum(0), 1)
    assert raster.drawn == {"building": 1}
    assert NAMES[raster.codes[1, 3]] == "building"
    assert NAMES[raster.codes[5, 5]] == "background"
    assert np.array_equal(raster.one_hot.argmax(0), raster.codes)
    assert raster.map[:, 1, 3].tolist() == list(CLASSES["building"].colour)
    half = (np.array(CLASSES["building"].colour) + np.array(CLASSES["background"].colour)) / 2
    assert np.abs(raster.map[:, 1, 5] - half).max() <= 0.5
    assert raster.segmentation_colours[:, 1, 3].tolist() == list(LOVEDA["building"])


def test_a_line_has_its_width_in_metres() -> None:
    """A street 6 m wide down the middle of 12 columns covers six of them."""
    raster = drawn(feature("LineString", [(6, -5), (6, 15)], {"highway": "residential"}), width=12)
    assert np.allclose(share(raster, "street")[0], [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0])
    narrow = drawn(feature("LineString", [(6, -5), (6, 15)], {"highway": "residential", "width": "3 m"}), width=12)
    assert np.allclose(share(narrow, "street")[0], [0] * 4 + [0.5, 1, 1, 0.5] + [0] * 4)


@pytest.mark.parametrize("latitude", [0.0, 56.0])
def test_widths_are_true_on_web_mercator_and_on_degrees(latitude: float) -> None:
    """Both stretch with latitude; the street of 6 m keeps its area in square metres."""
    line = {"type": "LineString", "coordinates": [[10.0, latitude - 0.01], [10.0, latitude + 0.01]]}
    road = {"type": "Feature", "properties": {"highway": "residential"}, "geometry": line}
    east, north = moved("EPSG:4326", "EPSG:3857", [10.0], [latitude])
    metre = 1 / np.cos(np.radians(latitude))
    mercator = from_bounds(east[0] - 20 * metre, north[0] - 20 * metre, east[0] + 20 * metre, north[0] + 20 * metre, 40, 40)
    degree = 1 / 111_195.0
    degrees = from_bounds(10 - 20 * degree * metre, latitude - 20 * degree, 10 + 20 * degree * metre, latitude + 20 * degree, 40, 40)
    for crs, grid in (("EPSG:3857", mercator), ("EPSG:4326", degrees)):
        raster = render_osm(road, crs=crs, transform=grid, height=40, width=40)
        assert float(share(raster, "street").sum()) == pytest.approx(6 * 40, rel=0.05)


def test_later_classes_cover_earlier_ones() -> None:
    raster = drawn(
        box(0, 0, 10, 8, landuse="forest"),
        box(0, 4, 10, 8, natural="water"),
        feature("LineString", [(-1, 4), (11, 4)], {"highway": "primary", "width": "2"}),
        box(1, 3, 2, 5, building="house"),
    )
    column = [NAMES[code] for code in raster.codes[:, 6]]
    assert column == ["wood"] * 3 + ["main road"] * 2 + ["water"] * 3
    assert [NAMES[code] for code in raster.codes[3:5, 1]] == ["building"] * 2
    assert [list(LOVEDA)[code] for code in raster.segmentation[:, 6]] == ["forest"] * 3 + ["road"] * 2 + ["water"] * 3


def test_holes_multipolygons_and_collections() -> None:
    outer, inner = box(1, 1, 7, 7, natural="water"), box(3, 3, 5, 5)
    outer["geometry"]["coordinates"].append(inner["geometry"]["coordinates"][0])
    assert float(share(drawn(outer), "water").sum()) == 36 - 4
    first, second = box(0, 0, 1, 1)["geometry"], box(3, 3, 5, 5)["geometry"]
    both = {"type": "MultiPolygon", "coordinates": [first["coordinates"], second["coordinates"]]}
    tags = {"tags": {"building": "yes"}}
    assert float(share(drawn({"type": "Feature", "properties": tags, "geometry": both}), "building").sum()) == 5
    collection = {"type": "GeometryCollection", "geometries": [first, second]}
    assert float(share(drawn({"type": "Feature", "properties": tags, "geometry": collection}), "building").sum()) == 5


def test_what_is_not_drawn_is_counted() -> None:
    raster = drawn(
        box(0, 0, 4, 4, building="yes"),
        feature("Point", [(1, 1)], {"building": "yes"}),
        box(0, 0, 9, 9, boundary="administrative"),
        feature("LineString", [(0, 0), (9, 9)], {"highway": "primary", "tunnel": "yes"}),
        {"type": "Feature", "properties": {"building": "yes"}, "geometry": None},
    )
    assert raster.skipped == 3
    assert raster.drawn == {"building": 1}


def test_every_class_has_a_place_in_the_segmentation_and_a_tag() -> None:
    assert all(drawn_class.segment in LOVEDA for drawn_class in CLASSES.values())
    assert class_of({"building": "no"}, False) is None
    assert class_of({"waterway": "river"}, True) == ("water", 20.0)
    assert class_of({"railway": "rail", "width": "-3"}, True) == ("railway", 4.0)
    assert class_of({"highway": "pedestrian"}, False) == ("street", 0.0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"type": "FeatureCollection", "features": []}, "no features"),
        ({"type": "Polygon", "coordinates": []}, "no GeoJSON feature"),
        ({"type": "FeatureCollection", "features": [7]}, "no GeoJSON feature"),
        (feature("Polygon", [(0, 0), (4, 4), (4, 0), (0, 4), (0, 0)], {"building": "yes"}), "Self-intersection"),
        ({"type": "Feature", "properties": {}, "geometry": {"type": "Heptagon", "coordinates": []}}, "cannot be read"),
        (box(0, 0, 5, 5, building="no"), "none with tags that are drawn"),
        (box(5000, 0, 5005, 5, building="yes"), "nothing in the GeoJSON lies on the raster"),
        (
            {
                "type": "Feature",
                "properties": {"building": "yes"},
                "geometry": {"type": "Polygon", "coordinates": [[[EAST, NORTH], [EAST + 5, NORTH], [EAST, NORTH - 5], [EAST, NORTH]]]},
            },
            "no degrees",
        ),
        ({"type": "FeatureCollection", "crs": {"properties": {"name": "EPSG:0"}}, "features": [{}]}, "is not known"),
    ],
)
def test_bad_geojson_is_told_apart(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        render_osm(content, crs=UTM, transform=GRID, height=8, width=10)
    assert "\n" not in str(caught.value)


def test_files_and_declared_systems(tmp_path: Path) -> None:
    ring = [[EAST + 1, NORTH - 1], [EAST + 4, NORTH - 1], [EAST + 4, NORTH - 3], [EAST + 1, NORTH - 3], [EAST + 1, NORTH - 1]]
    row = {"type": "Feature", "properties": {"building": "yes"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [row]}))
    assert float(share(render_osm(path, crs=UTM, transform=GRID, height=8, width=10), "building").sum()) == 6
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read as GeoJSON"):
        render_osm(path, crs=UTM, transform=GRID, height=8, width=10)
    path.write_text("[1]")
    with pytest.raises(InputError, match="holds a list"):
        render_osm(path, crs=UTM, transform=GRID, height=8, width=10)
    with pytest.raises(InputError, match="coordinate system"):
        render_osm({"type": "FeatureCollection", "features": [row]}, crs="EPSG:1", transform=GRID, height=8, width=10)
    with pytest.raises(InputError, match="no area"):
        render_osm({"type": "FeatureCollection", "features": [row]}, crs=UTM, transform=GRID, height=0, width=10)
