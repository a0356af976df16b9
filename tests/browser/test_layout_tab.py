"""The Layout tab in Chromium, end to end, with a tiny model of random weights and the network barred."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from earthgen.cli.synthesize.exporting import verify
from earthgen.gen.annotations import AnnotationWriter, Box, Layout, read_annotations
from earthgen.gen.annotations.priors import BootstrapPrior
from earthgen.gen.models.features import FeatureNet
from earthgen.metrics.label_filters.crop_classifier import BACKGROUND, CropClassifier

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]

Visit = Callable[..., Any]
NAMES = ["building", "ship"]
STATUS = "#lay-status"
SIDE = 64


@pytest.fixture(scope="module")
def layout_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of random weights, with a prior and a classifier of crops beside them."""
    from diffusers import DPMSolverMultistepScheduler

    from earthgen.gen.models.layout.unet import LayoutUNet, small_settings
    from earthgen.pipelines.layout import LayoutToImagePipeline

    torch.manual_seed(4)
    shape: dict[str, Any] = {"block_out_channels": (8, 16), "attention": (False, True), "cross_attention_dim": 16, "heads": 2}
    parts = {"backbone": {"norm_num_groups": 4}, "encoder": {"start": "any", "hidden": 16, "vector_width": 8}}
    unet = LayoutUNet(classes=NAMES, **{**small_settings(4, True), **shape, **parts})
    for parameter in unet.parameters():
        if parameter.ndim < 2 or not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.3)
    scheduler = DPMSolverMultistepScheduler(prediction_type="sample", use_flow_sigmas=True, flow_shift=2.0)
    folder = tmp_path_factory.mktemp("models") / "tiny-layout"
    LayoutToImagePipeline(unet.eval(), scheduler, size=SIDE, num_inference_steps=3).save_pretrained(folder, card={"name": "tiny-layout"})
    CropClassifier(FeatureNet([*NAMES, BACKGROUND], ["none"], [8, 8, 8, 8]).eval()).save(folder / "crop_classifier")
    rng = np.random.default_rng(0)
    BootstrapPrior.fit([scattered(rng) for _ in range(12)]).save(folder / "prior.json")
    return folder


def scattered(rng: np.random.Generator) -> Layout:
    """A few turned boxes on a loose grid."""
    places = [(16.0, 16.0), (48.0, 16.0), (16.0, 48.0), (48.0, 48.0)]
    boxes = [
        Box.rotated(NAMES[int(rng.integers(2))], x, y, float(rng.uniform(9, 14)), float(rng.uniform(5, 8)), float(rng.uniform(0, 3)))
        for x, y in places[: int(rng.integers(2, 5))]
    ]
    return Layout(SIDE, SIDE, tuple(boxes))


class Canvas:
    """The tab in a browser window, with its canvas addressed in pixels of the layout."""

    def __init__(self, visitor: Any) -> None:
        self.visitor, self.page = visitor, visitor.page
        self.page.get_by_role("tab", name="Layout", exact=True).click()
        self.svg.wait_for()

    @property
    def svg(self) -> Any:
        return self.page.locator("#lay-canvas .stage svg")

    @property
    def size(self) -> tuple[float, float]:
        _, _, width, height = self.svg.get_attribute("viewBox").split()
        return float(width), float(height)

    def at(self, x: float, y: float) -> tuple[float, float]:
        box = self.svg.bounding_box()
        return box["x"] + x * box["width"] / self.size[0], box["y"] + y * box["height"] / self.size[1]

    def drag(self, start: tuple[float, float], end: tuple[float, float], key: str = "") -> None:
        self.svg.scroll_into_view_if_needed()
        mouse, keyboard = self.page.mouse, self.page.keyboard
        mouse.move(*self.at(*start))
        if key:
            keyboard.down(key)
        mouse.down()
        mouse.move(*self.at(*((a + b) / 2 for a, b in zip(start, end, strict=True))), steps=3)
        mouse.move(*self.at(*end), steps=3)
        mouse.up()
        if key:
            keyboard.up(key)

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.at(x, y))

    def boxes(self) -> list[tuple[str, np.ndarray]]:
        shapes = self.page.locator("#lay-canvas polygon")
        found = [(shapes.nth(n).get_attribute("data-name"), shapes.nth(n).get_attribute("points")) for n in range(shapes.count())]
        return [(name, np.array([pair.split(",") for pair in points.split()], float)) for name, points in found]

    def expect_boxes(self, count: int) -> None:
        expect = pytest.importorskip("playwright.sync_api").expect
        expect(self.page.locator("#lay-canvas polygon")).to_have_count(count, timeout=120_000)

    def field(self, name: str) -> float:
        return float(self.page.locator(f"#lay-canvas input[data-field={name}]").input_value())

    def fill(self, name: str, value: float) -> None:
        box = self.page.locator(f"#lay-canvas input[data-field={name}]")
        box.fill(str(value))
        box.press("Enter")

    def choose_class(self, name: str) -> None:
        self.page.locator(f"#lay-canvas .chip[data-name='{name}']").click()

    def relabel(self, name: str) -> None:
        self.page.locator("#lay-canvas .fields select").select_option(name)

    def tool(self, name: str) -> None:
        self.page.locator(f"#lay-canvas button[data-do={name}]").click()

    def choose_model(self, folder: Path) -> None:
        box = self.page.locator("#lay-model input")
        box.click()
        box.fill(str(folder))
        box.press("Enter")

    def unfold(self, accordion: str) -> None:
        self.page.locator(f"{accordion} button").first.click()

    def bring(self, control: str, *files: Path) -> None:
        self.page.set_input_files(f"{control} input[type=file]", [str(file) for file in files])


@pytest.fixture
def canvas(visit: Visit) -> Canvas:
    return Canvas(visit())


@pytest.fixture
def ready(canvas: Canvas, layout_model: Path) -> Canvas:
    """The tab with the tiny model chosen, two pictures a run."""
    canvas.choose_model(layout_model)
    canvas.visitor.expect("tiny-layout paints building, ship", "#lay-about")
    canvas.visitor.expect("Ready.", STATUS)
    canvas.visitor.set_number("#lay-count", 2)
    return canvas


def test_boxes_are_drawn_moved_resized_turned_labelled_and_deleted_with_the_mouse(ready: Canvas) -> None:
    assert ready.size == (SIDE, SIDE)
    ready.choose_class("ship")
    ready.drag((10, 20), (30, 30))
    ((name, corners),) = ready.boxes()
    assert name == "ship"
    assert np.abs(corners - [(10, 20), (30, 20), (30, 30), (10, 30)]).max() < 0.2

    ready.drag((20, 25), (25, 35))  # moved by 5, 10
    assert np.abs(ready.boxes()[0][1] - [(15, 30), (35, 30), (35, 40), (15, 40)]).max() < 0.3
    ready.drag((35, 40), (39, 44))  # the lower right corner
    assert np.abs(ready.boxes()[0][1] - [(15, 30), (39, 30), (39, 44), (15, 44)]).max() < 0.5
    knob = ready.page.locator("#lay-canvas [data-part=turn]").bounding_box()
    box = ready.svg.bounding_box()
    grip = tuple((knob[a] + knob[s] / 2 - box[a]) * SIDE / box["width"] for a, s in (("x", "width"), ("y", "height")))
    ready.drag(grip, (60, 37))  # to the right of its centre: a quarter turn
    assert abs(ready.field("angle") - 90) < 1
    turned = ready.boxes()[0][1]
    assert np.abs(turned - [(34, 25), (34, 49), (20, 49), (20, 25)]).max() < 0.7, "turned clockwise about its centre, first corner kept"
    ready.fill("angle", 30)
    edge = np.diff(ready.boxes()[0][1][:2], axis=0)[0]
    assert abs(np.degrees(np.arctan2(edge[1], edge[0])) - 30) < 0.1

    ready.choose_class("building")
    assert ready.boxes()[0][0] == "ship", "the class of new boxes leaves the last one alone"
    ready.relabel("building")
    assert ready.boxes()[0][0] == "building"
    ready.drag((50, 5), (60, 12))
    assert [name for name, _ in ready.boxes()] == ["building", "building"]
    ready.page.keyboard.press("Delete")
    assert len(ready.boxes()) == 1
    ready.tool("undo")
    assert len(ready.boxes()) == 2
    ready.tool("redo")
    ready.click(27, 37)
    ready.tool("delete")
    assert ready.boxes() == []
    assert not ready.page.locator("#lay-canvas button[data-do=clear]").is_enabled()


def test_the_keyboard_does_all_of_it(ready: Canvas) -> None:
    keys = ready.page.keyboard
    ready.svg.focus()
    keys.press("n")
    before = ready.boxes()[0][1]
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowLeft"):
        keys.press(key)
    assert np.allclose(ready.boxes()[0][1] - before, (-8, 1))
    width = ready.field("w")
    keys.press("Alt+ArrowRight")
    assert ready.field("w") == width + 1
    keys.press("r")
    keys.press(".")
    assert abs(ready.field("angle") - 6) < 0.05
    keys.press("2")
    assert ready.boxes()[0][0] == "ship"
    keys.press("d")
    assert [name for name, _ in ready.boxes()] == ["ship", "ship"]
    keys.press("Shift+Tab")
    keys.press("1")
    assert [name for name, _ in ready.boxes()] == ["building", "ship"], "Tab goes from box to box"
    keys.press("Delete")
    keys.press("Control+z")
    assert [name for name, _ in ready.boxes()] == ["building", "ship"]
    label = ready.page.locator("#lay-canvas polygon").first.get_attribute("aria-label")
    assert label.startswith("building, ")
    assert "turned by 6°" in label


def test_a_drawn_layout_becomes_labelled_pictures_and_comes_back_from_the_zip(ready: Canvas, tmp_path: Path) -> None:
    visitor, page = ready.visitor, ready.page
    ready.choose_class("ship")
    ready.drag((8, 10), (28, 20))
    ready.fill("angle", 25)
    ready.choose_class("building")
    ready.drag((36, 36), (52, 50))
    drawn = ready.boxes()
    page.locator("#lay-run").click()
    visitor.expect("2 pictures with 4 objects in", STATUS)
    page.locator("#lay-gallery img").first.wait_for()
    for text in ("Objects of seed 0", "Size z", "Overlap", "Looks like it", "building", "ship"):
        visitor.expect(text, "#lay-scores")
    visitor.shot("layout-pictures")

    boxed = page.locator("#lay-gallery img").first.get_attribute("src")
    page.locator("#lay-boxes input").uncheck()
    page.wait_for_function("old => document.querySelector('#lay-gallery img').src !== old", arg=boxed)

    visitor.choose("#lay-kind", "YOLO")
    visitor.expect("yolo cannot hold the turned box", "#lay-packed")
    page.locator("#lay-flatten input").check()
    visitor.expect("2 flattened to its hull", "#lay-packed")
    visitor.choose("#lay-kind", "DOTA")
    page.locator("#lay-flatten input").uncheck()
    page.wait_for_function("() => document.querySelector('#lay-packed').innerText.trim() === ''")
    archive = visitor.download("#lay-download", tmp_path)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "set")
    found = list(read_annotations(tmp_path / "set").layouts)
    assert len(found) == 2
    for layout in found:
        for box, (name, corners) in zip(layout.boxes, drawn, strict=True):
            assert box.name == name
            assert np.abs(np.array(box.corners) - corners).max() < 0.05, "what is written is what was drawn"
    assert verify(tmp_path / "set") == (2, 4), "the command line finds the set whole"
    rows = [json.loads(line) for line in (tmp_path / "set/manifest.jsonl").read_text().splitlines()]
    for seed, row in enumerate(rows):
        content = (tmp_path / "set/images" / row["file"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert (row["synthetic"], row["seed"], row["steps"]) == (True, seed, 3)
        assert len(row["model_digest"]) == 12
        assert set(row["objects_scores"]) == {"area_z", "aspect_z", "inside", "overlap", "classifier"}
        assert all(0 <= value <= 1 for value in row["objects_scores"]["classifier"])
        with Image.open(tmp_path / "set/images" / row["file"]) as picture:
            assert picture.size == (SIDE, SIDE)
            assert picture.text["EARTHGEN_SYNTHETIC"] == "true"

    page.get_by_role("tab", name="Canvas", exact=True).click()
    ready.tool("clear")
    ready.unfold("#lay-import")
    ready.bring("#lay-files", archive)
    visitor.expect("Imported 4 boxes on 2 pictures, read as dota", STATUS)
    ready.expect_boxes(2)
    for (name, corners), (before, wanted) in zip(ready.boxes(), drawn, strict=True):
        assert name == before
        assert np.abs(corners - wanted).max() < 0.05


def test_the_page_gives_what_the_library_gives(ready: Canvas, layout_model: Path, tmp_path: Path) -> None:
    from earthgen.pipelines.layout import LayoutToImagePipeline

    ready.drag((8, 10), (28, 20))
    (name, corners), *_ = ready.boxes()
    ready.visitor.set_number("#lay-seed", 5)
    ready.page.locator("#lay-run").click()
    ready.visitor.expect("2 pictures with 2 objects in", STATUS)
    with zipfile.ZipFile(ready.visitor.download("#lay-download", tmp_path)) as packed:
        shown = [np.asarray(Image.open(packed.open(f"images/{seed:06d}.png"))) for seed in (5, 6)]
    layout = Layout(SIDE, SIDE, (Box(name, tuple(map(tuple, corners.tolist()))),))
    direct = LayoutToImagePipeline.load(layout_model)([layout] * 2, seed=5, num_inference_steps=3).images
    assert np.abs(np.rint(direct.transpose(0, 2, 3, 1) * 255) - np.stack(shown)).max() <= 1


def test_layouts_from_the_prior_one_on_the_canvas_and_a_batch(ready: Canvas, tmp_path: Path) -> None:
    ready.page.locator("#lay-draw").click()
    ready.visitor.expect("Drew a layout of", STATUS)
    ready.page.wait_for_function("() => document.querySelectorAll('#lay-canvas polygon').length >= 2")
    ready.visitor.shot("layout-prior")
    ready.visitor.set_number("#lay-count", 5)
    ready.page.locator("#lay-batch").click()
    ready.visitor.expect("5 pictures with", STATUS)
    with zipfile.ZipFile(ready.visitor.download("#lay-download", tmp_path)) as packed:
        packed.extractall(tmp_path / "set")
    layouts = list(read_annotations(tmp_path / "set").layouts)
    assert len({layout.quads.tobytes() for layout in layouts}) == 5, "each picture has a layout of its own"
    rows = [json.loads(line) for line in (tmp_path / "set/manifest.jsonl").read_text().splitlines()]
    assert {row["layout"] for row in rows} == {"prior: model"}


def test_objects_are_painted_into_a_picture_and_the_rest_of_it_stays(ready: Canvas, tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:48, 0:80]
    ground = np.stack([rows * 5, columns * 3, rows + columns], axis=-1).astype(np.uint8)
    Image.fromarray(ground).save(tmp_path / "ground.png")
    ready.unfold("#lay-under")
    ready.bring("#lay-background", tmp_path / "ground.png")
    ready.visitor.expect("Draw boxes where objects shall be painted", STATUS)
    ready.page.wait_for_function("() => document.querySelector('#lay-canvas svg').getAttribute('viewBox') === '0 0 80 48'")
    ready.drag((20, 15), (36, 25))
    ready.visitor.shot("layout-background")
    ready.page.locator("#lay-run").click()
    ready.visitor.expect("2 pictures with 2 objects in", STATUS)
    with zipfile.ZipFile(ready.visitor.download("#lay-download", tmp_path)) as packed:
        made = np.asarray(Image.open(packed.open("images/000000.png")))
    changed = (made != ground).any(axis=-1)
    assert changed[17:23, 22:34].mean() > 0.5
    assert not changed[:8].any()
    assert not changed[34:].any()
    assert not changed[:, 50:].any()


def test_imports_of_every_kind_reach_the_canvas(ready: Canvas, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    layouts = [scattered(rng) for _ in range(3)]
    ready.unfold("#lay-import")
    for kind in ("coco", "yolo-obb", "dior"):
        with AnnotationWriter(tmp_path / kind, kind, NAMES) as writer:
            for number, layout in enumerate(layouts):
                writer.add(Layout(SIDE, SIDE, layout.boxes, f"{number}.png"))
        with zipfile.ZipFile(tmp_path / f"{kind}.zip", "w") as packed:
            for path in (tmp_path / kind).rglob("*"):
                packed.write(path, path.relative_to(tmp_path))
        ready.bring("#lay-files", tmp_path / f"{kind}.zip")
        ready.visitor.expect(f"on 3 pictures, read as {kind}", STATUS)
        ready.expect_boxes(len(layouts[0].boxes))
        for (name, corners), box in zip(ready.boxes(), layouts[0].boxes, strict=True):
            assert name == box.name
            assert min(np.abs(np.roll(corners, turn, axis=0) - box.corners).max() for turn in range(4)) < 1.01  # DIOR stores whole pixels
    ready.visitor.set_number("#lay-number", 3)
    ready.page.wait_for_function(
        "count => document.querySelectorAll('#lay-canvas polygon').length === count", arg=len(layouts[2].boxes), timeout=60_000
    )


def test_classes_that_the_model_does_not_know_are_named(ready: Canvas, tmp_path: Path) -> None:
    label = tmp_path / "harbour.txt"
    label.write_text("4 4 20 4 20 12 4 12 ferry 0\n30 30 40 30 40 40 30 40 building 0\n")
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "harbour.png")
    ready.unfold("#lay-import")
    ready.bring("#lay-files", label, tmp_path / "harbour.png")
    ready.visitor.expect("Imported 2 boxes on 1 picture, read as dota", STATUS)
    ready.expect_boxes(2)
    assert "unknown" in ready.page.locator("#lay-canvas .chip[data-name=ferry]").get_attribute("class")
    ready.page.locator("#lay-run").click()
    ready.visitor.expect("does not know the class ferry", STATUS)
    ready.click(12, 8)
    ready.relabel("ship")
    ready.page.locator("#lay-run").click()
    ready.visitor.expect("2 pictures with 4 objects in", STATUS)


def test_bad_files_are_answered_by_one_sentence_that_names_them(canvas: Canvas, tmp_path: Path) -> None:
    lone = tmp_path / "P0001.txt"
    lone.write_text("4 4 20 4 20 12 4 12 ferry 0\n")
    crossing = tmp_path / "crossing.json"
    crossing.write_text('{"images": [')
    canvas.unfold("#lay-import")
    alert = canvas.page.locator(f"{STATUS} [role=alert]")
    for path, said in ((lone, "choose the pictures together with the labels"), (crossing, "crossing.json")):
        canvas.bring("#lay-files", path)
        canvas.visitor.expect(said, STATUS)
        text = alert.inner_text()
        assert path.name in text
        assert "/tmp" not in text
        assert "\n" not in text.strip()


def test_without_a_model_the_page_says_so_and_boxes_can_be_drawn(canvas: Canvas) -> None:
    from earthgen.demos.layout_model import layout_models

    if layout_models():
        canvas.choose_model(Path("/nowhere/model"))
        canvas.visitor.expect("/nowhere/model", STATUS)
    else:
        canvas.visitor.expect("There is no layout model in the zoo", "#lay-about")
    field = canvas.page.locator("#lay-canvas .new-class input")
    field.fill("pond <b>")
    field.press("Enter")
    canvas.drag((20, 20), (90, 60))
    assert canvas.boxes()[0][0] == "pond <b>"
    assert canvas.page.locator("#lay-canvas b").count() == 0, "names are text, never markup"
    canvas.page.locator("#lay-run").click()
    canvas.page.locator(f"{STATUS} [role=alert]").wait_for()


def test_it_fits_a_phone(visit: Visit, layout_model: Path) -> None:
    phone = Canvas(visit(width=400, height=800))
    phone.choose_model(layout_model)
    phone.visitor.expect("Ready.", STATUS)
    phone.drag((10, 10), (40, 30))
    assert len(phone.boxes()) == 1
    phone.visitor.shot("layout-phone")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 400
