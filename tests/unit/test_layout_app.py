"""What the Layout tab does without a browser: the canvas's value, imports, scores, and the labelled set."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earthgen.cli.synthesize.exporting import verify
from earthgen.demos import layout_actions as actions
from earthgen.demos.layout_canvas import canvas_layout, canvas_value, colour_of, data_uri
from earthgen.demos.layout_import import MAX_BACKGROUND, import_annotations, read_picture
from earthgen.demos.layout_job import LayoutWishes, check_classes
from earthgen.demos.layout_model import LayoutFacts
from earthgen.demos.layout_priors import FITTED, chosen_prior, draw_layouts, prior_choices, usual_limits
from earthgen.demos.layout_scores import ObjectScores, layout_scores, score_table
from earthgen.demos.layout_session import Imported, Labelled, LayoutSession
from earthgen.demos.layout_set import FORMATS, write_set
from earthgen.demos.layout_show import SHOWN, paint_boxes
from earthgen.gen.annotations import AnnotationWriter, Box, Layout, read_annotations
from earthgen.gen.annotations.formats import KINDS
from earthgen.gen.errors import InputError

FACTS = LayoutFacts("tiny", ("building", "ship"), (48, 48), 3, 2.0, True, False, None, None)
LAYOUT = Layout(64, 48, (Box.rotated("ship", 20, 20, 16, 6, 0.5), Box.horizontal("building", 40, 10, 12, 14)), "one.png")


@pytest.fixture
def session() -> Any:
    made = LayoutSession()
    yield made
    made.close()


def labelled(folder: Path, layouts: tuple[Layout, ...], names: tuple[str, ...] = ("building", "ship")) -> Labelled:
    """Pictures of noise with layouts, as a run leaves them."""
    rng = np.random.default_rng(1)
    pictures = tuple(folder / f"{seed:06d}.png" for seed in range(len(layouts)))
    for path, layout in zip(pictures, layouts, strict=True):
        Image.fromarray(rng.integers(0, 256, (layout.height, layout.width, 3), dtype=np.uint8)).save(path)
    scores = tuple(layout_scores(layout, None) for layout in layouts)
    facts = {"model": "tiny", "model_digest": "0" * 12}
    return Labelled(folder, pictures, pictures, layouts, scores, tuple(range(len(layouts))), names, facts, (), 1.0)


def test_a_layout_goes_through_the_canvas_unchanged() -> None:
    value = canvas_value(LAYOUT, ["building"], known=["building"])
    assert value["palette"] == [["building", colour_of(0)], ["ship", colour_of(1)]]
    back = canvas_layout(value)
    assert back.boxes == LAYOUT.boxes
    assert (back.width, back.height) == (64, 48)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "boxes",
        {"width": 64, "height": 48},
        {"width": 64, "height": 48, "boxes": 3},
        {"width": 10**9, "height": 48, "boxes": []},
        {"width": 64, "height": 48, "boxes": [{"name": "ship", "corners": [[0, 0], [1, 0], [1, 1]]}]},
        {"width": 64, "height": 48, "boxes": [{"name": "ship", "corners": [[0, 0], [1, 0], [1, 1], [float("nan"), 1]]}]},
        {"width": 64, "height": 48, "boxes": [{"name": "ship", "corners": [[0, 0], [9, 9], [9, 0], [0, 9]]}]},
        {"width": 64, "height": 48, "boxes": [{"name": " ", "corners": [[0, 0], [9, 0], [9, 9], [0, 9]]}]},
        {"width": 64, "height": 48, "boxes": [{"name": "a", "corners": [[0, 0], [9, 0], [9, 9], [0, 9]]}] * 2001},
    ],
)
def test_whatever_a_browser_sends_is_a_layout_or_one_sentence(wrong: Any) -> None:
    with pytest.raises(InputError):
        canvas_layout(wrong)


def test_another_model_or_size_keeps_the_boxes_that_still_fit() -> None:
    empty = actions.first_value(None)
    assert actions.with_model(empty, FACTS, None)["width"] == 48, "an empty canvas takes the model's size"
    drawn = canvas_value(LAYOUT, ["ferry"], known=["ferry"])
    changed = actions.with_model(drawn, FACTS, None)
    assert (changed["width"], changed["height"]) == (64, 48)
    assert [name for name, _ in changed["palette"]] == ["building", "ship"], "classes of the other model that no box has are gone"
    smaller = canvas_layout(actions.with_size(drawn, 36, 48, FACTS, None))
    assert smaller.names == ["ship"]
    with pytest.raises(InputError, match="between 8 and"):
        actions.with_size(drawn, 0, 48, FACTS, None)


def test_a_picture_underneath_gives_the_canvas_its_size_and_goes_with_another_layout(session: LayoutSession, tmp_path: Path) -> None:
    ground = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(ground).save(tmp_path / "ground.png")
    value = actions.with_background(canvas_value(LAYOUT, []), session, tmp_path / "ground.png", FACTS)
    assert (value["width"], value["height"]) == (50, 30)
    shown = value["picture"].split(",")[1].encode()
    import base64

    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(shown)))), ground)
    form = actions.Form.read("tiny", 2, 7, 3, 2.0, "")
    assert actions.canvas_wishes(session, value, form).background == session.background
    other = actions.with_layout(value, Layout(48, 48), FACTS, None)
    assert other["picture"] == ""
    assert actions.canvas_wishes(session, other, form).background is None
    large = tmp_path / "large.png"
    Image.new("L", (MAX_BACKGROUND + 1, 4)).save(large)
    with pytest.raises(InputError, match=r"large\.png is"):
        read_picture(large)
    assert data_uri(np.zeros((300, 300, 3), np.uint8)).startswith("data:image/jpeg")


@pytest.mark.parametrize("kind", ["coco", "dota", "yolo-obb", "imagefolder"])
def test_a_zipped_set_of_any_format_is_imported(session: LayoutSession, tmp_path: Path, kind: str) -> None:
    with AnnotationWriter(tmp_path / kind, kind, ["building", "ship"]) as writer:
        writer.add(LAYOUT)
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (tmp_path / kind).rglob("*"):
            packed.write(path, path.relative_to(tmp_path))
    found = import_annotations(session, [archive])
    assert found.kind == kind
    (layout,) = found.layouts
    assert layout.names == LAYOUT.names
    assert np.abs(layout.quads - LAYOUT.quads).max() < 0.05
    assert actions.said_of_import(found) == f"Imported 2 boxes on 1 picture, read as {kind}: building, ship."


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "C:/outside.txt", "a/../../outside.txt"])
def test_a_zip_that_leads_out_of_its_folder_is_refused_and_leaves_nothing(session: LayoutSession, tmp_path: Path, name: str) -> None:
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("good.txt", "4 4 20 4 20 12 4 12 ferry 0\n")
        packed.writestr(name, "x")
    with pytest.raises(InputError, match="leads out of it"):
        import_annotations(session, [archive])
    assert session.imported is None
    assert list(session.folder.iterdir()) == []


def test_errors_of_imports_call_files_by_the_users_names(session: LayoutSession, tmp_path: Path) -> None:
    label = tmp_path / "P0001.txt"
    label.write_text("4 4 20 4 20 12 4 12 ferry 0\n")
    with pytest.raises(InputError, match=r"^there is no picture for P0001.txt.*choose the pictures together") as caught:
        import_annotations(session, [label])
    assert str(tmp_path) not in str(caught.value)
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(InputError, match=r"cut\.zip cannot be unpacked"):
        import_annotations(session, [tmp_path / "cut.zip"])
    with pytest.raises(InputError, match="no file"):
        import_annotations(session, [])


def test_priors_come_from_the_model_or_from_an_import() -> None:
    assert prior_choices(FACTS, None) == []
    with pytest.raises(InputError, match="import annotations"):
        chosen_prior("model", FACTS, None)
    rng = np.random.default_rng(2)
    boxes = [Box.rotated("ship", *rng.uniform(15, 45, 2), *rng.uniform(6, 12, 2), float(rng.uniform(0, 3))) for _ in range(8)]
    imported = Imported("dota", ("ship",), tuple(Layout(64, 64, (box,)) for box in boxes))
    assert [kind for _, kind in prior_choices(None, imported)] == list(FITTED)
    prior = chosen_prior("bootstrap", None, imported)
    three = draw_layouts(prior, range(5, 8))
    assert len(three) == 3
    assert three[2] == draw_layouts(prior, range(7, 8))[0], "each follows from its own seed"
    assert usual_limits(None, imported) is not None
    assert usual_limits(FACTS, None) is None


def test_scores_are_those_of_closed_forms() -> None:
    pair = Layout(
        100, 100, (Box.horizontal("ship", 0, 0, 20, 10), Box.horizontal("ship", 10, 0, 20, 10), Box.horizontal("ship", 90, 50, 20, 10))
    )
    scores = layout_scores(pair, None)
    assert np.allclose(scores.values, [[1, 1 / 3], [1, 1 / 3], [0.5, 0]])
    sizes = Imported(
        "coco", ("ship",), tuple(Layout(100, 100, (Box.horizontal("ship", 10, 10, 2 * side, side),)) for side in (8, 10, 12.5))
    )
    scores = layout_scores(Layout(100, 100, (Box.horizontal("ship", 0, 0, 80, 40),)), usual_limits(None, sizes))
    logs = np.log([2 * side**2 for side in (8, 10, 12.5)])
    assert scores.of(0)["area_z"] == pytest.approx((np.log(3200) - logs.mean()) / logs.std(), abs=1e-3)
    assert scores.unusual(0) == ["area_z"]
    table = score_table(Layout(9, 9, (Box.horizontal("<b>", 1, 1, 3, 3),)), ObjectScores(("x",), np.array([[np.nan]]), {}), [], "one")
    assert "&lt;b&gt;" in table
    assert '<td class="">?</td>' in table


def test_classes_that_a_model_does_not_know_are_all_named() -> None:
    strange = Layout(64, 64, (Box.horizontal("ferry", 0, 0, 9, 9), Box.horizontal("airship", 20, 0, 9, 9), LAYOUT.boxes[0]))
    with pytest.raises(InputError, match="does not know the classes airship, ferry; it paints building, ship"):
        check_classes((strange,), FACTS)
    check_classes((LAYOUT,), FACTS)


@pytest.mark.parametrize("wrong", [{"layouts": ()}, {"steps": 0}, {"seed": -1}, {"guidance": 99.0}])
def test_wishes_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        LayoutWishes(**{"model": "tiny", "layouts": (LAYOUT,), **wrong})


def test_every_format_is_offered_and_the_command_line_finds_the_set_whole(tmp_path: Path) -> None:
    assert set(FORMATS) == set(KINDS)
    made = labelled(tmp_path, (LAYOUT, LAYOUT))
    for kind in FORMATS:
        archive, changes = write_set(made, kind, flatten=kind in ("voc", "yolo"))
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(tmp_path / "out" / kind)
        assert verify(tmp_path / "out" / kind) == (2, 4), kind
        assert len(list(read_annotations(tmp_path / "out" / kind).layouts)) == 2
        assert bool(changes.get("flattened to its hull")) == (kind in ("voc", "yolo"))
    with pytest.raises(InputError, match="tick 'axis-aligned hulls'"):
        write_set(made, "voc")
    spaced = labelled(tmp_path, (Layout(64, 48, (Box.horizontal("storage tank", 1, 1, 9, 9),)),), ("storage tank",))
    with pytest.raises(InputError, match="storage tank"):
        write_set(spaced, "dota")
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]


def test_boxes_are_drawn_where_they_are() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    shown = paint_boxes(picture, Layout(64, 48, (Box.horizontal("ship", 10, 20, 30, 12),)), ["building", "ship"])
    factor = SHOWN // 64
    assert shown.shape == (48 * factor, 64 * factor, 3)
    red, green, blue = (int(colour_of(1)[at : at + 2], 16) for at in (1, 3, 5))
    hit = (shown == (red, green, blue)).all(axis=-1)
    assert hit[20 * factor, 25 * factor]
    assert hit[26 * factor, 40 * factor]
    assert not hit[26 * factor, 20 * factor]
