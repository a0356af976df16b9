"""The detection experiment on real trees and buildings: its sets share no ground, a detector learns from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from earthgen.metrics.detection import average_precision, coco_precision
from earthgen.metrics.layout_adherence import layout_score
from earthgen.train.detection.arms import cheap_sources, standard_arms
from earthgen.train.detection.benchmark import Plan, run_benchmark
from earthgen.train.detection.table import summary
from earthgen.train.detection.training import DetectorTraining, detect, train_detector


@pytest.fixture(scope="module")
def detection_sets(bench_module: Callable[[str], ModuleType]) -> ModuleType:
    return bench_module("detection_sets")


@pytest.mark.parametrize("kind", ["neon_trees", "oam_buildings"])
def test_real_sets_share_no_picture_and_have_objects(kind: str, detection_sets: ModuleType, shared_data: Path) -> None:
    sets = getattr(detection_sets, kind)(shared_data)
    parts = [*sets.subsets, sets.more, sets.validation, sets.test]
    pictures = [picture.tobytes() for part in parts for picture, _ in part]
    assert len(set(pictures)) == len(pictures)
    assert all(picture.shape == (64, 64, 3) for part in parts for picture, _ in part)
    assert all(10 <= len(part) <= 24 and sum(len(layout.boxes) for _, layout in part) >= 15 for part in sets.subsets)
    objects = [box for part in parts for _, layout in part for box in layout.boxes]
    assert all(box.is_horizontal for box in objects) == (kind == "neon_trees")
    assert sum(len(layout.boxes) for _, layout in sets.test) >= 40


def test_a_detector_learns_real_buildings_by_heart(detection_sets: ModuleType, shared_data: Path) -> None:
    """Turned boxes and their directions can be learnt: on the pictures that it was trained on, a short training finds most objects."""
    sets = detection_sets.oam_buildings(shared_data)
    few = sets.subsets[0][:4]
    net = train_detector(few, sets.names, 70, training=DetectorTraining(brightness=0, contrast=0))
    precision, directions = layout_score(net, few)
    assert precision.ap50 > 0.3
    assert directions.median < 15
    assert layout_score(net, [(np.zeros_like(picture), layout) for picture, layout in few])[0].ap50 < 0.1


@pytest.mark.slow
def test_the_instrument_works_on_real_trees(detection_sets: ModuleType, shared_data: Path, tmp_path: Path) -> None:
    """More real trees help and wrong labels hurt, on every training subset; and both ways to measure agree on trees."""
    sets = detection_sets.neon_trees(shared_data)
    arms = [arm for arm in standard_arms() if arm.name in ("real", "oracle") or arm.shuffle]
    records = run_benchmark(sets, arms, cheap_sources(sets), tmp_path, Plan(seeds=1), processes=2)
    assert summary(records)["verdict"] == {"oracle_wins": True, "shuffled_labels_hurt": True}
    net = train_detector(sets.subsets[0], sets.names, 60, horizontal=sets.horizontal)
    layouts, found = [layout for _, layout in sets.test], detect(net, [picture for picture, _ in sets.test])
    np.testing.assert_allclose(
        average_precision(layouts, found, sets.names).table, coco_precision(layouts, found, sets.names).table, atol=1e-6
    )
