"""Label files as users break them: each ends in one sentence with file and line, and nothing half-written stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from earthgen.cli import app
from earthgen.gen.annotations import AnnotationWriter, Box, Layout, read_annotations
from earthgen.gen.annotations.formats import KINDS
from earthgen.gen.errors import InputError

SIZE = "<size><width>100</width><height>90</height><depth>3</depth></size>"


def refused(path: Path, *says: str, images: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        for _ in read_annotations(path, images).layouts:
            pass
    sentence = str(caught.value)
    for part in says:
        assert part in sentence
    assert "\n" not in sentence
    return sentence


def listed(folder: Path, rows: str, kind: str, names: str = "ship\nplane\n") -> Path:
    """An export of one picture, 100 x 90, with these rows."""
    below = folder / {"dota": "labelTxt"}.get(kind, "labels")
    below.mkdir(parents=True, exist_ok=True)
    (below / "p.txt").write_text(rows)
    (folder / "pictures.csv").write_text("file_name,width,height\np.png,100,90\n")
    (folder / "classes.txt").write_text(names)
    return folder


GOOD = "1 1 9 1 9 9 1 9 ship 0\n"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("200 1 209 1 209 9 200 9 ship 0", "outside its 100 x 90 picture"),
        ("1 1 9 9 9 1 1 9 ship 0", "crosses itself"),
        ("1 1 2 2 3 3 4 4 ship 0", "no area"),
        ("nan 1 9 1 9 9 1 9 ship 0", "finite"),
        ("1 1 9 1 9 9 1 9 submarine 0", "'submarine' is not among those listed (ship, plane)"),
        ("1 1 9 1 9 9 1 9 fishing ship 0", "columns"),
        ("1 1 9 1 9 x 1 9 ship 0", "coordinates are numbers"),
        ("1 1 9 1 9 9 1 9 ship maybe", "difficulty"),
        ("1 1 9 1 9 9", "columns"),
        ("1 1 9 1 9 9 1 9 ship", "columns"),  # nine of ten: cut short
    ],
)
def test_bad_rows_of_dota(row: str, says: str, tmp_path: Path) -> None:
    refused(listed(tmp_path, f"gsd:0.3\n{GOOD}{row}\n", "dota"), f"{tmp_path / 'labelTxt/p.txt'}, line 3: ", says)


@pytest.mark.parametrize(
    ("rows", "line", "says"),
    [
        ("0 0.5 0.5 0.1 0.1\n0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n", 2, "5 and 9 columns cannot be mixed"),
        ("0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n0 0.5 0.5 0.1 0.1\n", 2, "5 and 9 columns cannot be mixed"),
        ("0 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.1 0.1\n", 2, "class number '2' is not among the 2"),
        ("0 50 40 10 10\n", 1, "shares of the picture"),
        ("0 0.5 0.5 0 0.1\n", 1, "must be above 0"),
        ("0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.\n", 2, "columns"),
        ("0 0.5 0.5 0.1 0.1\n1 0.1 0.1 0.3 0.1 0.3 0.3\n", 2, "columns"),
        ("0 0.1 0.1 0.3 0.3 0.3 0.1 0.1 0.3\n", 1, "crosses itself"),
        ("-1 0.5 0.5 0.1 0.1\n", 1, "class number"),
        ("0 0.5 nan 0.1 0.1\n", 1, "shares of the picture"),
    ],
)
def test_bad_rows_of_yolo(rows: str, line: int, says: str, tmp_path: Path) -> None:
    refused(listed(tmp_path, rows, "yolo"), f"{tmp_path / 'labels/p.txt'}, line {line}: ", says)


def voc(folder: Path, text: str) -> Path:
    (folder / "p.xml").write_text(text)
    return folder / "p.xml"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (f"<annotation>\n{SIZE}\n<object>\n<name>x</name>\n<bndbox><xmin>5</xmin></bndbox></object></annotation>", 5, "has no <ymin>"),
        (f"<annotation>\n{SIZE}\n<object><name>x</name>\n</object></annotation>", 3, "has no <bndbox>"),
        (
            f"<annotation>\n{SIZE}<object><name>x</name>\n<bndbox><xmin>9</xmin><ymin>2</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object></annotation>",
            3, "before it begins",
        ),
        (
            f"<annotation>{SIZE}\n<object><name>x</name><bndbox><xmin>900</xmin><ymin>2</ymin><xmax>905</xmax><ymax>4</ymax></bndbox></object></annotation>",
            2, "outside its 100 x 90 picture",
        ),
        (
            f"<annotation>{SIZE}\n<object><name>x</name>\n<bndbox><xmin>wide</xmin><ymin>2</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object></annotation>",
            3, "must be a number",
        ),
        (f"<annotation>\n{SIZE}\n<object><name>x</na", 3, "half-written"),
        (f"<annotation>\n{SIZE}<object><name> </name><bndbox/></object></annotation>", 2, "no class name"),
        ("<annotation><size><width>0</width><height>9</height></size></annotation>", 1, "1 pixel or more"),
        ("<html></html>", 1, "no known format"),
        ("", 1, "half-written"),
    ],
)  # fmt: skip
def test_bad_xml(text: str, line: int, says: str, tmp_path: Path) -> None:
    refused(voc(tmp_path, text), f"{tmp_path / 'p.xml'}, line {line}: ", says)


def test_bad_boxes_of_dior_and_hrsc(tmp_path: Path) -> None:
    quad = "".join(f"<{a}_{c}>5</{a}_{c}>" for c in ("left_top", "right_top", "right_bottom", "left_bottom") for a in "xy")
    dior = f"<annotation>{SIZE}\n<object>\n<name>ship</name><robndbox>{quad}</robndbox></object></annotation>"
    refused(voc(tmp_path, dior), "line 2: ", "no area")
    thing = "<HRSC_Object>\n<Class_ID>100000009</Class_ID><mbox_cx>5</mbox_cx><mbox_cy>5</mbox_cy><mbox_w>0</mbox_w><mbox_h>2</mbox_h>"
    head = "<HRSC_Image><Img_SizeWidth>9</Img_SizeWidth><Img_SizeHeight>9</Img_SizeHeight><HRSC_Objects>\n"
    whole = f"{head}{thing}<mbox_ang>0</mbox_ang></HRSC_Object></HRSC_Objects></HRSC_Image>"
    refused(voc(tmp_path, whole), "line 2: ", "above 0")
    (tmp_path / "classes.txt").write_text("ship\n")
    refused(voc(tmp_path, whole), "line 3: ", "100000009 is not among those listed")


@pytest.mark.parametrize(
    "bomb",
    [
        '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>\n<annotation>&c;</annotation>',
        '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><filename>&b;</filename></annotation>',
        '<?xml version="1.0"?>\n<!DOCTYPE annotation SYSTEM "labels.dtd"><annotation/>',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_grow(bomb: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "p.xml").write_bytes(bomb.replace('"1.0"', f'"1.0" encoding="{encoding}"').encode(encoding))
    refused(tmp_path, "p.xml, line 2: ", "document type or entities")


@pytest.mark.parametrize("encoding", ["utf-7", "gbk", "klingon", "idna", "cp1252", "hex"])
def test_odd_encodings_do_no_harm(encoding: str, tmp_path: Path) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><annotation>{SIZE}</annotation>'
    (tmp_path / "p.xml").write_text(text)
    try:
        layouts = list(read_annotations(tmp_path).layouts)
    except InputError as error:
        said = str(error)
    else:
        said = "p.xml" if layouts[0].width == 100 else ""
    assert "p.xml" in said


def test_endless_numbers_are_refused(tmp_path: Path) -> None:
    digits = "9" * 5000
    refused(listed(tmp_path / "y", f"{digits} 0.5 0.5 0.1 0.1\n", "yolo"), "p.txt, line 1: ")
    refused(listed(tmp_path / "z", f"0 0.5 0.5 0.1 {digits}\n", "yolo"), "p.txt, line 1: ")
    refused(listed(tmp_path / "s", "0 0.5 0.5 0.1 0.1 7\n", "yolo"), "p.txt, line 1: ", "confidence")
    refused(listed(tmp_path / "d", f"1 1 9 1 9 9 1 {digits} ship 0\n", "dota"), "p.txt, line 1: ", "finite")
    path = coco(tmp_path)
    whole = path.read_text()
    path.write_text(whole.replace("90", digits))
    refused(path, "c.json", "digits")
    path.write_text(whole.replace("5\n]", "9" * 400 + "\n]"))
    refused(path, "c.json, line ", "digits")
    path.write_text(whole.replace("5\n]", "1e999\n]"))
    refused(path, "c.json, line ", "finite")
    (tmp_path / "metadata.jsonl").write_text(f'{{"file_name": "a.png", "width": {digits}, "height": 9, "objects": {{}}}}')
    refused(tmp_path / "metadata.jsonl", "metadata.jsonl, line 1: ")
    (tmp_path / "h").mkdir()
    for side in ("inf", "nan", digits):
        head = f"<HRSC_Image><Img_SizeWidth>{side}</Img_SizeWidth><Img_SizeHeight>9</Img_SizeHeight></HRSC_Image>"
        refused(voc(tmp_path / "h", head), "p.xml, line 1: ")


def test_deeply_nested_xml_is_refused(tmp_path: Path) -> None:
    refused(voc(tmp_path, "<annotation>" * 100_000), "nested more than")


def coco(folder: Path, **changes: object) -> Path:
    whole = {
        "images": [{"id": 1, "file_name": "p.png", "width": 100, "height": 90}],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
    }
    (folder / "c.json").write_text(json.dumps({**whole, **changes}, indent=0))
    return folder / "c.json"


def rows(*changes: dict[str, object]) -> list[dict[str, object]]:
    return [{"id": place, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], **change} for place, change in enumerate(changes, 1)]


@pytest.mark.parametrize(
    ("section", "value", "says"),
    [
        ("annotations", rows({}, {"id": 1}), "annotation id 1 is there twice"),
        ("annotations", rows({}, {"image_id": 7}), "image_id 7 is none"),
        ("annotations", rows({}, {"category_id": "1"}), "category_id '1' is none"),
        ("annotations", rows({}, {"bbox": [1, 1, 0, 5]}), "above 0"),
        ("annotations", rows({}, {"bbox": [1, 1, 5]}), "four numbers"),
        ("annotations", rows({}, {"bbox": [300, 1, 5, 5]}), "outside its 100 x 90 picture"),
        ("annotations", rows({}, {"obb": [1, 1, 9, 9, 9, 1, 1, 9]}), "crosses itself"),
        ("annotations", rows({}, {"obb": [1, 1, 9, 9, 9, 1, 1]}), "eight numbers"),
        ("annotations", [*rows({}), 7], "no object"),
        (
            "images",
            [{"id": 1, "file_name": "p.png", "width": 9, "height": 9}, {"id": 1, "file_name": "q.png", "width": 9, "height": 9}],
            "twice",
        ),
        (
            "images",
            [{"id": 2, "file_name": "x.png", "width": 9, "height": 9}, {"id": 1, "file_name": "../../p.png", "width": 9, "height": 9}],
            "no name",
        ),
        (
            "images",
            [{"id": 2, "file_name": "x.png", "width": 9, "height": 9}, {"id": 1, "file_name": "p.png", "width": 0, "height": 9}],
            "real size",
        ),
        ("categories", [{"id": 1, "name": "ship"}, {"id": 2, "name": "ship"}], "twice"),
        ("categories", [{"id": 1, "name": "ship"}, {"id": 2}], "no name"),
        ("categories", [{"id": 1, "name": "ship"}, {"id": "2", "name": "x"}], "whole number"),
    ],
)
def test_bad_coco(section: str, value: object, says: str, tmp_path: Path) -> None:
    path = coco(tmp_path, **{section: value})
    text = path.read_text()
    # The second entry of the list is the bad one; its line is where its brace, or the value itself, stands.
    start = text.index(f'"{section}": [')
    opening = text.index("7\n]", start) if says == "no object" else text.index("{", text.index("{", start) + 1)
    refused(path, f"{path}, line {text.count(chr(10), 0, opening) + 1}: ", says)


def test_half_written_json(tmp_path: Path) -> None:
    path = coco(tmp_path)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    refused(path, "c.json, line ", "half-written")
    path.write_text('{"images": {}}')
    refused(path, "no COCO file")
    path.write_text("[" * 100_000)
    refused(path, "c.json")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "width": 9, "height": 9, "objects": {}}\n{"file_name": "b.pn')
    refused(tmp_path / "metadata.jsonl", "metadata.jsonl, line 2: ", "half-written")


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ({"bbox": [[1, 1, 2, 2]], "categories": []}, "differ in length"),
        ({"bbox": [[1, 1, 2, 2]]}, "no `categories`"),
        ({"bbox": [[1, 1, 2, -2]], "categories": ["a"]}, "above 0"),
        ({"bbox": [[1, 1, 2, 2]], "categories": ["a"], "obb": [[1, 1, 5, 5, 5, 1, 1, 5]]}, "crosses itself"),
        ({"bbox": [[40, 1, 2, 2]], "categories": ["a"]}, "outside its 9 x 9 picture"),
        ({"bbox": 3, "categories": ["a"]}, "differ in length"),
        ({"bbox": 3, "categories": 3}, "differ in length"),
        ([1], "no JSON object"),
    ],
)
def test_bad_imagefolder(objects: object, says: str, tmp_path: Path) -> None:
    good = {"file_name": "a.png", "width": 9, "height": 9, "objects": {"bbox": [], "categories": []}}
    bad = {"file_name": "b.png", "width": 9, "height": 9, "objects": objects}
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in (good, bad)))
    refused(tmp_path, "metadata.jsonl, line 2: ", says)
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in (good, good)))
    refused(tmp_path, "metadata.jsonl, line 2: ", "twice")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    refused(tmp_path / "none", "there is no")
    refused(tmp_path, "no annotations of a known format")
    (tmp_path / "p.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    refused(tmp_path, "no list of classes")
    (tmp_path / "classes.txt").write_text("ship\n")
    refused(tmp_path, "p.txt", "--images")
    refused(tmp_path, "--images", images=tmp_path / "nowhere")
    (tmp_path / "classes.txt").write_text("ship\nship\n")
    refused(tmp_path, "classes.txt, line 2: ", "twice")
    (tmp_path / "p.txt").write_text("some words\n")
    refused(tmp_path, "p.txt, line 1: ", "no known format")
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe\x00")
    refused(tmp_path, "no UTF-8 text")


def test_incomplete_exports_are_noticed(tmp_path: Path) -> None:
    with AnnotationWriter(tmp_path / "d", "dota", ["ship"]) as writer:
        for number in range(3):
            writer.add(Layout(20, 20, (Box.horizontal("ship", 1, 1, 5, 5),), f"{number}.png"))
    kept = (tmp_path / "d/labelTxt/1.txt").read_text()
    (tmp_path / "d/labelTxt/1.txt").unlink()
    refused(tmp_path / "d", "lists 1.png", "incomplete")
    for name in ("1", "9"):
        (tmp_path / f"d/labelTxt/{name}.txt").write_text(kept)
    refused(tmp_path / "d", "4 label files", "3 pictures")
    (tmp_path / "d/pictures.csv").write_text("file_name,width,height\n0.png,20\n")
    refused(tmp_path / "d", "pictures.csv, line 2: ")
    (tmp_path / "d/pictures.csv").write_text("../../0.png,20,20\n")
    refused(tmp_path / "d", "pictures.csv, line 1: ")


def write(folder: Path, kind: str, *layouts: Layout | None) -> None:
    with AnnotationWriter(folder, kind, ["ship"]) as writer:
        for layout in layouts:
            if layout is None:
                raise KeyboardInterrupt
            writer.add(layout)


@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_that_fails_leaves_nothing(kind: str, tmp_path: Path) -> None:
    good = Layout(50, 50, (Box.horizontal("ship", 1, 1, 5, 5),), "a.png")
    bad = [
        (Layout(50, 50, (Box.horizontal("car", 1, 1, 5, 5),), "b.png"), "b.png: the class 'car' is not among"),
        (Layout(50, 50, (Box.horizontal("ship", 70, 1, 5, 5),), "b.png"), "outside its 50 x 50 picture"),
        (Layout(50, 50, (), "../b.png"), "no name for a picture"),
    ]
    if kind not in ("coco", "imagefolder"):
        bad.append((Layout(50, 50, (), "a.jpg"), "two pictures"))
    for layout, says in bad:
        with pytest.raises(InputError, match=says):
            write(tmp_path / "x", kind, good, layout)
        assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x", kind, good, None)
    assert not list(tmp_path.iterdir())


def test_rounding_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    thin = Layout(50, 50, (Box.rotated("ship", 25, 25, 30, 0.2, 0.0),))
    with pytest.raises(InputError, match="leaves nothing"), AnnotationWriter(tmp_path / "x", "dior", ["ship"]) as writer:
        writer.add(thin)
    with AnnotationWriter(tmp_path / "y", "dota", ["ship"]) as writer:
        writer.add(thin)
    assert len(next(iter(read_annotations(tmp_path / "y").layouts)).boxes) == 1


def test_a_writer_is_asked_for_the_possible(tmp_path: Path) -> None:
    for names, says in ((["a", "a"], "twice"), (["a\nb"], "no class name"), ([" a"], "no class name")):
        with pytest.raises(InputError, match=says):
            AnnotationWriter(tmp_path / "x", "coco", names)
    with pytest.raises(InputError, match="no format 'csv'"):
        AnnotationWriter(tmp_path / "x", "csv", [])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("kept")
    with pytest.raises(InputError, match="not empty"):
        AnnotationWriter(tmp_path / "full", "coco", [])
    with pytest.raises(InputError, match="is a file"):
        AnnotationWriter(tmp_path / "full/mine.txt", "coco", [])
    with pytest.raises(InputError, match="does not exist"):
        AnnotationWriter(tmp_path / "no/where", "coco", [])
    assert (tmp_path / "full/mine.txt").read_text() == "kept"


def test_the_command_line_keeps_the_source(tmp_path: Path) -> None:
    source = listed(tmp_path / "s", GOOD, "dota")
    for target in (source, source / "inside"):
        result = CliRunner().invoke(app, ["annotations", "convert", str(source), str(target), "--to", "coco"])
        assert isinstance(result.exception, InputError)
    (source / "labelTxt/p.txt").write_text(GOOD + "1 1 2 2 3 3 4 4 ship 0\n")
    result = CliRunner().invoke(app, ["annotations", "convert", str(source), str(tmp_path / "out"), "--to", "coco"])
    assert "line 2" in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]
