"""What a run shows while it goes on: pictures, probes, trackers and replaced samples, also after it was taken up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from earthgen.gen.errors import InputError
from earthgen.train.loop import Trainer, train
from earthgen.train.recipe import Recipe, check_recipe
from earthgen.train.task import Batch
from earthgen.train.tasks.super_resolution import SuperResolutionTask

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

MODEL = {"width": 8, "enc_blocks": [1, 1], "dec_blocks": [1, 1], "pool_size": 16, "cpem_width": 16, "cpem_blocks": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    fields = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 48, 48)).astype(np.float32))
    smooth = torch.nn.functional.avg_pool2d(fields, 5, 1, 2, count_include_pad=False)
    np.savez(tmp_path / "x.npz", x=0.3 + 0.3 * smooth.numpy())
    return tmp_path


def recipe(data: Path, **changes: Any) -> Recipe:
    source = {"kind": "array", "files": "x.npz", "key": "x", "bands": [0, 1, 2]}
    task = {
        "kind": "super_resolution",
        "bands": ["B04", "B03", "B02"],
        "scale": 2,
        "crop": 16,
        "model": {**MODEL, "prediction": "v_prediction"},
        "scheduler": {"prediction_type": "v_prediction"},
        "degradation": [{"kind": "mtf_blur", "scale": 2}, {"kind": "decimate", "scale": 2}],
        "sources": [{**source, "exclude": ["*#3"]}],
        "held_out": {"sources": [{**source, "only": ["*#3"]}], "crop": 32, "steps": 2},
    }
    table = {"name": "t", "samples": 32, "batch": 4, "evaluate_every": 0, "save_every": 16, "log_every": 8, "output": str(data / "runs")}
    return check_recipe({**table, "data": str(data), "task": task, **changes}, "test")


def run(settings: Recipe, steps: int | None = None) -> Trainer:
    left = [steps]

    def stop() -> bool:
        if left[0] is not None:
            left[0] -= 1
        return left[0] == 0

    return train(settings, SuperResolutionTask(settings), stop=stop)


def lines(trainer: Trainer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]


def test_pictures_appear_every_so_many_samples_and_show_the_truth_at_the_right(data: Path) -> None:
    trainer = run(recipe(data, show_every=16))
    files = sorted((trainer.folder / "pictures").iterdir())
    assert [file.name for file in files] == ["000000000016-held-out.png", "000000000032-held-out.png"]
    grid = np.asarray(Image.open(files[-1])).astype(float)
    assert grid.shape == (32 + 4, 5 * 32 + 4 * 4, 3)  # input, bicubic, mean, sample and truth of 32 pixels, 4 between
    truth = np.load(data / "x.npz")["x"][3, :, 8:40, 8:40]
    low, high = np.percentile(truth, [2, 98])
    expected = np.clip((truth - low) / (high - low), 0, 1).transpose(1, 2, 0) * 255
    assert np.abs(grid[:32, -32:] - expected).max() <= 0.5 + 1e-3
    # Two by two pixels of the input are one block.
    blocks = grid[:32, :32].reshape(16, 2, 16, 2, 3)
    assert np.ptp(blocks, axis=(1, 3)).max() == 0
    assert np.std(grid[:32, :32]) > 10


def test_the_sensor_probe_is_logged_beside_that_of_bicubic(data: Path) -> None:
    trainer = run(recipe(data, probe_every=16))
    probes = [line["probes"] for line in lines(trainer) if "probes" in line]
    assert len(probes) == 2
    high = torch.from_numpy(np.load(data / "x.npz")["x"][3:, :, 8:40, 8:40])
    from earthgen.gen.data.resample import upsample
    from earthgen.gen.data.sensor_model import SensorModel

    sensor = SensorModel(2, mtf=0.3)
    low = sensor.degrade(high)
    expected = (sensor.degrade(upsample(low, 2)) - low).square().mean().sqrt()
    assert probes[0]["sensor/error_bicubic"] == pytest.approx(float(expected), rel=1e-5)
    assert probes[0]["sensor/error"] > 0


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(str(folder))
    accumulator.Reload()
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def test_tensorboard_gets_what_the_log_gets_also_when_the_run_is_taken_up_again(data: Path) -> None:
    pytest.importorskip("tensorboard")
    settings = recipe(data, trackers=["tensorboard"], show_every=16)
    run(settings, steps=5)  # saved at 20 samples; logged at 8 and 16
    trainer = run(settings)
    logged = [(line["samples"], line["loss"]) for line in lines(trainer) if "loss" in line]
    seen = scalars(trainer.folder / "t")["train/loss"]
    assert [step for step, _ in seen] == [step for step, _ in logged] == [8, 16, 24, 32]
    np.testing.assert_allclose([value for _, value in seen], [value for _, value in logged], rtol=1e-6)


def test_a_tracker_that_is_not_installed_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else find(name, *rest))
    with pytest.raises(InputError, match=r"wandb is missing; pip install 'earthgen\[watch\]'"):
        run(recipe(data, trackers=["wandb"]))


def test_wandb_writes_its_files_without_a_network(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    trainer = run(recipe(data, trackers=["wandb"]))
    identity = (trainer.folder / "tracker-id").read_text()
    assert list((trainer.folder / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))


class Replacing(SuperResolutionTask):
    """Says that one sample in eight was replaced, as a collection with broken pictures does."""

    def batch(self, indices: list[int]) -> Batch:
        made = super().batch(indices)
        return Batch(made.indices, made.names, made.tensors, tuple(f"broken-{index}.png" for index in indices if index % 8 == 3))


def test_replaced_samples_are_counted_and_named_and_the_count_survives_a_resume(data: Path) -> None:
    whole = recipe(data, name="whole", log_every=16)
    parts = recipe(data, name="parts", log_every=16)
    train(whole, Replacing(whole))
    left = [5]

    def stop() -> bool:
        left[0] -= 1
        return left[0] == 0

    train(parts, Replacing(parts), stop=stop)
    trainer = train(parts, Replacing(parts))
    notices = [line["notice"] for line in lines(trainer) if "notice" in line]
    assert notices[0] == "could not be read and were replaced by others: broken-3.png, broken-11.png; 2 samples replaced in all"
    assert notices[-1].endswith("4 samples replaced in all")
    assert trainer.state.skipped == 4
    assert [line["skipped"] for line in lines(trainer) if "loss" in line] == [2.0, 4.0]


class Silent:
    """A task that has nothing to show."""


@pytest.mark.parametrize("key", ["show_every", "probe_every"])
def test_a_task_with_nothing_to_show_is_refused_at_the_start(data: Path, key: str) -> None:
    with pytest.raises(InputError, match=rf"{key} is 8, but a Silent has nothing to show for it; set {key}=0"):
        Trainer(recipe(data, **{key: 8}), Silent())  # type: ignore[arg-type]
