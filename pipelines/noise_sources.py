"""Where the noise of one picture comes from: a field keyed by seed and place, or a torch generator.

A picture has a source of its own, so that it does not depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Protocol

import torch
from torch import Tensor

from ..gen.data.noise import noise_field
from ..gen.errors import InputError

STEPS_PER_SAMPLE = 1 << 20  # draws set aside for one member of an ensemble


class NoiseSource(Protocol):
    """Standard normal noise for one picture."""

    def __call__(self, draw: int, shape: tuple[int, int, int]) -> Tensor:
        """The noise of a draw, ``[C, H, W]`` float32 on the CPU. A member of an ensemble and a step have a draw of their own."""


@dataclass(frozen=True)
class FieldNoise:
    """A window of a seed's noise field.

    Attributes:
        seed: Which field.
        row: First row of the window, full-resolution pixels of the scene.
        col: First column.
    """

    seed: int
    row: int = 0
    col: int = 0

    def __call__(self, draw: int, shape: tuple[int, int, int]) -> Tensor:
        """As `NoiseSource`; a pure function of seed, draw, band and place."""
        return noise_field(self.seed, shape[0], self.row, self.col, shape[1], shape[2], draw=draw)


@dataclass(frozen=True)
class GeneratorNoise:
    """The next numbers of a torch generator, in the order of the calls.

    Attributes:
        generator: Its state moves on with each call.
    """

    generator: torch.Generator

    def __call__(self, draw: int, shape: tuple[int, int, int]) -> Tensor:
        """As `NoiseSource`; the draw's number has no say."""
        return torch.randn(shape, generator=self.generator, device=self.generator.device).cpu()


def noise_sources(
    count: int, seed: int | Sequence[int], generator: torch.Generator | Sequence[torch.Generator] | None
) -> tuple[list[NoiseSource], list[int]]:
    """One source per picture.

    Args:
        count: Pictures.
        seed: One per picture; a single number s stands for s, s + 1, ...
        generator: One per picture, instead of seeds.

    Returns:
        The sources, and the seeds (the generators' initial ones where generators are given).

    Raises:
        InputError: If their number or type is wrong.
    """
    if generator is not None:
        generators = [generator] if isinstance(generator, torch.Generator) else list(generator)
        if len(generators) != count or not all(isinstance(entry, torch.Generator) for entry in generators):
            raise InputError(f"there are {len(generators)} generators for {count} pictures; give a list with one torch.Generator for each")
        return [GeneratorNoise(entry) for entry in generators], [entry.initial_seed() for entry in generators]
    if isinstance(seed, Integral):
        seed = [int(seed) + number for number in range(count)]
    given = list(seed) if isinstance(seed, Iterable) else []
    if len(given) != count or not all(isinstance(entry, Integral) for entry in given):
        raise InputError(f"the seeds {seed!r} do not fit {count} pictures; give one whole number, or a list with one for each picture")
    seeds = [int(entry) for entry in given]
    return [FieldNoise(entry) for entry in seeds], seeds
