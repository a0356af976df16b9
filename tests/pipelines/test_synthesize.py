"""`earthgen synthesize` over one project folder: real pictures in, labelled ones out, in every format; steps that are run again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from earthgen.cli import app
from earthgen.gen.annotations.box import Box, Layout
from earthgen.gen.annotations.formats.reading import read_annotations
from earthgen.gen.annotations.formats.writing import AnnotationWriter
from earthgen.gen.errors import InputError
from earthgen.gen.models.layout.unet import LayoutUNet, small_settings
from earthgen.pipelines.layout import LayoutToImagePipeline

SIZE = 64
Run = Callable[..., str]


@pytest.fixture
def run() -> Run:
    """Runs a command; the error that it raises is the test's."""

    def call(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["synthesize", *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return call


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of two classes with random weights."""
    from diffusers import DPMSolverMultistepScheduler

    torch.manual_seed(0)
    settings = {
        **small_settings(4, True),
        "block_out_channels": (8, 16), "attention": (False, True), "cross_attention_dim": 16, "heads": 2,
        "backbone": {"norm_num_groups": 4}, "encoder": {"start": "any", "hidden": 16, "vector_width": 8},
    }  # fmt: skip
    scheduler = DPMSolverMultistepScheduler(prediction_type="sample", use_flow_sigmas=True, flow_shift=2.0)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    unet = LayoutUNet(classes=["house", "ship"], **settings)
    LayoutToImagePipeline(unet, scheduler, size=SIZE, num_inference_steps=2).save_pretrained(folder)
    return folder


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Six pictures of grey ground with two bright turned houses each, as COCO."""
    rng = np.random.default_rng(0)
    with AnnotationWriter(tmp_path / "real", "coco", ["building"]) as writer:
        for number in range(6):
            boxes = tuple(
                Box.rotated("building", 32 + 64 * column + float(rng.uniform(-6, 6)), 32, 22, 14, float(rng.uniform(0, 3)))
                for column in range(2)
            )
            layout = Layout(128, 64, boxes, f"place{number}.png")
            pixels = rng.integers(60, 90, (64, 128, 3)).astype(np.uint8)
            for box in boxes:
                x, y = (int(value) for value in box.centre)
                pixels[y - 7 : y + 7, x - 9 : x + 9] = 200
            writer.add(layout)
            Image.fromarray(pixels).save(writer.picture_path(f"place{number}.png"))
    return tmp_path / "real"


@pytest.fixture
def begun(run: Run, real: Path, tmp_path: Path) -> Path:
    """A project with its prior."""
    project = tmp_path / "project"
    run("fit-prior", project, "--annotations", real, "--rename", "building=house", "--size", SIZE, "--scale", 1)
    return project


def test_a_project_holds_places_back_and_its_prior_draws_real_sizes(begun: Path) -> None:
    settings = json.loads((begun / "project.json").read_text())
    assert settings["names"] == ["house"]
    assert settings["horizontal"] == []
    assert len(settings["held_out"]) == 2
    figures = json.loads((begun / "prior_figures.json").read_text())
    assert figures["within_limits"] == 1.0
    learnt = {layout["picture"] for layout in json.loads((begun / "prior.json").read_text())["layouts"]}
    assert not any(place in str(name) for place in settings["held_out"] for name in learnt)


@pytest.mark.parametrize("mode", ["generate", "insert", "mixed"])
def test_pictures_depend_on_the_seed_and_their_number_alone(run: Run, begun: Path, model: Path, mode: str) -> None:
    run("sample", begun, "--num", 4, "--model", model, "--mode", mode, "--batch", 3)
    before = {path.name: path.read_bytes() for path in (begun / "samples").iterdir()}
    assert len(before) == 8
    for path in sorted((begun / "samples").glob("*2.*")):
        path.unlink()
    assert "1 pictures made" in run("sample", begun, "--num", 4, "--model", model, "--mode", mode, "--batch", 1)
    after = {path.name: path.read_bytes() for path in (begun / "samples").iterdir()}
    assert before.keys() == after.keys()
    records = [json.loads(after[name]) for name in sorted(after) if name.endswith(".json")]
    assert all(record["synthetic"] is True and record["seed"] == record["index"] for record in records)
    pictures = {name: np.asarray(Image.open(begun / "samples" / name)).astype(int) for name in after if name.endswith(".png")}
    from io import BytesIO

    for name, picture in pictures.items():
        assert np.abs(picture - np.asarray(Image.open(BytesIO(before[name]))).astype(int)).max() <= 1, name


def test_new_objects_leave_the_real_picture_around_them_alone(run: Run, begun: Path, model: Path, real: Path) -> None:
    run("sample", begun, "--num", 3, "--model", model, "--mode", "insert")
    for path in (begun / "samples").glob("*.json"):
        record = json.loads(path.read_text())
        made = np.asarray(Image.open(path.with_suffix(".png")))
        ground = np.asarray(Image.open(next(real.rglob(record["background"]))))
        squares = [ground[:, start : start + SIZE] for start in (0, SIZE)]
        kept = max(float((made == square).all(2).mean()) for square in squares)
        assert 0.3 < kept <= 1.0
        assert len(record["boxes"]) >= 1


def test_ranges_of_numbers_are_shared_without_overlap(run: Run, begun: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert "2 pictures made" in run("sample", begun, "--num", 4, "--model", model, "--mode", "generate")
    monkeypatch.delenv("WORLD_SIZE")
    assert "0 pictures made" in run("sample", begun, "--num", 4, "--model", model, "--mode", "generate")


@pytest.mark.parametrize("kind", ["coco", "dota", "dior", "hrsc", "yolo-obb", "imagefolder"])
def test_an_export_is_what_its_manifest_says(run: Run, begun: Path, model: Path, tmp_path: Path, kind: str) -> None:
    run("sample", begun, "--num", 3, "--model", model)
    assert "3 pictures" in run("export", begun, tmp_path / "out", "--to", kind, "--all")
    assert "3 pictures" in run("verify", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [line["synthetic"] for line in lines] == [True] * 3
    assert all(line["digest"] and line["layout"] for line in lines)
    boxes = sum(len(layout.boxes) for layout in read_annotations(tmp_path / "out").layouts)
    assert boxes == sum(len(line["objects"]) for line in lines) > 0


def test_a_changed_picture_or_label_is_found(run: Run, begun: Path, model: Path, tmp_path: Path) -> None:
    run("sample", begun, "--num", 2, "--model", model)
    out = tmp_path / "out"
    run("export", begun, out, "--to", "dota", "--all")
    picture = next(out.rglob("*.png"))
    whole = picture.read_bytes()
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(picture)
    with pytest.raises(InputError, match="not the one that was exported"):
        run("verify", out)
    picture.write_bytes(whole)
    label = next(path for path in sorted(out.rglob("*.txt")) if path.name != "classes.txt" and path.read_text().strip())
    label.write_text(label.read_text().splitlines()[0] + "\n" + "1 1 20 1 20 20 1 20 house 0\n")
    with pytest.raises(InputError, match=r"labels|elsewhere"):
        run("verify", out)


def test_a_filter_scores_every_object_and_lets_real_ones_pass(run: Run, begun: Path, model: Path) -> None:
    run("sample", begun, "--num", 4, "--model", model, "--mode", "generate")
    run("filter", begun, "--by", "statistics,classifier", "--share", 0.6)
    verdicts = [json.loads(line) for line in (begun / "filter.jsonl").read_text().splitlines()]
    assert len(verdicts) == 4
    for verdict in verdicts:
        record = json.loads((begun / "samples" / f"{verdict['index']:07d}.json").read_text())
        assert all(len(scores) == len(record["boxes"]) for scores in verdict["objects"].values())
    # Noise is no house: the classifier, which saw real ones, refuses what random weights paint.
    assert not any(verdict["accepted"] for verdict in verdicts)
    curves = json.loads((begun / "acceptance.json").read_text())["curves"]
    assert {curve["filter"] for curve in curves} >= {"classifier"}
    assert (begun / "acceptance.png").is_file()


def test_what_is_missing_is_said_with_the_command_that_makes_it(run: Run, begun: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fit-prior"):
        run("sample", tmp_path / "nothing", "--model", model)
    with pytest.raises(InputError, match="synthesize sample"):
        run("filter", begun)
    run("sample", begun, "--num", 1, "--model", model)
    with pytest.raises(InputError, match="synthesize filter"):
        run("export", begun, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_project_is_not_mixed_with_other_settings(run: Run, begun: Path, model: Path, real: Path) -> None:
    with pytest.raises(InputError, match="another size"):
        run("fit-prior", begun, "--annotations", real, "--rename", "building=house", "--size", 32, "--scale", 1)
    run("sample", begun, "--num", 1, "--model", model, "--seed", 1)
    with pytest.raises(InputError, match="another seed"):
        run("sample", begun, "--num", 1, "--model", model, "--seed", 2)


def test_a_class_that_the_model_cannot_paint_is_named(run: Run, real: Path, model: Path, tmp_path: Path) -> None:
    run("fit-prior", tmp_path / "other", "--annotations", real, "--size", SIZE, "--scale", 1)
    with pytest.raises(InputError, match="cannot paint building; it knows house, ship"):
        run("sample", tmp_path / "other", "--model", model)
    with pytest.raises(InputError, match="house, ship"):
        run("train", tmp_path / "other", "--from", model)


def test_a_model_of_the_projects_own_is_trained_and_used(run: Run, begun: Path, model: Path) -> None:
    small = ["samples=8", "batch=4", "save_every=8", "evaluate_every=8", "show_every=0", "probe_every=0", "task.guidance.count=4"]
    assert "8 of 8 samples" in run("train", begun, "--from", model, "--recipe", "layout-small", *small, "task.patch=4")
    assert "by " + str(begun / "runs") in run("sample", begun, "--num", 1, "--mode", "generate")


@pytest.mark.slow
def test_the_benchmark_runs_every_arm_and_goes_on_where_it_was(run: Run, begun: Path, model: Path) -> None:
    more = ["--from", model, "--smoke", "--samples", 16, "--processes", 1]
    told = run("benchmark", begun, *more)
    arms = {"real", "real, twice the steps", "copy-paste", "flat rectangles", "diffusion", "diffusion, filtered", "oracle"}
    assert all(f"| {arm} |" in told for arm in arms)
    folder = begun / "benchmark-smoke"
    table = json.loads((folder / "table.json").read_text())
    assert {row["arm"] for row in table["rows"]} > arms
    times = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*.json")}
    run("benchmark", begun, *more)
    assert times == {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*.json")}
