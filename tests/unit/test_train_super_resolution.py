"""The super-resolution task: its losses' optima, its times, its export, and what a wrong configuration is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from earthgen.gen.data.resample import upsample
from earthgen.gen.errors import InputError
from earthgen.gen.models.eanet import EANet
from earthgen.gen.zoo.card import read_card
from earthgen.train.recipe import Recipe, check_recipe
from earthgen.train.tasks.super_resolution import SuperResolutionTask
from earthgen.train.tasks.super_resolution_evaluation import one_step, sample

MODEL = {"width": 8, "enc_blocks": [1, 1], "dec_blocks": [1, 1], "pool_size": 16, "cpem_width": 16, "cpem_blocks": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    fields = torch.from_numpy(rng.standard_normal((4, 2, 48, 48)).astype(np.float32))
    smooth = torch.nn.functional.avg_pool2d(fields, 5, 1, 2, count_include_pad=False)
    np.savez(tmp_path / "x.npz", x=0.3 + 0.3 * smooth.numpy())
    return tmp_path


def recipe(data: Path, **task: Any) -> Recipe:
    loss = task.get("loss", "velocity")
    prediction = "epsilon" if loss == "noise_l1" else "v_prediction"
    source = {"kind": "array", "files": "x.npz", "key": "x", "bands": [0, 1]}
    config = {
        "kind": "super_resolution",
        "bands": ["a", "b"],
        "scale": 2,
        "crop": 16,
        "model": {**MODEL, "prediction": prediction},
        "scheduler": {"data_scale": 2.0, "prediction_type": prediction},
        "degradation": [{"kind": "mtf_blur", "scale": 2}, {"kind": "decimate", "scale": 2}],
        "sources": [{**source, "exclude": ["*#3"]}],
        "held_out": {"sources": [{**source, "only": ["*#3"]}], "crop": 32, "steps": 2},
        **task,
    }
    table = {"name": "t", "samples": 16, "batch": 4, "output": str(data / "runs"), "data": str(data), "card": {"licence": "CC0-1.0"}}
    return check_recipe({**table, "task": config}, "test")


class Oracle(nn.Module):
    """Knows the pictures, and so the exact output."""

    def __init__(self, task: SuperResolutionTask, high: Tensor, low: Tensor, offset: float = 0.0) -> None:
        super().__init__()
        self.task, self.high, self.low, self.offset = task, high, low, offset
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, state: Tensor, time: Tensor, mu: Tensor, low: Tensor) -> Tensor:
        scheduler = self.task.scheduler
        weight, std = (value.view(-1, 1, 1, 1) for value in scheduler.marginal(time))
        residual = self.task.config.frame(self.low, scheduler).enter(self.high) - mu
        noise = (state - weight * residual) / std
        if scheduler.config.prediction_type == "epsilon":
            return noise + self.offset
        return weight * noise - std / scheduler.spread**2 * residual + self.offset


def loss_of_exact(task: SuperResolutionTask, count: int, offset: float = 0.0) -> float:
    """The loss of the exact output plus an offset."""
    batch = task.batch(list(range(count)))
    oracle = Oracle(task, batch.tensors["high"], batch.tensors["low"], offset)
    return float(task.loss(oracle, batch)[0].detach())


@pytest.mark.parametrize("contrast", [None, {"window": 5, "floor": 0.01}])
@pytest.mark.parametrize("loss", ["velocity", "noise_l1"])
def test_the_exact_output_makes_the_loss_zero_and_any_other_does_not(data: Path, loss: str, contrast: dict[str, float] | None) -> None:
    task = SuperResolutionTask(recipe(data, loss=loss, contrast=contrast, final_time_share=0.25))
    assert loss_of_exact(task, 8) < 1e-3
    for offset in (-0.1, 0.1):
        assert loss_of_exact(task, 8, offset) > 5e-3


def test_the_published_loss_is_nearly_zero_at_the_exact_noise(data: Path) -> None:
    """Euler-Maruyama's mean and the optimal state differ by the step's discretisation only."""
    task = SuperResolutionTask(recipe(data, loss="state"))
    exact, off = loss_of_exact(task, 16), loss_of_exact(task, 16, 1.0)
    assert exact < 0.1 * off


def test_plain_squared_error_of_a_constant_offset(data: Path) -> None:
    task = SuperResolutionTask(recipe(data, loss="velocity"))
    assert loss_of_exact(task, 4, 0.3) == pytest.approx(0.09, rel=1e-3)


def test_times_are_whole_uniform_and_as_often_final_as_asked(data: Path) -> None:
    task = SuperResolutionTask(recipe(data, final_time_share=0.3))
    times = task._times(torch.rand(20_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(times, times.round())
    assert (times.min(), times.max()) == (1, 100)
    assert float((times == 100).double().mean()) == pytest.approx(0.3 + 0.7 / 100, abs=0.01)
    assert float(times[times < 100].mean()) == pytest.approx(50, abs=1)


def test_batches_are_functions_of_the_index(data: Path) -> None:
    task = SuperResolutionTask(recipe(data))
    whole, part = task.batch([5, 6, 7]), task.batch([6])
    assert whole.names[1] == part.names[0]
    for name, value in part.tensors.items():
        assert torch.equal(value[0], whole.tensors[name][1]), name


@pytest.mark.parametrize("contrast", [None, {"window": 5, "floor": 0.01}])
def test_evaluation_of_a_fresh_network_is_bicubic_and_that_of_the_truth_is_perfect(data: Path, contrast: dict[str, float] | None) -> None:
    task = SuperResolutionTask(recipe(data, contrast=contrast))
    with torch.no_grad():
        figures = task.evaluate(task.build(None).eval())
    # The untrained output is zero: at T the prediction is 0.5 % noise away from mu, and consistency may only improve on that.
    assert figures["psnr_one_step"] >= figures["psnr_bicubic"] - 0.5
    high = task.held_out.high[0][None]
    with torch.no_grad():
        exact = task.evaluate(Oracle(task, high, task.held_out.sensor.degrade(high)))
    assert exact["psnr_one_step"] > 60
    assert exact["psnr_sample"] > 60
    assert exact["power_sample"] == pytest.approx(1.0, abs=0.01)
    assert exact["score"] == exact["psnr_one_step"]


@pytest.mark.parametrize("contrast", [None, {"window": 5, "floor": 0.01}])
def test_sampling_with_the_exact_network_gives_the_truth(data: Path, contrast: dict[str, float] | None) -> None:
    task = SuperResolutionTask(recipe(data, contrast=contrast))
    high = task.held_out.high[0][None]
    low = task.held_out.sensor.degrade(high)
    noise = torch.randn(high.shape, generator=torch.Generator().manual_seed(0))
    oracle, frame = Oracle(task, high, low), task.config.frame(low, task.scheduler)
    with torch.no_grad():
        torch.testing.assert_close(one_step(oracle, task.scheduler, frame, noise), high, rtol=0, atol=2e-3)
        torch.testing.assert_close(sample(oracle, task.scheduler, frame, noise, 4), high, rtol=0, atol=2e-3)
    assert float((upsample(low, 2) - high).abs().max()) > 0.02


def test_export_writes_a_folder_with_weights_card_and_recipe(data: Path, tmp_path: Path) -> None:
    task = SuperResolutionTask(recipe(data))
    model = task.build(None)
    assert isinstance(model, EANet)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record = {"samples": 16, "minutes": 0.1, "seed": 0, "figures": {"psnr_one_step": 30.123456, "score": 30.123456}}
    task.export(model, tmp_path / "out", {"licence": "CC0-1.0", "training": record})
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    stored = EANet.from_pretrained(tmp_path / "out/model", torch_dtype=torch.float32)
    for name, value in stored.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-3, atol=1e-6)
    card = read_card(tmp_path / "out")
    assert card["licence"] == "CC0-1.0"
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert card["metrics"]["psnr_one_step"] == 30.1235
    assert "PSNR" in card["metrics"]["protocol"]
    assert card["data"]["held_out"] == ["x.npz#3"]
    assert (tmp_path / "out/recipe.json").is_file()
    again = SuperResolutionTask(recipe(data)).build(tmp_path / "out")
    assert torch.equal(again.state_dict()["intro.weight"], stored.state_dict()["intro.weight"])


def test_leaks_and_wrong_settings_are_refused(data: Path) -> None:
    source = {"kind": "array", "files": "x.npz", "key": "x", "bands": [0, 1]}
    with pytest.raises(InputError, match="also trained on"):
        SuperResolutionTask(recipe(data, sources=[source]))
    with pytest.raises(InputError, match=r"unknown key 'task\.model\.widht'; did you mean 'width'"):
        SuperResolutionTask(recipe(data, model={**MODEL, "widht": 8, "prediction": "v_prediction"})).build(None)
    with pytest.raises(InputError, match=r"task\.model: .*multiple of 4"):
        SuperResolutionTask(recipe(data, model={**MODEL, "width": 7, "prediction": "v_prediction"})).build(None)
    with pytest.raises(InputError, match=r"unknown key 'task\.scheduler\.max_sigmas'; did you mean 'max_sigma'"):
        SuperResolutionTask(recipe(data, scheduler={"max_sigmas": 30, "prediction_type": "v_prediction"}))
    with pytest.raises(InputError, match=r"2 bands, but task\.bands names 3"):
        SuperResolutionTask(recipe(data, bands=["a", "b", "c"]))
