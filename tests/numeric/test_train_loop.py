"""The loop on a problem with a known answer: the optimum, bit-equal resuming, accumulation, the learning rate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from earthgen.gen.data.atomic import write_json
from earthgen.train.checkpoint import checkpoints, latest_checkpoint, load_checkpoint
from earthgen.train.loop import Trainer, train
from earthgen.train.order import sample_noise, sample_uniform
from earthgen.train.recipe import Recipe, check_recipe
from earthgen.train.schedule import learning_rate
from earthgen.train.step import NonFiniteLoss
from earthgen.train.task import Batch

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

INPUTS, OUTPUTS, NOISE = 6, 3, 0.5
SUPER_RESOLUTION = {
    "kind": "super_resolution",
    "bands": ["a"],
    "scale": 2,
    "loss": "state",
    "degradation": [{"kind": "decimate", "scale": 2}],
    "sources": [],
}


class LinearGaussian:
    """y = A x + noise: the best linear map is A, and its mean squared error is the noise's variance."""

    def __init__(self, seed: int = 0, dropout: float = 0.0, poison: int | None = None) -> None:
        self.seed, self.dropout, self.poison = seed, dropout, poison
        self.matrix = sample_noise(7, [0], (OUTPUTS, INPUTS))[0]
        self.exported: list[Path] = []

    def build(self, initialise: Path | None) -> nn.Module:
        return nn.Sequential(nn.Dropout(self.dropout), nn.Linear(INPUTS, OUTPUTS))

    def batch(self, indices: list[int]) -> Batch:
        draws = sample_noise(self.seed, indices, (INPUTS + OUTPUTS,))
        x, noise = draws[:, :INPUTS], draws[:, INPUTS:] * NOISE
        y = x @ self.matrix.T + noise
        if self.poison in indices:
            y[indices.index(self.poison)] = float("nan")
        return Batch(indices, [f"draw {index}" for index in indices], {"x": x, "y": y})

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        error = (model(batch.tensors["x"]) - batch.tensors["y"]).square()
        return error.mean(), {"largest": error.max()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {"score": -self.expected_loss(model)}

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "card.json", card)
        self.exported.append(folder)

    def expected_loss(self, model: nn.Module) -> float:
        """Exact, over all x."""
        linear = next(module for module in model.modules() if isinstance(module, nn.Linear))
        excess = (linear.weight.double() - self.matrix.double()).square().sum() + linear.bias.double().square().sum()
        return NOISE**2 + float(excess.detach()) / OUTPUTS


def recipe(output: Path, **changes: Any) -> Recipe:
    table: dict[str, Any] = {
        "name": "run",
        "samples": 480,
        "batch": 8,
        "save_every": 80,
        "evaluate_every": 160,
        "log_every": 48,
        "output": str(output),
        "ema_half_life": 60,
        "optimizer": {"lr": 0.02, "warm_up": 40, "hold": 0.3, "floor": 0.1},
        "task": SUPER_RESOLUTION,
    }
    optimizer = {**table["optimizer"], **changes.pop("optimizer", {})}
    return check_recipe({**table, **changes, "optimizer": optimizer}, "test")


def weights(trainer: Trainer) -> dict[str, Tensor]:
    state = trainer.state
    return {
        **{f"model.{k}": v.clone() for k, v in state.model.state_dict().items()},
        **{f"ema.{k}": v for k, v in state.ema.shadow.items()},
    }


def log(trainer: Trainer) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
    return lines


class StopAt:
    """Says stop once so many steps are done."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def test_the_known_optimum_is_reached_within_one_percent(tmp_path: Path) -> None:
    task = LinearGaussian()
    spec = {"lr": 0.03, "warm_up": 100, "floor": 0.0}
    trainer = train(
        recipe(tmp_path, samples=24_000, batch=16, save_every=24_000, evaluate_every=0, ema_half_life=2_000, optimizer=spec), task
    )
    assert NOISE**2 < task.expected_loss(trainer.state.model) < 1.01 * NOISE**2
    with trainer.state.ema.applied(trainer.state.model):
        assert task.expected_loss(trainer.state.model) < 1.01 * NOISE**2


@pytest.mark.parametrize("steps", [[1], [7], [20], [13, 9], [59]])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path: Path, steps: list[int]) -> None:
    whole = train(recipe(tmp_path / "whole"), LinearGaussian(dropout=0.25))
    for count in steps:
        train(recipe(tmp_path / "parts"), LinearGaussian(dropout=0.25), stop=StopAt(count))
    parts = train(recipe(tmp_path / "parts"), LinearGaussian(dropout=0.25))
    assert parts.samples == whole.samples == 480
    expected = weights(whole)
    for name, value in weights(parts).items():
        assert torch.equal(value, expected[name]), name
    assert log(parts) == log(whole)
    left, right = (load_checkpoint(checkpoints(run.folder / "checkpoints")[0]).tensors for run in (whole, parts))
    assert all(torch.equal(left[part][name], right[part][name]) for part in left for name in left[part])


@pytest.mark.parametrize("at", [232, 72])
def test_a_crash_after_more_log_lines_than_checkpoints_leaves_no_doubles(tmp_path: Path, at: int) -> None:
    """At 232: behind log lines at 192 and an evaluation at 160, before the save at 240. At 72: behind one line, before the first save."""
    whole = train(recipe(tmp_path / "whole"), LinearGaussian())

    class Crash(LinearGaussian):
        def batch(self, indices: list[int]) -> Batch:
            if indices[0] >= at:
                raise RuntimeError("power cut")
            return super().batch(indices)

    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe(tmp_path / "parts"), Crash())
    with (tmp_path / "parts/run/log.jsonl").open("a") as file:
        file.write(f'{{"samples": {at}, "seco')  # torn
    parts = train(recipe(tmp_path / "parts"), LinearGaussian())
    assert log(parts) == log(whole)
    assert [line["samples"] for line in log(parts) if "loss" in line] == list(range(48, 481, 48))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(tmp_path: Path, workers: int) -> None:
    expected = weights(train(recipe(tmp_path / "a"), LinearGaussian()))
    found = weights(train(recipe(tmp_path / "b", workers=workers), LinearGaussian()))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(("batch", "accumulate"), [(4, 2), (2, 4)])
def test_accumulation_equals_a_larger_batch(tmp_path: Path, batch: int, accumulate: int) -> None:
    whole = train(recipe(tmp_path / "a"), LinearGaussian())
    parts = train(recipe(tmp_path / "b", batch=batch, accumulate=accumulate), LinearGaussian())
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, rtol=0, atol=1e-6)
    pairs = zip([line for line in log(whole) if "lr" in line], [line for line in log(parts) if "lr" in line], strict=True)
    for left, right in pairs:
        assert left["lr"] == right["lr"]
        assert left["loss"] == pytest.approx(right["loss"], abs=1e-6)
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], abs=1e-6)


def test_the_logged_learning_rate_is_the_schedule(tmp_path: Path) -> None:
    trainer = train(recipe(tmp_path, log_every=8), LinearGaussian())
    for line in log(trainer):
        if "lr" in line:
            expected = learning_rate(line["samples"] - 8, peak=0.02, total=480, warm_up=40, hold=0.3, floor=0.1)
            assert line["lr"] == pytest.approx(expected, rel=1e-12)


def test_the_bare_loop_gives_the_same_weights(tmp_path: Path) -> None:
    """A second implementation in ten lines of plain PyTorch: same data, same schedule, same clipping."""
    found = train(recipe(tmp_path, optimizer={"clip": 0.5, "weight_decay": 0.01}), LinearGaussian())
    task = LinearGaussian()
    torch.manual_seed(0)
    model = task.build(None)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    for start in range(0, 480, 8):
        optimizer.param_groups[0]["lr"] = learning_rate(start, peak=0.02, total=480, warm_up=40, hold=0.3, floor=0.1)
        optimizer.zero_grad()
        task.loss(model, task.batch(list(range(start, start + 8))))[0].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, found.state.model.state_dict()[name])


def test_a_nan_stops_before_the_weights_are_touched(tmp_path: Path) -> None:
    trainer = Trainer(recipe(tmp_path, accumulate=2, batch=4), LinearGaussian(poison=102))
    with pytest.raises(NonFiniteLoss, match=r"102 \(draw 102\)") as caught:
        trainer.run()
    assert caught.value.indices == [100, 101, 102, 103]  # the micro-batch, not the whole step 96..103
    clean = train(recipe(tmp_path / "clean"), LinearGaussian(), stop=StopAt(96 // 8))
    for name, value in clean.state.model.state_dict().items():
        torch.testing.assert_close(trainer.state.model.state_dict()[name], value, rtol=0, atol=1e-6)
    assert trainer.samples == 96
    path, _ = latest_checkpoint(trainer.folder / "checkpoints")
    assert path is not None
    assert path.name == f"{80:012d}"
    assert all(torch.isfinite(value).all() for part in load_checkpoint(path).tensors.values() for value in part.values())


def test_the_best_and_the_final_average_are_exported(tmp_path: Path) -> None:
    task = LinearGaussian()
    trainer = train(recipe(tmp_path), task)
    final = json.loads((trainer.folder / "final/card.json").read_text())
    assert final["training"]["samples"] == 480
    assert final["training"]["figures"]["score"] == pytest.approx(trainer.state.best)
    assert task.exported[-1].name == "final"
    with trainer.state.ema.applied(trainer.state.model):
        assert task.evaluate(trainer.state.model)["score"] == pytest.approx(trainer.state.best)
    again = LinearGaussian()
    train(recipe(tmp_path), again)
    assert not again.exported, "a finished run is not done again"


def test_order_is_uniform_enough() -> None:
    """Guards the keyed generators: no correlation between neighbouring samples, right moments."""
    noise = sample_noise(3, list(range(4000)), (4,))
    assert float(noise.mean().abs()) < 0.03
    assert float(noise.std()) == pytest.approx(1.0, abs=0.02)
    assert float((noise[1:] * noise[:-1]).mean().abs()) < 0.03
    uniform = sample_uniform(3, list(range(4000)), 1)
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.02)
