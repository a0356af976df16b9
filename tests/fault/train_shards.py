"""Trains in one process or several, plain or with the weights cut up over them by FSDP2; run by path.

Accelerate turns FSDP on for GPUs only. Here its state is told that these processes are such, and everything behind that is its own: the
plugin from the file that we ship, `prepare`, clipping, accumulation; PyTorch's `fully_shard` runs on CPUs with gloo.
"""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from accelerate import Accelerator
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from train_trials import Regression, recipe

from earthgen.gen.models.eanet import EANet
from earthgen.train.lock import run_lock
from earthgen.train.loop import Trainer
from earthgen.train.order import sample_noise
from earthgen.train.recipe import RECIPES
from earthgen.train.task import Batch


class Network(Regression):
    """The tiny network of super-resolution on keyed random pictures."""

    def build(self, initialise: Path | None) -> nn.Module:
        model = EANet(bands=1, width=8, enc_blocks=(1,), mid_blocks=1, dec_blocks=(1,), scale=2, cpem_width=8, cpem_blocks=1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        return model

    def batch(self, indices: list[int]) -> Batch:
        draws = sample_noise(1, indices, (2, 8, 8))
        return Batch(indices, [str(index) for index in indices], {"x": draws[:, :1], "mu": draws[:, 1:]})

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        x, mu = batch.tensors["x"], batch.tensors["mu"]
        output = model(x - mu, torch.full((len(x),), 50.0), mu, mu[:, :, ::2, ::2])
        return (output - x).square().mean(), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        batch = self.batch([10_000, 10_001])
        return {"score": -float(self.loss(model, batch)[0])}

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        assert isinstance(model, EANet)
        model.save_pretrained(folder)


def sharding(accumulate: int, wrap: str) -> Accelerator:
    """An accelerator that shards as the shipped file says, except that it may wrap by size."""
    settings = load_config_from_file(str(RECIPES / "accelerate" / "fsdp2.yaml")).fsdp_config
    os.environ.update({name.upper(): str(value) for name, value in settings.items()})
    if wrap:
        os.environ.update(FSDP_AUTO_WRAP_POLICY="SIZE_BASED_WRAP", FSDP_MIN_NUM_PARAMS=wrap)
    accelerator = Accelerator(gradient_accumulation_steps=accumulate)
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    accelerator.state.distributed_type = DistributedType.FSDP
    assert accelerator.is_fsdp2
    return accelerator


def train_once(given: argparse.Namespace) -> None:
    """One process of one run."""
    changes: dict[str, Any] = {"adapter": {"rank": 2, "targets": ["conv*", "intro", "mlp.1"]}} if given.lora else {}
    sizes = {"samples": given.samples, "batch": given.batch, "accumulate": given.accumulate}
    run = recipe(given.folder, **sizes, workers=0, evaluate_every=48, **changes)
    accelerator = sharding(given.accumulate, given.wrap) if given.sharded else None
    main_process = accelerator is None or accelerator.is_main_process
    with run_lock(run.output / run.name) if main_process else nullcontext():
        trainer = Trainer(run, Network() if given.network else Regression(0.0), None, accelerator)
        held = [value for value in trainer.state.ema.shadow.values() if hasattr(value, "full_tensor")]
        assert bool(held) == given.sharded, "nothing is cut up"
        trainer.run(lambda: bool(given.until) and trainer.samples >= given.until)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("processes", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--until", type=int, default=0, help="stop after so many samples, as SIGTERM would")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--wrap", default="", help="gather modules of more parameters than this by themselves")
    parser.add_argument("--network", action="store_true")
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--sharded", action="store_true")
    return parser


def in_children(given: argparse.Namespace, train: Callable[[argparse.Namespace], None]) -> bool:
    """Fork the processes of a run, as a launcher starts them, and say whether all ended well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(given.processes):
        child = os.fork()
        if child:
            children.append(child)
            continue
        if given.processes > 1:
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(given.processes))
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        code = 1
        try:
            train(given)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return not any(codes)


def main(parser: argparse.ArgumentParser, train: Callable[[argparse.Namespace], None]) -> int:
    """Each argument is the command line of one run; they follow one another, and torch is imported once for all."""
    torch.set_num_threads(1)
    for line in sys.argv[1:]:
        if not in_children(parser.parse_args(shlex.split(line)), train):
            sys.stderr.write(f"failed: {line}\n")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(arguments(), train_once))
