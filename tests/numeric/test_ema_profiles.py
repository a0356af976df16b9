"""Averages whose length is chosen after training, against closed forms, quadrature, and averages that were really followed."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from earthgen.gen.errors import InputError
from earthgen.train import checkpoint as checkpoint_module
from earthgen.train.checkpoint import checkpoints, load_checkpoint
from earthgen.train.ema import Ema
from earthgen.train.ema_profiles import WIDEST, EmaProfiles, power_of, stored_averages, width_of
from earthgen.train.ema_reconstruction import BOUND, ExponentialTarget, PowerTarget, fit, inner_products, is_width, reconstruct
from earthgen.train.loop import Trainer, train
from earthgen.train.order import sample_noise
from earthgen.train.recipe import Recipe, check_recipe
from earthgen.train.task import Batch

INPUTS, OUTPUTS = 6, 3
SHORT: dict[str, Any] = {"samples": 480, "save_every": 80, "profile_every": 48}


class Regression:
    """y = A x + noise; the model is a linear map behind drop-out, with a frozen shift."""

    def __init__(self, follow: Callable[[nn.Module, int], None] | None = None) -> None:
        self.matrix = sample_noise(7, [0], (OUTPUTS, INPUTS))[0]
        self.follow = follow
        self.model: nn.Module | None = None

    def build(self, initialise: Path | None) -> nn.Module:
        frozen = nn.Linear(INPUTS, INPUTS)
        frozen.requires_grad_(False)
        self.model = nn.Sequential(frozen, nn.Dropout(0.25), nn.Linear(INPUTS, OUTPUTS))
        return self.model

    def batch(self, indices: list[int]) -> Batch:
        draws = sample_noise(0, indices, (INPUTS + OUTPUTS,))
        x = draws[:, :INPUTS]
        return Batch(indices, [str(index) for index in indices], {"x": x, "y": x @ self.matrix.T + 0.5 * draws[:, INPUTS:]})

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return (model(batch.tensors["x"]) - batch.tensors["y"]).square().mean(), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {}

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)


def recipe(output: Path, **changes: Any) -> Recipe:
    table: dict[str, Any] = {
        "name": "run",
        "samples": 4000,
        "batch": 8,
        "save_every": 1000,
        "evaluate_every": 0,
        "output": str(output),
        "ema_profiles": [0.05, 0.1],
        "profile_every": 80,
        "optimizer": {"lr": 0.05, "floor": 1.0},
        "task": {
            "kind": "super_resolution",
            "bands": ["a"],
            "scale": 2,
            "loss": "state",
            "degradation": [{"kind": "decimate", "scale": 2}],
            "sources": [],
        },
    }
    return check_recipe({**table, **changes}, "test")


class StopAt:
    """Says stop once so many steps are done."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def apart(found: dict[str, Tensor], expected: dict[str, Tensor], scale: dict[str, Tensor]) -> float:
    """Distance over all weights, relative to the distance of the weights from `scale`."""
    wrong = sum(float((found[name].double() - value.double()).square().sum()) for name, value in expected.items())
    size = sum(float((scale[name].double() - value.double()).square().sum()) for name, value in expected.items())
    return math.sqrt(wrong / size)


def density(power: float, end: float, times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(times <= end, (power + 1) * (times / end) ** power / end, 0.0)


class TestDensities:
    @pytest.mark.parametrize("width", [0.001, 0.01, 0.05, 0.1, 0.2, 0.28, WIDEST])
    def test_the_width_is_the_standard_deviation_of_the_density(self, width: float) -> None:
        power = power_of(width)
        assert width_of(power) == pytest.approx(width, rel=1e-9)
        # Moments of (g + 1) s^g on (0, 1] are (g + 1) / (g + 1 + k).
        mean, square = (power + 1) / (power + 2), (power + 1) / (power + 3)
        assert math.sqrt(square - mean**2) == pytest.approx(width, rel=1e-6)

    def test_published_pairs(self) -> None:
        """The paper names the exponents 6.94 and 16.97 for widths of 10 % and 5 %."""
        assert power_of(0.10) == pytest.approx(6.94, abs=0.005)
        assert power_of(0.05) == pytest.approx(16.97, abs=0.005)
        assert power_of(WIDEST) == pytest.approx(0.0, abs=1e-6)

    @pytest.mark.parametrize("width", [0.0, -0.1, 0.3, float("nan"), float("inf")])
    def test_other_widths_are_refused(self, width: float) -> None:
        with pytest.raises(InputError, match="relative width"):
            power_of(width)

    @pytest.mark.parametrize("end", [0.2, 0.7, 1.0])
    def test_inner_products_equal_quadrature(self, end: float) -> None:
        times = (np.arange(400_000) + 0.5) / 400_000
        powers, ends = np.array([0.5, 6.94, 17.0]), np.array([end, 0.6, 1.0])
        curves = [density(p, e, times) for p, e in zip(powers, ends, strict=True)]
        expected = np.array([[(left * right).mean() for right in curves] for left in curves])
        np.testing.assert_allclose(inner_products(powers, ends, powers, ends), expected, rtol=2e-4)

    @pytest.mark.parametrize("rate", [0.3, 5.0, 60.0, 900.0])
    def test_products_with_exponentials_equal_quadrature(self, rate: float) -> None:
        times = (np.arange(400_000) + 0.5) / 400_000
        curve = rate * np.exp(-rate * (1 - times)) / -math.expm1(-rate)
        powers, ends = np.array([1.5, 6.94, 17.0, 17.0]), np.array([1.0, 0.95, 0.999, 1.0])
        expected = [(density(p, e, times) * curve).mean() for p, e in zip(powers, ends, strict=True)]
        target = ExponentialTarget(rate)
        np.testing.assert_allclose(target.against(powers, ends), expected, rtol=1e-4)
        assert target.square() == pytest.approx((curve**2).mean(), rel=1e-4)

    def test_a_stored_average_is_fitted_by_itself(self) -> None:
        powers = np.repeat([power_of(0.05), power_of(0.1)], 30)
        ends = np.tile(np.arange(1, 31) / 30, 2)
        coefficients, residuals = fit(powers, ends, [PowerTarget(0.05), PowerTarget(0.07), PowerTarget(0.004)])
        assert coefficients[29, 0] == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(coefficients.sum(0), 1, atol=1e-9)
        assert residuals[0] < 1e-4 < residuals[1] < 2e-3 < BOUND < residuals[2]


class TestFollowing:
    @staticmethod
    def walk(profiles: EmaProfiles, model: nn.Linear, sizes: Sequence[int], weight: Callable[[int], float]) -> None:
        samples = 0
        for size in sizes:
            samples += size
            with torch.no_grad():
                model.weight.fill_(weight(samples))
            profiles.update(model, samples, total=10**9)

    def test_a_power_of_time_has_the_analytic_average(self) -> None:
        """Weights s^2 average to (g + 1) / (g + 3) t^2."""
        model = nn.Linear(1, 1).double()
        profiles = EmaProfiles(model, [0.05, 0.1, 0.25], every=10**9)
        self.walk(profiles, model, [1] * 4000, lambda samples: (samples / 4000) ** 2)
        for width, shadow in zip(profiles.widths, profiles.shadows, strict=True):
            power = power_of(width)
            assert float(shadow["weight"]) == pytest.approx((power + 1) / (power + 3), rel=1e-3)

    def test_steps_of_any_size_weigh_exactly_their_part_of_the_integral(self) -> None:
        model = nn.Linear(1, 1).double()
        profiles = EmaProfiles(model, [0.07], every=10**9)
        sizes = [3, 3, 10, 1, 40, 40, 7]
        self.walk(profiles, model, sizes, math.sin)
        ends = np.cumsum(sizes) / sum(sizes)
        shares = np.diff(np.concatenate([[0.0], ends ** (power_of(0.07) + 1)]))
        expected = float((shares * np.sin(np.cumsum(sizes))).sum())
        assert float(profiles.shadows[0]["weight"]) == pytest.approx(expected, rel=1e-12)

    def test_the_random_start_is_forgotten_at_once(self) -> None:
        model = nn.Linear(3, 2)
        profiles = EmaProfiles(model, [0.1], every=100)
        with torch.no_grad():
            model.weight.fill_(3.0)
        profiles.update(model, 8, total=1000)
        assert torch.equal(profiles.shadows[0]["weight"], model.weight)

    def test_no_widths_cost_nothing_and_frozen_weights_neither(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        none = EmaProfiles(model)
        none.update(model, 8, total=8)
        assert none.tensors() == {}
        model[0].weight.requires_grad_(False)
        followed = {"0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
        assert set(EmaProfiles(model, [0.1], every=8).shadows[0]) == followed
        assert set(Ema(model, 10).shadow) == followed

    @pytest.mark.parametrize(
        ("widths", "every", "said"), [([0.1, 0.1], 8, "twice"), ([0.4], 8, "relative width"), ([0.1], 0, "needs profile_every")]
    )
    def test_wrong_profiles_are_refused(self, widths: list[float], every: int, said: str) -> None:
        with pytest.raises(InputError, match=said):
            EmaProfiles(nn.Linear(1, 1), widths, every=every)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, dict[str, dict[str, Tensor]]]:
    """A run of 500 steps, and averages of its weights that were really followed, step by step, in float64."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    task = Regression()
    trainer = Trainer(recipe(tmp_path_factory.mktemp("followed")), task)
    model = trainer.state.model
    names = [name for name in trainer.state.ema.shadow if name.startswith("2.")]
    widths, decays = [0.03, 0.07, 0.15, 0.2], [0.95, 0.98, 0.99]
    direct = {f"width {width}": {name: torch.zeros_like(model.state_dict()[name]).double() for name in names} for width in widths}
    direct |= {f"decay {decay}": {name: torch.zeros_like(model.state_dict()[name]).double() for name in names} for decay in decays}

    def follow() -> bool:
        now = {name: model.state_dict()[name].double() for name in names}
        for width in widths:
            keep = (1 - 8 / trainer.samples) ** (power_of(width) + 1)
            for name, value in direct[f"width {width}"].items():
                value.mul_(keep).add_(now[name], alpha=1 - keep)
        for decay in decays:
            for name, value in direct[f"decay {decay}"].items():
                value.mul_(decay).add_(now[name], alpha=1 - decay)
        return False

    trainer.run(follow)
    for decay in decays:
        for value in direct[f"decay {decay}"].values():
            value.div_(1 - decay**500)
    _reset()
    monkeypatch.undo()
    return trainer, direct


def _reset() -> None:
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()


class TestReconstruction:
    @pytest.mark.parametrize("length", [0.03, 0.07, 0.15, 0.2, 0.95, 0.98, 0.99])
    def test_an_average_that_was_never_followed(self, followed: tuple[Trainer, dict[str, dict[str, Tensor]]], length: float) -> None:
        """Within 0.1 % of the weights, and within 2 % of how far they lie from the trained ones (no averaging: 100 %)."""
        trainer, direct = followed
        made = reconstruct(trainer.folder / "profiles", length)
        expected = direct[f"{'width' if is_width(length) else 'decay'} {length}"]
        assert made.samples == 4000
        assert made.residual < BOUND
        trained = trainer.state.model.state_dict()
        still = {name: torch.zeros_like(value) for name, value in expected.items()}
        assert apart(made.weights, expected, trained) < 0.02
        assert apart(made.weights, expected, still) < 1e-3
        assert set(made.weights) == set(trainer.state.ema.shadow)
        # Not just any average: a stored one is many times further away.
        assert apart(reconstruct(trainer.folder / "profiles", 0.05).weights, expected, trained) > 0.2

    def test_an_earlier_time_can_be_chosen(self, followed: tuple[Trainer, dict[str, dict[str, Tensor]]]) -> None:
        trainer, _ = followed
        made = reconstruct(trainer.folder / "profiles", 0.1, samples=2050)
        assert made.samples == 2000
        stored = load_checkpoint(trainer.folder / "profiles" / f"{2000:012d}").tensors["profile-1"]
        for name, value in made.weights.items():
            torch.testing.assert_close(value, stored[name].float(), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("length", [0.001, 0.2886, 0.6, 0.9999999])
    def test_what_cannot_be_made_is_refused_with_what_can(
        self, followed: tuple[Trainer, dict[str, dict[str, Tensor]]], length: float
    ) -> None:
        with pytest.raises(InputError, match=r"relative widths from 0\.0\d+ to 0\.2\d+ and decays from 0\.\d+ to 0\.99\d+"):
            reconstruct(followed[0].folder / "profiles", length)

    @pytest.mark.parametrize("length", [0.0, -1.0, 0.29, 0.4, 1.0, 1.5, float("nan")])
    def test_what_is_no_length_is_refused(self, tmp_path: Path, length: float) -> None:
        with pytest.raises(InputError, match=r"relative width above 0 and below 0\.29.* decay per optimizer step from 0\.5 to below 1"):
            reconstruct(tmp_path, length)

    def test_no_snapshots(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="ema_profiles"):
            reconstruct(tmp_path / "profiles", 0.1)


@pytest.mark.usefixtures("fresh_accelerate")
class TestInTheLoop:
    @pytest.mark.parametrize("steps", [[7], [13, 9], [59]])
    def test_a_resumed_run_has_the_same_averages_and_snapshots(self, tmp_path: Path, steps: list[int]) -> None:
        whole = train(recipe(tmp_path / "whole", **SHORT), Regression())
        for count in steps:
            train(recipe(tmp_path / "parts", **SHORT), Regression(), stop=StopAt(count))
        parts = train(recipe(tmp_path / "parts", **SHORT), Regression())
        for left, right in zip(whole.state.profiles.shadows, parts.state.profiles.shadows, strict=True):
            assert all(torch.equal(value, right[name]) for name, value in left.items())
        for folder in ("profiles", "checkpoints"):
            left, right = (checkpoints(run.folder / folder)[: 10 if folder == "profiles" else 1] for run in (whole, parts))
            assert [path.name for path in left] == [path.name for path in right]
            for one, other in zip(left, right, strict=True):
                assert (one / "profile-1.safetensors").read_bytes() == (other / "profile-1.safetensors").read_bytes()

    def test_snapshots_after_the_checkpoint_are_written_again(self, tmp_path: Path) -> None:
        whole = train(recipe(tmp_path / "whole", **SHORT), Regression())

        class Crash(Regression):
            def batch(self, indices: list[int]) -> Batch:
                if indices[0] >= 312:  # behind snapshots at 240 (a checkpoint too) and 288
                    raise RuntimeError("power cut")
                return super().batch(indices)

        with pytest.raises(RuntimeError, match="power cut"):
            train(recipe(tmp_path / "parts", **SHORT), Crash())
        folder = tmp_path / "parts/run/profiles"
        assert [int(path.name) for path in checkpoints(folder)] == [288, 240, 192, 144, 96, 48]
        (folder / f"{288:012d}" / "profile-0.safetensors").write_bytes(b"torn")
        train(recipe(tmp_path / "parts", **SHORT), Regression(), stop=StopAt(1))  # 248: the one at 288 is of the future
        assert [int(path.name) for path in checkpoints(folder)] == [240, 192, 144, 96, 48]
        train(recipe(tmp_path / "parts", **SHORT), Regression())
        for path in checkpoints(whole.folder / "profiles"):
            for file in path.iterdir():
                assert file.read_bytes() == (folder / path.name / file.name).read_bytes(), file

    @pytest.mark.parametrize("file", ["profile-1.safetensors", "state.json", "manifest.json"])
    def test_a_torn_snapshot_is_passed_over(self, tmp_path: Path, file: str) -> None:
        run = train(recipe(tmp_path, **SHORT), Regression())
        folder = run.folder / "profiles"
        assert {average.samples for average in stored_averages(folder)} == set(range(48, 481, 48))
        victim = folder / f"{480:012d}" / file
        victim.write_bytes(victim.read_bytes()[:-7])
        shutil.copytree(folder / f"{96:012d}", folder / f".{999:012d}.part")
        assert {average.samples for average in stored_averages(folder)} == set(range(48, 433, 48))
        assert reconstruct(folder, 0.1).samples == 432

    def test_training_is_the_same_with_and_without(self, tmp_path: Path) -> None:
        left = train(recipe(tmp_path / "a", **SHORT), Regression())
        right = train(recipe(tmp_path / "b", **SHORT, **{"ema_profiles": []}), Regression())
        for name, value in left.state.model.state_dict().items():
            assert torch.equal(value, right.state.model.state_dict()[name])
        assert not (right.folder / "profiles").exists()
        assert not list(right.folder.glob("checkpoints/*/profile*"))

    def test_a_width_taken_up_in_mid_run_counts_once_the_time_before_is_forgotten(self, tmp_path: Path) -> None:
        """0.05 has forgotten what lies before half of its time: 0.5^18 is less than a thousandth; 0.1 not yet: 0.5^7.9 is more."""
        train(recipe(tmp_path, **{**SHORT, "ema_profiles": [0.1]}), Regression(), stop=StopAt(29))
        run = train(recipe(tmp_path, **{**SHORT, "ema_profiles": [0.05, 0.1]}), Regression())
        assert run.state.profiles.since == [232, 0]
        late = {average.samples for average in stored_averages(run.folder / "profiles") if average.power > 10}
        assert late == {384, 432, 480}
        assert {average.samples for average in stored_averages(run.folder / "profiles") if average.power < 10} == set(range(48, 481, 48))

    def test_a_full_disk_costs_a_snapshot_and_not_the_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        real = checkpoint_module._write

        def full_once(folder: Path, snapshot: checkpoint_module.Snapshot) -> None:
            if folder.parent.name == "profiles" and snapshot.samples == 96:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(folder, snapshot)

        monkeypatch.setattr(checkpoint_module, "_write", full_once)
        run = train(recipe(tmp_path, **SHORT), Regression())
        assert run.samples == 480
        assert "the disk is full: a snapshot" in caplog.text
        assert 96 not in {average.samples for average in stored_averages(run.folder / "profiles")}

    def test_the_last_step_is_stored_whatever_the_rhythm(self, tmp_path: Path) -> None:
        run = train(recipe(tmp_path, **{**SHORT, "samples": 100, "profile_every": 64}), Regression())
        assert [int(path.name) for path in checkpoints(run.folder / "profiles")] == [96, 64]

    def test_weights_too_large_for_half_precision_are_kept_whole(self, tmp_path: Path) -> None:
        model = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[1e6, 1.0]]))
        EmaProfiles(model, [0.1], tmp_path, every=8).update(model, 8, total=8)
        assert torch.equal(reconstruct(tmp_path, 0.1).weights["weight"], model.weight)
