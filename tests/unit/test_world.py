"""The world's interface: windows, layers, georeference, objects, words, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earthgen import World
from earthgen.gen.data.sources import WorldWindows
from earthgen.gen.data.world import BANDS, CLASSES, KINDS, LAYERS, MASK, PALETTE, Scene
from earthgen.gen.data.world.things import label
from earthgen.gen.errors import InputError

CODE = {name: code for code, name in CLASSES.items()}


@pytest.fixture(scope="module")
def town() -> Scene:
    """Houses, industry and fields; odd sizes, and a corner on no multiple of the coarse grids."""
    return World(1).window(121, 371, 41, 62, date="2021-07-10", modalities=("all",), cloudiness=0.5)


def test_every_layer_has_its_shape_type_and_range(town: Scene) -> None:
    shapes = {"truth": (13, 164, 248), "s2_10m": (4, 41, 62), "s2_20m": (6, 21, 32), "s2_60m": (3, 7, 12), "s1": (2, 41, 62)}
    shapes |= {"dem": (1, 41, 62), "landcover": (1, 164, 248), "landcover_10m": (1, 41, 62), "map": (3, 164, 248)}
    shapes |= {"clouds": (2, 41, 62), "cloud_mask": (1, 41, 62), "s1_clean": (2, 41, 62)}
    for name in LAYERS:
        layer = town.layer(name)
        assert layer.dims == ("band", "y", "x")
        assert layer.shape == shapes[name.removesuffix("_cloudy")], name
        assert np.isfinite(layer.values).all()
        if name.startswith(("truth", "s2")):
            assert layer.dtype == np.float32
            assert 0.0 <= float(layer.min()) <= float(layer.max()) < 1.6
    assert tuple(town.truth.band.values) == BANDS
    assert sorted([*town.s2_10m.band.values, *town.s2_20m.band.values, *town.s2_60m.band.values]) == sorted(BANDS)
    assert set(np.unique(town.landcover)) <= set(CLASSES)
    assert town.landcover.attrs["classes"] == CLASSES
    assert set(np.unique(town.cloud_mask)) <= set(MASK)


def test_layers_lie_on_the_same_ground(town: Scene) -> None:
    import rioxarray  # noqa: F401

    boxes = {name: town.layer(name).rio.bounds() for name in ("truth", "s2_10m", "s2_20m", "s2_60m", "landcover", "dem", "s1", "map")}
    left, bottom, right, top = boxes["s2_10m"]
    assert (left, top) == (500_000 + 371 * 10, 5_450_000 - 121 * 10)
    assert (right - left, top - bottom) == (620, 410)
    for name, size in (("truth", 2.5), ("landcover", 2.5), ("map", 2.5), ("dem", 10.0), ("s1", 10.0)):
        assert boxes[name] == boxes["s2_10m"], name
        assert town.layer(name).rio.resolution() == (size, -size)
    for name, size in (("s2_20m", 20), ("s2_60m", 60)):
        west, south, east, north = boxes[name]
        assert west <= left < west + size
        assert east - size < right <= east
        assert south <= bottom < south + size
        assert north - size < top <= north
        assert (west - 500_000) % size == (5_450_000 - north) % size == 0
        assert str(town.layer(name).rio.crs) == "EPSG:32632"
    assert town.truth.x.values[0] == left + 1.25


def test_a_layer_written_to_disk_keeps_its_place(town: Scene, tmp_path: Path) -> None:
    import rasterio

    town.s2_10m.rio.to_raster(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs.to_epsg() == 32632
        assert file.transform[:6] == (10.0, 0.0, 503_710.0, 0.0, -10.0, 5_448_790.0)
        np.testing.assert_array_equal(file.read(), town.s2_10m.values)


def test_layers_are_made_when_asked_for_and_kept() -> None:
    scene = World(0).window(0, 0, 8, 8)
    assert not [key for strip in scene._strips for key in vars(strip) if key in ("surface", "_image")]
    first = scene.dem
    assert scene.dem is first
    assert "_image" not in vars(scene._strips[0])
    with pytest.raises(KeyError, match="no layer"):
        scene.layer("caption")


def test_objects_lie_in_the_window_and_on_what_they_belong(town: Scene) -> None:
    assert len(town.objects) > 30
    cover = town.landcover.values[0]
    high, wide = cover.shape
    for item in town.objects:
        assert item.name in KINDS
        corners = np.array(item.corners)
        assert corners.shape == (4, 2)
        assert corners.min() >= 0
        assert (corners <= (wide, high)).all()
        x, y = corners.T
        # The shoelace sum is positive for clockwise corners, y pointing down.
        assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0
        col, row = corners.mean(0).astype(int)
        if item.name in ("building", "storage tank"):
            assert cover[row, col] == CODE["building"]
    for item in town.cut_objects:
        corners = np.array(item.corners)
        assert corners.min() < 0 or (corners > (wide, high)).any()
    numbers = [item.number for item in (*town.objects, *town.cut_objects)]
    assert len(set(numbers)) == len(numbers)


def test_roofs_cover_their_boxes(town: Scene) -> None:
    """Pixels in the middle of a house's box are building, and pixels well outside all boxes are not."""
    from PIL import Image, ImageDraw

    cover = town.landcover.values[0]
    inside, outside = Image.new("1", cover.shape[::-1]), Image.new("1", cover.shape[::-1])
    for item in (*town.objects, *town.cut_objects):
        if item.name not in ("building", "storage tank", "greenhouse"):
            continue
        corners = np.array(item.corners)
        centre = corners.mean(0)
        core = centre + (corners - centre) * 0.5
        ImageDraw.Draw(inside).polygon([tuple(p - 0.5) for p in core], fill=1)
        grown = corners + 1.6 * (corners - centre) / np.linalg.norm(corners - centre, axis=1, keepdims=True)
        ImageDraw.Draw(outside).polygon([tuple(p - 0.5) for p in grown], fill=1, outline=1)
    core, around = np.asarray(inside), np.asarray(outside)
    built = cover == CODE["building"]
    vehicles = built[core].mean()
    assert core.sum() > 300
    assert vehicles > 0.93
    assert built[~around].mean() < 0.002


def test_ships_float_and_planes_stand_on_pavement() -> None:
    coast = World(1).window(1210, -1357, 110, 110, date="2021-06-15")
    ships = [item for item in coast.objects if item.name == "ship"]
    assert ships
    water = coast.landcover.values[0] == CODE["water"]
    for item in ships:
        x, y = np.array(item.corners).T
        col, row = np.clip(x.astype(int), 0, water.shape[1] - 1), np.clip(y.astype(int), 0, water.shape[0] - 1)
        assert water[row, col].all()
    field = World(1).window(448, -566, 90, 90, date="2021-06-15")
    planes = [item for item in field.objects if item.name == "plane"]
    assert planes
    for item in planes:
        col, row = np.array(item.corners).mean(0).astype(int)
        assert field.landcover.values[0, row, col] == CODE["airfield pavement"]
        # White paint: brighter than the pavement around in blue.
        blue = field.truth.sel(band="B02").values
        assert blue[row, col] > 1.6 * np.median(blue[field.landcover.values[0] == CODE["airfield pavement"]])


def test_tanks_stand_in_depots() -> None:
    from earthgen.gen.data.world.landuse import USE

    scene = World(1).window(90, 420, 64, 64)
    surface = scene._strips[0].surface
    tanks = [item for item in scene.objects if item.name == "storage tank"]
    for item in tanks:
        col, row = np.array(item.corners).mean(0).astype(int) + scene._strips[0].fine.col - surface.canvas.grid.col
        assert surface.parcels.use[surface.unit[row, col]] == USE["depot"]


def test_words_and_numbers_describe_the_window(town: Scene) -> None:
    data = town.metadata
    assert data["season"] == "summer"
    assert 48.5 < data["latitude"] < 49.5
    assert 8.9 < data["longitude"] < 9.2
    assert 55 < data["sun_elevation"] < 63  # 10.5 h solar time, 10 July, 49 degrees north
    assert 100 < data["sun_azimuth"] < 150
    assert abs(sum(data["land_cover"].values()) - 1) < 0.02
    assert data["synthetic"] is True
    assert "July" in town.caption
    assert town.caption.endswith(".")
    count = sum(item.name == "building" for item in town.objects)
    assert f"{count} buildings" in town.caption


def test_the_map_uses_its_palette(town: Scene) -> None:
    image = np.moveaxis(town.map.values, 0, -1).reshape(-1, 3)
    known = np.array(list(PALETTE.values()))
    exact = (image[:, None, :] == known[None]).all(-1).any(1)
    assert exact.mean() > 0.6  # the rest are soft edges
    built = (town.landcover.values[0] == CODE["building"]).ravel()
    distance = np.abs(image[built].astype(int) - PALETTE["building"]).max(1)
    assert np.median(distance) <= 12


def test_training_reads_its_windows_from_here(tmp_path: Path) -> None:
    source = WorldWindows(kind="world", seed=3, count=1, size=32)
    (picture,) = source.pictures(tmp_path)
    assert picture.pixels.shape == (4, 32, 32)
    assert np.isfinite(picture.pixels).all()
    assert picture.pixels.std() > 0.001


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"height": 0}, "no area"),
        ({"date": "June"}, "no date"),
        ({"date": "1492-10-12"}, "1900 to 2100"),
        ({"modalities": ("sentinel-9",)}, "no modality"),
        ({"cloudiness": 1.5}, "cloudiness"),
        ({"row": 1 << 50}, "too far"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(wrong: dict[str, object], match: str) -> None:
    arguments: dict[str, object] = {"row": 0, "col": 0, "height": 8, "width": 8}
    with pytest.raises(InputError, match=match):
        World(0).window(**(arguments | wrong))  # type: ignore[arg-type]


def test_places_are_found() -> None:
    world = World(1)
    (row, col) = world.find("village")[0]
    scene = world.window(row - 10, col - 10, 20, 20)
    assert sum(item.name == "building" for item in scene.objects) > 5
    with pytest.raises(InputError, match="no kind of place"):
        world.find("atlantis")


def test_labels_do_not_depend_on_the_order_of_parts(town: Scene) -> None:
    things = town._strips[0].surface.things
    shuffled = things.take(np.random.default_rng(0).permutation(len(things)))
    one, other = label(things, town._strips[0].fine)[0], label(shuffled, town._strips[0].fine)[0]
    assert {item.number for item in one} == {item.number for item in other}
