"""Two processes that talk by gloo: the same losses and weights as one, also when the number changes in the middle, and a common stop."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from earthgen.train.checkpoint import latest_checkpoint, load_checkpoint

SCRIPT = str(Path(__file__).parent / "train_trials.py")


def start(processes: int, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the script as the launchers do, by environment variables; returns the first exit code that is not 0, and what was said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)} if processes > 1 else {}
    children = []
    for rank in range(processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        command = [sys.executable, SCRIPT, str(folder), *arguments]
        children.append(subprocess.Popen(command, env={**os.environ, **shared, **own}, stderr=subprocess.PIPE, text=True))
    said = "".join(child.communicate(timeout=800)[1] for child in children)
    return next((child.returncode for child in children if child.returncode), 0), said


def read(folder: Path) -> tuple[dict[str, dict[str, Tensor]], list[dict[str, Any]]]:
    path, _ = latest_checkpoint(folder / "run/checkpoints")
    assert path is not None
    return load_checkpoint(path).tensors, [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]


def assert_same(left: Path, right: Path) -> None:
    (weights, lines), (others, other_lines) = read(left), read(right)
    for part in ("model", "ema"):
        for name, value in weights[part].items():
            torch.testing.assert_close(others[part][name], value, rtol=0, atol=1e-6)
    assert [line["samples"] for line in lines] == [line["samples"] for line in other_lines]
    for line, other in zip(lines, other_lines, strict=True):
        if "loss" in line:
            assert other["loss"] == pytest.approx(line["loss"], abs=1e-6)
            assert other["lr"] == line["lr"]


@pytest.mark.timeout(900)
def test_two_processes_equal_one(tmp_path: Path) -> None:
    for processes, name, batch in ((1, "one", 4), (2, "two", 2)):
        code, said = start(processes, tmp_path / name, f"--once={batch}")
        assert code == 0, said
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    assert start(1, tmp_path / "one", "--once=4")[0] == 0
    assert start(2, tmp_path / "mixed", "--once=2", "--poison=150")[0] == 3
    assert start(1, tmp_path / "mixed", "--once=4")[0] == 0
    assert_same(tmp_path / "one", tmp_path / "mixed")


@pytest.mark.slow
def test_a_nan_on_one_process_stops_both(tmp_path: Path) -> None:
    """Sample 150 is the second process's in the step 148..151; nobody waits for the other for ever."""
    code, said = start(2, tmp_path, "--once=2", "--poison=150")
    assert code == 3
    assert "rank 1: the loss is not finite at samples 150 (150)" in said
    assert "rank 0: the loss is not finite" in said
    path, _ = latest_checkpoint(tmp_path / "run/checkpoints")
    assert path is not None
    assert int(path.name) == 144
