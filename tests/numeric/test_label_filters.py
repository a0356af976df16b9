"""Label filters on real trees and buildings: what real objects pass, what shuffled labels, noise and wrong places do not."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from earthgen.gen.annotations import Box, Layout, read_annotations
from earthgen.gen.data.objects import tile_place
from earthgen.gen.errors import InputError
from earthgen.metrics.classification import Training
from earthgen.metrics.feature_networks import load_features
from earthgen.metrics.label_filters.calibration import PASS, acceptance_curve, collected, threshold, thresholds, write_curves
from earthgen.metrics.label_filters.crop_classifier import CropClassifier
from earthgen.metrics.label_filters.crops import SIZE, background, cut, moved, object_crops
from earthgen.metrics.label_filters.detector_agreement import DetectorAgreement, Found, refine
from earthgen.metrics.label_filters.label_statistics import LabelStatistics
from earthgen.metrics.label_filters.memorisation import MemorisationDistance
from earthgen.metrics.label_filters.scores import LabelFilter, Scores, judge

Pair = tuple[Tensor, Layout]
NAMES = ["building", "tree"]


class Parts(NamedTuple):
    """Pictures of three groups of places."""

    training: list[Pair]
    calibration: list[Pair]
    test: list[Pair]


def pictures(folder: Path, file: str) -> list[Pair]:
    pairs = []
    for layout in read_annotations(folder / file).layouts:
        if layout.boxes and layout.picture:
            with Image.open((folder / file).parent / layout.picture) as image:
                pixels = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 255
            pairs.append((torch.from_numpy(pixels), layout))
    return pairs


@pytest.fixture(scope="session")
def parts(shared_data: Path) -> Parts:
    """Tiles that show the same ground, and plots that were flown twice, stay together."""
    buildings = pictures(shared_data, "maps_buildings/oam_uganda/annotations.json")
    trees = pictures(shared_data, "layout_boxes/neon_trees/annotations.json")
    places: dict[str, list[Pair]] = {}
    for pair in buildings + trees:
        name = str(pair[1].picture)
        places.setdefault(tile_place(name, 19) or name[:8], []).append(pair)
    dealt: tuple[list[Pair], ...] = ([], [], [])
    for name in ("OAM", "SJER", "TEAK"):
        own = [place for place in sorted(places) if name in str(places[place][0][1].picture)]
        for number, place in enumerate(own):
            dealt[(0, 0, 1, 2)[number % 4]].extend(places[place])
    return Parts(*dealt)


@pytest.fixture(scope="session")
def classifier(parts: Parts) -> CropClassifier:
    """Hardly trained: for what does not depend on how good it is."""
    return CropClassifier.fit(parts.training, NAMES, Training(epochs=1, widths=(16, 16, 24, 32)), least=100)


def scored(one: LabelFilter, pairs: list[Pair]) -> np.ndarray:
    return np.concatenate([one(picture, layout).objects for picture, layout in pairs])


def shuffled(pairs: list[Pair]) -> list[Pair]:
    """Every label the other class."""
    other = dict(zip(NAMES, reversed(NAMES), strict=True))
    named = [(picture, layout, tuple(replace(box, name=other[box.name]) for box in layout.boxes)) for picture, layout in pairs]
    return [(picture, replace(layout, boxes=boxes)) for picture, layout, boxes in named]


def displaced(pairs: list[Pair]) -> list[Pair]:
    """Boxes on ground that holds nothing."""
    rng = np.random.default_rng(9)
    return [(picture, replace(layout, boxes=tuple(background(layout, len(layout.boxes), rng)))) for picture, layout in pairs]


def noisy(pairs: list[Pair]) -> list[Pair]:
    """Noise in the pictures' own colours."""
    rng = np.random.default_rng(8)
    made = []
    for picture, layout in pairs:
        order = torch.from_numpy(rng.permutation(picture[0].numel()))
        made.append((picture.flatten(1)[:, order].view_as(picture), layout))
    return made


@pytest.mark.slow
def test_the_crop_classifier_keeps_real_objects_and_refuses_the_rest(parts: Parts, tmp_path: Path) -> None:
    classifier = CropClassifier.fit(parts.training, NAMES, Training(epochs=16), least=1500)
    calibration = scored(classifier, parts.calibration)
    cut_off = threshold(calibration)
    real = scored(classifier, parts.test)
    # Other places than those of the calibration, hence a margin on the 90 %.
    assert (real >= cut_off).mean() > PASS - 0.12
    wrong = {name: scored(classifier, make(parts.test)) for name, make in (("shuffled", shuffled), ("places", displaced), ("noise", noisy))}
    kept = {name: float((values >= cut_off).mean()) for name, values in wrong.items()}
    assert kept["shuffled"] < 0.45, kept
    assert kept["noise"] < 0.3, kept
    assert kept["places"] < 0.6, kept
    # Areas under the curves: a random real object against a random wrong one.
    for values in wrong.values():
        assert (real[:, None] > values[None]).mean() + 0.5 * (real[:, None] == values[None]).mean() > 0.75
    curve = acceptance_curve("classifier", calibration, {"held out": real, **wrong})
    write_curves([curve], tmp_path / "curve.json", {"classifier": classifier.words})
    table = json.loads((tmp_path / "curve.json").read_text())["curves"][0]
    assert table["calibrated"] == pytest.approx(cut_off)
    assert table["objects"] == {"real": len(calibration), "held out": len(real), **{name: len(values) for name, values in wrong.items()}}
    assert np.diff(table["kept"]["real"]).min() >= 0, "a lower threshold keeps more"
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size == (320, 336)
        assert len(picture.getcolors(100_000)) > 5


def test_a_classifier_survives_storage(parts: Parts, classifier: CropClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path / "net")
    stored = CropClassifier.load(tmp_path / "net")
    picture, layout = parts.test[0]
    assert stored.classes == NAMES
    assert np.allclose(stored(picture, layout).objects, classifier(picture, layout).objects, atol=1e-6)
    unknown = replace(layout, boxes=(replace(layout.boxes[0], name="ship"),))
    assert classifier(picture, unknown).picture == 0.0
    assert math.isnan(classifier(picture, replace(layout, boxes=())).picture)


def test_label_statistics_need_no_picture(parts: Parts) -> None:
    one = LabelStatistics([layout for _, layout in parts.training])
    cut_off = threshold(np.concatenate([one(None, layout).objects for _, layout in parts.calibration]))
    real = np.concatenate([one(None, layout).objects for _, layout in parts.test])
    assert (real >= cut_off).mean() > PASS - 0.12
    vast = [Layout(layout.width, layout.height, tuple(grown(box, 12.0) for box in layout.boxes)) for _, layout in parts.test]
    assert (np.concatenate([one(None, layout).objects for layout in vast]) >= cut_off).mean() < 0.2
    assert one(None, Layout(9, 9, (Box.horizontal("ship", 1, 1, 3, 3),))).picture == -math.inf


def grown(box: Box, by: float) -> Box:
    cx, cy, w, h, angle = box.le90
    return Box.rotated(box.name, cx, cy, w * by, h * by, angle)


def test_memorisation_finds_copies(parts: Parts) -> None:
    known = [pair for pair in parts.training if pair[1].boxes[0].name == "building"][:16]
    held_out = [pair for pair in parts.test if pair[1].boxes[0].name == "building"][:10]
    one = MemorisationDistance(load_features("zoo:features-small"), known)
    copies, strangers = scored(one, known), scored(one, held_out)
    assert copies.max() < 1e-3
    mirrored = [(picture.flip(2), mirrored_layout(layout)) for picture, layout in known[:4]]
    assert np.median(scored(one, mirrored)) < 0.5 * np.median(strangers)
    cut_off = threshold(strangers)
    assert cut_off > copies.max()
    assert math.isnan(one(known[0][0], replace(known[0][1], boxes=(replace(known[0][1].boxes[0], name="ship"),))).picture)
    with pytest.raises(InputError, match="real objects tell no distance"):
        MemorisationDistance(load_features("zoo:features-small"), [])


def mirrored_layout(layout: Layout) -> Layout:
    boxes = []
    for box in layout.boxes:
        a, b, c, d = ((layout.width - x, y) for x, y in box.corners)
        boxes.append(replace(box, corners=(b, a, d, c)))
    return replace(layout, boxes=tuple(boxes))


def test_detector_agreement() -> None:
    house = Box.horizontal("house", 4, 40, 10, 10)
    layout = Layout(64, 64, (Box.horizontal("tree", 4, 4, 20, 20), Box.horizontal("tree", 40, 40, 16, 16), house))
    shifted = np.array(Box.horizontal("tree", 8, 4, 20, 20).corners)
    stray = np.array(Box.horizontal("tree", 40, 4, 10, 10).corners)
    found = Found(np.stack([shifted, *layout.quads[2:], stray]), np.array([0.9, 0.8, 0.7]), ["tree"] * 3)
    scores = DetectorAgreement(lambda _: found)(torch.zeros(3, 64, 64), layout)
    overlap = 16 * 20 / (2 * 400 - 16 * 20)
    # The find of another class at the house's place is none of it; two sure finds have no label.
    assert scores.objects.tolist() == pytest.approx([0.9 * overlap, 0.0, 0.0])
    assert scores.picture == pytest.approx(0.9 * overlap / 5)
    nothing = Found(np.zeros((0, 4, 2)), np.zeros(0), [])
    assert DetectorAgreement(lambda _: nothing)(torch.zeros(3, 64, 64), layout).objects.tolist() == [0, 0, 0]
    assert math.isnan(DetectorAgreement(lambda _: nothing)(torch.zeros(3, 64, 64), Layout(64, 64)).picture)
    with pytest.raises(InputError, match="as many of each"):
        Found(np.zeros((1, 4, 2)), np.zeros(0), [])


def test_labels_are_mended() -> None:
    tree, moved_tree = Box.horizontal("tree", 4, 4, 20, 20), Box.horizontal("tree", 6, 4, 20, 20)
    lone = Box.horizontal("tree", 44, 44, 10, 10)
    new = Box.horizontal("house", 40, 4, 12, 12)
    quads = np.array([moved_tree.corners, new.corners, lone.corners], float)
    found = Found(quads, np.array([0.9, 0.7, 0.05]), ["tree", "house", "tree"])
    made = refine(Layout(64, 64, (tree, lone)), found)
    assert made.layout.boxes == (moved_tree, replace(new, score=0.7))
    assert (made.sources.tolist(), made.shifted.tolist(), made.dropped.tolist()) == ([0, -1], [True, True], [1])
    # Two finds of one label: the second is the same object again, and a find that is unsure moves nothing.
    twice = Found(np.array([moved_tree.corners, tree.corners], float), np.array([0.95, 0.5]), ["tree", "tree"])
    assert refine(Layout(64, 64, (tree,)), twice).layout.boxes == (tree,)
    assert refine(Layout(64, 64), Found(np.zeros((0, 4, 2)), np.zeros(0), [])).layout.boxes == ()


def test_a_threshold_keeps_its_promise_on_average() -> None:
    """Split conformal prediction: with n scores the expected share that passes is 1 - k / (n + 1), at least the share."""
    rng = np.random.default_rng(0)
    for n in (9, 19, 50):
        passed = np.mean([(rng.standard_normal(200) >= threshold(rng.standard_normal(n))).mean() for _ in range(2000)])
        k = math.floor(0.1 * (n + 1) + 1e-9)
        assert passed == pytest.approx(1 - k / (n + 1), abs=0.006)
        assert passed >= 0.894
    assert threshold(np.arange(8.0)) == -math.inf
    assert threshold(np.array([3.0, np.nan, 1.0, 2.0]), 0.5) == 2.0
    with pytest.raises(InputError, match="give no threshold"):
        threshold(np.array([np.nan]))


def test_verdicts() -> None:
    scores = [
        Scores.least("a", np.array([0.2, 0.8, np.nan])),
        Scores("b", np.array([1.0, 1.0, 1.0]), 0.1),
    ]
    assert scores[0].picture == 0.2
    assert scores[0].plain() == {"objects": [0.2, 0.8, None], "picture": 0.2}
    verdict = judge(scores, {"a": 0.5})
    assert (verdict.objects.tolist(), verdict.picture, dict(verdict.reasons)) == ([False, True, True], False, {"a": 1})
    assert dict(judge(scores, {"b": 0.5}).reasons) == {"b": -1}
    assert judge(scores, {}).picture
    assert thresholds([scores] * 12, 0.5)["b"] == 1.0
    assert collected([scores, scores])["a"].shape == (6,)
    with pytest.raises(InputError, match="same layout"):
        judge([scores[0], Scores.least("c", np.zeros(1))], {})


def test_a_crop_is_the_box_turned_upright() -> None:
    """A linear ramp is sampled exactly: values are those of the points in the box's own directions."""
    rows, cols = torch.meshgrid(torch.arange(80.0) + 0.5, torch.arange(100.0) + 0.5, indexing="ij")
    picture = torch.stack([cols / 100, rows / 80, torch.zeros_like(rows)])
    box = Box.rotated("a", 50, 40, 30, 10, 0.5)
    crop = cut(picture, [box], size=10, margin=0.0)[0]
    steps = (torch.arange(10) + 0.5) / 10 * 30 - 15
    across, down = steps[None].expand(10, 10), steps[:, None].expand(10, 10)
    assert torch.allclose(crop[0] * 100, 50 + across * math.cos(0.5) - down * math.sin(0.5), atol=1e-3)
    assert torch.allclose(crop[1] * 80, 40 + across * math.sin(0.5) + down * math.cos(0.5), atol=1e-3)
    # Finer than the picture can be seen, averaged: a checkerboard is grey.
    board = ((rows.floor() + cols.floor()) % 2).expand(3, -1, -1)
    assert (cut(board, [Box.rotated("a", 50, 40, 70, 60, 0.0)], size=8, margin=0.0) - 0.5).abs().max() < 0.15


def test_background_holds_no_object(parts: Parts) -> None:
    from shapely import Polygon

    rng = np.random.default_rng(0)
    for _, layout in parts.training[:12]:
        shapes = [Polygon(box.corners) for box in layout.boxes]
        for box in background(layout, 6, rng):
            own = Polygon(box.corners)
            assert max(own.intersection(shape).area for shape in shapes) < 0.21 * own.area
    crops = object_crops(parts.training[:6], NAMES, rng)
    assert crops.pixels.shape[1:] == (3, SIZE, SIZE)
    assert int((crops.labels < 2).sum()) == sum(len(layout.boxes) for _, layout in parts.training[:6])
    assert moved(Box.horizontal("a", 0, 0, 2, 2), np.array([5.0, 6.0])).centre == (5, 6)


def test_wrong_pictures_are_refused(classifier: CropClassifier) -> None:
    layout = Layout(30, 20, (Box.horizontal("tree", 1, 1, 5, 5),))
    with pytest.raises(InputError, match="its layout is 30 x 20"):
        classifier(torch.zeros(3, 30, 20), layout)
    with pytest.raises(InputError, match="there are no crops of tree"):
        CropClassifier.fit([(torch.zeros(3, 20, 30), replace(layout, boxes=(Box.horizontal("building", 1, 1, 5, 5),)))], NAMES)
    with pytest.raises(InputError):
        CropClassifier.load("nowhere")
