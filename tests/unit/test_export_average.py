"""`earthgen export RUN OUT --ema`: which average is taken, what the card says of it, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from earthgen.cli import app
from earthgen.gen.errors import InputError
from earthgen.gen.zoo.card import read_card
from earthgen.train.__main__ import main
from earthgen.train.checkpoint import latest_checkpoint, load_checkpoint
from earthgen.train.ema_reconstruction import reconstruct
from earthgen.train.launch import export_run

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

RECIPE = """
name = "run"
samples = 32
batch = 2
save_every = 32
evaluate_every = 0
ema_half_life = 8
ema_profiles = [0.05, 0.1]
profile_every = 4
output = "{root}/out"
data = "{root}"
[optimizer]
lr = 0.01
[task]
kind = "super_resolution"
bands = ["a"]
scale = 2
crop = 16
loss = "velocity"
[task.model]
width = 4
enc_blocks = [1]
dec_blocks = [1]
cpem_width = 4
cpem_blocks = 1
pool_size = 16
prediction = "v_prediction"
[task.scheduler]
prediction_type = "v_prediction"
[[task.degradation]]
kind = "decimate"
scale = 2
[[task.sources]]
kind = "array"
files = "x.npz"
key = "x"
bands = [0]
"""
OWN_DECAY = 0.5 ** (2 / 8)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((1, 32, 32), dtype=np.float32))
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(root=tmp_path))
    return path


def exported(*arguments: str) -> str:
    """The command's output; its errors are raised."""
    outcome = CliRunner().invoke(app, ["export", *arguments], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def weights_in(folder: Path) -> dict[str, Tensor]:
    (file,) = (folder / "model").glob("*.safetensors")
    return load_file(file)


def test_a_width_and_a_decay_that_were_never_followed(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe)]) == 0
    run = tmp_path / "out/run"
    for length, said in ((0.07, "power function, relative width 0.07"), (0.7, "exponential, decay 0.7 per step of 2 samples")):
        folder = tmp_path / f"at-{length}"
        assert "after 32 samples" in exported(str(run), str(folder), "--ema", str(length))
        made = reconstruct(run / "profiles", length)
        for name, value in weights_in(folder).items():
            assert torch.equal(value, made.weights[name].half()), name
        record = read_card(folder)["training"]
        assert record["average"] == said
        assert record["average_residual"] == pytest.approx(made.residual, rel=1e-2)
        assert record["samples"] == 32
    left, right = weights_in(tmp_path / "at-0.07"), weights_in(tmp_path / "at-0.7")
    assert any(not torch.equal(value, right[name]) for name, value in left.items())


def test_the_own_average_is_taken_as_it_is(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe), "ema_profiles=[]", "profile_every=0"]) == 0
    run = tmp_path / "out/run"
    exported(str(run), str(tmp_path / "a"), "--ema", repr(OWN_DECAY))
    exported(str(run), str(tmp_path / "b"))
    path, _ = latest_checkpoint(run / "checkpoints")
    assert path is not None
    own = load_checkpoint(path).tensors["ema"]
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert all(torch.equal(value, own[name].half()) for name, value in weights_in(folder).items())
        assert read_card(folder)["training"]["average"] == "exponential, half-life 8 samples"


def test_without_snapshots_another_length_is_refused_with_what_to_do(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe), "samples=8", "ema_profiles=[]", "profile_every=0"]) == 0
    for length in (0.07, OWN_DECAY + 1e-6):
        with pytest.raises(InputError, match=re.escape(f"of decay {OWN_DECAY:.10g} per step") + ".*ema_profiles = "):
            export_run(tmp_path / "out/run", tmp_path / "model", length=length)
    with pytest.raises(InputError, match=r"relative width above 0 and below 0\.29"):
        export_run(tmp_path / "out/run", tmp_path / "model", length=0.4)
    assert not (tmp_path / "model").exists()


def test_trained_and_an_average_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give one of them"):
        export_run(tmp_path, tmp_path / "model", trained=True, length=0.07)
