"""What happens to a run when it is killed, asked to stop, left without disk, or started twice."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthgen.train import checkpoint as checkpoint_module
from earthgen.train.__main__ import main
from earthgen.train.checkpoint import checkpoints, latest_checkpoint

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

TRIALS = Path(__file__).parent / "train_trials.py"
RECIPE = """
name = "run"
samples = {samples}
batch = 2
save_every = 8
evaluate_every = 0
log_every = 4
keep = 3
output = "{root}/out"
data = "{root}"
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


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((1, 32, 32), dtype=np.float32))
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(root=tmp_path, samples=16))
    return path


def run_trials(folder: Path, count: int, seed: int) -> dict[str, Any]:
    done = subprocess.run([sys.executable, TRIALS, folder, f"--trials={count}", f"--seed={seed}"], capture_output=True, text=True)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_sigkill_at_random_moments_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    found = run_trials(tmp_path, 2, seed=int(time.time()))
    assert found["wrong"] == []
    assert found["kills"] >= 1


@pytest.mark.slow
def test_fifty_sigkills(tmp_path: Path) -> None:
    found = run_trials(tmp_path, 50, seed=0)
    assert found["wrong"] == []
    assert found["kills"] >= 25


def test_sigterm_saves_and_exits_with_0(recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "earthgen.train", str(recipe), "samples=1000000", "save_every=1000000", "log_every=2"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "out/run/log.jsonl"
    deadline = time.monotonic() + 200
    while not (log.is_file() and log.read_text().count("\n") > 3) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=100)
    assert child.returncode == 0, errors
    path, damaged = latest_checkpoint(tmp_path / "out/run/checkpoints")
    assert path is not None
    assert not damaged
    last = json.loads(log.read_text().splitlines()[-1])["samples"]
    assert last <= int(path.name) <= last + 2
    assert not (tmp_path / "out/run/final").exists()


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = checkpoint_module._write
    saved: list[int] = []

    def full_once(folder: Path, snapshot: checkpoint_module.Snapshot) -> None:
        saved.append(snapshot.samples)
        if snapshot.samples == 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(folder, snapshot)

    monkeypatch.setattr(checkpoint_module, "_write", full_once)
    assert main([str(recipe), "samples=24"]) == 0
    assert saved == [8, 16, 24]
    assert [int(path.name) for path in checkpoints(tmp_path / "out/run/checkpoints")] == [24, 16]
    assert "the disk is full" in caplog.text
    assert "the disk is full" in (tmp_path / "out/run/log.jsonl").read_text()


def test_a_full_disk_at_the_very_end_is_an_error(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recipe), "samples=8"]) == 0
    (tmp_path / "out/run/final").rename(tmp_path / "away")

    def full(folder: Path, snapshot: checkpoint_module.Snapshot) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(checkpoint_module, "_write", full)
    assert main([str(recipe), "samples=16"]) == 2
    assert "No space left" in capsys.readouterr().err
    path, _ = latest_checkpoint(tmp_path / "out/run/checkpoints")
    assert path is not None
    assert int(path.name) == 8


def test_a_damaged_newest_checkpoint_is_said_and_passed_over(recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(recipe)]) == 0
    folder = tmp_path / "out/run/checkpoints"
    (folder / f"{16:012d}" / "model.safetensors").write_bytes(b"gone")
    assert main([str(recipe), "samples=24"]) == 0
    assert f"{folder}/{16:012d} is damaged and was passed over; going on from {folder}/{8:012d}" in caplog.text
    samples = [json.loads(line)["samples"] for line in (tmp_path / "out/run/log.jsonl").read_text().splitlines() if "loss" in line]
    assert samples == [4, 8, 12, 16, 20, 24]


def test_a_checkpoint_of_another_model_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(recipe), "samples=8"]) == 0
    assert main([str(recipe), "task.model.width=8"]) == 2
    error = capsys.readouterr().err
    assert "belongs to another model" in error
    assert "Traceback" not in error


def test_changed_settings_are_said_on_resume(recipe: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(recipe), "samples=8"]) == 0
    assert main([str(recipe), "optimizer.lr=1e-5"]) == 0
    assert "with other settings than it was begun with: optimizer.lr, samples" in caplog.text


def test_a_second_process_is_kept_out(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from earthgen.train.lock import run_lock

    with run_lock(tmp_path / "out/run"):
        assert main([str(recipe)]) == 2
    assert "is being trained by process" in capsys.readouterr().err
    assert not (tmp_path / "out/run/checkpoints").exists()
    assert main([str(recipe)]) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_sentence(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o500)
    assert main([str(recipe)]) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_a_sentence(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("in the way")
    assert main([str(recipe)]) == 2
    assert "out" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "in the way"


def test_no_recipe_and_wrong_keys_exit_with_2(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main([str(recipe), "batchh=3"]) == 2
    assert "did you mean 'batch'?" in capsys.readouterr().err


def test_nan_in_the_data_names_the_samples(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Infinite pixels pass as numbers nowhere: the crop is refused by the dataset, or the loss stops the run."""
    np.savez(tmp_path / "x.npz", x=np.full((1, 32, 32), 3e38, dtype=np.float32))
    assert main([str(recipe)]) == 2
    assert "is not finite at samples 0 (x.npz+" in capsys.readouterr().err
    assert not checkpoints(tmp_path / "out/run/checkpoints")


def test_check_runs_two_steps_and_keeps_nothing(recipe: Path, tmp_path: Path) -> None:
    from earthgen.train.launch import check_run

    report = check_run(str(recipe), ["gradient_checkpointing=true"])
    assert report.pictures == 2
    assert report.parameters == report.trainable > 100
    assert 0 < report.seconds < 60
    assert report.memory > 50
    assert "samples a second" in report.sentence()
    assert not (tmp_path / "out").exists()


def test_export_takes_the_average_of_the_newest_checkpoint(recipe: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from earthgen.gen.errors import InputError
    from earthgen.gen.zoo.card import read_card
    from earthgen.train.checkpoint import load_checkpoint
    from earthgen.train.launch import export_run

    assert main([str(recipe), "optimizer.lr=0.01"]) == 0
    path, _ = latest_checkpoint(tmp_path / "out/run/checkpoints")
    assert path is not None
    stored = load_checkpoint(path).tensors
    for trained, part in ((False, "ema"), (True, "model")):
        assert export_run(tmp_path / "out/run", tmp_path / part, trained) == 16
        (file,) = (tmp_path / part / "model").glob("*.safetensors")
        for name, value in load_file(file).items():
            assert torch.equal(value, stored[part][name].half())
    assert not torch.equal(stored["ema"]["intro.weight"], stored["model"]["intro.weight"])
    assert read_card(tmp_path / "ema")["training"]["samples"] == 16
    with pytest.raises(InputError, match="no whole checkpoint"):
        export_run(tmp_path / "nothing", tmp_path / "x")
    assert not (tmp_path / "x").exists()
