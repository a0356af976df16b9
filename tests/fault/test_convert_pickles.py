"""A weight file never runs code, and a bad one leaves nothing behind."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from earthgen.cli import main

Convert = Callable[[Path, Path], tuple[int, str, str]]


class Trap:
    """Pickles as a call that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Convert:
    """The command in this process: exit code, standard output, standard error."""

    def run(weights: Path, out: Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["earthgen", "convert", "ediffsr", str(weights), str(out)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def refused(convert: Convert, weights: Path, out: Path, word: str) -> None:
    """Exit code 2, one sentence, and nothing beside the weight file."""
    before = sorted(out.parent.iterdir())
    code, said, complained = convert(weights, out)
    assert code == 2, complained
    assert said == ""
    lines = complained.strip().splitlines()
    assert len(lines) == 1, complained
    assert lines[0].startswith("earthgen: ")
    assert word in lines[0]
    assert sorted(out.parent.iterdir()) == before


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle", "protocol 4"])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, convert: Convert, form: str) -> None:
    trap, weights = tmp_path / "sprung", tmp_path / "weights.pth"
    content = {"intro.weight": torch.zeros(8, 6, 3, 3), "ending.weight": Trap(trap)}
    if form == "zip":
        torch.save(content, weights)
    elif form == "legacy":
        torch.save(content, weights, _use_new_zipfile_serialization=False)
    else:
        weights.write_bytes(pickle.dumps({"intro.weight": Trap(trap)}, protocol=4 if form == "protocol 4" else 2))
    refused(convert, weights, tmp_path / "model", "could run code")
    assert not trap.exists()


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    torch.save({"intro.weight": Trap(tmp_path / "sprung")}, tmp_path / "weights.pth")
    command = [sys.executable, "-m", "earthgen", "convert", "ediffsr", str(tmp_path / "weights.pth"), str(tmp_path / "model")]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert (outcome.returncode, outcome.stdout, outcome.stderr.count("\n")) == (2, "", 1), outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]


def test_the_trap_would_have_sprung(tmp_path: Path) -> None:
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "weights.pth")
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert (tmp_path / "sprung").is_dir()


def test_a_training_state_is_refused(tmp_path: Path, convert: Convert) -> None:
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    state = {"epoch": 1, "iter": 180000, "schedulers": [{"last_epoch": 3}], "optimizers": [optimizer.state_dict()]}
    torch.save(state, tmp_path / "180000.state")
    refused(convert, tmp_path / "180000.state", tmp_path / "model", "training state")


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "flipped", "folder", "absent", "list", "safetensors", "zip bomb"])
def test_damaged_files_end_in_one_sentence(tmp_path: Path, convert: Convert, damage: str) -> None:
    weights = tmp_path / "weights.pth"
    torch.save({"intro.weight": torch.randn(8, 6, 3, 3)}, weights)
    whole = weights.read_bytes()
    word = "weights.pth"
    if damage == "empty":
        weights.write_bytes(b"")
    elif damage == "text":
        weights.write_text("these are no weights, only words\n" * 10)
    elif damage == "truncated":
        weights.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        weights.write_bytes(whole[:40] + bytes(value ^ 0xFF for value in whole[40:400]) + whole[400:])
    elif damage == "folder":
        weights.unlink()
        weights.mkdir()
    elif damage == "absent":
        weights.unlink()
    elif damage == "list":
        torch.save([torch.zeros(2)], weights)
        word = "holds a list"
    elif damage == "safetensors":
        weights.write_bytes((2**62).to_bytes(8, "little") + b'{"a":{}}')
        word = "damaged"
    else:
        with zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("weights/data.pkl", b"\0" * 10_000_000)
    refused(convert, weights, tmp_path / "model", word)


def test_an_output_that_is_something_else_is_left_alone(tmp_path: Path, convert: Convert) -> None:
    weights, out = tmp_path / "weights.pth", tmp_path / "notes"
    torch.save({"intro.weight": torch.zeros(8, 6, 3, 3)}, weights)
    out.mkdir()
    (out / "mine.txt").write_text("keep me")
    assert convert(weights, out)[0] == 2
    assert (out / "mine.txt").read_text() == "keep me"
