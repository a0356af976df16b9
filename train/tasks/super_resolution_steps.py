"""From noise to pictures and back with a super-resolution network: many evaluations, one, and one in reverse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...gen.data.frames import Frame
from ...gen.schedulers.mean_reverting import MeanRevertingScheduler


def one_step(model: nn.Module, scheduler: MeanRevertingScheduler, frame: Frame, noise: Tensor) -> Tensor:
    """Prediction of the clean picture from the start state in one evaluation.

    Args:
        model: An `EANet`.
        scheduler: Its diffusion.
        frame: The low-resolution pictures in the diffusion's unit.
        noise: Standard normal, ``[B, C, H, W]``.

    Returns:
        ``[B, C, H, W]``, physical units.
    """
    return frame.leave(predict_clean(model, scheduler, frame, noise))


def sample(model: nn.Module, scheduler: MeanRevertingScheduler, frame: Frame, noise: Tensor, steps: int) -> Tensor:
    """One sample with the scheduler's deterministic sampler; arguments and result as in `one_step`, with ``steps`` evaluations."""
    return frame.leave(solve(model, scheduler, frame, noise, steps))


def solve(model: nn.Module, scheduler: MeanRevertingScheduler, frame: Frame, noise: Tensor, steps: int) -> Tensor:
    """The same in the diffusion's unit."""
    scheduler.set_timesteps(steps, noise.device)
    state = scheduler.init_state(frame.mu, noise)
    for time in scheduler.timesteps:
        output = model(state - frame.mu, time.expand(len(noise)).to(torch.float32), frame.mu, frame.low)
        state = scheduler.step(output, time, state, frame.mu).prev_sample
    return state


def predict_clean(model: nn.Module, scheduler: MeanRevertingScheduler, frame: Frame, noise: Tensor) -> Tensor:
    """`one_step` in the diffusion's unit."""
    state = scheduler.init_state(frame.mu, noise)
    final = torch.full((len(noise),), float(scheduler.config.num_train_timesteps), device=noise.device)
    output = model(state - frame.mu, final, frame.mu, frame.low)
    return scheduler.predict_x0(output, final, state, frame.mu)


def read_noise(model: nn.Module, scheduler: MeanRevertingScheduler, frame: Frame, clean: Tensor) -> Tensor:
    """The noise that a picture was made from, as the model reads it out of the picture at t = 0 in one evaluation.

    There the state is the picture itself, and both kinds of prediction are the noise.

    Args:
        model: An `EANet`.
        scheduler: Its diffusion.
        frame: The low-resolution pictures in the diffusion's unit.
        clean: ``[B, C, H, W]``, in the diffusion's unit.

    Returns:
        ``[B, C, H, W]``, in units of the start state's standard deviation.
    """
    start = torch.zeros(len(clean), device=clean.device)
    output = model(clean - frame.mu, start, frame.mu, frame.low)
    return scheduler.predict_noise(output, start, clean, frame.mu)


def deterministic(scheduler: MeanRevertingScheduler) -> MeanRevertingScheduler:
    """A scheduler of its own for a deterministic solve: DPM-Solver++ 2M."""
    return MeanRevertingScheduler.from_config(scheduler.config, sampler="dpmpp_2m")
