"""Which times a diffusion or flow is trained at, and how much each counts: pure functions of the time or of uniform numbers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Target = Literal["epsilon", "v_prediction", "sample"]


def min_snr_weight(snr: Tensor, gamma: float = 5.0, target: Target = "epsilon") -> Tensor:
    """Loss weights that keep easy times from drowning the others (Hang et al. 2023): ``min(SNR, gamma)`` on the error of x_0.

    An error e of the noise is an error ``e / sqrt(SNR)`` of x_0, and one of v is ``e / sqrt(SNR + 1)``; the weights on those follow.

    Args:
        snr: Signal-to-noise ratio at each sample's time, any shape, at least 0.
        gamma: Largest weight on x_0, above 0.
        target: What the loss is the squared error of.

    Returns:
        Weights of the shape of ``snr``.

    Raises:
        ValueError: If a value is out of range.
    """
    if gamma <= 0 or bool((snr < 0).any()):
        raise ValueError(f"gamma is {gamma} and the smallest SNR {float(snr.min())}; gamma is above 0 and an SNR is not negative")
    capped = snr.clamp(max=gamma)
    if target == "sample":
        return capped
    if target == "v_prediction":
        return capped / (snr + 1)
    # The limit at SNR 0 is 1.
    return torch.where(snr > 0, capped / torch.where(snr > 0, snr, 1.0), 1.0)


def logit_normal_times(uniform: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Times of a flow that crowd around the middle (Esser et al. 2024): the logistic function of a normal number.

    Args:
        uniform: Independent uniform numbers in [0, 1), any shape.
        mean: Of the normal number; above 0 shifts towards 1.
        std: Its standard deviation, above 0.

    Returns:
        Times in (0, 1), float64, of the shape of ``uniform``, by inversion: each number decides its own time.

    Raises:
        ValueError: If ``std`` is not positive.
    """
    if std <= 0:
        raise ValueError(f"the standard deviation is {std}; it is above 0")
    edge = 2.0**-53
    normal = torch.special.ndtri(uniform.to(torch.float64).clamp(edge, 1 - edge))
    return torch.sigmoid(mean + std * normal)


def logit_normal_density(time: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Density of `logit_normal_times`, in (0, 1)."""
    deviation = (torch.logit(time) - mean) / std
    return torch.exp(-0.5 * deviation.square()) / (std * (2 * torch.pi) ** 0.5 * time * (1 - time))


def shifted_times(time: Tensor, shift: float) -> Tensor:
    """Times of a flow moved towards noise for larger pictures: ``shift t / (1 + (shift - 1) t)``.

    Args:
        time: In [0, 1], 1 being noise.
        shift: Above 0; 1 changes nothing. Esser et al. take the square root of the ratio of pixel numbers.

    Returns:
        In [0, 1].

    Raises:
        ValueError: If ``shift`` is not positive.
    """
    if shift <= 0:
        raise ValueError(f"the shift is {shift}; it is above 0")
    return shift * time / (1 + (shift - 1) * time)
