"""Trains in one process, or in several under DeepSpeed as the file that we ship sets it up; run by path, the lines as in train_shards."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch
import train_shards
from accelerate.commands.config.config_args import load_config_from_file
from torch import Tensor, nn
from train_trials import Regression, recipe

from earthgen.train.devices import make_accelerator
from earthgen.train.lock import run_lock
from earthgen.train.loop import Trainer
from earthgen.train.recipe import RECIPES
from earthgen.train.step import NonFiniteLoss
from earthgen.train.task import Batch
from earthgen.train.zero import is_zero

# Collectives through shared memory would be compiled first; gloo does the same.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


class Steep(Regression):
    """One sample's loss is finite and its gradient is not."""

    def __init__(self, sample: int) -> None:
        super().__init__(0.0)
        self.sample = sample

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, figures = super().loss(model, batch)
        return (loss + (loss * 0).sqrt() if self.sample in batch.indices else loss), figures


class Channels(train_shards.Network):
    """A network whose weights lie with channels last, as the tasks have theirs."""

    def build(self, initialise: Path | None) -> nn.Module:
        return super().build(initialise).to(memory_format=torch.channels_last)


def launch_as_shipped(stage: int) -> None:
    """Tell this process what ``accelerate launch`` would."""
    settings = load_config_from_file(str(RECIPES / "accelerate" / "deepspeed-zero2.yaml")).deepspeed_config
    os.environ.pop("ACCELERATE_USE_CPU", None)
    os.environ.update({f"ACCELERATE_DEEPSPEED_{name.upper()}": str(value).lower() for name, value in settings.items()})
    # The launcher hands over an accumulation of its own, which is not to be heard.
    os.environ.update(
        ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_ZERO_STAGE=str(stage), ACCELERATE_GRADIENT_ACCUMULATION_STEPS="3"
    )


def train_once(given: argparse.Namespace) -> None:
    changes: dict[str, Any] = {"adapter": {"rank": 2, "targets": ["conv*", "intro", "mlp.1"]}} if given.lora else {}
    changes["optimizer"] = {"lr": 1e-3, "weight_decay": 0.05, "clip": given.clip, "warm_up": 24, "hold": 0.5}
    sizes = {"samples": given.samples, "batch": given.batch, "accumulate": given.accumulate, "precision": given.precision}
    if given.zero:
        launch_as_shipped(given.zero)
    run = recipe(given.folder, **sizes, workers=0, evaluate_every=48, **changes)
    task = Channels() if given.network else Steep(given.steep) if given.steep >= 0 else Regression(0.0, given.poison)
    accelerator = make_accelerator(run)
    with run_lock(run.output / run.name) if accelerator.is_main_process else nullcontext():
        trainer = Trainer(run, task, None, accelerator)
        assert is_zero(trainer.state.optimizer) == bool(given.zero)
        if given.zero:
            (piece,) = trainer.state.optimizer.single_partition_of_fp32_groups
            held = sum(value.numel() for value in trainer.state.model.parameters() if value.requires_grad)
            assert piece.numel() <= held // given.processes + 4 * given.processes, "nothing is cut up"
        try:
            trainer.run(lambda: bool(given.until) and trainer.samples >= given.until)
        except NonFiniteLoss as error:
            sys.stderr.write(f"{given.folder} {accelerator.process_index}: {error}\n")


def arguments() -> argparse.ArgumentParser:
    parser = train_shards.arguments()
    parser.add_argument("--zero", type=int, default=0, metavar="STAGE")
    parser.add_argument("--clip", type=float, default=0.3)
    parser.add_argument("--precision", default="no")
    parser.add_argument("--poison", type=int, default=-1, help="sample with a loss that is not finite")
    parser.add_argument("--steep", type=int, default=-1, help="sample with a gradient that is not finite")
    return parser


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(train_shards.main(arguments(), train_once))
