"""The state of a run, and its way into a checkpoint and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..gen.errors import InputError
from .adapters import check_base, frozen_names
from .checkpoint import Snapshot
from .ema import Ema
from .ema_profiles import EmaProfiles
from .journal import Averages
from .sharded import gather, scatter
from .zero import moments, restore_moments


@dataclass
class RunState:
    """What changes during a run; the rest is a function of the recipe and the samples seen.

    Attributes:
        model: The model being trained, without wrappers.
        ema: Its average.
        profiles: Averages of other lengths.
        optimizer: Its optimizer, without wrappers.
        scaler: Loss scaling of fp16, else None.
        samples: Samples seen, over all processes.
        seconds: Time spent training.
        best: Best held-out score so far.
        evaluated: Samples at the last evaluation, -1 for none.
        figures: What that evaluation gave.
        averages: Figures since the last line of the log.
        skipped: Samples that could not be read and were replaced.
        frozen: Digest of the parameters that are not trained, empty where all are.
    """

    model: nn.Module
    ema: Ema
    profiles: EmaProfiles
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None = None
    samples: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    evaluated: int = -1
    figures: dict[str, float] = field(default_factory=dict)
    averages: Averages = field(default_factory=Averages)
    skipped: int = 0
    frozen: str = ""

    def snapshot(self, recipe: dict[str, Any], keep: bool = True) -> Snapshot:
        """Gather everything but frozen parameters; the tensors are the live ones, or whole ones where processes have shares of them.

        Args:
            recipe: The effective recipe, plain JSON types.
            keep: Whether this process wants the whole tensors; all must call together where they have shares.
        """
        tensors = {"model": self._trained(), "ema": dict(self.ema.shadow), "optimizer": moments(self.model, self.optimizer, keep)}
        tensors |= self.profiles.tensors()
        meta = {
            "ema_steps": self.ema.steps,
            "profiles": self.profiles.meta(),
            "seconds": self.seconds,
            "best": None if self.best == -math.inf else self.best,
            "evaluated": self.evaluated,
            "figures": self.figures,
            "averages": self.averages.state(),
            "skipped": self.skipped,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "recipe": recipe,
            **({"frozen": self.frozen} if self.frozen else {}),
        }
        return gather(Snapshot(self.samples, tensors, meta), keep)

    def restore(self, snapshot: Snapshot, source: Path) -> None:
        """Go back to a snapshot.

        Args:
            snapshot: What `snapshot` gave.
            source: Where it came from, for the error.

        Raises:
            InputError: If it belongs to another model, or to other frozen parameters.
        """
        stored = {name: tuple(value.shape) for name, value in snapshot.tensors["model"].items()}
        own = {name: tuple(value.shape) for name, value in self._trained().items()}
        if stored != own:
            example = next(name for name in sorted({*stored, *own}) if stored.get(name) != own.get(name))
            raise InputError(
                f"{source} belongs to another model than this recipe's: {example} is {stored.get(example, 'missing')} there and "
                f"{own.get(example, 'missing')} here; choose another 'output' or 'name'"
            )
        meta = snapshot.meta
        check_base(meta.get("frozen", ""), self.frozen, source)
        snapshot = scatter(snapshot, self.model, self.optimizer)
        self.model.load_state_dict(snapshot.tensors["model"], strict=not self.frozen)
        self.ema.load(snapshot.tensors["ema"], meta["ema_steps"])
        self.profiles.load(snapshot)
        restore_moments(self.model, self.optimizer, snapshot.tensors["optimizer"])
        if self.scaler is not None and meta.get("scaler") is not None:
            self.scaler.load_state_dict(meta["scaler"])
        self.samples, self.seconds, self.figures = snapshot.samples, float(meta["seconds"]), dict(meta.get("figures", {}))
        self.best = -math.inf if meta["best"] is None else float(meta["best"])
        self.evaluated, self.averages = int(meta.get("evaluated", -1)), Averages(meta.get("averages"))
        self.skipped = int(meta.get("skipped", 0))

    def _trained(self) -> dict[str, torch.Tensor]:
        """The model's state without frozen parameters."""
        frozen = frozen_names(self.model)
        return {name: value for name, value in self.model.state_dict().items() if name not in frozen}


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Dotted names of the settings that differ between two effective recipes, sorted."""
    flat_before, flat_now = _flat(before), _flat(now)
    return sorted(key for key in {*flat_before, *flat_now} if flat_before.get(key) != flat_now.get(key))


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat
