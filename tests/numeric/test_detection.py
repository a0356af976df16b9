"""Average precision against pycocotools and a second implementation, the detector's maps and what they encode, scores of layouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from earthgen.gen.annotations import Box, Layout, flip, rot90, rotated_iou
from earthgen.gen.errors import InputError
from earthgen.gen.models.detector import STRIDE, Detections, Detector, DetectorMaps, decode
from earthgen.metrics.detection import THRESHOLDS, average_precision, coco_precision
from earthgen.metrics.layout_adherence import classification_score, direction_error, object_crops
from earthgen.train.detection.samples import prepare, targets, turned

Floats = NDArray[np.float64]
Points = list[tuple[float, float]]


def random_scene(rng: np.random.Generator, names: Sequence[str], horizontal: bool) -> tuple[Layout, Detections]:
    """True boxes, and found ones that are near them, beside them, double and in the wrong class, with ties among the scores."""
    boxes, quads, scores, labels = [], [], [], []
    for _ in range(int(rng.integers(0, 8))):
        label = int(rng.integers(len(names)))
        cx, cy, w, h = *rng.uniform(15, 85, 2), *rng.uniform(8, 30, 2)
        angle = 0.0 if horizontal else rng.uniform(-math.pi, math.pi)
        boxes.append(Box.rotated(names[label], cx, cy, w, h, angle))
        for _ in range(int(rng.integers(0, 3))):
            shift = rng.normal(0, 1.5, 2)
            guess = Box.rotated("x", cx + shift[0], cy + shift[1], w * rng.uniform(0.8, 1.2), h * rng.uniform(0.8, 1.2), angle)
            quads.append(guess.corners)
            scores.append(round(float(rng.uniform()), 1))
            labels.append(label if rng.uniform() < 0.9 else int(rng.integers(len(names))))
    for _ in range(int(rng.integers(0, 4))):
        quads.append(Box.horizontal("x", *rng.uniform(0, 60, 2), *rng.uniform(5, 30, 2)).corners)
        scores.append(round(float(rng.uniform()), 1))
        labels.append(int(rng.integers(len(names))))
    # In falling order, as a detector gives them.
    order = np.argsort(-np.array(scores), kind="stable").astype(int)
    found = Detections(
        np.array(quads, dtype=float).reshape(-1, 4, 2)[order], np.array(scores, dtype=float)[order], np.array(labels, dtype=np.int64)[order]
    )
    return Layout(100, 100, tuple(boxes)), found


def clipped_area(subject: Points, window: Points) -> float:
    """Area of the overlap of two convex polygons that run clockwise on screen, by cutting one with each edge of the other."""
    for (ax, ay), (bx, by) in zip(window, window[1:] + window[:1], strict=True):
        side = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in subject]
        cut: Points = []
        for i, (x, y) in enumerate(subject):
            j = (i + 1) % len(subject)
            if side[i] >= 0:
                cut.append((x, y))
            if (side[i] >= 0) != (side[j] >= 0):
                t = side[i] / (side[i] - side[j])
                cut.append((x + t * (subject[j][0] - x), y + t * (subject[j][1] - y)))
        subject = cut
        if not subject:
            return 0.0
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(subject, subject[1:] + subject[:1], strict=True))) / 2


def plain_precision(scenes: Sequence[tuple[Layout, Detections]], name: str, label: int, threshold: float) -> float:
    """One class at one threshold, by the words of the definition: no arrays, no shared code."""
    total = sum(box.name == name for layout, _ in scenes for box in layout.boxes)
    if not total:
        return math.nan
    answers: list[tuple[float, bool]] = []
    for layout, found in scenes:
        left = [box for box in layout.boxes if box.name == name]
        for quad, score, its in zip(found.quads.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True):
            if its != label:
                continue
            best, best_iou = None, threshold
            for box in left:
                common = clipped_area([(x, y) for x, y in quad], list(box.corners))
                a = clipped_area([(x, y) for x, y in quad], [(x, y) for x, y in quad])
                iou = common / (a + box.area - common)
                if iou >= best_iou:
                    best, best_iou = box, iou
            if best is not None:
                left.remove(best)
            answers.append((score, best is not None))
    answers.sort(key=lambda one: -one[0])
    curve, right = [], 0
    for number, (_, is_right) in enumerate(answers, 1):
        right += is_right
        curve.append((right / total, right / number))
    points = np.linspace(0, 1, 101).tolist()  # not point / 100, which rounds otherwise
    return sum(max((p for r, p in curve if r >= point), default=0.0) for point in points) / 101


@pytest.mark.parametrize("horizontal", [True, False])
def test_precision_is_that_of_a_second_implementation(horizontal: bool) -> None:
    rng = np.random.default_rng(3)
    names = ["ship", "plane", "tank"]
    scenes = [random_scene(rng, names, horizontal) for _ in range(12)]
    ours = average_precision([layout for layout, _ in scenes], [found for _, found in scenes], names)
    for label, name in enumerate(names):
        for level, threshold in enumerate(THRESHOLDS):
            assert ours.table[label, level] == pytest.approx(plain_precision(scenes, name, label, threshold), abs=1e-9)
    assert 0.1 < ours.mean < ours.ap50 < 0.95


@pytest.mark.parametrize("seed", range(6))
def test_precision_is_that_of_pycocotools_on_horizontal_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["ship", "plane", "never"]
    scenes = [random_scene(rng, names[:2], True) for _ in range(20)]
    layouts, found = [layout for layout, _ in scenes], [found for _, found in scenes]
    ours, theirs = average_precision(layouts, found, names), coco_precision(layouts, found, names)
    np.testing.assert_allclose(ours.table, theirs.table, atol=1e-9)
    np.testing.assert_array_equal(ours.objects, theirs.objects)
    assert np.isnan(ours.table[2]).all()


def test_precision_of_the_truth_is_one_and_of_nothing_is_zero() -> None:
    layout = Layout(50, 50, (Box.rotated("a", 20, 20, 20, 8, 0.4), Box.rotated("b", 35, 30, 9, 8, 1.0)))
    exact = Detections(layout.quads, np.array([0.4, 0.9]), np.array([0, 1]))
    nothing = Detections(np.zeros((0, 4, 2)), np.zeros(0), np.zeros(0, np.int64))
    assert average_precision([layout], [exact], ["a", "b"]).mean == 1.0
    assert average_precision([layout], [nothing], ["a", "b"]).mean == 0.0
    assert coco_precision([Layout(9, 9, (Box.horizontal("a", 1, 1, 3, 3),))], [nothing], ["a"]).mean == 0.0
    # Half the objects, no mistake: 51 of the 101 recall points (0 to .50) have precision 1.
    half = Detections(layout.quads[:1], np.array([0.9]), np.array([0]))
    twice = replace(layout, boxes=(layout.boxes[0], Box.rotated("a", 40, 40, 10, 5, 0)))
    assert average_precision([twice], [half], ["a"]).ap50 == pytest.approx(51 / 101)


def test_difficult_objects_are_neither_wanted_nor_forbidden() -> None:
    clear, hard = Box.horizontal("a", 0, 0, 10, 10), Box.horizontal("a", 30, 30, 10, 10, difficult=True)
    layout = Layout(50, 50, (clear, hard))
    both = Detections(layout.quads[::-1], np.array([0.9, 0.5]), np.zeros(2, np.int64))
    result = average_precision([layout], [both], ["a"])
    assert result.mean == 1.0
    assert result.objects.tolist() == [1]
    as_wanted = replace(layout, boxes=(clear, replace(hard, difficult=False)))
    missed = Detections(layout.quads[:1], np.array([0.9]), np.zeros(1, np.int64))
    assert average_precision([as_wanted], [missed], ["a"]).mean < 1.0 == average_precision([layout], [missed], ["a"]).mean


def test_inputs_that_do_not_fit_are_named() -> None:
    layout, none = Layout(9, 9), Detections(np.zeros((0, 4, 2)), np.zeros(0), np.zeros(0, np.int64))
    with pytest.raises(InputError, match="2 pictures have true boxes and 1"):
        average_precision([layout, layout], [none], ["a"])
    one = Detections(np.array([Box.horizontal("a", 0, 0, 2, 2).corners]), np.ones(1), np.array([4]))
    with pytest.raises(InputError, match="class 4"):
        average_precision([layout], [one], ["a"])
    with pytest.raises(InputError, match="turned"):
        coco_precision([Layout(9, 9, (Box.rotated("a", 4, 4, 4, 2, 0.3),))], [none], ["a"])
    with pytest.raises(InputError, match="name each class once"):
        Detector(["a", "a"])


def test_decoding_the_targets_gives_the_boxes_back() -> None:
    """Turned, horizontal, square, at the edge: what the maps encode is what they are read as."""
    names, flat = ["turned", "flat"], np.array([False, True])
    rng = np.random.default_rng(0)
    for _ in range(20):
        angle, side = rng.uniform(-math.pi, math.pi), rng.uniform(9, 20)
        boxes = (
            Box.rotated("turned", 17.3, 22.9, 30 * rng.uniform(0.7, 1), 8, angle),
            Box.rotated("turned", 61.2, 60.1, side, side, angle),
            Box.horizontal("flat", 70, 3, rng.uniform(6, 25), rng.uniform(6, 25)),
            Box.horizontal("flat", 2, 80, 10, 15.9),
        )
        sample = prepare([(np.zeros((96, 96, 3), np.uint8), Layout(96, 96, boxes))], names)
        made = targets(sample, flat)
        maps = DetectorMaps(torch.logit(made.heat.clamp(1e-4, 1 - 1e-4)), made.offset, made.size, made.turn)
        found = decode(maps, flat, threshold=0.99)[0]
        assert len(found.labels) == 4
        overlap = rotated_iou(np.array([box.corners for box in boxes]), found.quads)
        assert overlap.max(1).min() > 1 - 1e-5
        assert [names[label] for label in found.labels[overlap.argmax(1)]] == [box.name for box in boxes]


def test_difficult_objects_leave_no_trace_in_the_loss() -> None:
    box = Box.rotated("a", 30, 30, 20, 12, 0.5, difficult=True)
    made = targets(prepare([(np.zeros((64, 64, 3), np.uint8), Layout(64, 64, (box,)))], ["a"]), np.array([False]))
    assert float(made.heat.max()) == 0
    assert float(made.weight.max()) == 0
    assert float(made.counted[0, 0, 30 // STRIDE, 30 // STRIDE]) == 0
    assert float(made.counted[0, 0, 0, 0]) == 1


@pytest.mark.parametrize("code", range(8))
def test_symmetries_move_boxes_as_annotations_do(code: int) -> None:
    rng = np.random.default_rng(code)
    picture = rng.integers(0, 255, (40, 56, 3)).astype(np.uint8)
    layout = Layout(56, 40, (Box.rotated("a", 20, 15, 12, 5, 0.7), Box.horizontal("a", 30, 20, 10, 4)))
    moved = turned(prepare([(picture, layout)], ["a"])[0], code)
    wanted, image = layout, picture
    if code >= 4:
        wanted, image = flip(wanted, "x"), image[:, ::-1]
    wanted, image = rot90(wanted, code % 4), np.rot90(image, code % 4)
    np.testing.assert_array_equal(moved.picture, image)
    np.testing.assert_allclose(np.sort(moved.quads, 1), np.sort(wanted.quads, 1), atol=1e-9)
    np.testing.assert_allclose(np.diag(rotated_iou(moved.quads, wanted.quads)), 1)


def test_a_new_detector_is_quiet_takes_any_size_and_comes_back_from_disk(tmp_path: object) -> None:
    torch.manual_seed(0)
    net = Detector(["a", "b"], ["b"]).eval()
    assert 3.5e5 < sum(p.numel() for p in net.parameters()) < 4.6e5
    sample = torch.rand(2, 3, 50, 83)
    with torch.no_grad():
        maps = net(sample)
        assert maps.heat.shape == (2, 2, 13, 21)
        assert float(maps.heat.sigmoid().max()) < 0.1
        net.save_pretrained(tmp_path)
        again = Detector.from_pretrained(tmp_path).eval()
        assert torch.equal(again(sample).heat, maps.heat)
    found = net.detect(sample, threshold=0.0, most=7)
    assert [len(one.scores) for one in found] == [7, 7]
    assert (np.diff(found[0].scores) <= 0).all()
    for quad in found[0].quads[found[0].labels == 1]:
        assert Box("b", tuple(map(tuple, quad.tolist()))).is_horizontal


def test_direction_error_knows_half_turns_squares_and_strangers() -> None:
    boxes = [Box.rotated("a", 30, 30, 30, 10, 0.2), Box.rotated("a", 70, 70, 12, 12, 0.1), Box.rotated("a", 70, 20, 24, 8, 1.5)]
    layout = Layout(100, 100, tuple(boxes))
    answers = [
        Box.rotated("a", 31, 30, 28, 9, 0.2 + math.pi + math.radians(7)),
        boxes[1],
        Box.rotated("a", 70, 20, 24, 8, 1.5 - math.radians(4)),
    ]
    found = Detections(np.array([box.corners for box in answers]), np.array([0.9, 0.8, 0.7]), np.zeros(3, np.int64))
    result = direction_error([layout], [found], ["a"])
    assert (result.asked, result.matched) == (2, 2)
    assert result.median == pytest.approx(5.5)
    crossed = replace(found, quads=np.array([Box.rotated("a", 30, 30, 30, 10, 0.2 + math.pi / 2).corners] * 3))
    assert direction_error([layout], [crossed], ["a"]).median == pytest.approx(90)  # though it overlaps little
    assert math.isnan(direction_error([layout], [replace(found, scores=found.scores / 10)], ["a"]).median)


def striped(rng: np.random.Generator, count: int) -> list[tuple[NDArray[np.uint8], Layout]]:
    """Noise with one red or blue rectangle, its longer edge lying anyhow, on the half of its first edge darker."""
    made = []
    for _ in range(count):
        picture = rng.integers(60, 120, (64, 64, 3)).astype(np.uint8)
        label = int(rng.integers(2))
        box = Box.rotated(("red", "blue")[label], *rng.uniform(24, 40, 2), 22, 12, rng.uniform(-math.pi, math.pi))
        y, x = np.mgrid[:64, :64] + 0.5
        cx, cy, w, h, angle = box.le90
        u, v = math.cos(angle) * (x - cx) + math.sin(angle) * (y - cy), math.cos(angle) * (y - cy) - math.sin(angle) * (x - cx)
        picture[(abs(u) < w / 2) & (abs(v) < h / 2)] = ((220, 30, 30), (30, 30, 220))[label]
        made.append((picture, Layout(64, 64, (box,))))
    return made


def test_crops_are_upright_and_their_classes_can_be_learnt() -> None:
    rng = np.random.default_rng(0)
    samples = striped(rng, 24)
    crops, labels = object_crops(samples, ["red", "blue"])
    ground = int((labels == 2).sum())
    assert 20 <= ground <= 24  # small pictures have not always room for ground that no object looks into
    assert crops.shape == (24 + ground, 3, 32, 32)
    inner = crops[labels == 0][:, :, 6:26, 6:26]
    assert float(inner[:, 0].min()) > 0.6 > 0.3 > float(inner[:, 2].max())  # nothing but the object within its own rectangle
    assert float(crops[labels == 2].max()) < 0.6
    score = classification_score(samples, striped(rng, 12), ["red", "blue"])
    assert score.value > 0.9
    with pytest.raises(InputError, match="both sets need objects"):
        classification_score([], samples, ["red"])
