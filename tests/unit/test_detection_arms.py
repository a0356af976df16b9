"""The arms of the detection experiment, its splits, its runs and its table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from earthgen.gen.annotations import Box, Layout, rotated_iou
from earthgen.gen.errors import InputError
from earthgen.train.detection.arms import Arm, cheap_sources, pools_of, standard_arms
from earthgen.train.detection.benchmark import Plan, run_benchmark
from earthgen.train.detection.cheap_pictures import copy_paste, flat_pictures, shuffled
from earthgen.train.detection.placement import most_overlap, random_layout
from earthgen.train.detection.places import DetectionSets, Place, crops, shrunk, split_places
from earthgen.train.detection.table import markdown, paired_difference, summary, write_table
from earthgen.train.detection.training import DetectorTraining, Pool, train_detector, train_on_pools

Sample = tuple[NDArray[np.uint8], Layout]
TINY = DetectorTraining(steps=3, batch=4, widths=(8, 8, 16, 16), width=16)


def roofs(rng: np.random.Generator, count: int, size: int = 48, flat: bool = False) -> list[Sample]:
    """Grey noise with one or two bright red rectangles."""
    made = []
    for _ in range(count):
        picture = rng.integers(60, 120, (size, size, 3)).astype(np.uint8)
        boxes: list[Box] = []
        for _ in range(int(rng.integers(1, 3))):
            angle = 0.0 if flat else float(rng.uniform(-3, 3))
            box = Box.rotated("roof", *rng.uniform(12, size - 12, 2), 16, 9, angle)
            y, x = np.mgrid[:size, :size] + 0.5
            cx, cy, w, h, turn = box.le90
            u, v = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy), np.cos(turn) * (y - cy) - np.sin(turn) * (x - cx)
            if boxes and rotated_iou(np.array([box.corners]), np.array([b.corners for b in boxes])).max() > 0:
                continue
            picture[(abs(u) < w / 2) & (abs(v) < h / 2)] = (230, 40, 40)
            boxes.append(box)
        made.append((picture, Layout(size, size, tuple(boxes))))
    return made


def redness(sample: Sample) -> tuple[float, float]:
    """Share of red pixels in the boxes, and outside."""
    picture, layout = sample
    red = (picture[..., 0].astype(int) - picture[..., 1]) > 80
    y, x = np.mgrid[: layout.height, : layout.width] + 0.5
    inside = np.zeros(red.shape, bool)
    for box in layout.boxes:
        cx, cy, w, h, turn = box.le90
        u, v = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy), np.cos(turn) * (y - cy) - np.sin(turn) * (x - cx)
        inside |= (abs(u) < w / 2) & (abs(v) < h / 2)
    return float(red[inside].mean()), float(red[~inside].mean())


@pytest.mark.parametrize("flat", [True, False])
def test_pasted_and_flat_objects_lie_where_their_boxes_are(flat: bool) -> None:
    rng = np.random.default_rng(1)
    real = roofs(rng, 6, flat=flat)
    names = ["roof"] if flat else []
    # Ground that is blurred keeps some red where objects were.
    for made, outside in ((copy_paste(real, names, 12, rng), 0.01), (flat_pictures(real, names, 12, rng), 0.15)):
        assert len(made) == 12
        scores = np.array([redness(sample) for sample in made])
        assert scores[:, 0].mean() > 0.9
        assert scores[:, 1].mean() < outside
        for picture, layout in made:
            assert picture.shape == (layout.height, layout.width, 3)
            assert layout.boxes
            assert 0 <= layout.quads.min() <= layout.quads.max() <= 48
            assert not flat or all(box.is_horizontal for box in layout.boxes)


def test_copy_paste_makes_new_pictures_and_marks_what_it_covers() -> None:
    rng = np.random.default_rng(0)
    real = roofs(rng, 5)
    made = copy_paste(real, [], 30, rng)
    originals = {picture.tobytes() for picture, _ in real}
    assert not originals & {picture.tobytes() for picture, _ in made}
    assert len({picture.tobytes() for picture, _ in made}) == 30
    assert any(box.difficult for _, layout in made for box in layout.boxes)
    counts = [len(layout.boxes) for _, layout in made]
    assert np.mean(counts) > np.mean([len(layout.boxes) for _, layout in real])
    again = copy_paste(roofs(np.random.default_rng(0), 5), [], 3, np.random.default_rng(5))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(again, copy_paste(real, [], 3, np.random.default_rng(5)), strict=True))
    with pytest.raises(InputError, match="no object to copy"):
        copy_paste([(real[0][0], Layout(48, 48))], [], 1, rng)


def test_new_layouts_keep_sizes_numbers_and_overlap() -> None:
    rng = np.random.default_rng(2)
    real = roofs(rng, 10)
    overlap = most_overlap(real)
    assert overlap == 0
    layouts = [random_layout(real, [], overlap, rng) for _ in range(50)]
    assert {len(layout.boxes) for layout in layouts} <= {0, 1, 2}
    for layout in layouts:
        for box in layout.boxes:
            assert box.le90[2:4] == pytest.approx((16, 9), rel=0.101)
        if len(layout.boxes) == 2:
            assert rotated_iou(layout.quads[:1], layout.quads[1:]).max() <= overlap


def test_shuffled_labels_are_all_of_another_picture() -> None:
    samples = roofs(np.random.default_rng(0), 9)
    for seed in range(5):
        mixed = shuffled(samples, np.random.default_rng(seed))
        assert all(a[0] is b[0] and a[1] is not b[1] for a, b in zip(samples, mixed, strict=True))
        assert {id(layout) for _, layout in mixed} == {id(layout) for _, layout in samples}
    with pytest.raises(InputError, match="at least two"):
        shuffled(samples[:1], np.random.default_rng(0))


def test_training_is_repeatable_learns_and_says_what_does_not_fit() -> None:
    samples = roofs(np.random.default_rng(0), 8)
    one, two = (train_detector(samples, ["roof"], seed=4, training=TINY) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    other = train_detector(samples, ["roof"], seed=5, training=TINY)
    assert not torch.equal(one.out.weight, other.out.weight)
    with pytest.raises(InputError, match="class 'roof'"):
        train_detector(samples, ["ship"], training=TINY)
    with pytest.raises(InputError, match="cut all pictures to one size"):
        train_detector([*samples, *roofs(np.random.default_rng(0), 1, 64)], ["roof"], training=TINY)
    with pytest.raises(InputError, match="share above 0"):
        train_on_pools([Pool(samples, 0)], ["roof"], training=TINY)


def sets_of(seed: int = 0) -> DetectionSets:
    rng = np.random.default_rng(seed)
    parts = [tuple(roofs(rng, count)) for count in (6, 6, 6, 4, 4, 8)]
    return DetectionSets(("roof",), (), (parts[0], parts[1], parts[2]), parts[3], parts[4], parts[5])


def test_arms_mix_as_they_say() -> None:
    sets = sets_of()
    sources: dict[str, Any] = {**cheap_sources(sets), "diffusion": lambda subset, count: roofs(np.random.default_rng(subset), count)}
    arms = {arm.name: arm for arm in standard_arms("diffusion")}
    assert len(arms) == 8
    assert len(standard_arms("diffusion", "filtered")) == 9
    real = pools_of(arms["real"], sets, 0, sources, 10, 0.5)
    assert [len(pool.samples) for pool in real] == [6]
    mixed = pools_of(arms["copy-paste and diffusion"], sets, 1, sources, 10, 0.5)
    assert [(len(pool.samples), pool.share) for pool in mixed] == [(6, 0.5), (5, 0.25), (5, 0.25)]
    oracle = pools_of(arms["oracle"], sets, 1, sources, 100, 0.5)
    mine = {id(picture) for picture, _ in sets.subsets[1]}
    assert not mine & {id(picture) for picture, _ in oracle[1].samples}
    assert len(oracle[1].samples) == 16
    broken = pools_of(arms["diffusion, labels shuffled"], sets, 0, sources, 10, 0.5)[1].samples
    honest = sources["diffusion"](0, 10)
    assert all(np.array_equal(a[0], b[0]) and a[1] != b[1] for a, b in zip(broken, honest, strict=True))
    with pytest.raises(InputError, match="known sources"):
        pools_of(Arm("x", ("magic",)), sets, 0, sources, 10, 0.5)
    with pytest.raises(InputError, match="gave no picture"):
        pools_of(Arm("x", ("empty",)), sets, 0, {"empty": lambda subset, count: []}, 10, 0.5)


def test_places_are_cut_and_dealt_out_without_shared_ground() -> None:
    rng = np.random.default_rng(0)
    places = [Place(f"p{number // 2}", *roofs(rng, 1, 96)[0]) for number in range(24)]
    sets = split_places(places, ["roof"], size=48, subsets=3, most=4, seed=1)

    def origin(sample: Sample) -> set[str]:
        return {p.name for p in places for y in (0, 48) for x in (0, 48) if np.array_equal(p.picture[y : y + 48, x : x + 48], sample[0])}

    parts = [*sets.subsets, sets.validation, sets.test]
    grounds = [set().union(*(origin(sample) for sample in part)) for part in parts]
    assert all(grounds)
    assert sum(len(ground) for ground in grounds) == len(set().union(*grounds))
    assert all(len(part) <= 4 and all(layout.boxes for _, layout in part) for part in sets.subsets)
    with pytest.raises(InputError, match="label more places"):
        split_places(places[:6], ["roof"], size=48)


def test_crops_keep_visible_objects_and_shrinking_keeps_boxes() -> None:
    picture = np.zeros((100, 130, 3), np.uint8)
    layout = Layout(130, 100, (Box.horizontal("a", 60, 10, 10, 10), Box.horizontal("a", 30, 20, 10, 8), Box.horizontal("a", 3, 30, 20, 20)))
    found = list(crops(Place("p", picture, layout), 64))
    # Squares from x = 1 and x = 65, y = 18: of the first box 2 of 10 rows show, so it is dropped.
    assert [len(one.boxes) for _, one in found] == [2]
    assert [box.xywh for box in found[0][1].boxes] == [(29, 2, 10, 8), (2, 12, 20, 20)]
    assert len(list(crops(Place("p", picture, layout), 64, least_objects=0))) == 2
    half = shrunk(Place("p", picture, layout), 0.5)
    assert half.picture.shape == (50, 65, 3)
    assert half.layout.boxes[1].xywh == (15, 10, 5, 4)
    with pytest.raises(InputError, match="shrunk by 2"):
        shrunk(Place("p", picture, layout), 2)


def test_runs_resume_and_refuse_another_experiment(tmp_path: Path) -> None:
    sets = sets_of()
    asked: list[tuple[int, int]] = []

    def diffusion(subset: int, count: int) -> Sequence[Sample]:
        asked.append((subset, count))
        return roofs(np.random.default_rng(subset), count)

    sources = {**cheap_sources(sets), "diffusion": diffusion}
    plan = Plan(subsets=2, seeds=2, count=6, training=TINY)
    arms = standard_arms("diffusion")
    few = run_benchmark(sets, arms[:1], sources, tmp_path, plan)
    assert len(few) == 4
    stamp = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("real*.json")}
    records = run_benchmark(sets, arms, sources, tmp_path, plan)
    assert len(records) == 8 * 2 * 2
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in stamp} == stamp
    assert sorted(asked) == [(0, 3), (0, 6), (1, 3), (1, 6)]  # once for a subset, not for each seed and arm
    assert {one["steps"] for one in records if one["arm"] == "real, twice the steps"} == {6}
    made = write_table(records, tmp_path, TINY.words(), pairs=[("copy-paste and diffusion", "copy-paste")])
    assert json.loads((tmp_path / "table.json").read_text()) == json.loads(json.dumps(made))
    assert (tmp_path / "table.md").read_text().count("\n| ") == 9
    with pytest.raises(InputError, match="other training"):
        run_benchmark(sets, arms, sources, tmp_path, replace(plan, training=replace(TINY, steps=4)))
    with pytest.raises(InputError, match="4 training subsets"):
        run_benchmark(sets, arms, sources, tmp_path, replace(plan, subsets=4))


def records_of(table: dict[str, list[list[float]]]) -> list[dict[str, Any]]:
    return [
        {"arm": arm, "subset": s, "seed": k, "ap50": v, "ap75": v / 2, "map": v / 3, "steps": 1, "pictures": [1]}
        for arm, rows in table.items()
        for s, row in enumerate(rows)
        for k, v in enumerate(row)
    ]


def test_differences_are_paired_and_their_intervals_spread_over_subsets() -> None:
    # Subsets differ widely, the gain is the same: only pairing sees it.
    steady = records_of({"real": [[0.1, 0.2], [0.5, 0.6], [0.9, 0.8]], "copy-paste": [[0.15, 0.25], [0.55, 0.65], [0.95, 0.85]]})
    gain = paired_difference(steady, "copy-paste", "real", "ap50")
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.05, 0.05, 0.05))
    assert (gain.above, gain.runs) == (6, 6)
    assert gain.is_clear
    # One subset of three gains, many seeds each: seeds do not make up for subsets.
    one = records_of({"real": [[0.0] * 20] * 3, "x": [[0.3] * 20, [0.0] * 20, [0.0] * 20]})
    spread = paired_difference(one, "x", "real", "ap50")
    assert spread.mean == pytest.approx(0.1)
    assert spread.low == 0
    assert not spread.is_clear
    with pytest.raises(InputError, match="no run on the same subset"):
        paired_difference(steady, "copy-paste", "oracle", "ap50")


def test_the_table_says_when_the_instrument_is_broken() -> None:
    good = summary(records_of({"real": [[0.4], [0.5]], "copy-paste, labels shuffled": [[0.2], [0.3]], "oracle": [[0.6], [0.8]]}))
    assert good["verdict"] == {"oracle_wins": True, "shuffled_labels_hurt": True}
    bad = summary(records_of({"real": [[0.4], [0.5]], "copy-paste, labels shuffled": [[0.5], [0.6]], "oracle": [[0.3], [0.6]]}))
    assert bad["verdict"] == {"oracle_wins": False, "shuffled_labels_hurt": False}
    assert "shuffled labels hurt: FAILED" in markdown(bad)
    assert summary(records_of({"real": [[0.4]]}))["verdict"]["oracle_wins"] is None
    with pytest.raises(InputError, match="no finished run"):
        summary([])
