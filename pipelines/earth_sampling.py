"""From noise to latents: any scheduler of diffusers, whole pictures or windows of a scene, from nothing or from a picture."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..gen.errors import InputError
from .progress import OnStep

Predict = Callable[[Tensor, Tensor, int], Tensor]
"""Of scaled latents, time and number of the step."""


@dataclass(frozen=True)
class Beginning:
    """A picture to begin from, and what of it stays.

    Attributes:
        latents: Of the picture, ``[B, Z, h, w]``.
        strength: Share of the steps that are run, above 0 to 1.
        keep: 1 where latents stay as they are, ``[B, 1, h, w]``; for denoisers that are not told of a mask. None: nowhere.
    """

    latents: Tensor
    strength: float = 1.0
    keep: Tensor | None = None


def prepared(scheduler: Any, steps: int, device: torch.device) -> Any:
    """A scheduler of the call's own, set to `steps`.

    Raises:
        InputError: If it cannot make so many steps.
    """
    own = copy.deepcopy(scheduler)
    try:
        own.set_timesteps(steps, device=device)
    except (ValueError, TypeError) as error:
        raise InputError(f"the sampler {type(scheduler).__name__} does not make {steps} steps ({error}); choose another number") from error
    return own


def evaluations(steps: int, strength: float) -> int:
    """How many of `steps` are run for a strength."""
    return max(1, min(steps, round(steps * strength)))


def solve(
    scheduler: Any,
    steps: int,
    noise: Tensor,
    predict: Predict,
    *,
    beginning: Beginning | None = None,
    seeds: Sequence[int] = (),
    on_step: OnStep | None = None,
) -> Tensor:
    """Run the sampler.

    Args:
        scheduler: Of diffusers; copied.
        steps: Of the whole way from noise.
        noise: Standard normal, ``[B, Z, h, w]`` float32.
        predict: The guided prediction.
        beginning: A picture to begin from.
        seeds: One for each picture, for samplers that draw on the way.
        on_step: Called after each step with (step, time, {"sample", "pred_original_sample"}); may hand back another "sample".

    Returns:
        ``[B, Z, h, w]``.

    Raises:
        InputError: If the sampler cannot make so many steps, or values are not finite after one.
    """
    own = prepared(scheduler, steps, noise.device)
    first = 0 if beginning is None else steps - evaluations(steps, beginning.strength)
    times = own.timesteps[first * own.order :]
    if hasattr(own, "set_begin_index"):
        own.set_begin_index(first * own.order)
    state = noise * float(getattr(own, "init_noise_sigma", 1.0))
    if beginning is not None and first > 0:
        state = noised(own, beginning.latents, noise, times[:1])
    generators = [torch.Generator(noise.device).manual_seed(seed & (2**63 - 1)) for seed in seeds]
    draws = {"generator": generators} if generators and "generator" in inspect.signature(own.step).parameters else {}
    for number, time in enumerate(times):
        scaled = own.scale_model_input(state, time) if hasattr(own, "scale_model_input") else state
        result = own.step(predict(scaled, time, number), time, state, **draws)
        state = result.prev_sample
        if beginning is not None and beginning.keep is not None:
            kept = beginning.latents if number + 1 == len(times) else noised(own, beginning.latents, noise, times[number + 1 : number + 2])
            state = torch.where(beginning.keep > 0.5, kept, state)
        if not bool(torch.isfinite(state).all()):
            raise InputError(
                f"the picture has values that are not finite after step {number + 1} of {len(times)}; "
                "lower the guidance, use the dtype float32, or take another model"
            )
        if on_step is not None:
            values = {"sample": state, "pred_original_sample": getattr(result, "pred_original_sample", None)}
            state = (on_step(number, time, values) or {}).get("sample", state)
    return state


def noised(scheduler: Any, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Latents at a time of the sampler, ``[1]``, as it counts them."""
    if hasattr(scheduler, "scale_noise"):
        return scheduler.scale_noise(clean, time, noise)
    return scheduler.add_noise(clean, noise, time)
