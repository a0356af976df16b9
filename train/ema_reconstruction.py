"""Averages of any length out of the stored ones, after training.

Every average is an integral of the weights against a density over the time of the run, counted in samples: ``(g + 1) s^g / t^(g + 1)`` for
the power functions that `ema_profiles` stores, ``r e^(-r (T - s)) / (1 - e^(-r T))`` for an exponential average of rate ``r`` to which the
random start adds nothing. The wanted density is fitted by a sum of the stored ones with coefficients of sum 1, so that weights that stand
still are made exactly, and the same sum of the stored weights is the answer (Karras et al. 2024, section 3.2 and appendix C; the constraint
and the ridge are ours). The distance that is left, relative to the length of the wanted density, is the residual.

With snapshots of the widths 0.05 and 0.10 every 1/70 of a run, widths from 0.02 to 0.25 have residuals below 0.015.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..gen.errors import InputError
from .checkpoint import load_checkpoint
from .ema_profiles import WIDEST, StoredAverage, power_of, stored_averages

Array = NDArray[np.float64]

BOUND = 0.05
"""Largest residual of a fit that is taken for the average that was asked for."""
_RIDGE = 2.0**-22
"""Square of the rounding of a half-precision number: coefficients do not grow where that would only add up rounding."""


class Target(Protocol):
    """A density over (0, 1], the run's time up to the wanted end."""

    def square(self) -> float:
        """Inner product with itself."""
        ...

    def against(self, powers: Array, ends: Array) -> Array:
        """Inner products ``[n]`` with the power functions of these exponents ``[n]`` and ends ``[n]`` (at most 1)."""
        ...


@dataclass(frozen=True)
class PowerTarget:
    """The power-function average of a relative width."""

    width: float

    def square(self) -> float:
        """Inner product with itself."""
        return float(self.against(np.array([power_of(self.width)]), np.ones(1))[0])

    def against(self, powers: Array, ends: Array) -> Array:
        """Inner products with power functions, in closed form."""
        return inner_products(powers, ends, np.array([power_of(self.width)]), np.ones(1))[:, 0]


@dataclass(frozen=True)
class ExponentialTarget:
    """The exponential average of a rate: what stays after the whole run is ``e^-rate``."""

    rate: float

    def square(self) -> float:
        """Inner product with itself."""
        return self.rate / 2 / math.tanh(self.rate / 2)

    def against(self, powers: Array, ends: Array) -> Array:
        """Inner products with power functions.

        With ``z = rate * end`` the integral is ``rate e^(z - rate) int_0^1 (g + 1) (1 - v)^g e^(-z v) dv``, done by Gauss and Legendre's
        rule up to where the integrand has fallen below 1e-19.
        """
        nodes, weights = np.polynomial.legendre.leggauss(256)
        z = self.rate * ends
        top = np.minimum(1.0, 45.0 / (z + powers))
        v = (nodes[:, None] + 1) / 2 * top
        integrals = (weights[:, None] * (powers + 1) * (1 - v) ** powers * np.exp(-z * v)).sum(0) * top / 2
        products: Array = self.rate * np.exp(z - self.rate) * integrals / -math.expm1(-self.rate)
        return products


def inner_products(powers: Array, ends: Array, other_powers: Array, other_ends: Array) -> Array:
    """Inner products of power-function densities.

    Args:
        powers: Exponents ``[n]``.
        ends: Ends ``[n]``.
        other_powers: Exponents ``[m]``.
        other_ends: Ends ``[m]``.

    Returns:
        ``[n, m]``: ``(g + 1) (h + 1) / (g + h + 1) (t / u)^h / u``, where ``h`` belongs to the later end ``u``.
    """
    g, t = powers[:, None], ends[:, None]
    h, u = other_powers[None], other_ends[None]
    later = np.maximum(t, u)
    exponent = np.where(t <= u, h, g)
    products: Array = (g + 1) * (h + 1) / (g + h + 1) * (np.minimum(t, u) / later) ** exponent / later
    return products


def fit(powers: Array, ends: Array, targets: Sequence[Target]) -> tuple[Array, Array]:
    """Fit densities by sums of power functions.

    Args:
        powers: Exponents ``[n]``.
        ends: Ends ``[n]`` as shares of the wanted time, at most 1.
        targets: The wanted densities.

    Returns:
        Coefficients ``[n, targets]``, each column of sum 1, and residuals ``[targets]``.
    """
    count = len(powers)
    gram = inner_products(powers, ends, powers, ends)
    wanted = np.stack([target.against(powers, ends) for target in targets], axis=1)
    squares = np.array([target.square() for target in targets])
    system = np.ones((count + 1, count + 1))
    system[:count, :count] = gram + _RIDGE * np.diag(np.diag(gram))
    system[count, count] = 0.0
    right = np.concatenate([wanted, np.ones((1, len(targets)))])
    coefficients: Array = np.linalg.lstsq(system, right, rcond=None)[0][:count]
    distances = squares - 2 * (coefficients * wanted).sum(0) + np.einsum("it,ij,jt->t", coefficients, gram, coefficients)
    return coefficients, np.sqrt(np.maximum(distances, 0.0) / squares)


@dataclass(frozen=True)
class Reconstruction:
    """An average that was made after training.

    Attributes:
        weights: Averaged tensors by name, float32, on the CPU: everything that was trained.
        samples: Samples of training at which it ends.
        residual: Distance of its density from the wanted one, relative to the latter's length.
        name: What it is, for a card.
    """

    weights: dict[str, Tensor]
    samples: int
    residual: float
    name: str

    def record(self) -> dict[str, Any]:
        """What a card says of it."""
        return {"average": self.name, "average_residual": float(f"{self.residual:.3g}")}


def is_width(length: float) -> bool:
    """Whether a length of an average is a relative width (else it is a decay per optimizer step).

    Raises:
        InputError: If it is neither.
    """
    if 0 < length <= WIDEST:
        return True
    if 0.5 <= length < 1:
        return False
    raise InputError(
        f"{length:g} is no length of an average: give a relative width above 0 and below 0.29 (0.05 looks back over the last tenth of the "
        "run or so), or a decay per optimizer step from 0.5 to below 1 (0.999 looks back over the last thousand steps or so)"
    )


def reconstruct(folder: Path, length: float, samples: int | None = None) -> Reconstruction:
    """Make an average of any length out of a run's stored ones.

    Args:
        folder: ``profiles`` of the run.
        length: Relative width (up to 0.2887), or decay per optimizer step (0.5 to 1), for steps of the size that the run ended with.
        samples: Make the average at the newest snapshot up to here; the newest of all if left out.

    Returns:
        The average and how well it fits.

    Raises:
        InputError: If the length is neither, there are no snapshots, or they cannot make it; the sentence then says what they can make.
    """
    wide = is_width(length)
    averages = stored_averages(folder, samples)
    if not averages:
        raise InputError(f"{folder} has no whole snapshot to make an average of; train with ema_profiles = [0.05, 0.10] to have them")
    end, step = averages[-1].samples, averages[-1].step
    powers = np.array([average.power for average in averages])
    ends = np.array([average.samples / end for average in averages])
    target: Target = PowerTarget(length) if wide else ExponentialTarget(-math.log(length) * end / step)
    coefficients, residuals = fit(powers, ends, [target])
    residual = float(residuals[0])
    if not residual <= BOUND:
        raise InputError(
            f"the snapshots in {folder} cannot make an average of length {length:g} (residual {residual:.2g}, at most {BOUND:g} is taken); "
            f"they make {_possible(powers, ends, end / step)}: choose one of these, or train with a smaller profile_every"
        )
    name = f"power function, relative width {length:g}" if wide else f"exponential, decay {length:g} per step of {step} samples"
    return Reconstruction(_weighted(averages, coefficients[:, 0]), end, residual, name)


def _possible(powers: Array, ends: Array, steps: float) -> str:
    """The lengths that can be made, in words."""
    widths = np.geomspace(0.002, WIDEST, 80)
    rates = np.geomspace(1.0, 2000.0, 80)
    parts = []
    good = widths[fit(powers, ends, [PowerTarget(float(width)) for width in widths])[1] <= BOUND]
    if len(good):
        parts.append(f"relative widths from {good[0]:.3g} to {good[-1]:.3g}")
    rates = rates[fit(powers, ends, [ExponentialTarget(float(rate)) for rate in rates])[1] <= BOUND]
    decays = [decay for decay in np.exp(-rates / steps) if decay >= 0.5]
    if decays:
        parts.append(f"decays from {decays[-1]:.6g} to {decays[0]:.6g}")
    return " and ".join(parts) or "none but the stored ones"


def _weighted(averages: Sequence[StoredAverage], coefficients: Array) -> dict[str, Tensor]:
    """The sum of stored averages, in float64, one snapshot in memory at a time."""
    total: dict[str, Tensor] = {}
    pairs = zip(averages, coefficients.tolist(), strict=True)
    for folder, members in itertools.groupby(pairs, key=lambda pair: pair[0].snapshot):
        stored = load_checkpoint(folder).tensors
        for average, coefficient in members:
            values = stored[average.part]
            if total and total.keys() != values.keys():
                raise InputError(f"the snapshot {folder} holds other weights than those before it; take one folder for one model")
            for name, value in values.items():
                old = total.setdefault(name, torch.zeros(value.shape, dtype=torch.float64))
                old.add_(value.to(torch.float64), alpha=coefficient)
    return {name: value.float() for name, value in total.items()}
