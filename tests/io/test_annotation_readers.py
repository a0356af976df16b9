"""What we write, read by others: pycocotools, supervision, pyarrow."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthgen.gen.annotations import AnnotationWriter, Box, Layout

WIDTH, HEIGHT = 160, 120
NAMES = ["tank", "plane", "ship"]


def layouts(turned: bool) -> list[Layout]:
    rng = np.random.default_rng(3)
    made = []
    for number in range(6):
        boxes = [
            Box.rotated(
                NAMES[int(rng.integers(3))], *rng.uniform(35, 85, 2).tolist(), *rng.uniform(5, 40, 2).tolist(), rng.uniform(-3, 3) * turned
            )
            for _ in range(number)
        ]
        made.append(Layout(WIDTH, HEIGHT, tuple(boxes), f"p{number}.png"))
    return made


def export(folder: Path, kind: str, made: list[Layout], flatten: bool = False) -> Path:
    from PIL import Image

    with AnnotationWriter(folder / kind, kind, NAMES, flatten) as writer:
        for layout in made:
            writer.add(layout)
            Image.new("RGB", (WIDTH, HEIGHT)).save(writer.picture_path(layout.picture or ""))
    return folder / kind


@pytest.fixture(scope="module")
def supervision() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that OpenCV is not there
        return pytest.importorskip("supervision")


def in_order(data: Any) -> dict[str, Any]:
    return {Path(path).name: found for path, _, found in data}


def test_pycocotools_finds_every_box_and_scores_it_perfect(tmp_path: Path) -> None:
    COCO = pytest.importorskip("pycocotools.coco").COCO
    COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval
    made = layouts(True)
    truth = COCO(str(export(tmp_path, "coco", made) / "annotations.json"))
    assert [truth.loadCats([number])[0]["name"] for number in truth.getCatIds()] == NAMES
    for layout in made:
        (number,) = [key for key, row in truth.imgs.items() if row["file_name"] == layout.picture]
        rows = truth.loadAnns(truth.getAnnIds(imgIds=[number]))
        assert len(rows) == len(layout.boxes)
        for row, box in zip(rows, layout.boxes, strict=True):
            assert row["bbox"] == pytest.approx(box.xywh, abs=1e-4)
            assert NAMES[row["category_id"] - 1] == box.name
            assert truth.annToMask(row).sum() == pytest.approx(box.area, rel=0.25, abs=40)
    perfect = [
        {"image_id": row["image_id"], "category_id": row["category_id"], "bbox": row["bbox"], "score": 0.9} for row in truth.anns.values()
    ]
    judge = COCOeval(truth, truth.loadRes(perfect), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)  # with an annotation of id 0 it would be less


def test_supervision_reads_turned_boxes_of_yolo_obb(tmp_path: Path, supervision: Any) -> None:
    made = layouts(True)
    folder = export(tmp_path, "yolo-obb", made)
    read = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(folder / "images"), annotations_directory_path=str(folder / "labels"),
        data_yaml_path=str(folder / "data.yaml"), is_obb=True,
    )  # fmt: skip
    assert read.classes == NAMES
    found = in_order(read)
    for layout in made:
        detections = found[layout.picture or ""]
        assert [NAMES[number] for number in detections.class_id] == layout.names if layout.boxes else len(detections) == 0
        if layout.boxes:
            assert detections.data["xyxyxyxy"] == pytest.approx(layout.quads, abs=1e-4)


@pytest.mark.parametrize("kind", ["yolo", "coco", "voc"])
def test_supervision_reads_horizontal_boxes(kind: str, tmp_path: Path, supervision: Any) -> None:
    made = layouts(False)
    folder = export(tmp_path, kind, made)
    if kind == "yolo":
        read = supervision.DetectionDataset.from_yolo(str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"))
    elif kind == "coco":
        read = supervision.DetectionDataset.from_coco(str(folder / "images"), str(folder / "annotations.json"))
    else:
        read = supervision.DetectionDataset.from_pascal_voc(str(folder / "JPEGImages"), str(folder / "Annotations"))
    found = in_order(read)
    for layout in made:
        detections = found[layout.picture or ""]
        assert len(detections) == len(layout.boxes)
        if not layout.boxes:
            continue
        assert [read.classes[number] for number in detections.class_id] == layout.names
        # VOC holds whole pixels, so half a pixel is its rounding; a wrong offset would be one.
        expected = np.array([box.xyxy for box in layout.boxes])
        assert detections.xyxy == pytest.approx(expected, abs=0.51 if kind == "voc" else 1e-4)


def test_pyarrow_sees_floats_and_lists_in_an_imagefolder(tmp_path: Path) -> None:
    reader = pytest.importorskip("pyarrow.json")
    whole = [Layout(50, 40, (Box.horizontal("ship", 1, 2, 3, 4),), f"{number}.png") for number in range(3)]
    table = reader.read_json(export(tmp_path, "imagefolder", [*whole, Layout(50, 40, (), "none.png")]) / "metadata.jsonl")
    objects = table.schema.field("objects").type
    assert str(objects.field("bbox").type.value_type.value_type) == "double"
    assert str(objects.field("obb").type.value_type.value_type) == "double"
    assert table.num_rows == 4
    assert table.column("objects").to_pylist()[3]["bbox"] == []
