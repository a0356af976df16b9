"""Runs that train a part of a model: resuming bit for bit, what checkpoints hold, another base, exports by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from earthgen.cli import app
from earthgen.gen.errors import InputError
from earthgen.gen.models.eanet import EANet
from earthgen.gen.models.lora import load_adapter
from earthgen.train.adapters import build_model
from earthgen.train.checkpoint import checkpoints, load_checkpoint
from earthgen.train.launch import build_task
from earthgen.train.loop import Trainer, train
from earthgen.train.recipe import Recipe, check_recipe

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

NETWORK = {
    "width": 8,
    "enc_blocks": [1],
    "dec_blocks": [1],
    "cpem_width": 8,
    "cpem_blocks": 1,
    "pool_size": 16,
    "prediction": "v_prediction",
}
LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.2, "targets": ["conv1", "conv5", "intro", "cpem.fold"]}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A trained model to start from, which is nowhere zero."""
    return model_folder(tmp_path / "base", 0)


def model_folder(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    model = EANet(bands=1, scale=2, **NETWORK)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    return folder


def recipe(root: Path, base: Path | None, **changes: Any) -> Recipe:
    np.savez(root / "x.npz", x=np.random.default_rng(0).random((1, 32, 32), dtype=np.float32))
    task = {
        "kind": "super_resolution",
        "bands": ["a"],
        "scale": 2,
        "crop": 16,
        "loss": "velocity",
        "model": NETWORK,
        "scheduler": {"prediction_type": "v_prediction"},
        "degradation": [{"kind": "decimate", "scale": 2}],
        "sources": [{"kind": "array", "files": "x.npz", "key": "x", "bands": [0]}],
    }
    table = {
        "name": "run",
        "samples": 16,
        "batch": 2,
        "save_every": 8,
        "evaluate_every": 0,
        "ema_half_life": 6,
        "output": str(root / "out"),
    }
    start = {} if base is None else {"initialise": str(base)}
    return check_recipe({**table, **start, "data": str(root), "optimizer": {"lr": 0.01}, "task": task, **changes}, "test")


def run(given: Recipe, steps: int | None = None) -> Trainer:
    left = [steps if steps is not None else 10**9]

    def stop() -> bool:
        left[0] -= 1
        return left[0] <= 0

    return train(given, build_task(given), stop=stop)


def stored(given: Recipe) -> dict[str, dict[str, Tensor]]:
    return load_checkpoint(checkpoints(given.output / "run/checkpoints")[0]).tensors


@pytest.mark.parametrize("part", [{"adapter": LORA}, {"train_only": ["cpem.*", "ending.*"]}], ids=["lora", "train_only"])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path: Path, base: Path, part: dict[str, Any]) -> None:
    whole, parts = (recipe(tmp_path, base, output=str(tmp_path / name), **part) for name in ("whole", "parts"))
    trainer = run(whole)
    run(parts, 3)
    run(parts)
    left, right = stored(whole), stored(parts)
    assert all(torch.equal(left[group][name], right[group][name]) for group in left for name in left[group])
    trained = {name for name, parameter in trainer.state.model.named_parameters() if parameter.requires_grad}
    assert set(left["model"]) == set(left["ema"]) == trained
    assert len({name.partition(".")[0] for name in left["optimizer"]}) == len(trained)
    start = dict(build_model(whole, build_task(whole), True).named_parameters())
    assert all(torch.equal(value, start[name]) for name, value in trainer.state.model.named_parameters() if name not in trained)
    assert any(not torch.equal(left["model"][name], start[name]) for name in trained)


def test_another_base_is_refused(tmp_path: Path, base: Path) -> None:
    run(recipe(tmp_path, base, adapter=LORA), 2)
    with pytest.raises(InputError, match="was trained on another base: its frozen weights have the digest"):
        run(recipe(tmp_path, model_folder(tmp_path / "base2", 1), adapter=LORA))
    with pytest.raises(InputError, match="belongs to another model"):
        run(recipe(tmp_path, base, adapter={**LORA, "rank": 3}))
    with pytest.raises(InputError, match="belongs to another model"):
        run(recipe(tmp_path, base))


def test_the_exported_model_is_plain_and_the_adapter_fits_its_base(tmp_path: Path, base: Path) -> None:
    """By the command line: what was trained upscales, and equals the base with the adapter beside it."""
    given = recipe(tmp_path, base, adapter=LORA)
    run(given)
    out = tmp_path / "model"
    exported = CliRunner().invoke(app, ["export", str(given.output / "run"), str(out)], catch_exceptions=False)
    assert exported.exit_code == 0, exported.output
    assert (given.output / "run/final/adapter.safetensors").is_file()
    described = json.loads((out / "adapter.json").read_text())
    assert (described["rank"], described["alpha"], described["kind"]) == (2, 4.0, "lora")
    weights = load_file(out / "model/diffusion_pytorch_model.safetensors")
    plain = EANet.from_pretrained(base)
    assert set(weights) == set(plain.state_dict())
    adapted = EANet.from_pretrained(base)
    load_adapter(adapted, out)
    merged = EANet.from_pretrained(out / "model", torch_dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    x, mu = torch.randn(2, 1, 1, 12, 16, generator=generator)
    call = (x, torch.tensor([30.0]), mu, mu[:, :, ::2, ::2])
    with torch.no_grad():
        expected = adapted.eval()(*call)
        assert (plain.eval()(*call) - expected).abs().max() > 1e-3 * expected.abs().max()
        # Published weights are in half precision: eleven bits.
        torch.testing.assert_close(merged.eval()(*call), expected, rtol=0, atol=2e-3 * float(expected.abs().max()))
    from earthgen.pipelines import SuperResolutionPipeline

    pipeline = SuperResolutionPipeline.from_pretrained(out)
    low = np.random.default_rng(1).random((1, 10, 12), dtype=np.float32)
    assert np.isfinite(np.asarray(pipeline(low, num_inference_steps=1, seed=0).images)).all()


def test_both_kinds_at_once_are_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(InputError, match="adapter and train_only cannot be had together"):
        run(recipe(tmp_path, base, adapter=LORA, train_only=["intro.*"]))
    with pytest.raises(InputError, match=r"adapter\.targets: no layer is called 'to_q'"):
        run(recipe(tmp_path, base, adapter={"targets": ["to_q"]}))


def test_a_full_run_keeps_the_layout_of_its_checkpoints(tmp_path: Path) -> None:
    given = recipe(tmp_path, None)
    trainer = run(given, 2)
    path = checkpoints(given.output / "run/checkpoints")[0]
    assert set(load_file(path / "model.safetensors")) == set(trainer.state.model.state_dict())
    assert "frozen" not in json.loads((path / "state.json").read_text())
