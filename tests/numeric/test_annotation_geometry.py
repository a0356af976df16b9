"""Overlap and coverage against second implementations: shapely's areas, closed forms, and transforms of the drawing itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely

from earthgen.gen.annotations import Box, Layout, crop, flip, rasterize, rot90, rotated_iou
from earthgen.gen.errors import InputError


def random_layout(count: int, seed: int, side: int = 96, smallest: float = 4) -> Layout:
    rng = np.random.default_rng(seed)
    boxes = [
        Box.rotated(
            "ab"[int(rng.integers(2))], *rng.uniform(12, side - 12, 2).tolist(), *rng.uniform(smallest, 24, 2).tolist(), rng.uniform(-3, 3)
        )
        for _ in range(count)
    ]
    return Layout(side, side + 16, tuple(boxes))


def clip(subject: list, window: list) -> float:
    """Area of the intersection of two clockwise convex polygons, cut by one edge after the other."""
    for (ax, ay), (bx, by) in zip(window, window[1:] + window[:1], strict=True):
        side = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in subject]
        cut = []
        for at, (point, following) in enumerate(zip(subject, subject[1:] + subject[:1], strict=True)):
            now, then = side[at], side[(at + 1) % len(subject)]
            if now >= 0:
                cut.append(point)
            if now * then < 0:
                share = now / (now - then)
                cut.append((point[0] + share * (following[0] - point[0]), point[1] + share * (following[1] - point[1])))
        subject = cut
        if not subject:
            return 0.0
    return abs(sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(subject, subject[1:] + subject[:1], strict=True))) / 2


def test_overlap_equals_polygon_clipping() -> None:
    a, b = random_layout(40, 1), random_layout(60, 2)
    ious = rotated_iou(a.quads, b.quads)
    assert ious.shape == (40, 60)
    assert (ious > 0.05).sum() > 20
    for i, first in enumerate(a.boxes):
        for j, second in enumerate(b.boxes):
            common = clip(list(first.corners), list(second.corners))
            assert ious[i, j] == pytest.approx(common / (first.area + second.area - common), abs=1e-9)


def test_overlap_in_closed_form() -> None:
    square = Box.horizontal("x", 0, 0, 10, 10)
    others = [square, Box.horizontal("x", 5, 0, 10, 10), Box.horizontal("x", 10, 0, 10, 10), Box.rotated("x", 5, 5, 10, 10, math.pi / 4)]
    octagon = 100 * 2 * (math.sqrt(2) - 1)
    expected = [1, 1 / 3, 0, octagon / (200 - octagon)]
    quads = np.array([box.corners for box in others])
    assert rotated_iou(np.array([square.corners]), quads)[0] == pytest.approx(expected)
    assert rotated_iou(np.zeros((0, 4, 2)), quads).shape == (0, 4)
    flat = np.array([[[0, 0], [4, 0], [4, 0], [0, 0]]], dtype=float)
    assert rotated_iou(flat, quads).tolist() == [[0, 0, 0, 0]]
    for bad in (np.zeros((3, 8)), np.full((1, 4, 2), np.nan), np.array([[[0, 0], [4, 4], [4, 0], [0, 5]]])):
        with pytest.raises(InputError):
            rotated_iou(bad, quads)


def test_coverage_agrees_with_exact_areas() -> None:
    for box in random_layout(200, 3).boxes:
        drawn = rasterize(Layout(96, 112, (box,)), ["a", "b"], 112, 96)
        assert drawn[:2].sum() == pytest.approx(box.area, rel=0.02)


def test_coverage_agrees_pixel_by_pixel() -> None:
    quads = [
        Box.rotated("a", 10.3, 9.1, 9, 5, 0.7),
        Box("a", ((2, 2), (17, 3), (7, 7), (3, 18))),
        Box.horizontal("a", 3.25, 4.5, 6.5, 2.25),
    ]
    for box in quads:
        drawn = rasterize(Layout(20, 20, (box,)), ["a"], 20, 20, supersample=16)[0]
        for row in range(20):
            for col in range(20):
                exact = shapely.area(shapely.intersection(shapely.Polygon(box.corners), shapely.box(col, row, col + 1, row + 1)))
                assert drawn[row, col] == pytest.approx(exact, abs=0.03)
    assert drawn.sum() == pytest.approx(6.5 * 2.25, rel=1e-6)  # a horizontal box is exact


def test_directions_and_overlaps() -> None:
    layout = Layout(64, 64, (Box.rotated("a", 32, 32, 30, 16, 0.6), Box.rotated("b", 32, 32, 30, 16, 0.6)))
    drawn = rasterize(layout, ["b", "c", "a"], 64, 64)
    assert drawn.shape == (5, 64, 64)
    assert drawn.dtype == np.float32
    assert drawn[:, 32, 32] == pytest.approx([1, 0, 1, math.sin(1.2), math.cos(1.2)], abs=1e-6)
    assert not drawn[:, 2, 2].any()
    assert drawn[:3].max() <= 1
    edge = (drawn[0] > 0.1) & (drawn[0] < 0.45)  # two boxes there: together still less than whole
    assert np.hypot(drawn[3], drawn[4])[edge] == pytest.approx(2 * drawn[0][edge], abs=1e-5)
    half = rasterize(layout, ["b", "c", "a"], 32, 32)
    assert half[0] == pytest.approx(drawn[0].reshape(32, 2, 32, 2).mean(axis=(1, 3)), abs=0.05)
    with pytest.raises(InputError, match="b"):
        rasterize(layout, ["a"], 8, 8)


def test_transforms_of_the_layout_are_transforms_of_the_drawing() -> None:
    layout = random_layout(6, 5)
    drawn = rasterize(layout, ["a", "b"], 112, 96, supersample=32)

    def same(moved: Layout, expected: np.ndarray, sin: int, cos: int) -> None:
        again = rasterize(moved, ["a", "b"], moved.height, moved.width, supersample=32)
        assert again[:2] == pytest.approx(expected[:2], abs=0.05)
        assert again[2] == pytest.approx(sin * expected[2], abs=0.08)
        assert again[3] == pytest.approx(cos * expected[3], abs=0.08)

    same(flip(layout, "x"), drawn[:, :, ::-1], -1, 1)
    same(flip(layout, "y"), drawn[:, ::-1], -1, 1)
    same(rot90(layout), np.rot90(drawn, axes=(1, 2)), -1, -1)
    window = crop(layout, 10, 20, 64, 56, min_visible=0.0, cut=False)
    same(window, drawn[:, 20:76, 10:74], 1, 1)
