"""From noise to latents with a network in training, for sample sheets and held-out figures."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from .generation_conditions import Conditions, for_controls
from .generation_config import GenerationConfig


@torch.no_grad()
def draw(
    model: nn.Module, config: GenerationConfig, conditions: Conditions, given: dict[str, Tensor], noise: Tensor, steps: int, scale: float
) -> Tensor:
    """Solve from noise with the recipe's sampler.

    Args:
        model: A `Generator`, in evaluation mode.
        config: The task's.
        conditions: What turned the conditions into tensors.
        given: Those tensors.
        noise: Standard normal, ``[B, Z, h, w]``.
        steps: Evaluations.
        scale: Of guidance over all conditions together; 1 is the plain conditional prediction.

    Returns:
        ``[B, Z, h, w]`` on the device of the model.
    """
    home = next(model.parameters()).device
    scheduler = build_sampler(config)
    scheduler.set_timesteps(steps, device=home)
    given = {name: value.to(home) for name, value in given.items()}
    none = conditions.without(given)
    state = noise.to(home) * float(scheduler.init_noise_sigma)
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(state, time) if hasattr(scheduler, "scale_model_input") else state
        output = _evaluated(model, scaled, time, given)
        if scale != 1:
            plain = _evaluated(model, scaled, time, none)
            output = plain + scale * (output - plain)
        state = scheduler.step(output, time, state).prev_sample
    return state


def build_sampler(config: GenerationConfig) -> Any:
    """The diffusers scheduler that the model is saved with."""
    settings = {key: value for key, value in config.scheduler.items() if key not in ("logit_mean", "logit_std")}
    if config.sampler == "FlowMatchEulerDiscreteScheduler":
        return diffusers.FlowMatchEulerDiscreteScheduler(shift=float(settings.get("flow_shift", 1.0)))
    return getattr(diffusers, config.sampler).from_config(settings)


def _evaluated(model: nn.Module, state: Tensor, time: Tensor, given: dict[str, Tensor]) -> Tensor:
    inputs = torch.cat([state, given["extra"]], 1) if "extra" in given else state
    times = time.to(torch.float32).expand(len(state))
    output: Tensor = model(inputs, times, given["tokens"], given.get("values"), given.get("known"), for_controls(given))
    return output
