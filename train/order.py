"""Randomness of training as a pure function of (seed, sample index).

Nothing here has state. Sample ``i`` of a run is the same crop, with the same augmentation, degradation, time and noise, whatever the batch
size, the number of workers or processes, and whether the run was interrupted: a resumed run only has to know how many samples it saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """Independent sequences of random numbers that one sample draws from."""

    DATA = 0  # which picture, where, how turned, how degraded
    TIME = 1  # diffusion time
    NOISE = 2  # diffusion noise
    EVALUATION = 3  # noise of held-out evaluations
    STEP = 4  # what the model itself draws in an optimizer step


def sample_rng(seed: int, index: int, stream: Stream) -> np.random.Generator:
    """Generator of one sample's stream.

    Args:
        seed: Seed of the run, >= 0.
        index: Sample index since the start of the run, >= 0.
        stream: Which of the sample's sequences.

    Returns:
        A fresh generator: calling twice gives the same numbers twice.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(stream), index])))


def step_seed(seed: int, samples: int, rank: int = 0) -> int:
    """Seed of torch's own generators for the optimizer step after ``samples`` samples, on one process."""
    return int(np.random.SeedSequence([seed, int(Stream.STEP), samples, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def sample_noise(seed: int, indices: list[int], shape: tuple[int, ...], stream: Stream = Stream.NOISE) -> Tensor:
    """Standard normal noise, one independent draw per sample.

    Args:
        seed: Seed of the run.
        indices: Sample indices, one per row of the result.
        shape: Shape of one sample, for example ``(C, H, W)``.
        stream: Stream to draw from.

    Returns:
        float32 tensor ``[len(indices), *shape]`` on the CPU.
    """
    rows = [sample_rng(seed, index, stream).standard_normal(shape, dtype=np.float32) for index in indices]
    return torch.from_numpy(np.stack(rows))


def sample_uniform(seed: int, indices: list[int], count: int, stream: Stream = Stream.TIME) -> Tensor:
    """``[len(indices), count]`` float64 numbers in [0, 1), one independent row per sample."""
    rows = [sample_rng(seed, index, stream).random(count) for index in indices]
    return torch.from_numpy(np.stack(rows))


def batches(start: int, stop: int, batch: int, rank: int = 0, ranks: int = 1) -> Iterator[list[int]]:
    """Cut the sample indices ``start .. stop-1`` into batches, and deal those out to the processes.

    With ``ranks`` processes a global batch is ``batch * ranks`` consecutive indices; process ``rank`` takes its consecutive share. The last
    global batch is dropped when it is not full, so that every optimizer step averages over the same number of samples.

    Args:
        start: First sample index.
        stop: One past the last.
        batch: Samples per process and step, >= 1.
        rank: This process.
        ranks: Number of processes.

    Yields:
        Lists of ``batch`` sample indices.
    """
    step = batch * ranks
    for base in range(start, stop - step + 1, step):
        first = base + rank * batch
        yield list(range(first, first + batch))
