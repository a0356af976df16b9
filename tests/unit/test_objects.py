"""Pictures with objects, their crops, and procedural scenes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely

from earthgen.gen.conditioning.layout import coverage_of, layout_tensors, widened
from earthgen.gen.data.objects import (
    HeldOut,
    ObjectPicture,
    area_of,
    blocks_of,
    clipped,
    divided,
    sides_of,
    tile_place,
    turned,
    turned_pixels,
    visible_shares,
)
from earthgen.gen.data.objects_crops import CropRule, ObjectSampler, resampled
from earthgen.gen.data.objects_ground import LOOKS
from earthgen.gen.data.objects_scene import NAMES, object_scene
from earthgen.gen.errors import InputError


def rectangle(x: float, y: float, long: float, wide: float, angle: float) -> np.ndarray:
    along, across = np.array([math.cos(angle), math.sin(angle)]) * long / 2, np.array([-math.sin(angle), math.cos(angle)]) * wide / 2
    return np.array([x, y]) + np.array([-along - across, along - across, along + across, across - along])


def rectangles(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rectangle(*rng.uniform(-10, 74, 2), *rng.uniform(3, 40, 2), rng.uniform(-3, 3)) for _ in range(count)])


def picture(height: int = 90, width: int = 120, name: str = "a", place: str = "here") -> ObjectPicture:
    """Bright rectangles on dark ground, so that pixels tell where the objects are."""
    quads = np.stack([rectangle(30, 30, 24, 10, 0.5), rectangle(80, 50, 16, 12, -1.0), rectangle(60, 75, 20, 8, 0.0)])
    cover = coverage_of(quads, height, width)
    pixels = np.repeat((20 + 200 * cover)[None], 3, 0).astype(np.uint8)
    return ObjectPicture(name, pixels, quads, ("ship", "plane", "ship"), place, 2.0, ("ships",))


@pytest.mark.parametrize("which", range(8))
def test_corners_turn_with_the_pixels(which: int) -> None:
    quads = np.stack([rectangle(20, 24, 18, 6, 0.4), rectangle(45, 40, 12, 10, -0.9)])
    pixels = coverage_of(quads, 64, 64)[None]
    moved = turned(quads, which, 64.0)
    assert np.allclose(coverage_of(moved, 64, 64), turned_pixels(pixels, which)[0], atol=0.15)
    assert np.allclose(coverage_of(moved, 64, 64).sum(), pixels.sum(), rtol=0.01)
    edges = np.roll(moved, -1, axis=1) - moved
    following = np.roll(edges, -1, axis=1)
    assert (edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0] > 0).all()  # clockwise on the screen
    assert np.allclose(sides_of(moved), sides_of(quads))  # the first edge stays the first


def test_visible_shares_are_those_of_exact_polygons() -> None:
    quads, window = rectangles(60), shapely.box(0, 0, 64, 48)
    expected = [shapely.Polygon(quad).intersection(window).area / shapely.Polygon(quad).area for quad in quads]
    assert np.allclose(visible_shares(quads, 64, 48), expected, atol=1e-9)
    for quad in quads:
        assert area_of(clipped(quad, 64, 48)) == pytest.approx(shapely.Polygon(quad).intersection(window).area, abs=1e-9)


def test_widened_boxes_have_the_room_asked_for() -> None:
    quads = np.stack([rectangle(20, 24, 18, 6, 0.4)])
    assert np.allclose(sides_of(widened(quads, 0.5)), [[36, 12]])
    assert np.allclose(sides_of(widened(quads, 0.0, 5.0)), [[28, 16]])
    assert np.allclose(widened(quads, 0.0), quads)


def test_blocks_are_places_of_their_own_and_lose_no_pixel() -> None:
    whole = picture()
    parts = blocks_of(whole, 2, 3)
    assert len({part.place for part in parts}) == 6
    rows = [np.concatenate([part.pixels for part in parts[at : at + 3]], 2) for at in (0, 3)]
    assert np.array_equal(np.concatenate(rows, 1), whole.pixels)
    for part in parts:
        inside = coverage_of(part.quads, *part.pixels.shape[1:]) > 0.9
        assert (part.pixels[0][inside] > 150).all()
    assert sum(len(part.labels) for part in parts) >= len(whole.labels)
    assert blocks_of(whole, 1, 1) == [whole]


def test_tiles_and_their_children_are_one_place() -> None:
    assert tile_place("images/OAM-309612-261632-19.png", 19) == "tile 309612-261632-19"
    assert tile_place("OAM-1238449-1046529-21.png", 19) == tile_place("OAM-619224-523264-20.png", 19) == "tile 309612-261632-19"
    assert tile_place("OAM-5-6-7.png", 19) == "tile 5-6-7"
    assert tile_place("plain.png", 19) is None


def test_places_are_held_out_by_pattern_or_by_their_hash() -> None:
    pictures = [picture(name=str(number), place=f"plot {number}") for number in range(40)]
    rule = HeldOut(("plot 1*",), ("plot 12",))
    parts = divided(pictures, rule, ("train", "validation", "test"))
    assert [one.place for one in parts["test"]] == ["plot 12"]
    assert all(one.place.startswith("plot 1") for one in parts["validation"])
    assert len(parts["train"]) == 29
    hashed = divided(pictures, HeldOut(), ("train", "validation", "test"))
    assert sum(map(len, hashed.values())) == 40
    assert len(hashed["train"]) > 25


def test_a_crop_is_a_function_of_its_generator_and_its_boxes_lie_on_their_objects() -> None:
    sampler = ObjectSampler([(1.0, [picture()])], ("plane", "ship"), CropRule(size=48, extent=(8, 20), scales=(0.3, 2.0)))
    seen = set()
    for seed in range(40):
        crop, again = (sampler.item(np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(crop.pixels, again.pixels)
        assert np.array_equal(crop.quads, again.quads)
        assert crop.pixels.shape == (3, 48, 48)
        assert (visible_shares(crop.quads, 48, 48) >= 0.3).all()
        inside = coverage_of(widened(crop.quads, -0.2), 48, 48) > 0.99
        assert (crop.pixels[0][inside] > 130).all()
        nothing = coverage_of(widened(crop.quads, 0.2, 3.0), 48, 48) == 0
        # What is less than a third visible is bright and has no box; nothing else is.
        assert (crop.pixels[0][nothing] > 130).mean() < 0.12
        seen |= set(crop.labels.tolist())
    assert seen == {0, 1}


def test_rare_classes_are_drawn_more_often_than_they_occur() -> None:
    common = ObjectPicture("c", np.full((3, 64, 64), 9, np.uint8), rectangles(99), ("ship",) * 99, "c")
    rare = ObjectPicture("r", np.full((3, 64, 64), 200, np.uint8), np.stack([rectangle(30, 30, 9, 9, 0)]), ("plane",), "r")
    shares = []
    for balance in (1.0, 0.0):
        sampler = ObjectSampler([(1.0, [common, rare])], ("ship", "plane"), CropRule(size=32, balance=balance))
        crops = [sampler.item(np.random.default_rng(seed)) for seed in range(200)]
        shares.append(np.mean([crop.pixels[0, 0, 0] == 200 for crop in crops]))
    assert shares[0] < 0.06
    assert 0.35 < shares[1] < 0.65


def test_resampling_keeps_places() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, None, :], (3, 64, 64)).copy()
    made = resampled(ramp, 8.0, 0.0, 32.0, 16)
    assert np.allclose(made[0, 8], 8 + 2 * np.arange(16) + 0.5, atol=1.1)


def test_sources_without_anything_are_refused() -> None:
    with pytest.raises(InputError, match="there is no picture to cut crops from"):
        ObjectSampler([(1.0, [])], ("ship",), CropRule())


@pytest.mark.parametrize("kind", LOOKS)
def test_scenes_repeat_and_their_boxes_hold_objects(kind: str) -> None:
    """Inside a box the picture differs from the ground around it more than the ground from itself."""
    apart, objects = [], 0
    for seed in range(6):
        scene = object_scene(np.random.default_rng(seed), 96, (kind,))
        again = object_scene(np.random.default_rng(seed), 96, (kind,))
        assert np.array_equal(scene.pixels, again.pixels)
        assert np.array_equal(scene.quads, again.quads)
        assert set(scene.labels) <= set(NAMES)
        assert len(scene.labels) == len(scene.quads)
        assert scene.pixels.std() > 3
        for quad in scene.quads:
            inner, rim = coverage_of(widened(quad[None], -0.25), 96, 96) > 0.9, coverage_of(quad[None], 96, 96) < 0.01
            if inner.sum() < 12:
                continue
            objects += 1
            apart.append(np.abs(scene.pixels[:, inner].mean(1) - np.median(scene.pixels[:, rim], 1)).max())
    assert objects >= 6
    assert np.median(apart) > 12


def test_layouts_as_tensors() -> None:
    from earthgen.gen.annotations.box import Box, Layout

    layouts = [Layout(40, 20, (Box.horizontal("ship", 10, 5, 20, 10), Box.horizontal("plane", 0, 0, 4, 4))), Layout(40, 20)]
    tensors = layout_tensors(layouts, ["plane", "ship"])
    assert tensors["quads"].shape == (2, 2, 4, 2)
    assert tensors["quads"][0, 0].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]
    assert tensors["labels"].tolist() == [[1, 0], [0, 0]]
    assert tensors["valid"].tolist() == [[True, True], [False, False]]
    assert tensors["raster"].shape == (2, 4, 20, 40)
    assert float(tensors["raster"][0, 1].sum()) == 200
    empty = layout_tensors(layouts[1:], ["plane"])
    assert empty["quads"].shape == (1, 0, 4, 2)
