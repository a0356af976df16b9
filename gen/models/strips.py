"""Efficient activation blocks a few rows at a time, for inference on a CPU.

At full resolution a block's features are tens of megabytes, and an operation after the other streams each of them through the processor's
caches. Here each strip of rows goes through all operations of half a block while it is cached; the matrix products then run three times as
fast as over the whole picture. A block takes two passes, since channel attention needs the whole picture's means in between:

1. norm and modulation, ``conv1``, depth-wise 3 x 3, gate: the mixed features u and, in cells, their means;
2. attention and ``conv3`` onto the features; norm and modulation, ``conv4``, gate, ``conv5`` onto the features.

The modulation by the time is given to the layer norm as its weight and bias; ``beta``, ``gamma`` and global attention are multiplied into
the 1 x 1 convolutions, which are matrix products on features stored channels last; the two halves of a gate are separate products, so that
all operations see contiguous memory. Results equal those of `EfficientActivationBlock.forward` up to rounding.
"""

# Letters: b batch, c channels, h height, w width (of this level); r rows of a strip.

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .eanet_blocks import NORM_EPS, EfficientActivationBlock
from .pooling import ContextPool

STRIP_VALUES = 1 << 17  # features of a strip: half a MiB in float32
LEAST_PIXELS = 1024  # below this, matrix products lose speed


class Modulation(NamedTuple):
    """Weight and bias of both layer norms for one sample, each ``[c]``."""

    weight_a: Tensor
    bias_a: Tensor
    weight_f: Tensor
    bias_f: Tensor


class Halves(NamedTuple):
    """The two halves of a layer whose output is gated: weights and biases."""

    first: Tensor
    second: Tensor
    first_bias: Tensor
    second_bias: Tensor


def run_striped(blocks: Iterable[EfficientActivationBlock], value: Tensor, embedding: Tensor) -> Tensor:
    """What the blocks return one after the other, without gradients.

    Args:
        blocks: Of one level; their parameters are read at each call.
        value: ``[b, c, h, w]``; overwritten if it is stored channels last.
        embedding: ``[b, e]``.

    Returns:
        ``[b, c, h, w]``, channels last.
    """
    result = value.permute(0, 2, 3, 1).contiguous()
    mixed = torch.empty_like(result[0])
    for block in blocks:
        gain_a, gain_f = block.norm1.g.flatten(), block.norm2.g.flatten()
        for features, head in zip(result, block.mlp(embedding).flatten(1), strict=True):
            shift_a, scale_a, shift_f, scale_f = head.chunk(4)
            _run_sample(block, features, mixed, Modulation(gain_a * (1 + scale_a), shift_a, gain_f * (1 + scale_f), shift_f))
    return result.permute(0, 3, 1, 2)


def strip_rows(height: int, width: int, channels: int, cell: int) -> int:
    """Rows of a strip: a multiple of the pool's cell, as many as stay in the cache."""
    rows = max(STRIP_VALUES // channels, LEAST_PIXELS) // width
    return min(height, max(1, rows // cell) * cell)


def _run_sample(block: EfficientActivationBlock, features: Tensor, mixed: Tensor, modulation: Modulation) -> None:
    """The block on one sample ``[h, w, c]``, in place; `mixed` is memory of the same shape."""
    height, width, channels = features.shape
    pool = cast(ContextPool, block.sca[0])
    rows = strip_rows(height, width, channels, max(1, pool.cell))
    _mix(block, features, mixed, modulation, rows)
    attention = block.sca[1](pool(mixed[None].permute(0, 3, 1, 2)))
    weight, bias = (p.flatten(1) if p.ndim > 1 else p for p in _scaled(block.conv3, block.beta))
    if not pool.cell:
        weight = weight * attention.flatten()
    wide, narrow = _halves(block.conv4), _scaled(block.conv5, block.gamma)
    for start in range(0, height, rows):
        here = features[start : start + rows].view(-1, channels)
        tokens = mixed[start : start + rows]
        if pool.cell:
            tokens.mul_(_attention_rows(attention, pool, start, tokens.shape[0], width))
        here.add_(F.linear(tokens.view(-1, channels), weight, bias))
        normed = F.layer_norm(here, (channels,), modulation.weight_f, modulation.bias_f, NORM_EPS)
        gated = F.linear(normed, wide.first.flatten(1), wide.first_bias).mul_(F.linear(normed, wide.second.flatten(1), wide.second_bias))
        here.add_(F.linear(gated, narrow[0].flatten(1), narrow[1]))


def _mix(block: EfficientActivationBlock, features: Tensor, mixed: Tensor, modulation: Modulation, rows: int) -> None:
    """Pass 1: gate(depth-wise(conv1(norm(features)))) into `mixed`, both ``[h, w, c]``.

    The depth-wise convolution reads a row beyond each end of a strip. Two buffers keep the expanded rows; their last two move to the front
    before the next strip, so that no row is expanded twice.
    """
    height, width, channels = features.shape
    wide, deep = _halves(block.conv1), _halves(block.conv2)
    buffers = [features.new_zeros(rows + 2, width, channels) for _ in range(2)]
    ready = 0  # rows of the picture that have been expanded
    for start in range(0, height, rows):
        count = min(rows, height - start)
        kept = ready - start + 1  # rows of the buffer that are filled: one before the strip, or zeros at the top, and what was read ahead
        last = min(start + count + 1, height)
        normed = F.layer_norm(features[ready:last].view(-1, channels), (channels,), modulation.weight_a, modulation.bias_a, NORM_EPS)
        branches = []
        for buffer, weight, bias, kernel, offset in zip(buffers, wide[:2], wide[2:], deep[:2], deep[2:], strict=True):
            fresh = buffer[kept : kept + last - ready]
            torch.addmm(bias, normed, weight.flatten(1).t(), out=fresh.view(-1, channels))
            if last == height:
                buffer[kept + last - ready :] = 0
            picture = buffer[None, : count + 2].permute(0, 3, 1, 2)
            branches.append(F.conv2d(picture, kernel, offset, padding=(0, 1), groups=channels).permute(0, 2, 3, 1)[0])
            buffer[:2] = buffer[count : count + 2].clone()
        ready = last
        torch.mul(branches[0], branches[1], out=mixed[start : start + count])


def _halves(layer: nn.Conv2d) -> Halves:
    (first, second), (first_bias, second_bias) = layer.weight.chunk(2), cast(Tensor, layer.bias).chunk(2)
    return Halves(first, second, first_bias, second_bias)


def _scaled(layer: nn.Conv2d, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution whose result is multiplied by a gain per channel ``[1, c, 1, 1]``."""
    return layer.weight * gain.view(-1, 1, 1, 1), cast(Tensor, layer.bias) * gain.flatten()


def _attention_rows(attention: Tensor, pool: ContextPool, start: int, count: int, width: int) -> Tensor:
    """Rows `start` to `start + count` of the attention that belongs to the cells: ``[1, c, cells, cells]`` to ``[count, w, c]``.

    A cell more on each side, where there is one, makes the interpolation that of the whole picture.
    """
    first = start // pool.cell
    before = min(first, 1)
    cells = attention[:, :, first - before : -(-(start + count) // pool.cell) + 1]
    spread = pool.spread(cells, (before * pool.cell) + count, width)
    return spread[0, :, before * pool.cell : before * pool.cell + count].permute(1, 2, 0)
