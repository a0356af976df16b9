"""Weights cut up over two processes by FSDP2 (gloo, CPU): the same as one process, and checkpoints that go from one way to the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from earthgen.gen.errors import InputError
from earthgen.train.checkpoint import latest_checkpoint, load_checkpoint
from earthgen.train.devices import make_accelerator
from earthgen.train.recipe import RECIPES, check_recipe
from earthgen.train.sharded import refuse_unsupported

SCRIPT = Path(__file__).parent / "train_shards.py"


def trained(folder: Path, *lines: str) -> None:
    """Run the script's runs one after the other in `folder`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(SCRIPT), *lines], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def read(folder: Path) -> tuple[dict[str, dict[str, Tensor]], list[float]]:
    path, damaged = latest_checkpoint(folder / "run/checkpoints")
    assert path is not None
    assert not damaged
    losses = [json.loads(line).get("loss") for line in (folder / "run/log.jsonl").read_text().splitlines()]
    return load_checkpoint(path).tensors, [loss for loss in losses if loss is not None]


def assert_same(left: Path, right: Path, tolerance: float = 1e-6) -> None:
    (tensors, losses), (others, other_losses) = read(left), read(right)
    assert {group: sorted(values) for group, values in tensors.items()} == {group: sorted(values) for group, values in others.items()}
    for group, values in tensors.items():
        for name, value in values.items():
            assert others[group][name].shape == value.shape
            torch.testing.assert_close(others[group][name], value, rtol=1e-4, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
    assert len(losses) > 2
    assert other_losses == pytest.approx(losses, abs=1e-6)


@pytest.mark.timeout(900)
def test_two_sharded_processes_equal_one_and_checkpoints_go_both_ways(tmp_path: Path) -> None:
    trained(
        tmp_path,
        "1 one --batch 4",
        "2 two --batch 2 --sharded --wrap 20",
        # Stopped and taken up otherwise: from shares to one process, and from one process to shares with accumulation.
        "2 mixed --batch 2 --sharded --wrap 20 --until 56",
        "1 mixed --batch 4",
        "1 other --batch 4 --until 56",
        "2 other --batch 1 --accumulate 2 --sharded",
    )
    for name in ("two", "mixed", "other"):
        assert_same(tmp_path / "one", tmp_path / name)
    best, sharded = (json.loads((tmp_path / name / "run/best/card.json").read_text()) for name in ("one", "two"))
    assert best == sharded


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_networks_and_adapters_are_cut_up_and_exported_whole(tmp_path: Path) -> None:
    trained(
        tmp_path,
        "1 net --network --batch 4 --samples 48",
        "2 net2 --network --sharded --batch 2 --samples 48",
        "1 lora --network --lora --samples 48",
        "2 lora2 --network --lora --sharded --batch 2 --samples 48",
    )
    for left, right in (("net", "net2"), ("lora", "lora2")):
        assert_same(tmp_path / left, tmp_path / right, 1e-5)
        weights, others = (load_file(tmp_path / name / "run/final/diffusion_pytorch_model.safetensors") for name in (left, right))
        assert weights.keys() == others.keys()
        assert not any("lora" in name for name in weights)
        for name, value in weights.items():
            torch.testing.assert_close(others[name], value, rtol=1e-4, atol=1e-5)
    assert (tmp_path / "lora2/run/final/adapter.safetensors").is_file()


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "deepspeed-zero2"])
def test_accelerate_reads_the_files_that_we_ship(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(RECIPES / "accelerate" / f"{name}.yaml"))
    kinds = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "deepspeed-zero2": "DEEPSPEED"}
    assert config.distributed_type == kinds[name]
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
    if name == "deepspeed-zero2":
        assert config.deepspeed_config["zero_stage"] == 2


@pytest.mark.usefixtures("fresh_accelerate")
def test_launches_that_would_be_something_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    task = {"bands": ["a"], "scale": 2, "loss": "state", "degradation": [{"kind": "decimate", "scale": 2}], "sources": []}
    table = {"name": "run", "samples": 8, "batch": 2, "output": str(tmp_path), "task": {"kind": "super_resolution", **task}}
    plain = check_recipe(table, "test")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match=r"FSDP is for several GPUs, and these processes compute on cpu; launch with ddp\.yaml"):
        make_accelerator(plain)
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    accelerator = Accelerator()
    refuse_unsupported(accelerator, plain)
    accelerator.state.distributed_type = DistributedType.MEGATRON_LM
    with pytest.raises(InputError, match=r"MEGATRON_LM takes its own optimizer steps .* launch with ddp\.yaml, or with fsdp2\.yaml"):
        refuse_unsupported(accelerator, plain)
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=1)
    with pytest.raises(InputError, match="set fsdp_version: 2"):
        refuse_unsupported(accelerator, plain)
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
    refuse_unsupported(accelerator, plain)
    with pytest.raises(InputError, match=r"set ema_profiles=\[\]"):
        refuse_unsupported(accelerator, check_recipe({**table, "ema_profiles": [0.1], "profile_every": 4}, "test"))
