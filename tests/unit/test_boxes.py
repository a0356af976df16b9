"""The box type: the golden angles, what is refused, and the transforms of whole layouts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from earthgen.gen.annotations import Box, Layout, crop, flip, rot90, rotate, scale
from earthgen.gen.errors import InputError

# Centre (50, 40), long side 40, short side 12; angles in radians clockwise on screen.
GOLDEN = {
    "+30": (
        (35.6795, 24.8038, 70.3205, 44.8038, 64.3205, 55.1962, 29.6795, 35.1962),
        (40, 12, 0.5236), (40, 12, 0.5236), (40, 12, 0.5236), (29.6795, 24.8038, 40.6410, 30.3923),
    ),
    "-60": (
        (34.8038, 54.3205, 54.8038, 19.6795, 65.1962, 25.6795, 45.1962, 60.3205),
        (40, 12, -1.0472), (40, 12, 2.0944), (12, 40, 0.5236), (34.8038, 19.6795, 30.3923, 40.6410),
    ),
    "-90": ((44, 60, 44, 20, 56, 20, 56, 60), (40, 12, -1.5708), (40, 12, 1.5708), (40, 12, 1.5708), (44, 20, 12, 40)),
    "0": ((30, 34, 70, 34, 70, 46, 30, 46), (40, 12, 0.0), (40, 12, 0.0), (12, 40, 1.5708), (30, 34, 40, 12)),
}  # fmt: skip


def corners(flat: tuple[float, ...]) -> tuple:
    return tuple(zip(flat[::2], flat[1::2], strict=True))


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_angles(case: str) -> None:
    flat, le90, le135, oc, hull = GOLDEN[case]
    for box in (Box("ship", corners(flat)), Box.rotated("ship", 50, 40, 40, 12, math.radians(float(case)))):
        assert np.array(box.corners).ravel() == pytest.approx(flat, abs=1e-4)
        assert box.le90 == pytest.approx((50, 40, *le90), abs=2e-4)
        assert box.le135 == pytest.approx((50, 40, *le135), abs=2e-4)
        assert box.oc == pytest.approx((50, 40, *oc), abs=2e-4)
        assert box.xywh == pytest.approx(hull, abs=2e-4)
        assert box.area == pytest.approx(480, abs=1e-2)
        assert box.is_horizontal == (case in ("0", "-90"))


def test_every_convention_gives_the_box_back() -> None:
    rng = np.random.default_rng(0)
    angles = [*rng.uniform(-7, 7, 300), *np.arange(-8, 9) * math.pi / 4]
    for angle in angles:
        w, h = rng.uniform(2, 60, 2)
        for sides in ((w, h), (w, w)):
            box = Box.rotated("x", 30, 20, *sides, float(angle))
            for parameters, low, high in (
                (box.le90, -math.pi / 2, math.pi / 2), (box.le135, -math.pi / 4, 3 * math.pi / 4), (box.oc, 1e-12, math.pi / 2 + 1e-9)
            ):  # fmt: skip
                assert low <= parameters[4] < high or parameters[4] == pytest.approx(math.pi / 2)
                again = Box.rotated("x", *parameters)
                # The same set of corners; which one comes first is not in the parameters.
                distances = np.linalg.norm(np.array(box.corners)[:, None] - np.array(again.corners), axis=-1)
                assert distances.min(axis=1).max() < 1e-9
            assert box.le90[2] >= box.le90[3] - 1e-9


def test_corners_are_clockwise_and_the_first_one_stays() -> None:
    box = Box("x", ((0, 0), (0, 2), (5, 2), (5, 0)))
    assert box.corners == ((0, 0), (5, 0), (5, 2), (0, 2))
    started_below = Box("x", ((5, 2), (0, 2), (0, 0), (5, 0)))
    assert started_below.corners[0] == (5, 2)
    assert started_below.is_horizontal
    assert Box.horizontal("x", 1, 2, 3, 4) == Box("x", ((1, 2), (4, 2), (4, 6), (1, 6)))
    hollow = Box("x", ((0, 0), (4, 0), (1, 1), (0, 4)))  # not convex, as some of DOTA's are
    assert hollow.area == pytest.approx(4)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (((0, 0), (4, 4), (4, 0), (0, 4)), "crosses itself"),
        (((0, 0), (4, 0), (0, 4), (4, 4.5)), "crosses itself"),
        (((0, 0), (1, 1), (2, 2), (3, 3)), "no area"),
        (((1, 1), (1, 1), (1, 1), (1, 1)), "no area"),
        (((0, 0), (math.nan, 0), (1, 1), (0, 1)), "finite"),
        (((0, 0), (math.inf, 0), (1, 1), (0, 1)), "finite"),
        (((0, 0), (1, 0), (1, 1)), "four"),
    ],
)
def test_what_is_no_box(bad: tuple, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Box("x", bad)


def test_sides_and_names_are_needed() -> None:
    for make in (
        lambda: Box.horizontal("x", 0, 0, 0, 3),
        lambda: Box.rotated("x", 0, 0, 3, -1, 0.2),
        lambda: Box.horizontal(" ", 0, 0, 1, 1),
    ):
        with pytest.raises(InputError):
            make()
    with pytest.raises(InputError, match="pixels"):
        Layout(0, 5)


def some() -> Layout:
    boxes = (Box.horizontal("a", 3, 4, 10, 6), Box.rotated("b", 40, 20, 18, 6, 0.4), Box.rotated("b", 60, 30, 9, 4, -1.2))
    return Layout(72, 48, boxes, "p.png")


def test_flips_and_quarter_turns_move_boxes_like_pixels() -> None:
    layout = some()
    assert layout.quads.shape == (3, 4, 2)
    assert Layout(3, 3).quads.shape == (0, 4, 2)
    for once in (lambda x: flip(x, "x"), lambda x: flip(x, "y"), lambda x: rot90(x, 2)):
        assert once(once(layout)).quads == pytest.approx(layout.quads)
    quarter = rot90(layout)
    assert (quarter.width, quarter.height) == (48, 72)
    assert rot90(layout, 4) == layout
    assert rot90(rot90(layout), -1).quads == pytest.approx(layout.quads)
    # The front (first edge) of a mirrored object is the mirror of its front.
    front = flip(layout, "x").boxes[1].corners
    assert front[0] == pytest.approx((72 - layout.boxes[1].corners[1][0], layout.boxes[1].corners[1][1]))
    with pytest.raises(InputError, match="along"):
        flip(layout, "z")  # type: ignore[arg-type]


def test_turning_and_scaling() -> None:
    layout = some()
    there = rotate(layout, 0.3, min_visible=0.0)
    back = rotate(there, -0.3, min_visible=0.0)
    assert back.quads == pytest.approx(layout.quads)
    assert there.boxes[1].le90[4] == pytest.approx(layout.boxes[1].le90[4] + 0.3)
    assert rotate(layout, math.pi).quads == pytest.approx(rot90(layout, 2).quads)
    twice = scale(layout, 144, 96)
    assert twice.quads == pytest.approx(2 * layout.quads)
    assert [box.area for box in scale(layout, 36, 96).boxes] == pytest.approx([box.area for box in layout.boxes])


def test_crops_by_the_visible_share() -> None:
    layout = Layout(
        100, 100, (Box.horizontal("a", 0, 0, 20, 10), Box.horizontal("a", 30, 30, 20, 10), Box.rotated("b", 50, 70, 30, 8, 0.5))
    )
    window = crop(layout, 10, 5, 50, 30, min_visible=0.5)
    assert [box.xywh for box in window.boxes] == [(20, 25, 20, 5)]  # a half of the second, a quarter of the first
    assert window.boxes[0].truncated
    assert len(crop(layout, 10, 5, 50, 30, min_visible=0.25).boxes) == 2
    assert len(crop(layout, 10, 5, 50, 30, min_visible=0.51).boxes) == 0
    whole = crop(layout, 10, 5, 50, 30, min_visible=0.5, cut=False)
    assert whole.boxes[0].xywh == (20, 25, 20, 10)
    turned = crop(layout, 0, 60, 50, 40, min_visible=0.2).boxes
    assert len(turned) == 1
    angle = turned[0].le90
    assert angle[4] == pytest.approx(0.5)
    assert angle[3] == pytest.approx(8)
    assert 8 < angle[2] < 30
    assert crop(layout, 500, 500, 10, 10).boxes == ()
