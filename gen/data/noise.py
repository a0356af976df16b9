"""Random fields that are functions of the place: the same pixel has the same noise in whatever window, tile, batch or process it is made.

A value is a hash of (seed, draw, band, row, column), so there is no state to carry. The hash is two rounds of Stafford's 64-bit mixer, the
one of SplitMix64 (Steele et al. 2014): once over the row and over the column, each with the field's key, and once over their sum. A normal
value is the inverse distribution function at the hash, read from a table of cubics on segments whose width halves towards the tail. Only
integer operations and correctly rounded sums and products touch a value, so it is the same on every machine, which logarithms and cosines
would not be.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Hash = NDArray[np.uint64]
Index = NDArray[np.int64]

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)
_SEGMENT_BITS = 5  # segments per halving of the tail probability: 2 ** 5
_OCTAVES = 53  # the tail probability is (k + 1/2) / 2 ** 53 with k of 52 bits
_BLOCK = 1 << 14  # values worked on at once: their temporaries stay in the cache


def hash_key(*words: int) -> int:
    """One 64-bit key out of any number of integers, each taken modulo 2^64; the order counts.

    Args:
        words: Such as a seed, the number of a draw and a band.

    Returns:
        A key for `hash_at`, 0 to 2^64 - 1.
    """
    key = _GOLDEN
    for word in words:
        key = _mix_word(key ^ _mix_word((word + _GOLDEN) & _WORD)) + _GOLDEN & _WORD
    return key


def hash_at(key: int, rows: Index, cols: Index) -> Hash:
    """Hashes of places.

    Args:
        key: Of the field, from `hash_key`.
        rows: Integers, any sign, any shape.
        cols: Integers that broadcast with `rows`.

    Returns:
        uint64 of the common shape, all values equally likely.
    """
    return _mix(np.add(_axis(key, rows), _axis(key ^ _WORD, cols)))


def hash_field(seed: int, row: int, col: int, height: int, width: int, *, draw: int = 0, band: int = 0) -> Hash:
    """Hashes of a window.

    Args:
        seed: Any integer, taken modulo 2^64.
        row: First row; may be negative.
        col: First column; may be negative.
        height: Rows.
        width: Columns.
        draw: Number of the field among those of one seed.
        band: Its band.

    Returns:
        ``[height, width]`` uint64.
    """
    rows, cols = np.arange(row, row + height, dtype=np.int64), np.arange(col, col + width, dtype=np.int64)
    return hash_at(hash_key(seed, draw, band), rows[:, None], cols[None, :])


def uniform_field(seed: int, row: int, col: int, height: int, width: int, *, draw: int = 0, band: int = 0) -> NDArray[np.float32]:
    """Uniform values of a window; the arguments are those of `hash_field`.

    Returns:
        ``[height, width]`` float32, multiples of 2^-24 in [0, 1).
    """
    hashes = hash_field(seed, row, col, height, width, draw=draw, band=band)
    return (hashes >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def noise_field(seed: int, bands: int, row: int, col: int, height: int, width: int, *, draw: int = 0) -> Tensor:
    """Standard normal noise of a window: independent values, each a pure function of (seed, draw, band, row, column).

    Args:
        seed: Any integer, taken modulo 2^64.
        bands: Number of bands, C; the first ones are the same whatever their number.
        row: First row in the scene; may be negative.
        col: First column in the scene; may be negative.
        height: Rows, H.
        width: Columns, W.
        draw: Number of the field among those of one seed (a stochastic sampler takes a new one each step).

    Returns:
        ``[C, H, W]`` float32 on the CPU, within -8.3 and 8.3.
    """
    out = np.empty((bands, height, width), np.float32)
    if out.size:
        rows, cols = np.arange(row, row + height, dtype=np.int64), np.arange(col, col + width, dtype=np.int64)
        for band in range(bands):
            key = hash_key(seed, draw, band)
            down, across = _axis(key, rows)[:, None], _axis(key ^ _WORD, cols)[None, :]
            high = max(1, _BLOCK // width)
            wide = min(width, _BLOCK)
            for top in range(0, height, high):
                for left in range(0, width, wide):
                    hashes = _mix(down[top : top + high] + across[:, left : left + wide])
                    out[band, top : top + high, left : left + wide] = _normal(hashes)
    return torch.from_numpy(out)


def _mix_word(word: int) -> int:
    for shift, factor in zip(_SHIFTS, (*_MIX, 1), strict=True):
        word = (word ^ word >> shift) * factor & _WORD
    return word


def _mix(hashes: Hash) -> Hash:
    """The mixer of `_mix_word`, in place."""
    shifted = np.empty_like(hashes)
    for shift, factor in zip(_SHIFTS, (*_MIX, 1), strict=True):
        np.right_shift(hashes, np.uint64(shift), out=shifted)
        np.bitwise_xor(hashes, shifted, out=hashes)
        if factor != 1:
            np.multiply(hashes, np.uint64(factor), out=hashes)
    return hashes


def _axis(key: int, positions: Index) -> Hash:
    """Hashes of positions along one axis."""
    words = np.asarray(positions, dtype=np.int64).astype(np.uint64)  # modulo 2^64: negative ones wrap
    return _mix(words * np.uint64(_GOLDEN) + np.uint64(_mix_word(key)))


def _normal(hashes: Hash) -> NDArray[np.float32]:
    """The inverse normal distribution function: the last bit is the sign, the 52 highest are the tail probability."""
    table = _table()
    tail = (hashes >> np.uint64(12)).astype(np.float64)
    tail += 0.5
    bits = tail.view(np.uint64)
    # Of a float64, the exponent and the first bits of the mantissa number the segment, the other bits say where in it.
    segment = (bits >> np.uint64(52 - _SEGMENT_BITS)).view(np.int64)
    segment -= 1022 << _SEGMENT_BITS
    bits <<= np.uint64(_SEGMENT_BITS)
    bits &= np.uint64((1 << 52) - 1)
    bits |= np.uint64(0x3FF << 52)
    place = tail
    place -= 1.0
    value = table[3].take(segment)
    for coefficient in (2, 1, 0):
        value *= place
        value += table[coefficient].take(segment)
    out = value.astype(np.float32)
    signs = hashes.astype(np.uint32)
    signs <<= np.uint32(31)
    out.view(np.uint32)[...] ^= signs
    return out


@cache
def _table() -> NDArray[np.float64]:
    """Coefficients of the cubics, ``[4, segments]``, constant first.

    Each meets the distance at which the tail has its probability at four points. These values are rounded to 2^-28: the last bit of a
    machine's logarithm has no say. The error of a normal value stays below 1e-8.
    """
    inverse, count = NormalDist().inv_cdf, 1 << _SEGMENT_BITS
    places = np.array([0.05, 0.3, 0.7, 0.95])
    segments = np.arange(_OCTAVES * count)
    scale = np.ldexp(1.0, segments // count - 1 - 53)
    tails = scale[:, None] * (1.0 + (segments % count)[:, None] / count + places / count)
    values = np.array([[-inverse(tail) for tail in row] for row in tails.tolist()])
    values = np.round(values * 2.0**28) / 2.0**28
    # Newton's divided differences, then out of their nested form into powers.
    differences = values.T.copy()
    for order in range(1, 4):
        differences[order:] = (differences[order:] - differences[order - 1 : -1]) / (places[order:] - places[:-order])[:, None]
    powers = np.zeros_like(differences)
    powers[0] = differences[3]
    for order in (2, 1, 0):
        shifted = np.roll(powers, 1, axis=0)
        shifted[0] = 0.0
        powers = shifted - powers * places[order]
        powers[0] += differences[order]
    return np.ascontiguousarray(powers)
