"""Damaged label files: whatever is cut, flipped or repeated, a reader gives boxes that are inside their pictures, or one `InputError`."""

from __future__ import annotations

import math
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.gen.annotations import AnnotationWriter, Box, Layout, read_annotations
from earthgen.gen.annotations.formats import KINDS
from earthgen.gen.annotations.geometry import visible_share
from earthgen.gen.errors import InputError

DAMAGES = 30


def damaged(data: bytes, rng: random.Random) -> bytes:
    where = rng.randrange(len(data))
    kind = rng.randrange(5)
    if kind == 0:
        return data[:where]
    if kind == 1:
        return data[:where] + bytes([data[where] ^ (1 << rng.randrange(8))]) + data[where + 1 :]
    if kind == 2:
        end = min(len(data), where + rng.randrange(1, 40))
        return data[:end] + data[where:]
    if kind == 3:
        return data[:where] + rng.choice([b"-1e400", b"nan", b"\x00", b"\xff", b"<a>", b"[[[[", b"9" * 5000, b'"']) + data[where:]
    return data[:where] + data[where + rng.randrange(1, 40) :]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    boxes = (Box.rotated("ship", 30, 30, 20, 9, 0.0 if kind in ("voc", "yolo") else 0.5), Box.horizontal("plane", 5, 6, 17, 8))
    with AnnotationWriter(tmp_path / "whole", kind, ["ship", "plane"]) as writer:
        for number in range(3):
            writer.add(Layout(64, 64, boxes, f"p{number}.png"))
    files = [
        path for path in sorted((tmp_path / "whole").rglob("*")) if path.suffix in (".txt", ".xml", ".json", ".jsonl", ".csv", ".yaml")
    ]
    rng = random.Random(kind)
    read, said = 0, []
    for number in range(DAMAGES):
        folder = tmp_path / f"d{number}"
        shutil.copytree(tmp_path / "whole", folder)
        victim = folder / rng.choice(files).relative_to(tmp_path / "whole")
        victim.write_bytes(damaged(victim.read_bytes(), rng))
        try:
            for layout in read_annotations(folder).layouts:
                read += len(layout.boxes)
                assert all(visible_share(box, layout.width, layout.height) > 0 for box in layout.boxes)
        except InputError as error:
            said.append(str(error))
        shutil.rmtree(folder)
    assert read
    assert said
    assert all(str(tmp_path) in sentence and "\n" not in sentence for sentence in said)


def rotated_boxes() -> st.SearchStrategy[Box]:
    side = st.floats(0.5, 300)
    place, angle = st.floats(5, 595), st.floats(-10, 10)
    return st.builds(Box.rotated, st.sampled_from(["a", "b-c", "é"]), place, place, side, side, angle)


@settings(max_examples=30, deadline=None)
@given(st.lists(rotated_boxes(), max_size=6), st.sampled_from(["coco", "dota", "hrsc", "imagefolder"]))
def test_turned_boxes_survive_two_journeys(boxes: list[Box], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before = [Layout(600, 600, tuple(boxes), "p.png")]
        for step in range(2):
            with AnnotationWriter(Path(folder) / str(step), kind, ["a", "b-c", "é"]) as writer:
                for layout in before:
                    writer.add(layout)
            after = list(read_annotations(Path(folder) / str(step)).layouts)
            assert [layout.names for layout in after] == [layout.names for layout in before]
            for first, second in zip(before[0].boxes, after[0].boxes, strict=True):
                gaps = np.linalg.norm(np.array(first.corners)[:, None] - np.array(second.corners), axis=-1)
                assert gaps.min(axis=1).max() <= 0.05
            before = after


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True)), min_size=4, max_size=4))
def test_any_four_points_are_a_sound_box_or_refused(points: list[tuple[float, float]]) -> None:
    a, b, c, d = points
    try:
        box = Box("x", (a, b, c, d))
    except InputError:
        return
    assert box.area > 0
    assert box.corners[0] == a
    assert all(math.isfinite(value) for value in (*box.le90, *box.le135, *box.oc, *box.xywh))
