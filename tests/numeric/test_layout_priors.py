"""Priors of layouts against the real boxes they were fitted to: statistics, overlaps, limits, novelty, storage."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shapely import Polygon
from shapely.affinity import rotate as turn
from shapely.affinity import translate

from earthgen.gen.annotations import Box, Layout, read_annotations, rotated_iou
from earthgen.gen.annotations.priors import PRIORS, BootstrapPrior, Ground, KdePrior, LayoutPrior, Limits, load_prior
from earthgen.gen.annotations.priors.assessment import CELLS, assess, distances, novelty, statistics
from earthgen.gen.annotations.priors.bootstrap import symmetric
from earthgen.gen.annotations.priors.raster import Decoding, components, encode_raster, rectangle_of
from earthgen.gen.annotations.priors.statistics import (
    all_overlaps,
    ks_distance,
    kuiper_distance,
    nearest_gaps,
    objects_of,
    overlaps,
    separations,
)
from earthgen.gen.errors import InputError

SETS = {"trees": "layout_boxes/neon_trees/annotations.json", "buildings": "maps_buildings/oam_uganda/annotations.json"}


@pytest.fixture(scope="session")
def real(shared_data: Path) -> dict[str, list[Layout]]:
    return {name: list(read_annotations(shared_data / file).layouts) for name, file in SETS.items()}


@pytest.fixture(scope="session")
def priors(real: dict[str, list[Layout]]) -> dict[tuple[str, str], LayoutPrior]:
    # The gaps of trees are good without corrections, which take time.
    settings = {("trees", "kde"): {"rounds": 0.0}}
    return {(name, kind): PRIORS[kind].fit(real[name], **settings.get((name, kind), {})) for name in SETS for kind in PRIORS}


@pytest.fixture(scope="session")
def drawn(priors: dict[tuple[str, str], LayoutPrior]) -> dict[tuple[str, str], list[Layout]]:
    counts = {"trees": 40, "buildings": 200}
    return {(name, kind): prior.sample(counts[name], np.random.default_rng(5)) for (name, kind), prior in priors.items()}


def block(name: str = "a", x: float = 40.0, y: float = 40.0, w: float = 20.0, h: float = 10.0, angle: float = 0.0) -> Box:
    return Box.rotated(name, x, y, w, h, angle)


CASES = [(name, kind) for name in SETS for kind in PRIORS]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_statistics_are_the_real_ones(
    case: tuple[str, str], real: dict[str, list[Layout]], drawn: dict[tuple[str, str], list[Layout]]
) -> None:
    figures = statistics(real[case[0]], drawn[case])
    # Sizes go by layouts, and there are few of trees.
    assert figures["ks_area"] < {"trees": 0.25, "buildings": 0.15}[case[0]]
    assert figures["ks_aspect"] < 0.12
    # A prior that knows nothing of neighbours is far off: the next test.
    assert figures["ks_gap"] < {"trees": 0.3, "buildings": 0.15}[case[0]]
    assert figures["ks_count"] < {"trees": 0.45, "buildings": 0.15}[case[0]]
    assert 0.6 < figures["objects_drawn"] / figures["objects_real"] < 1.5
    assert figures["overlap_95_drawn"] < figures["overlap_95_real"] + 0.06


@pytest.mark.parametrize("name", SETS)
def test_random_places_have_other_gaps(name: str, real: dict[str, list[Layout]], drawn: dict[tuple[str, str], list[Layout]]) -> None:
    """Control: the same objects strewn at random keep neither gaps nor overlaps, which the figures show."""
    rng = np.random.default_rng(0)
    strewn = []
    for layout in real[name]:
        boxes = []
        for box in layout.boxes:
            step = rng.random(2) * [layout.width, layout.height] - box.centre
            boxes.append(replace(box, corners=tuple((x + step[0], y + step[1]) for x, y in box.corners)))
        strewn.append(replace(layout, boxes=tuple(boxes)))
    control, kde = statistics(real[name], strewn), statistics(real[name], drawn[name, "kde"])
    assert control["ks_gap"] > 1.5 * kde["ks_gap"]
    assert control["overlap_99_drawn"] > 2 * kde["overlap_99_drawn"]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_no_sample_breaks_a_limit(case: tuple[str, str], real: dict[str, list[Layout]], drawn: dict[tuple[str, str], list[Layout]]) -> None:
    limit = float(np.percentile(np.concatenate([overlaps(layout)[0] for layout in real[case[0]]]), 99))
    limits = Limits.of(real[case[0]])
    assert limits.overlap == limit
    for layout in drawn[case]:
        assert overlaps(layout)[0].max(initial=0.0) <= limit + 1e-9
        assert limits.findings(layout).ok.all()
        assert layout.picture is None


def test_layouts_are_drawn_again_from_the_same_state_and_survive_storage(
    priors: dict[tuple[str, str], LayoutPrior], tmp_path: Path
) -> None:
    for (name, kind), prior in priors.items():
        first = prior.sample(2, np.random.default_rng(1))
        for ending in ("json", "npz"):
            path = tmp_path / f"{name}-{kind}.{ending}"
            prior.save(path)
            stored = load_prior(path)
            assert stored.layouts == [replace(layout, boxes=tuple(map(_bare, layout.boxes))) for layout in prior.layouts]
            assert stored.sample(2, np.random.default_rng(1)) == first
        assert prior.sample(2, np.random.default_rng(2)) != first


def _bare(box: Box) -> Box:
    return Box(box.name, box.corners)


def test_novelty_and_coverage(real: dict[str, list[Layout]], drawn: dict[tuple[str, str], list[Layout]]) -> None:
    layouts = real["buildings"]
    mirrored = [symmetric(layout, 5) for layout in layouts]
    assert novelty(layouts, mirrored).max() < 0.06, "a mirrored layout is nothing new"
    assert assess(layouts[:30], mirrored[:30])["coverage"] == 1.0
    figures = {kind: assess(layouts, drawn["buildings", kind][:60]) for kind in PRIORS}
    assert 0.05 < figures["bootstrap"]["novelty_50"] < figures["kde"]["novelty_50"] <= 1.0
    assert figures["bootstrap"]["coverage"] > 0.5
    assert figures["kde"]["within_limits"] == figures["bootstrap"]["within_limits"] == 1.0
    one = assess(layouts, [drawn["buildings", "kde"][0]] * 5 if drawn["buildings", "kde"][0].boxes else drawn["buildings", "kde"][1:2] * 5)
    assert one["coverage"] < 0.5 * figures["kde"]["coverage"], "one layout again and again covers little"


def test_distance_of_shifted_squares_is_the_jaccard_distance() -> None:
    side = 320 / CELLS
    grids = [
        np.zeros((1, 1, CELLS, CELLS)),
        np.zeros((1, 1, CELLS, CELLS)),
    ]
    # Off every axis of symmetry, so that no turn brings them nearer.
    grids[0][0, 0, 2:6, 3:7] = 1
    grids[1][0, 0, 2:6, 5:9] = 1
    assert side == 10
    assert distances(grids[0], grids[1])[0, 0] == pytest.approx(1 - 8 / 24)


def test_ground_keeps_objects_off(real: dict[str, list[Layout]], priors: dict[tuple[str, str], LayoutPrior]) -> None:
    codes = np.zeros((64, 64), np.uint8)
    codes[:, 32:] = 1
    ground = Ground(codes, {"building": frozenset({1})}, share=0.9)
    for kind in PRIORS:
        layouts = priors["buildings", kind].sample(16, np.random.default_rng(3), ground)
        found = [box for layout in layouts for box in layout.boxes]
        assert len(found) > 10
        inside = [Polygon(box.corners).intersection(Polygon([(0, 0), (256, 0), (256, 256), (0, 256)])) for box in found]
        right = Polygon([(128, 0), (256, 0), (256, 256), (128, 256)])
        assert min(shape.intersection(right).area / shape.area for shape in inside) > 0.75


def test_what_limits_refuse() -> None:
    rng = np.random.default_rng(0)
    normal = [
        Layout(200, 200, tuple(block(x=20.0 + 50 * i, y=50.0, w=20 * math.exp(rng.normal(0, 0.1))) for i in range(4))) for _ in range(30)
    ]
    limits = Limits.of(normal)
    good, vast, long, other = (
        block(x=100, y=100),
        block(x=100, y=100, w=80, h=40),
        block(x=100, y=100, w=60, h=3.3),
        block("b", x=100, y=100),
    )
    verdicts = [bool(limits.findings(Layout(200, 200, (box,))).ok[0]) for box in (good, vast, long, other, block(x=198, y=100))]
    assert verdicts == [True, False, False, False, False]
    found = limits.findings(Layout(200, 200, (good, block(x=102, y=100), block(x=160, y=100))))
    assert found.ok.tolist() == [False, False, True]
    assert found.overlap[0] == pytest.approx(18 / 22)
    assert found.covered[0] == pytest.approx(0.9)
    area = limits.findings(Layout(200, 200, (vast,))).area_z[0]
    values = np.log([box.area for layout in normal for box in layout.boxes])
    assert area == pytest.approx((math.log(3200) - values.mean()) / max(values.std(), 0.1), rel=1e-6)


def test_gaps_of_rectangles() -> None:
    def row(x: float, y: float, w: float, h: float, angle: float) -> np.ndarray:
        return np.array([x, y, math.log(w * h), math.log(w / h), angle])

    assert separations(row(0, 0, 4, 2, 0), row(10, 0, 2, 8, 0)) == pytest.approx((10 - 2 - 1) / ((math.sqrt(8) + 4) / 2))
    rng = np.random.default_rng(1)
    for _ in range(200):
        one, two = ([*rng.uniform(0, 30, 2), *rng.uniform(2, 20, 2), rng.uniform(0, 3)] for _ in range(2))
        shapes = []
        for x, y, w, h, angle in (one, two):
            shape = Polygon([(-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2)])
            shapes.append(translate(turn(shape, angle, origin=(0, 0), use_radians=True), x, y))
        if separations(row(*one), row(*two)) > 0:
            assert not shapes[0].intersects(shapes[1])


def test_distances_of_distributions_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 80), rng.normal(0.3, 1, 60)
    assert ks_distance(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)
    angles, others = rng.uniform(0, 1, 80), rng.uniform(0.5, 2, 60)
    turned = [kuiper_distance(angles + by, others + by) for by in (0.0, 0.7, 2.0)]
    assert max(turned) - min(turned) < 1e-12
    assert turned[0] >= ks_distance(angles, others)


@pytest.mark.parametrize("name", SETS)
def test_rasters_give_the_boxes_back(name: str, real: dict[str, list[Layout]]) -> None:
    """Every object of the real layouts that keeps a few cells, touching ones too, comes back on its own."""
    objects = objects_of(real[name])
    decode = Decoding(objects.names, objects.horizontal)
    ious, counted, found = [], 0, 0
    for layout in real[name]:
        raster = encode_raster(layout, objects.names, 64)
        assert raster.min() >= -1
        assert raster.max() <= 1
        back = decode(raster, layout.width, layout.height)
        counted, found = counted + len(layout.boxes), found + len(back.boxes)
        if back.boxes and layout.boxes:
            ious += rotated_iou(layout.quads, back.quads).max(1).tolist()
    assert 0.97 * counted <= found <= 1.03 * counted
    assert np.mean(np.array(ious) > 0.5) > 0.92
    assert np.median(ious) > 0.9


def test_a_rectangle_from_its_moments() -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        width = rng.uniform(30, 70)
        box = block(x=rng.uniform(60, 196), y=rng.uniform(40, 90), w=width, h=width * rng.uniform(0.3, 1), angle=rng.uniform(-1.5, 1.5))
        layout = Layout(256, 128, (box,))
        back = Decoding(["a"], [False])(encode_raster(layout, ["a"], 64), 256, 128)
        assert len(back.boxes) == 1
        assert rotated_iou(layout.quads, back.quads)[0, 0] > 0.93
    x, y = (axis.ravel() + 0.5 for axis in np.meshgrid(np.arange(12.0), np.arange(6.0)))
    cx, cy, long, short, angle = rectangle_of(x, y, np.ones(72), (1.0, 1.0))
    # Whole cells: the window's moments are inside the rectangle's own, hence a little longer than 2.
    assert (cx, cy, angle) == pytest.approx((6, 3, 0))
    assert long * short == pytest.approx(72)
    assert long / short == pytest.approx(math.sqrt((12**2 - 2) / (6**2 - 2)))


def test_components_against_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(0)
    for share in (0.3, 0.5, 0.62, 0.8):
        inside = rng.random((40, 33)) < share
        found, expected = components(inside), ndimage.label(inside)[0]
        assert found.max() == expected.max()
        assert len({(a, b) for a, b in zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True)}) == found.max() + 1


def test_touching_boxes_stay_apart_and_classes_do_not_mix() -> None:
    a, b, c = Box.horizontal("a", 16, 16, 20, 20), Box.horizontal("a", 36, 16, 20, 20), Box.horizontal("b", 20, 20, 24, 12)
    layout = Layout(64, 64, (a, b, c))
    back = Decoding(["a", "b"], [True, True])(encode_raster(layout, ["a", "b"], 64), 64, 64)
    assert back.names == ["a", "a", "b"]
    assert rotated_iou(layout.quads, back.quads).max(1).min() > 0.85


def test_wrong_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold no object"):
        KdePrior.fit([Layout(10, 10)])
    layouts = [Layout(100, 100, (block(),))]
    with pytest.raises(InputError, match="no setting 'shfit'"):
        BootstrapPrior.fit(layouts, shfit=1.0)
    with pytest.raises(InputError, match="at least 0"):
        BootstrapPrior.fit(layouts, shift=-1.0)
    prior = BootstrapPrior.fit(layouts)
    with pytest.raises(InputError, match=r"\.json or \.npz"):
        prior.save(tmp_path / "prior.pkl")
    with pytest.raises(InputError, match="another number of grounds"):
        prior.sample(2, np.random.default_rng(0), [Ground(np.zeros((2, 2), int), {})])
    with pytest.raises(InputError, match="has the class 'a'"):
        encode_raster(layouts[0], ["b"], 8)
    with pytest.raises(InputError, match="no layout of 1 classes"):
        Decoding(["a"], [True])(np.full((1, 4, 4), np.nan), 8, 8)
    prior.save(tmp_path / "prior.json")
    table = json.loads((tmp_path / "prior.json").read_text())
    stump = {**table["layouts"][0], "boxes": [{"name": "a", "corners": [[1, 2]]}]}
    broken = {
        "kind": ("no setting|kind 'none'", {**table, "kind": "none"}),
        "version": ("no stored layout prior", {**table, "version": 9}),
        "corners": (
            "no stored layout prior",
            {**table, "layouts": [stump]},
        ),
        "list": ("no stored layout prior", [1, 2]),
    }
    for name, (sentence, value) in broken.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        with pytest.raises(InputError, match=sentence):
            load_prior(tmp_path / f"{name}.json")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    for missing in ("cut.npz", "none.json", "none.npz"):
        with pytest.raises(InputError):
            load_prior(tmp_path / missing)


def test_npz_with_a_pickle_inside_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", head=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="no stored layout prior"):
        load_prior(tmp_path / "evil.npz")


def test_counts_and_alone_objects() -> None:
    layouts = [Layout(50, 50, (block("b"),)), Layout(50, 50), Layout(50, 50, (block("a", x=10, y=10, w=4, h=4), block("b")))]
    objects = objects_of(layouts)
    assert objects.counts().tolist() == [[0, 1], [0, 0], [1, 1]]
    assert np.isnan(nearest_gaps(objects)).tolist() == [True, False, False]
    assert all_overlaps([])[0].shape == (0,)
    prior = KdePrior.fit(layouts, rounds=0)
    sample = prior.sample(60, np.random.default_rng(0))
    assert {len(layout.boxes) for layout in sample} >= {0, 1, 2}
