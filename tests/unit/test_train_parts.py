"""EMA, learning rate, sample order, feeding, journal, lock and checkpoints, each alone."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from earthgen.gen.errors import InputError
from earthgen.train.checkpoint import (
    Snapshot,
    checkpoints,
    latest_checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from earthgen.train.ema import Ema
from earthgen.train.feed import micro_batches
from earthgen.train.journal import Averages, Journal
from earthgen.train.lock import run_lock
from earthgen.train.order import Stream, batches, sample_noise, sample_rng, step_seed
from earthgen.train.run_state import changed_settings
from earthgen.train.schedule import learning_rate
from earthgen.train.task import Batch


def snapshot(samples: int, value: float = 1.0) -> Snapshot:
    return Snapshot(samples, {"model": {"w": torch.full((3,), value)}, "ema": {"w": torch.zeros(3)}}, {"seconds": 1.5})


class TestEma:
    def test_closed_form(self) -> None:
        """With constant decay d the average of w_1 .. w_n from w_0 is d^n w_0 + (1 - d) sum d^(n - i) w_i."""
        model = nn.Linear(2, 2)
        weights = [model.weight.detach().clone()]
        ema = Ema(model, half_life=24, warm_up=False)
        decay = 0.5 ** (8 / 24)
        for step in range(1, 7):
            with torch.no_grad():
                model.weight.copy_(torch.full((2, 2), float(step)) + torch.arange(4.0).reshape(2, 2))
            weights.append(model.weight.detach().clone())
            ema.update(model, 8)
        expected = decay**6 * weights[0] + (1 - decay) * sum(decay ** (6 - i) * weights[i] for i in range(1, 7))
        torch.testing.assert_close(ema.shadow["weight"], expected)

    def test_half_life_is_in_samples(self) -> None:
        model = nn.Linear(1, 1)
        ema = Ema(model, half_life=100, warm_up=False)
        for size in (10, 4):
            assert ema.decay(size) ** (100 / size) == pytest.approx(0.5)

    def test_warm_up_forgets_the_start(self) -> None:
        ema = Ema(nn.Linear(1, 1), half_life=1e9)
        assert ema.decay(1) == pytest.approx(0.1)
        ema.steps = 90
        assert ema.decay(1) == pytest.approx(91 / 100)

    def test_no_averaging(self) -> None:
        model = nn.Linear(2, 1)
        ema = Ema(model, half_life=0)
        with torch.no_grad():
            model.weight.fill_(5.0)
        ema.update(model, 4)
        assert torch.equal(ema.shadow["weight"], model.weight)

    def test_applied_puts_the_trained_weights_back_even_on_errors(self) -> None:
        model = nn.BatchNorm1d(2)
        ema = Ema(model, half_life=10)
        assert "running_mean" in ema.shadow
        before = {name: value.clone() for name, value in model.state_dict().items()}
        for value in ema.shadow.values():
            value.fill_(3.0)
        inside: list[float] = []

        def fail() -> None:
            with ema.applied(model):
                inside.extend((float(model.weight[0].detach()), float(model.running_mean[0])))
                raise RuntimeError("inside")

        with pytest.raises(RuntimeError, match="inside"):
            fail()
        assert inside == [3.0, 3.0]
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


class TestLearningRate:
    def test_values(self) -> None:
        def rate(samples: int) -> float:
            return learning_rate(samples, peak=2.0, total=1000, warm_up=100, hold=0.4, floor=0.1)

        assert rate(0) == pytest.approx(2.0 / 101)
        assert rate(49) == pytest.approx(2.0 * 50 / 101)
        assert rate(100) == rate(400) == 2.0
        assert rate(700) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
        assert rate(550) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5 * (1 + math.sqrt(0.5))))
        assert rate(1000) == rate(5000) == pytest.approx(0.2)

    def test_it_never_jumps(self) -> None:
        rates = [learning_rate(s, peak=1.0, total=500, warm_up=50, hold=0.2, floor=0.0) for s in range(501)]
        assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.021
        assert rates[-1] == pytest.approx(0.0, abs=1e-12)

    def test_a_run_shorter_than_its_warm_up_only_rises(self) -> None:
        rates = [learning_rate(s, peak=1.0, total=30, warm_up=50, hold=0.0, floor=0.0) for s in range(30)]
        assert rates == sorted(rates)


class TestOrder:
    def test_samples_do_not_depend_on_batch_or_ranks(self) -> None:
        one = list(itertools.chain.from_iterable(batches(0, 96, 8)))
        two = [list(batches(0, 96, 4, rank, 2)) for rank in range(2)]
        assert one == list(range(96))
        assert [index for pair in zip(*two, strict=True) for part in pair for index in part] == one

    def test_the_last_batch_is_whole_or_left_out(self) -> None:
        assert list(batches(90, 100, 4)) == [[90, 91, 92, 93], [94, 95, 96, 97]]
        assert list(batches(90, 100, 4, 0, 3)) == []

    def test_streams_and_indices_are_independent_and_repeatable(self) -> None:
        draws = {(stream, index): sample_rng(5, index, stream).random() for stream in Stream for index in range(50)}
        assert len(set(draws.values())) == len(draws)
        assert draws[Stream.DATA, 7] == sample_rng(5, 7, Stream.DATA).random()
        assert torch.equal(sample_noise(1, [3, 9], (2, 2))[1], sample_noise(1, [9], (2, 2))[0])
        assert len({step_seed(0, samples, rank) for samples in range(20) for rank in range(3)}) == 60


class TestFeed:
    @staticmethod
    def make(indices: list[int]) -> Batch:
        return Batch(indices, [str(index) for index in indices], {})

    @pytest.mark.parametrize("workers", [0, 1, 4])
    def test_same_batches_in_order(self, workers: int) -> None:
        steps = list(micro_batches(self.make, 8, 40, batch=2, accumulate=3, workers=workers))
        assert [[batch.indices for batch in step] for step in steps] == [[[s + k, s + k + 1] for k in (0, 2, 4)] for s in range(8, 35, 6)]

    def test_an_error_in_a_worker_reaches_the_loop(self) -> None:
        def broken(indices: list[int]) -> Batch:
            if 6 in indices:
                raise InputError("sample 6 is bad")
            return self.make(indices)

        seen = []
        with pytest.raises(InputError, match="sample 6"):
            seen.extend(step[0].indices for step in micro_batches(broken, 0, 20, batch=2, workers=3))

    def test_stopping_early_leaves_no_thread(self) -> None:
        feed = micro_batches(self.make, 0, 1000, batch=2, workers=3)
        next(feed)
        feed.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("earthgen-feed")]


class TestJournal:
    def test_averages_survive_a_checkpoint(self) -> None:
        whole, first = Averages(), Averages()
        for averages in (whole, first):
            averages.add({"loss": 1.0}, lr=0.1)
        second = Averages(json.loads(json.dumps(first.state())))
        for averages in (whole, second):
            averages.add({"loss": 4.0}, lr=0.2)
        assert whole.take() == second.take() == {"loss": 2.5, "lr": 0.2}
        assert whole.take() == {}

    def test_resume_drops_later_and_torn_lines(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "log.jsonl")
        for samples in (10, 20, 30, 40):
            journal.write(samples, 1.0, {"loss": float(samples)})
        with journal.path.open("a") as file:
            file.write('{"samples": 20')
        journal.resume(30)
        assert [json.loads(line)["samples"] for line in journal.path.read_text().splitlines()] == [10, 20, 30]

    def test_every_line_is_strict_json(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "log.jsonl")
        journal.write(1, 0.0, {"evaluation": {"power": float("nan"), "psnr": math.inf}})
        text = journal.path.read_text()
        assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["evaluation"] == {"power": None, "psnr": None}

    def test_other_processes_write_nothing(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "log.jsonl", active=False)
        journal.write(1, 0.0, {"loss": 1.0})
        journal.notice(1, 0.0, "hm")
        assert not journal.path.exists()


class TestCheckpoint:
    def test_round_trip_and_pruning(self, tmp_path: Path) -> None:
        for samples in (5, 10, 15, 20):
            save_checkpoint(tmp_path, snapshot(samples, samples), keep=2)
        assert [path.name for path in checkpoints(tmp_path)] == [f"{20:012d}", f"{15:012d}"]
        path, damaged = latest_checkpoint(tmp_path)
        assert path is not None
        assert not damaged
        loaded = load_checkpoint(path)
        assert loaded.samples == 20
        assert loaded.meta == {"seconds": 1.5}
        assert torch.equal(loaded.tensors["model"]["w"], torch.full((3,), 20.0))

    @pytest.mark.parametrize("file", ["model.safetensors", "state.json", "manifest.json", "ema.safetensors"])
    @pytest.mark.parametrize("how", ["cut", "flip", "gone"])
    def test_a_damaged_one_is_passed_over(self, tmp_path: Path, file: str, how: str) -> None:
        save_checkpoint(tmp_path, snapshot(5))
        victim = save_checkpoint(tmp_path, snapshot(10)) / file
        data = bytearray(victim.read_bytes())
        if how == "gone":
            victim.unlink()
        else:
            data[len(data) // 2] ^= 0x10
            victim.write_bytes(data if how == "flip" else data[: len(data) // 2])
        path, damaged = latest_checkpoint(tmp_path)
        assert path == tmp_path / f"{5:012d}"
        assert damaged == [victim.parent]
        with pytest.raises(InputError, match="damaged"):
            load_checkpoint(victim.parent)
        # Saving again at the same place mends it.
        save_checkpoint(tmp_path, snapshot(10))
        assert latest_checkpoint(tmp_path) == (victim.parent, [])

    def test_the_same_step_is_never_taken_away_to_be_written_again(self, tmp_path: Path) -> None:
        path = save_checkpoint(tmp_path, snapshot(5))
        inode = path.stat().st_ino
        assert save_checkpoint(tmp_path, snapshot(5)).stat().st_ino == inode

    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_a_full_disk_leaves_the_one_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        save_checkpoint(tmp_path, snapshot(5))
        calls = itertools.count()
        real = os.fsync

        def full(handle: int) -> None:
            if next(calls) >= after:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(handle)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            save_checkpoint(tmp_path, snapshot(10))
        assert [path.name for path in tmp_path.iterdir()] == [f"{5:012d}"]
        assert latest_checkpoint(tmp_path) == (tmp_path / f"{5:012d}", [])

    def test_left_over_parts_are_cleaned_and_never_taken_for_checkpoints(self, tmp_path: Path) -> None:
        (tmp_path / ".000000000099.part").mkdir()
        save_checkpoint(tmp_path, snapshot(5))
        assert [path.name for path in tmp_path.iterdir()] == [f"{5:012d}"]

    def test_optimizer_state_round_trips(self) -> None:
        models = [nn.Linear(3, 2) for _ in range(2)]
        models[1].load_state_dict(models[0].state_dict())
        optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1) for model in models]

        def step(number: int) -> None:
            optimizers[number].zero_grad()
            models[number](torch.ones(4, 3)).square().sum().backward()
            optimizers[number].step()

        step(0)
        models[1].load_state_dict(models[0].state_dict())
        # A checkpoint copies; the optimizer would go on to change the live tensors.
        restore_optimizer(optimizers[1], {name: value.clone() for name, value in optimizer_tensors(optimizers[0]).items()})
        step(0)
        step(1)
        assert torch.equal(models[0].weight, models[1].weight)


def test_the_lock_keeps_a_second_process_out_and_dies_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import fcntl, os, sys, time\n"
        f"handle = os.open({str(tmp_path / '.lock')!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "os.write(handle, b'process 1 on elsewhere')\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="process 1 on elsewhere"), run_lock(tmp_path):
        pass
    other.kill()
    other.wait()
    with run_lock(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / ".lock").read_text()
        with pytest.raises(InputError, match="being trained"), run_lock(tmp_path):
            pass
    with run_lock(tmp_path):
        pass


def test_changed_settings_are_named() -> None:
    before = {"seed": 0, "optimizer": {"lr": 1.0, "clip": 1.0}, "initialise": "a"}
    assert changed_settings(before, {"seed": 0, "optimizer": {"lr": 2.0, "clip": 1.0}}) == ["initialise", "optimizer.lr"]
