"""Which conditions of a training sample are dropped: pure functions of uniform numbers, so that a run can be repeated and resumed.

A dropped condition is at its null. Every null that guidance or a user may ask for later must have been seen in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError

CRS_DIFF_RATES = (0.6, 0.5, 0.5, 0.5, 0.5, 0.5)
"""CRS-Diff's rates for its six local conditions, in their order; it keeps all and drops all with 0.1 each, and drops text with 0.5."""


def kept_independently(uniforms: Tensor, rates: Sequence[float] | float) -> Tensor:
    """Drop each condition on its own.

    Args:
        uniforms: ``[B, K]`` in [0, 1).
        rates: Probability that a condition is dropped, one for each or one for all.

    Returns:
        ``[B, K]`` bool: what is kept.

    Raises:
        InputError: If a rate is no probability or their number is wrong.
    """
    each = _rates(rates, uniforms.shape[1])
    return uniforms >= each.to(uniforms)


def kept_by_scheme(uniforms: Tensor, keep_all: float, drop_all: float, rates: Sequence[float] | float) -> Tensor:
    """Keep all, drop all, or drop each on its own (Uni-ControlNet's scheme, used by CRS-Diff).

    Args:
        uniforms: ``[B, 1 + K]`` in [0, 1); the first number of a sample chooses between the three.
        keep_all: Probability that all are kept.
        drop_all: Probability that all are dropped.
        rates: In the other case, probability that a condition is dropped, one for each or one for all.

    Returns:
        ``[B, K]`` bool: what is kept.

    Raises:
        InputError: If a probability is none, or the first two exceed 1 together.
    """
    both = _rates([keep_all, drop_all], 2)
    if float(both.sum()) > 1.0:
        raise InputError(f"all conditions are kept with {keep_all:g} and dropped with {drop_all:g}, more than 1 together; lower one")
    choice, each = uniforms[:, :1], kept_independently(uniforms[:, 1:], rates)
    return (choice < keep_all) | ((choice >= keep_all + drop_all) & each)


def _rates(rates: Sequence[float] | float, count: int) -> Tensor:
    each = torch.tensor([rates] * count if isinstance(rates, int | float) else list(rates), dtype=torch.float64)
    if len(each) != count:
        raise InputError(f"{len(each)} drop-out rates were given for {count} conditions; give one for each, or one for all")
    if not bool(((each >= 0) & (each <= 1)).all()):
        raise InputError(f"the drop-out rates are {', '.join(f'{rate:g}' for rate in each.tolist())}; each is a probability from 0 to 1")
    return each
