"""The formats by their golden rows, their conventions and traps, and what comes back of what was written."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from earthgen.gen.annotations import AnnotationWriter, Box, Layout, read_annotations
from earthgen.gen.annotations.formats import KINDS, detect_format
from earthgen.gen.annotations.formats.dior_classes import CANONICAL, ORDERS, canonical_name
from earthgen.gen.annotations.fragments import mmdetection_config, mmrotate_config, ultralytics_yaml
from earthgen.gen.errors import InputError

GOLDEN = {"a": 30.0, "b": -60.0, "c": -90.0, "d": 0.0}  # degrees clockwise on screen; 40 x 12 pixels about (50, 40)
TOLERANCE = {"coco": 1e-4, "dota": 0.01, "dior": 0.51, "voc": 0.51, "hrsc": 1e-3, "yolo": 1e-4, "yolo-obb": 1e-4, "imagefolder": 1e-4}


def golden(*cases: str, size: int = 100) -> Layout:
    return Layout(size, size, tuple(Box.rotated("ship", 50, 40, 40, 12, math.radians(GOLDEN[case])) for case in cases), "p.png")


def export(folder: Path, kind: str, layouts: list[Layout], names: list[str] | None = None, flatten: bool = False) -> Path:
    names = names or sorted({name for layout in layouts for name in layout.names})
    with AnnotationWriter(folder / kind, kind, names, flatten) as writer:
        for layout in layouts:
            writer.add(layout)
    return folder / kind


def off(a: Box, b: Box) -> float:
    """Largest distance of a corner to the nearest one of the other box."""
    return float(np.linalg.norm(np.array(a.corners)[:, None] - np.array(b.corners), axis=-1).min(axis=1).max())


def test_golden_coco(tmp_path: Path) -> None:
    whole = json.loads((export(tmp_path, "coco", [golden(*"abcd")]) / "annotations.json").read_text())
    assert [row["id"] for row in whole["annotations"]] == [1, 2, 3, 4]
    assert whole["categories"] == [{"id": 1, "name": "ship"}]
    assert whole["images"] == [{"id": 1, "file_name": "p.png", "width": 100, "height": 100}]
    expected = [
        (29.6795, 24.8038, 40.6410, 30.3923), (34.8038, 19.6795, 30.3923, 40.6410), (44, 20, 12, 40), (30, 34, 40, 12)
    ]  # fmt: skip
    for row, hull in zip(whole["annotations"], expected, strict=True):
        assert row["bbox"] == pytest.approx(hull, abs=2e-4)
        assert row["area"] == pytest.approx(480, abs=1e-3)
        assert row["segmentation"] == [row["obb"]]
        assert row["iscrowd"] == 0
    assert whole["annotations"][0]["obb"] == pytest.approx(
        [35.6795, 24.8038, 70.3205, 44.8038, 64.3205, 55.1962, 29.6795, 35.1962], abs=1e-4
    )


def test_golden_rows(tmp_path: Path) -> None:
    dota = (export(tmp_path, "dota", [golden("a", "c")]) / "labelTxt/p.txt").read_text()
    assert dota == "35.68 24.80 70.32 44.80 64.32 55.20 29.68 35.20 ship 0\n44.00 60.00 44.00 20.00 56.00 20.00 56.00 60.00 ship 0\n"
    obb = (export(tmp_path, "yolo-obb", [golden("a")]) / "labels/p.txt").read_text().split()
    assert obb[0] == "0"
    shares = [0.356795, 0.248038, 0.703205, 0.448038, 0.643205, 0.551962, 0.296795, 0.351962]
    assert [float(value) for value in obb[1:]] == pytest.approx(shares, abs=1e-6)
    yolo = (export(tmp_path, "yolo", [golden("c", "d")]) / "labels/p.txt").read_text().splitlines()
    assert [float(value) for value in yolo[0].split()] == pytest.approx([0, 0.5, 0.4, 0.12, 0.4])
    assert [float(value) for value in yolo[1].split()] == pytest.approx([0, 0.5, 0.4, 0.4, 0.12])
    voc = (export(tmp_path, "voc", [golden("d")]) / "Annotations/p.xml").read_text()
    for tag, value in (("xmin", 31), ("ymin", 35), ("xmax", 70), ("ymax", 46), ("width", 100)):
        assert f"<{tag}>{value}</{tag}>" in voc
    dior = (export(tmp_path, "dior", [golden("a")]) / "Annotations/Oriented Bounding Boxes/p.xml").read_text()
    corners = {"left_top": (36, 25), "right_top": (70, 45), "right_bottom": (64, 55), "left_bottom": (30, 35)}
    for tag, (x, y) in corners.items():
        assert f"<x_{tag}>{x}</x_{tag}>" in dior
        assert f"<y_{tag}>{y}</y_{tag}>" in dior
    hrsc = (export(tmp_path, "hrsc", [golden("b")]) / "Annotations/p.xml").read_text()
    values = (("cx", "50.0000"), ("cy", "40.0000"), ("w", "40.0000"), ("h", "12.0000"), ("ang", "-1.04719755"))
    for tag, text in values:
        assert f"<mbox_{tag}>{text}</mbox_{tag}>" in hrsc


def scattered(count: int, seed: int, turned: bool) -> list[Layout]:
    rng = np.random.default_rng(seed)
    layouts = []
    for number in range(count):
        width, height, boxes = int(rng.integers(200, 900)), int(rng.integers(200, 900)), []
        for _ in range(int(rng.integers(0, 8))):
            w, h = rng.uniform(4, 60, 2)
            cx, cy = rng.uniform(45, width - 45), rng.uniform(45, height - 45)
            name, hard = ("plane", "ship", "tank-2")[int(rng.integers(3))], bool(rng.integers(2))
            angle = float(rng.uniform(-3, 3)) if turned else 0.0
            boxes.append(Box.rotated(name, cx, cy, w, h, angle, difficult=hard))
        layouts.append(Layout(width, height, tuple(boxes), f"part {number % 3}/p{number:03d}.png"))
    return layouts


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_comes_back(kind: str, tmp_path: Path) -> None:
    turned = kind not in ("voc", "yolo")
    layouts = scattered(40, 7, turned)
    folder = export(tmp_path, kind, layouts, ["tank-2", "unused", "ship", "plane"])
    assert detect_format(folder) == kind
    again = read_annotations(folder)
    assert (again.kind, again.names) == (kind, ["tank-2", "unused", "ship", "plane"])
    assert [layout.picture for layout in again.layouts] == [layout.picture for layout in again.layouts]  # it can be gone through twice
    found = {layout.picture: layout for layout in again.layouts}
    assert len(found) == len(layouts)
    for layout in layouts:
        back = found[layout.picture]
        assert (back.width, back.height, back.names) == (layout.width, layout.height, layout.names)
        for before, after in zip(layout.boxes, back.boxes, strict=True):
            assert off(before, after) <= TOLERANCE[kind] * math.sqrt(2)
            if kind not in ("yolo", "yolo-obb"):
                assert after.difficult == before.difficult
            if kind in ("coco", "dota", "yolo-obb", "imagefolder"):
                assert after.corners[0] == pytest.approx(before.corners[0], abs=0.01)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_objects_is_kept(kind: str, tmp_path: Path) -> None:
    folder = export(tmp_path, kind, [Layout(30, 20, (), "empty.png"), Layout(30, 20, (), "other.png")], ["x"])
    assert sorted((layout.picture, layout.width, layout.height, layout.boxes) for layout in read_annotations(folder).layouts) == [
        ("empty.png", 30, 20, ()), ("other.png", 30, 20, ())
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_rotation_is_refused_or_flattened_never_lost_silently(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="flatten"):
        export(tmp_path, kind, [golden("d"), golden("a")])
    assert not list(tmp_path.iterdir())
    box = next(iter(read_annotations(export(tmp_path, kind, [golden("a")], flatten=True)).layouts)).boxes[0]
    assert box.xywh == pytest.approx((29.6795, 24.8038, 40.6410, 30.3923), abs=TOLERANCE[kind] * 2)


def test_flatten_means_flatten_where_rotation_could_be_held(tmp_path: Path) -> None:
    with AnnotationWriter(tmp_path / "x", "dota", ["ship"], flatten=True) as writer:
        writer.add(golden("a", "d"))
    assert writer.changes == {"flattened to its hull": 1}
    assert all(box.is_horizontal for layout in read_annotations(tmp_path / "x").layouts for box in layout.boxes)


def test_dota_of_others(tmp_path: Path) -> None:
    labels = tmp_path / "labelTxt-v1.0"
    labels.mkdir()
    (labels / "P1.txt").write_text(
        "imagesource:GoogleEarth\ngsd:0.146343590398\n10 10 30 12 28 25 9 20 large-vehicle 1\n\n1 1 5 1 5 5 1 5 ship 0\n"
    )
    (labels / "P2.txt").write_text("1.5 1 5 1 5 5 1 5 ship\n")
    from PIL import Image

    (tmp_path / "images").mkdir()
    for name in ("P1", "P2"):
        Image.new("L", (40, 30)).save(tmp_path / "images" / f"{name}.png")
    read = read_annotations(tmp_path)
    assert (read.kind, read.names) == ("dota", ["large-vehicle", "ship"])
    first, second = read.layouts
    assert (first.picture, first.width, first.height) == ("P1.png", 40, 30)
    assert [box.difficult for box in first.boxes] == [True, False]
    assert second.boxes[0].corners[0] == (1.5, 1)
    given = read_annotations(labels, images=tmp_path / "images")
    assert [layout.quads.tolist() for layout in given.layouts] == [first.quads.tolist(), second.quads.tolist()]
    alone = next(iter(read_annotations(labels / "P2.txt", images=tmp_path / "images").layouts))
    assert (alone.picture, alone.names) == ("P2.png", ["ship"])


def test_dota_rows_have_ten_columns_and_no_head(tmp_path: Path) -> None:
    folder = export(tmp_path, "dota", scattered(10, 1, True))
    rows = [line.split() for file in folder.glob("labelTxt/*/*.txt") for line in file.read_text().splitlines()]
    assert rows
    assert {len(row) for row in rows} == {10}
    with pytest.raises(InputError, match="storage-tank"):
        AnnotationWriter(tmp_path / "no", "dota", ["storage tank"]).__enter__()
    assert not (tmp_path / "no").exists()


def test_yolo_obb_stays_inside(tmp_path: Path) -> None:
    boxes = (Box.rotated("x", 3, 50, 40, 12, 0.5), Box.rotated("x", 95, 95, 30, 9, -0.8), Box.horizontal("x", 80, -3, 40, 10))
    with AnnotationWriter(tmp_path / "y", "yolo-obb", ["x"]) as writer:
        writer.add(Layout(100, 100, boxes, "p.png"))
    assert writer.changes == {"cut at the picture's edge": 3}
    values = [float(v) for line in (tmp_path / "y/labels/p.txt").read_text().splitlines() for v in line.split()[1:]]
    assert min(values) >= 0
    assert max(values) <= 1
    back = next(iter(read_annotations(tmp_path / "y").layouts)).boxes
    assert len(back) == 3
    assert back[2].xywh == pytest.approx((80, 0, 20, 7), abs=1e-4)
    assert back[0].le90[4] == pytest.approx(0.5, abs=0.2)
    assert back[0].area < boxes[0].area


def test_yolo_of_others(tmp_path: Path) -> None:
    from PIL import Image

    for part, text in (("train", "1 0.5 0.5 0.2 0.4\n"), ("valid", "0 0.5 0.5 0.5 0.5 0.91\n")):
        for kind in ("images", "labels"):
            (tmp_path / part / kind).mkdir(parents=True)
        (tmp_path / part / "labels/a.txt").write_text(text)
        Image.new("RGB", (200, 100)).save(tmp_path / part / "images/a.jpg")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nnc: 2\nnames: ['car', 'small truck']\n")
    read = read_annotations(tmp_path)
    assert (read.kind, read.names) == ("yolo", ["car", "small truck"])
    first, second = read.layouts
    assert (first.picture, second.picture) == ("train/a.jpg", "valid/a.jpg")
    assert first.boxes[0].name == "small truck"
    assert first.boxes[0].xywh == pytest.approx((80, 30, 40, 40))
    assert second.boxes[0].score == pytest.approx(0.91)


def test_a_missing_label_file_is_background(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (20, 10)).save(tmp_path / f"images/{name}.png")
    (tmp_path / "labels/b.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "classes.txt").write_text("thing\n")
    assert {layout.picture: len(layout.boxes) for layout in read_annotations(tmp_path).layouts} == {"a.png": 0, "b.png": 1}


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    (tmp_path / "p.xml").write_text(
        "<annotation><filename>p.jpg</filename><size><width>9</width><height>7</height></size><object><name>x &amp; y</name>"
        "<truncated>1</truncated><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>7</ymax></bndbox></object></annotation>"
    )
    layout = next(iter(read_annotations(tmp_path).layouts))
    assert layout.boxes[0].xywh == (0, 0, 9, 7)  # the whole picture
    assert (layout.boxes[0].name, layout.boxes[0].truncated, layout.picture) == ("x & y", True, "p.jpg")
    thin = Layout(10, 10, (Box.horizontal("x", 3.4, 9.6, 0.05, 0.2), Box.horizontal("x", -4, 2, 30, 3)), "t.png")
    boxes = next(iter(read_annotations(export(tmp_path, "voc", [thin])).layouts)).boxes
    assert [box.xywh for box in boxes] == [(3, 9, 1, 1), (0, 2, 10, 3)]


@pytest.mark.parametrize("spelling", ["Oriented Bounding Boxes", "Oriented_Bounding_Boxes"])
def test_dior_in_both_spellings_and_any_case(spelling: str, tmp_path: Path) -> None:
    corners = "".join(
        f"<{axis}_{name}>{value}</{axis}_{name}>"
        for name, point in (("left_top", (9, 5)), ("right_top", (29, 9)), ("right_bottom", (28, 16)), ("left_bottom", (8, 12)))
        for axis, value in zip("xy", point, strict=True)
    )
    folder = tmp_path / "Annotations" / spelling
    folder.mkdir(parents=True)
    names = ("expressway-service-area", "Expressway_Toll Station", "GolfField")
    things = "".join(f"<object><name>{name}</name><robndbox>{corners}</robndbox><angle>9</angle></object>" for name in names)
    size = "<size><width>800</width><height>800</height><depth>3</depth></size>"
    (folder / "00001.xml").write_text(f"<annotation><filename>00001.jpg</filename>{size}{things}</annotation>")
    other = tmp_path / "Annotations" / "Horizontal Bounding Boxes"
    other.mkdir()
    (other / "00001.xml").write_text(f"<annotation><filename>00001.jpg</filename>{size}</annotation>")
    read = read_annotations(tmp_path)
    (tmp_path / "classes.txt").write_text("dam\nexpressway-service-area\nexpressway-toll-station\ngolffield\n")
    listed = read_annotations(tmp_path)
    assert next(iter(listed.layouts)).names == listed.names[1:]
    assert (read.kind, read.names) == ("dior", ["Expressway-Service-area", "Expressway-toll-station", "golffield"])
    layout = next(iter(read.layouts))
    assert layout.picture == "00001.jpg"
    assert layout.boxes[0].corners == ((9, 5), (29, 9), (28, 16), (8, 12))


def test_diors_three_class_orders_meet_by_name() -> None:
    assert [ORDERS["aerogen"].index(name) for name in ("dam", "Expressway-Service-area", "Expressway-toll-station")] == [6, 7, 8]
    assert [ORDERS["mmrotate"].index(name) for name in ("Expressway-Service-area", "Expressway-toll-station", "dam")] == [6, 7, 8]
    assert ORDERS["cc-diff"][:3] == ("Expressway-Service-area", "Expressway-toll-station", "airplane")
    assert all(sorted(order) == sorted(CANONICAL) and len(order) == 20 for order in ORDERS.values())
    assert [canonical_name(name.lower()) for name in ORDERS["mmrotate"]] == list(ORDERS["mmrotate"])
    assert canonical_name("Ground Track Field") == "groundtrackfield"
    assert canonical_name("heli pad") == "heli pad"


def test_hrsc_of_others(tmp_path: Path) -> None:
    thing = (
        "<HRSC_Object><Object_ID>1</Object_ID><Class_ID>100000006</Class_ID><truncated>0</truncated><difficult>1</difficult>"
        "<mbox_cx>50</mbox_cx><mbox_cy>40</mbox_cy><mbox_w>40</mbox_w><mbox_h>12</mbox_h><mbox_ang>0.5236</mbox_ang></HRSC_Object>"
    )
    head = "<Img_FileName>100000001</Img_FileName><Img_FileFmt>bmp</Img_FileFmt><Img_SizeWidth>100</Img_SizeWidth>"
    head += "<Img_SizeHeight>90</Img_SizeHeight>"
    (tmp_path / "100000001.xml").write_text(f"<HRSC_Image>{head}<HRSC_Objects>{thing}</HRSC_Objects></HRSC_Image>")
    read = read_annotations(tmp_path)
    layout = next(iter(read.layouts))
    assert (read.names, layout.picture, layout.height) == (["100000006"], "100000001.bmp", 90)
    assert off(layout.boxes[0], golden("a").boxes[0]) < 1e-2
    assert layout.boxes[0].difficult


def test_coco_of_rotated_data_sets(tmp_path: Path) -> None:
    quad = [round(v, 2) for point in golden("a").boxes[0].corners for v in point]
    hull = [29.68, 24.80, 40.64, 30.39]
    rows = [
        {"id": 5, "image_id": 3, "category_id": 9, "bbox": hull, "segmentation": [quad]},
        {"id": 6, "image_id": 3, "category_id": 9, "bbox": hull, "segmentation": [[30, 25, 70, 25, 70, 55, 40, 50]], "iscrowd": 1},
        {"id": 7, "image_id": 3, "category_id": 9, "bbox": hull, "obb": quad, "score": 0.5},
    ]
    whole = {"images": [{"id": 3, "file_name": "a/b.png", "width": 100, "height": 100}], "categories": [{"id": 9, "name": "x"}]}
    (tmp_path / "c.json").write_text(json.dumps({**whole, "annotations": rows}))
    boxes = next(iter(read_annotations(tmp_path / "c.json").layouts)).boxes
    assert off(boxes[0], golden("a").boxes[0]) < 0.01  # four corners of a rectangle that fits the box
    assert boxes[1].xywh == pytest.approx(hull)  # an outline that is no rectangle
    assert boxes[1].difficult
    assert off(boxes[2], golden("a").boxes[0]) < 0.01
    assert boxes[2].score == 0.5
    assert read_annotations(tmp_path).kind == "coco"


def test_imagefolder_has_floats_only(tmp_path: Path) -> None:
    layouts = [Layout(50, 40, (Box.horizontal("a", 1, 2, 3, 4),), "x.png"), Layout(50, 40, (), "y.png")]
    lines = (export(tmp_path, "imagefolder", layouts, ["a"]) / "metadata.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_int=lambda text: ("whole", text)) for line in lines]
    assert rows[0]["objects"]["bbox"] == [[1.0, 2.0, 3.0, 4.0]]
    assert rows[0]["objects"]["obb"] == [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0]]
    assert rows[0]["objects"]["categories"] == ["a"]
    assert rows[1]["objects"]["bbox"] == []


def test_pictures_become_part_of_the_export(tmp_path: Path) -> None:
    from PIL import Image

    for kind in KINDS:
        with AnnotationWriter(tmp_path / kind, kind, ["ship"], flatten=True) as writer:
            for number in range(2):
                layout = golden("d")
                writer.add(Layout(100, 100, layout.boxes, f"n{number}.png"))
                Image.new("RGB", (100, 100)).save(writer.picture_path(f"n{number}.png"))
        assert len(list((tmp_path / kind).rglob("n1.png"))) == 1
        again = read_annotations(tmp_path / kind)
        assert [layout.picture for layout in again.layouts] == ["n0.png", "n1.png"]
        if (tmp_path / kind / "pictures.csv").is_file():
            (tmp_path / kind / "pictures.csv").unlink()  # the sizes are then those of the pictures themselves
            assert [layout.quads.tolist() for layout in read_annotations(tmp_path / kind).layouts] == [
                layout.quads.tolist() for layout in again.layouts
            ]


def test_fragments_are_what_their_readers_take() -> None:
    names = ["a b", "it's", 'say "x"', "#1: y"]
    data = yaml.safe_load(ultralytics_yaml(names, train=["real/images", "syn/images"], val=["real/val"]))
    assert data["names"] == dict(enumerate(names))
    assert data["train"] == ["real/images", "syn/images"]
    assert data["val"] == "real/val"
    assert "never validate on synthetic" in ultralytics_yaml(names)
    for text in (mmdetection_config(names), *(mmrotate_config(names, kind) for kind in ("dota", "dior", "hrsc"))):  # type: ignore[arg-type]
        assigned = {node.targets[0].id: node.value for node in ast.parse(text).body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
        assert ast.literal_eval(assigned["classes"]) == tuple(names)
        assert any(keyword.arg == "data_root" for keyword in assigned["train_dataset"].keywords)  # type: ignore[attr-defined]


def test_yolo_class_lists_in_all_their_forms(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/p.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "pictures.csv").write_text("p.png,10,10\n")
    for text in ("names: [a, b c]", "names:\n  0: a\n  1: b c", "names:\n- a\n- 'b c'", "names: {1: b c, 0: a}"):
        (tmp_path / "data.yaml").write_text(text)
        assert next(iter(read_annotations(tmp_path).layouts)).names == ["b c"]
    for text in (
        "names: {0: a, 2: b}",
        "names: 3",
        "x: 1",
        "names: [a, a]",
        "- a",
        "a: &x [1]\nnames: *x",
        "names: [a, b",
        "names: !!python/object:os.x {}",
    ):
        (tmp_path / "data.yaml").write_text(text)
        with pytest.raises(InputError, match=r"data\.yaml"):
            read_annotations(tmp_path)
