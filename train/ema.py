"""Exponential moving average of a model's weights, with its length given in samples.

The averaged weights are what gets evaluated and exported. Frozen parameters are their own average: nothing is kept for them. The decay of
one step of ``b`` samples is ``0.5 ** (b / half_life)``; early in a run it is held down to ``(1 + n) / (10 + n)`` after ``n`` steps, so that
the random initial weights are forgotten. Averages of other lengths: `ema_profiles`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Shadow copy (float32, or float64 of a float64 model) of every trained parameter and floating buffer of a model.

    Attributes:
        shadow: Averaged tensors by name.
        steps: Updates so far.
    """

    def __init__(self, model: nn.Module, half_life: float, warm_up: bool = True) -> None:
        """Start from the model's present weights, on their device.

        Args:
            model: Model whose weights are followed.
            half_life: Samples after which an old weight counts for half; 0 means no averaging.
            warm_up: Shorten the average in the first steps.
        """
        self.half_life = half_life
        self.warm_up = warm_up
        self.steps = 0
        self.shadow = shadow_of(model)
        # Asking a module for its state takes as long as averaging it. Parameters stay themselves wherever they are moved; buffers do not.
        self._model = weakref.ref(model)
        self._followed = [(name, value) for name, value in model.named_parameters(remove_duplicate=False) if name in self.shadow]
        self._buffers = [name for name in self.shadow if name not in dict(self._followed)]

    def decay(self, samples: int) -> float:
        """Share of the old average that stays after a step of ``samples`` samples."""
        if self.half_life <= 0:
            return 0.0
        decay = float(0.5 ** (samples / self.half_life))
        return min(decay, (1 + self.steps) / (10 + self.steps)) if self.warm_up else decay

    @torch.no_grad()
    def update(self, model: nn.Module, samples: int) -> None:
        """Take one step's weights in.

        Args:
            model: The model after its optimizer step.
            samples: Samples that the step consumed over all processes.
        """
        if model is self._model() and not self._buffers:
            values: dict[str, Tensor] = dict(self._followed)
        else:
            values = dict(floating(model))
        blend(self.shadow, values, 1.0 - self.decay(samples))
        self.steps += 1

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Run a block with the averaged weights in the model; the trained ones are put back afterwards, also on errors."""
        trained = {name: value.clone() for name, value in floating(model) if name in self.shadow}
        load_floating(model, self.shadow)
        try:
            yield
        finally:
            load_floating(model, trained)

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Restore an earlier `shadow`.

        Args:
            state: Averaged tensors by name.
            steps: Updates at that time.

        Raises:
            KeyError: If a followed weight is missing.
        """
        for name, value in self.shadow.items():
            value.copy_(state[name])
        self.steps = steps


def shadow_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies, for an average to start from, of what training changes in a model: parameters that are not frozen, floating buffers."""
    frozen = {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}
    return {name: value.to(_kept(value), copy=True) for name, value in floating(model) if name not in frozen}


@torch.no_grad()
def blend(shadow: dict[str, Tensor], values: dict[str, Tensor], rate: float) -> None:
    """Move averaged tensors, in place, a part of the way to new values.

    Args:
        shadow: Averaged tensors by name.
        values: The new ones; there may be more of them.
        rate: Part of the way, from 0 (stay) to 1 (take the new values).
    """
    targets = [values[name].to(average.dtype) for name, average in shadow.items()]
    if targets:
        torch._foreach_lerp_(list(shadow.values()), targets, rate)


def floating(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and values of a model's parameters and floating buffers, without gradient."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            yield name, value


@torch.no_grad()
def load_floating(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Overwrite some of a model's parameters and floating buffers; the others stay.

    Raises:
        KeyError: If the model has no such parameter or buffer.
    """
    own = dict(floating(model))
    for name, value in values.items():
        own[name].copy_(value)


def _kept(value: Tensor) -> torch.dtype:
    return torch.promote_types(value.dtype, torch.float32)
