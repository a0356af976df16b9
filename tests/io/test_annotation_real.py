"""The real boxes that lie in the shared data, read, and converted by the command line to every format and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from earthgen.cli import app
from earthgen.gen.annotations import read_annotations, rotated_iou
from earthgen.gen.annotations.formats import KINDS

FILES = {
    "layout_boxes/neon_trees": (20, 537, "tree"),
    "layout_boxes/planet_ships": (2, 22, "ship"),
    "layout_boxes/planet_planes": (1, 107, "airplane"),
    "maps_buildings/oam_uganda": (94, 422, "building"),
    "maps_buildings/spacenet_atlanta_north.json": (1, 30, "building"),
    "more/aerial_trees": (30, 490, "Tree"),
}


def convert(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["annotations", "convert", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("name", FILES)
def test_real_boxes(name: str, shared_data: Path) -> None:
    pictures, boxes, label = FILES[name]
    path = shared_data / name
    path = path / "annotations.json" if name == "maps_buildings/oam_uganda" else path
    read = read_annotations(path)
    layouts = list(read.layouts)
    assert read.names == [label]
    assert sum(len(layout.boxes) for layout in layouts) == boxes
    assert len(layouts) <= pictures
    folder = path if path.is_dir() else path.parent
    for layout in layouts:
        file = folder / (layout.picture or "")
        if file.suffix in (".png", ".jpg"):
            with Image.open(file) as picture:
                assert picture.size == (layout.width, layout.height)


def test_turned_corners_are_those_of_the_file(shared_data: Path) -> None:
    path = shared_data / "layout_boxes/planet_ships/annotations.json"
    rows = json.loads(path.read_text())["annotations"]
    boxes = [box for layout in read_annotations(path).layouts for box in layout.boxes]
    for row, box in zip(rows, boxes, strict=True):
        assert np.array(box.corners).ravel() == pytest.approx(row["obb"])
        # The file's two boxes of a ship were made in two ways, and their edges are up to 18 pixels apart.
        x, y, w, h = row["bbox"]
        assert box.centre == pytest.approx((x + w / 2, y + h / 2), abs=8)
    assert sum(not box.is_horizontal for box in boxes) > 15


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["layout_boxes/neon_trees", "maps_buildings/oam_uganda"])
def test_the_command_line_converts_there_and_back(kind: str, name: str, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / name / "annotations.json"
    flatten = ["--flatten"] if kind in ("voc", "yolo") else []
    said = convert(source, tmp_path / "there", "--to", kind, *flatten)
    pictures, boxes, label = FILES[name]
    assert f"coco to {kind}, {pictures} pictures, {boxes} boxes, classes: {label}" in said
    convert(tmp_path / "there", tmp_path / "back", "--to", "coco")
    before = list(read_annotations(source).layouts)
    after = {Path(layout.picture or "").stem: layout for layout in read_annotations(tmp_path / "back").layouts}
    overlaps = []
    for layout in before:
        again = after[Path(layout.picture or "").stem]
        assert (again.width, again.height, again.names) == (layout.width, layout.height, layout.names)
        if layout.boxes:
            overlaps += np.diag(rotated_iou(layout.quads, again.quads)).tolist()
    exact = kind in ("coco", "dota", "imagefolder") or name.endswith("trees")
    assert np.median(overlaps) > (0.999 if exact and kind not in ("dior", "voc") else 0.6)
    assert min(overlaps) > (0.99 if exact and kind not in ("dior", "voc") else 0.1)


def test_sizes_come_from_the_pictures(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "layout_boxes/planet_ships"
    convert(folder, tmp_path / "dota", "--to", "dota")
    (tmp_path / "dota/pictures.csv").unlink()
    said = convert(tmp_path / "dota/labelTxt", tmp_path / "obb", "--to", "yolo-obb", "--images", folder)
    assert "dota to yolo-obb, 2 pictures, 22 boxes" in said
    sizes = [(layout.width, layout.height) for layout in read_annotations(tmp_path / "obb").layouts]
    assert sizes == [(2001, 1749), (2393, 1437)]
