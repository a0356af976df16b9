"""Does a picture obey its metadata? A probe reads the value back; pairs that differ in nothing but the request must move its way.

Only the direction counts, and the interval says how sure it is; a generator that ignores the request is right in half the pairs. So is a
probe that cannot read the value: its own share on real pairs (the same ground at two distances, one place in two months) belongs beside
every figure. `zoo:features-small` tells sensors and scenes apart, but hardly the zoom of one scene (its card has the figures).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..gen.errors import InputError
from .distribution import Estimate

_NORMAL = 1.959963984540054


def direction_share(read_low: Tensor, read_high: Tensor) -> Estimate:
    """Share of pairs in which the reading rises with the request.

    Args:
        read_low: ``[n]``, readings of the pictures with the lower request, such as log2 of the ground sampling distance.
        read_high: ``[n]``, readings of the pictures with the higher one, made with the same seed and other conditions.

    Returns:
        Share with Wilson's interval; equal readings count as half right.

    Raises:
        InputError: If the numbers differ or there is no pair.
    """
    _pairs(read_low, read_high)
    right = (read_high > read_low).double() + 0.5 * (read_high == read_low).double()
    return _wilson(right)


def month_direction_share(read_first: Tensor, read_second: Tensor, first: Tensor, second: Tensor) -> Estimate:
    """Share of pairs in which the readings differ on the circle of the year as the requests do.

    A pair is right if each reading lies nearer to its own month than the two would if they were exchanged.

    Args:
        read_first: ``[n, 2]`` sine and cosine read from the pictures of the first request.
        read_second: ``[n, 2]`` of the second.
        first: ``[n]`` months asked for, 1 to 12.
        second: ``[n]`` months asked for, unlike the first.

    Raises:
        InputError: If the numbers differ or a pair asks twice for one month.
    """
    _pairs(read_first[:, 0], read_second[:, 0])
    if bool((first == second).any()):
        raise InputError("a pair asks twice for the same month; give two months that differ")
    own = (read_first * _point(first)).sum(1) + (read_second * _point(second)).sum(1)
    exchanged = (read_first * _point(second)).sum(1) + (read_second * _point(first)).sum(1)
    return _wilson((own > exchanged).double() + 0.5 * (own == exchanged).double())


def reading_error(read: Tensor, wanted: Tensor) -> Tensor:
    """Distance of a reading and its request, ``[n]``: octaves where both are log2 of metres."""
    return (read.double() - wanted.double()).abs()


def month_error(read: Tensor, wanted: Tensor) -> Tensor:
    """Distance on the circle in months, ``[n]``, 0 to 6; a guess is off by 3 in the mean.

    Args:
        read: ``[n, 2]`` sine and cosine.
        wanted: ``[n]`` months, 1 to 12.
    """
    point = _point(wanted)
    turn = torch.atan2(read[:, 0].double(), read[:, 1].double()) - torch.atan2(point[:, 0], point[:, 1])
    return torch.atan2(turn.sin(), turn.cos()).abs() * 6 / math.pi


def _point(month: Tensor) -> Tensor:
    angle = 2 * math.pi * (month.double() - 0.5) / 12
    return torch.stack([angle.sin(), angle.cos()], 1)


def _pairs(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise InputError(f"readings of pairs have shapes {tuple(first.shape)} and {tuple(second.shape)}; expected two of [n], n at least 1")


def _wilson(right: Tensor) -> Estimate:
    n, share, z = len(right), float(right.mean()), _NORMAL
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Estimate(share, (middle - half, middle + half))
