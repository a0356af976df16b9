"""Gradients and moments cut up over two processes by DeepSpeed (gloo, CPU): the same as one process, checkpoints that go both ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from earthgen.gen.errors import InputError
from earthgen.train.checkpoint import latest_checkpoint, load_checkpoint
from earthgen.train.recipe import Recipe, check_recipe
from earthgen.train.zero import asks_for_deepspeed, begin_launch, configure_zero

SCRIPT = Path(__file__).parent / "train_zero.py"


def trained(folder: Path, *lines: str) -> str:
    """Run the script's runs one after the other in `folder`; what they said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(SCRIPT), *lines], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder of runs, and what they said; in one go, since importing everything takes longer than they do."""
    pytest.importorskip("deepspeed")
    folder = tmp_path_factory.mktemp("zero")
    said = trained(
        folder,
        "1 one",
        "2 two --batch 2 --zero 2",
        # Stopped and taken up otherwise: from pieces to one process, and from one process to pieces with accumulation and the other stage.
        "2 mixed --batch 2 --zero 2 --until 56",
        "1 mixed",
        "1 other --until 56",
        "2 other --batch 1 --accumulate 2 --zero 1",
        # Samples 70 and 71 are the second process's in the step 68..71; checkpoints are due at 24, 48, 72.
        "2 poison --batch 2 --zero 2 --poison 70",
        "2 steep --batch 2 --zero 2 --steep 70",
    )
    return folder, said


def read(folder: Path) -> tuple[dict[str, dict[str, Tensor]], list[dict[str, Any]]]:
    path, damaged = latest_checkpoint(folder / "run/checkpoints")
    assert path is not None
    assert not damaged
    lines = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    return load_checkpoint(path).tensors, [line for line in lines if "loss" in line]


def assert_same(left: Path, right: Path, tolerance: float = 1e-6) -> None:
    (tensors, lines), (others, other_lines) = read(left), read(right)
    assert {group: sorted(values) for group, values in tensors.items()} == {group: sorted(values) for group, values in others.items()}
    for group, values in tensors.items():
        for name, value in values.items():
            assert others[group][name].dtype == value.dtype == torch.float32
            torch.testing.assert_close(others[group][name], value, rtol=1e-4, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
    assert len(lines) > 2
    for key in ("samples", "loss", "grad_norm", "lr"):
        assert [line[key] for line in other_lines] == pytest.approx([line[key] for line in lines], rel=1e-5)


@pytest.mark.timeout(900)
def test_two_processes_under_zero_equal_one_and_checkpoints_go_both_ways(runs: tuple[Path, str]) -> None:
    folder, _ = runs
    # The norm that gradients are cut down to was passed, so that clipping is a part of what is compared.
    assert any(line["grad_norm"] > 0.3 for line in read(folder / "one")[1])
    for name in ("two", "mixed", "other"):
        assert_same(folder / "one", folder / name)
    best, pieces = (json.loads((folder / name / "run/best/card.json").read_text()) for name in ("one", "two"))
    assert best == pieces


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "what"), [("poison", "loss"), ("steep", "gradient")])
def test_what_is_not_finite_stops_both_processes_before_the_weights_change(runs: tuple[Path, str], name: str, what: str) -> None:
    folder, said = runs
    assert f"{name} 1: the {what} is not finite at samples 70 (70)" in said
    assert f"{name} 0: the {what} is not finite at samples " in said
    path, _ = latest_checkpoint(folder / name / "run/checkpoints")
    assert path is not None
    assert int(path.name) == 48
    assert not (folder / name / "run/final").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_networks_and_adapters_in_pieces_are_exported_whole(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    trained(
        tmp_path,
        "1 net --network --samples 48",
        "2 net2 --network --zero 2 --batch 2 --samples 48",
        "1 lora --network --lora --samples 48",
        "2 lora2 --network --lora --zero 2 --batch 2 --samples 48",
        "1 half --network --precision bf16 --samples 48",
        "2 half2 --network --precision bf16 --zero 2 --batch 2 --samples 48",
    )
    for left, right, tolerance in (("net", "net2", 1e-5), ("lora", "lora2", 1e-5), ("half", "half2", 1e-3)):
        weights, others = (load_file(tmp_path / name / "run/final/diffusion_pytorch_model.safetensors") for name in (left, right))
        assert weights.keys() == others.keys()
        assert not any("lora" in name for name in weights)
        for name, value in weights.items():
            torch.testing.assert_close(others[name], value, rtol=1e-4, atol=tolerance)
    for left, right in (("net", "net2"), ("lora", "lora2")):
        assert_same(tmp_path / left, tmp_path / right, 1e-5)
    assert (tmp_path / "lora2/run/final/adapter.safetensors").is_file()


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    task = {"bands": ["a"], "scale": 2, "loss": "state", "degradation": [{"kind": "decimate", "scale": 2}], "sources": []}
    table = {"name": "run", "samples": 96, "batch": 3, "accumulate": 4, "output": str(tmp_path), "optimizer": {"clip": 0.7}}
    return check_recipe({**table, "task": {"kind": "super_resolution", **task}}, "test")


def accelerator(settings: dict[str, Any]) -> Any:
    """What `configure_zero` reads and writes of Accelerate's."""
    from accelerate.utils import DistributedType

    plugin = SimpleNamespace(deepspeed_config=settings)
    return SimpleNamespace(
        distributed_type=DistributedType.DEEPSPEED, deepspeed_plugin=plugin, num_processes=2, gradient_accumulation_steps=1
    )


def test_sizes_accumulation_and_clipping_are_the_recipes(recipe: Recipe) -> None:
    settings: dict[str, Any] = {"zero_optimization": {"stage": 2}, "gradient_clipping": 1.0, "train_batch_size": "auto"}
    launched = accelerator(settings)
    configure_zero(launched, recipe)
    assert settings["train_micro_batch_size_per_gpu"] == 3
    assert settings["gradient_accumulation_steps"] == launched.gradient_accumulation_steps == 4
    assert settings["train_batch_size"] == 24
    assert settings["gradient_clipping"] == 0.7


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"zero_optimization": {"stage": 3}}, r"ZeRO stage 3 is not served, .* launch with fsdp2\.yaml"),
        ({"zero_optimization": {"stage": 0}}, r"ZeRO stage 0 is not served, .* with ddp\.yaml"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}, "set offload_optimizer_device: none"),
        ({"zero_optimization": {"stage": 1}, "optimizer": {"type": "Adam"}}, "settings have optimizer, which the recipe decides"),
        ({"zero_optimization": {"stage": 1}, "bf16": {"enabled": True}}, "settings have bf16, which the recipe decides"),
    ],
)
def test_settings_that_would_be_something_else_are_refused(recipe: Recipe, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        configure_zero(accelerator(settings), recipe)


def test_compiling_is_refused(recipe: Recipe) -> None:
    with pytest.raises(InputError, match="set compile=false"):
        configure_zero(accelerator({"zero_optimization": {"stage": 2}}), recipe.model_copy(update={"compile": True}))


def test_a_launch_that_cannot_be_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert asks_for_deepspeed()
    monkeypatch.setattr("earthgen.train.zero._is_installed", lambda: False)
    with pytest.raises(InputError, match=r"pip install 'earthgen\[deepspeed\]'"):
        begin_launch("no")
    monkeypatch.setattr("earthgen.train.zero._is_installed", lambda: True)
    with pytest.raises(InputError, match="set precision=bf16"):
        begin_launch("fp16")
    begin_launch("bf16")
