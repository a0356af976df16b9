"""Distillation: losses in closed form, a teacher that stays as it is, a student that keeps the noise, and what does not fit together."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from torch import Tensor, nn

from earthgen.cli import main
from earthgen.gen.errors import InputError
from earthgen.gen.models.eanet import EANet
from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.gen.zoo.card import read_card
from earthgen.gen.zoo.folder import model_digest
from earthgen.pipelines.super_resolution import SuperResolutionPipeline
from earthgen.pipelines.upscaling import Upscaler, UpscaleSettings
from earthgen.train.loop import Trainer, train
from earthgen.train.recipe import Recipe, check_recipe
from earthgen.train.task import Batch
from earthgen.train.tasks.distillation import DistillationTask, texture_distance
from earthgen.train.tasks.super_resolution import SuperResolutionTask

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

MODEL = {"width": 8, "enc_blocks": [1, 1], "dec_blocks": [1, 1], "pool_size": 16, "cpem_width": 16, "cpem_blocks": 1}
SCHEDULER = {"data_scale": 2.0, "max_sigma": 40, "prediction_type": "v_prediction"}
WARMTH = 0.8


def write_teacher(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """A teacher with random weights in every layer."""
    rng = np.random.default_rng(seed)
    model = EANet(bands=2, scale=2, prediction="v_prediction", **MODEL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.from_numpy(rng.standard_normal(tuple(parameter.shape)).astype(np.float32))
    given = {"bands": ["a", "b"], "scale": 2, "temperature": WARMTH, **settings}
    SuperResolutionPipeline(model.eval(), MeanRevertingScheduler(**SCHEDULER), **given).save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    fields = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 2, 48, 48)).astype(np.float32))
    smooth = torch.nn.functional.avg_pool2d(fields, 5, 1, 2, count_include_pad=False)
    np.savez(tmp_path / "x.npz", x=0.3 + 0.3 * smooth.numpy())
    write_teacher(tmp_path / "teacher")
    return tmp_path


def recipe(data: Path, system: dict[str, Any] | None = None, top: dict[str, Any] | None = None, **task: Any) -> Recipe:
    source = {"kind": "array", "files": "x.npz", "key": "x", "bands": [0, 1]}
    held_out = {"sources": [{**source, "only": ["*#3"]}], "crop": 32, "steps": 2, "temperature": WARMTH}
    of = {
        "bands": ["a", "b"],
        "scale": 2,
        "crop": 16,
        "model": {**MODEL, "prediction": "v_prediction"},
        "scheduler": SCHEDULER,
        "degradation": [{"kind": "mtf_blur", "scale": 2}, {"kind": "decimate", "scale": 2}],
        "sources": [{**source, "exclude": ["*#3"]}],
        "held_out": held_out,
        **(system or {}),
    }
    part = {"kind": "distillation", "teacher": str(data / "teacher"), "steps": 4, "of": of, **task}
    table = {"name": "t", "samples": 16, "batch": 4, "output": str(data / "runs"), "data": str(data), "card": {"licence": "CC0-1.0"}}
    table |= {"save_every": 8, "evaluate_every": 16, "log_every": 4, "optimizer": {"lr": 1e-3}}
    return check_recipe({**table, **(top or {}), "task": part}, "test")


class ExactStudent(nn.Module):
    """Says in one evaluation what the teacher's solve gives, `offset` off; and at t = 0 the noise of a batch, `misread` off."""

    def __init__(self, task: DistillationTask, batch: Batch, offset: float = 0.0, misread: float = 0.0) -> None:
        super().__init__()
        assert isinstance(task.system, SuperResolutionTask)
        self.scheduler, self.noise = task.system.scheduler, batch.tensors["noise"]
        self.target, self.misread = task.taught(batch) + offset, misread

    def forward(self, state: Tensor, time: Tensor, mu: Tensor, low: Tensor) -> Tensor:
        if float(time[0]) == 0.0:
            return self.noise + self.misread
        weight, std = (value.view(-1, 1, 1, 1) for value in self.scheduler.marginal(time))
        return (mu + weight * state - self.target) / std


@pytest.mark.parametrize("contrast", [None, {"window": 5, "floor": 0.01}])
def test_the_exact_map_has_no_loss(data: Path, contrast: dict[str, Any] | None) -> None:
    write_teacher(data / "teacher", contrast=contrast)
    task = DistillationTask(recipe(data, {"contrast": contrast}, weights={"inverse": 1.0, "texture": 1.0}))
    batch = task.batch([0, 1, 2])
    loss, terms = task.loss(ExactStudent(task, batch), batch)
    assert set(terms) == {"teacher", "inverse", "texture"}
    assert float(loss) < 1e-8


@pytest.mark.parametrize(("kind", "power"), [("l1", 1), ("l2", 2)])
def test_each_term_in_closed_form(data: Path, kind: str, power: int) -> None:
    """A picture 0.02 off counts 0.02 / lambda, noise read 0.3 wrong counts 0.3; the sum weighs them."""
    task = DistillationTask(recipe(data, loss=kind, weights={"teacher": 2.0, "inverse": 0.5}))
    batch = task.batch([0, 1])
    loss, terms = task.loss(ExactStudent(task, batch, 0.02, 0.3), batch)
    picture, noise = (0.02 / (40 / 255)) ** power, 0.3**power
    assert float(terms["teacher"]) == pytest.approx(picture, rel=1e-3)
    assert float(terms["inverse"]) == pytest.approx(noise, rel=1e-3)
    assert float(loss) == pytest.approx(2.0 * picture + 0.5 * noise, rel=1e-3)


def test_the_truth_term_goes_through_the_noise_of_the_truth(data: Path) -> None:
    """A network that says its input at t = 0 and c times it elsewhere brings the truth's residual r back as (weight - std c) times r."""

    class Linear(nn.Module):
        def forward(self, state: Tensor, time: Tensor, mu: Tensor, low: Tensor) -> Tensor:
            return state if float(time[0]) == 0.0 else -0.25 * state

    task = DistillationTask(recipe(data, weights={"teacher": 0.0, "inverse": 0.0, "truth": 1.0}))
    batch = task.batch([0, 1])
    system = task.system
    assert isinstance(system, SuperResolutionTask)
    frame = system.config.frame(batch.tensors["low"], system.scheduler)
    weight, std = (float(value) for value in system.scheduler.marginal(torch.tensor(100.0)))
    residual = frame.enter(batch.tensors["high"]) - frame.mu
    back = (weight + 0.25 * std) * system.spread * residual  # read as noise, the residual is multiplied by lambda at the start
    expected = ((back - residual) / system.spread).square().mean()
    assert float(task.loss(Linear(), batch)[0]) == pytest.approx(float(expected), rel=1e-4)


def test_the_texture_of_a_picture_twice_as_rough() -> None:
    picture = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert float(texture_distance(2 * picture, picture)) == pytest.approx((2 * np.log(2.0)) ** 2, rel=1e-2)
    assert float(texture_distance(picture + 5.0, picture)) < 1e-6
    assert float(texture_distance(torch.zeros_like(picture), torch.zeros_like(picture))) == 0.0


def test_the_teacher_solves_what_the_pipeline_solves(data: Path) -> None:
    """The target is the pipeline's picture for the same noise; temperature and steps are the recipe's."""
    task = DistillationTask(recipe(data))
    batch = task.batch([3])
    plain = task.system.batch([3])
    torch.testing.assert_close(batch.tensors["noise"], WARMTH * plain.tensors["noise"])
    pipeline = SuperResolutionPipeline.from_pretrained(data / "teacher")

    noise = plain.tensors["noise"]
    upscaler = Upscaler(pipeline.model, pipeline.scheduler, pipeline.sensor, UpscaleSettings(4, 1, "none", WARMTH))
    picture = upscaler(batch.tensors["low"], [lambda draw, shape: noise[0]]).image
    torch.testing.assert_close(task.taught(batch) / 2.0, picture, atol=1e-5, rtol=0)


def test_training_leaves_the_teacher_alone_and_moves_the_student_towards_it(data: Path) -> None:
    before = model_digest(data / "teacher")
    quick = {"samples": 120, "evaluate_every": 0, "save_every": 120, "log_every": 12, "ema_half_life": 0}
    made = recipe(data, top={**quick, "optimizer": {"lr": 1e-2, "hold": 0.8}}, bank=8)
    task = DistillationTask(made)
    weights = {name: value.clone() for name, value in task.teacher.model.state_dict().items()}
    trainer = train(made, task)
    assert model_digest(data / "teacher") == before
    for name, value in task.teacher.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert not any(parameter.requires_grad for parameter in task.teacher.model.parameters())
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["teacher"] < 0.5 * lines[0]["teacher"]


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(data: Path) -> None:
    """Also where the bank has to be filled again."""
    bank = {"bank": 8}
    whole = train(recipe(data, top={"name": "whole", "samples": 32}, **bank), DistillationTask(recipe(data, **bank)))
    cut = recipe(data, top={"name": "cut", "samples": 32}, **bank)
    steps: list[int] = []
    train(cut, DistillationTask(cut), lambda done, total: steps.append(done), lambda: len(steps) == 5)
    again = train(cut, DistillationTask(cut))
    assert again.samples == whole.samples == 32
    for name, value in whole.state.model.state_dict().items():
        assert torch.equal(again.state.model.state_dict()[name], value), name


def test_the_bank_repeats_samples_and_solves_each_once(data: Path) -> None:
    task = DistillationTask(recipe(data, bank=4))
    first, second = task.batch([0, 1, 2, 3]), task.batch([4, 5, 6, 7])
    target = task.taught(first)
    assert second.indices == [4, 5, 6, 7]
    assert torch.equal(first.tensors["noise"], second.tensors["noise"])
    task.teacher.model.forward = None  # type: ignore[method-assign, assignment]  # solving again would fail
    assert torch.equal(task.taught(second), target)


def test_another_teacher_is_refused_on_the_way(data: Path) -> None:
    made = recipe(data)
    train(made, DistillationTask(made))
    stored = json.loads((data / "runs/t/recipe.json").read_text())
    assert stored["task"]["digest"] == model_digest(data / "teacher")
    write_teacher(data / "teacher", seed=1)
    other = recipe(data, top={"samples": 32})
    with pytest.raises(InputError, match="another teacher"):
        Trainer(other, DistillationTask(other))
    with pytest.raises(InputError, match="begun with"):
        DistillationTask(check_recipe(stored, "stored"))


@pytest.mark.parametrize(
    ("system", "sentence"),
    [
        ({"bands": ["a", "c"]}, r"has bands \['a', 'b'\] and the recipe's task.of has \['a', 'c'\]"),
        ({"unit": "dB"}, "has unit 'reflectance'"),
        ({"contrast": {"window": 5, "floor": 0.01}}, "has contrast None"),
        ({"scheduler": {**SCHEDULER, "max_sigma": 50}}, "has scheduler.max_sigma 40 and .* 50"),
        ({"held_out": {"temperature": 1.0}}, "has temperature 0.8 and .* 1.0"),
        ({"model": {**MODEL, "width": 16, "prediction": "v_prediction"}}, "has model.width 8 and .* 16"),
        (
            {"scale": 4, "degradation": [{"kind": "mtf_blur", "scale": 4}, {"kind": "decimate", "scale": 4}]},
            "has scale 2 and .* 4",
        ),
    ],
)
def test_a_teacher_of_another_system_is_refused(data: Path, system: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        DistillationTask(recipe(data, system))


def test_what_cannot_be_distilled_is_said(data: Path) -> None:
    with pytest.raises(InputError, match="there is no model 'nowhere'"):
        DistillationTask(recipe(data, teacher="nowhere"))
    with pytest.raises(InputError, match="learn pictures from"):
        recipe(data, weights={"teacher": 0.0})
    epsilon = {**SCHEDULER, "prediction_type": "epsilon"}
    with pytest.raises(InputError, match="v_prediction"):
        recipe(data, {"loss": "noise_l1", "scheduler": epsilon, "model": {**MODEL, "prediction": "epsilon"}})


def test_the_student_ships_as_a_one_step_model(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The export loads, runs in one step unless told otherwise, differs by seed, and its ensemble has a spread."""
    made = recipe(data)
    trainer = train(made, DistillationTask(made))
    folder = trainer.folder / "final"
    card = read_card(folder)
    assert card["teacher"] == {"name": str(data / "teacher"), "digest": model_digest(data / "teacher"), "steps": 4}
    names = [f"{what}_{who}" for what in ("psnr", "power") for who in ("bicubic", "one_step_mean", "teacher", "student")]
    assert set(names) < set(card["metrics"])
    pipeline = SuperResolutionPipeline.from_pretrained(folder)
    assert pipeline.steps(None) == 1
    assert pipeline.steps(3) == 3
    low = np.random.default_rng(1).uniform(0.2, 0.4, (2, 12, 10)).astype(np.float32)
    calls: list[int] = []
    one = pipeline(low, seed=0, progress=lambda done, total: calls.append(total))
    assert calls == [1]
    np.testing.assert_array_equal(one.images, pipeline(low, seed=0, num_inference_steps=1).images)
    assert float(np.abs(one.images - pipeline(low, seed=1).images).max()) > 1e-4
    assert float(pipeline(low, samples=4).uncertainty.mean()) > 1e-5
    again = data / "again"
    pipeline.save_pretrained(again)
    assert SuperResolutionPipeline.from_pretrained(again).steps(None) == 1

    profile = {"driver": "GTiff", "dtype": "float32", "count": 2, "height": 12, "width": 10, "crs": "EPSG:32632"}
    with rasterio.open(data / "in.tif", "w", transform=from_origin(0, 0, 10, 10), **profile) as raster:
        raster.write(low)
        raster.descriptions = ("a", "b")
    paths = [str(data / "in.tif"), str(data / "out.tif"), "--model", str(folder)]
    monkeypatch.setattr(sys, "argv", ["earthgen", "upscale", *paths, "--gain", "1", "--device", "cpu"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code, capsys.readouterr().err
    with rasterio.open(data / "out.tif") as written:
        tags = written.tags()
    assert (tags["EARTHGEN_STEPS"], tags["EARTHGEN_SAMPLER"]) == ("1", "one_step")
