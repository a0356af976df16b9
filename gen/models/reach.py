"""How far one evaluation of `EANet` carries the influence of a pixel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn

from .eanet_blocks import EfficientActivationBlock
from .pooling import ContextPool

if TYPE_CHECKING:
    from .eanet import EANet

Interval = tuple[int, int]


def network_reach(model: EANet, *, pools: bool) -> int:
    """Largest distance between a pixel and what it changes, over all positions on the network's grid, in full-resolution pixels.

    Args:
        model: Any variant.
        pools: Whether the windows of local pooling count.
    """
    far = 0
    for start in range(model.multiple):
        first, last = _through(model, start, pools)
        far = max(far, start - first, last - start)
    return far


def _through(model: EANet, start: int, pools: bool) -> Interval:
    """The interval (one axis) that the pixel `start` changes."""
    value = _grow((start, start), 1)
    if hasattr(model, "cpem"):
        scale = model.config["scale"]
        low = _grow((start // scale, start // scale), 1)
        low = _blocks(low, model.cpem.blocks, pools)
        value = _union(value, (low[0] * scale, low[1] * scale + scale - 1))
    if hasattr(model, "enhance"):
        value = _blocks(value, model.enhance.children(), pools)
    skips = []
    for blocks in model.encoders:
        value = _blocks(value, blocks.children(), pools)
        skips.append(value)
        value = (value[0] // 2, value[1] // 2)
    value = _blocks(value, model.middle_blks, pools)
    for blocks in model.decoders:
        value = _union((value[0] * 2, value[1] * 2 + 1), skips.pop())
        value = _blocks(value, blocks.children(), pools)
    return _grow(value, 1)


def _blocks(value: Interval, blocks: Iterable[nn.Module], pools: bool) -> Interval:
    for block in blocks:
        if isinstance(block, EfficientActivationBlock):
            value = _grow(value, block.mixing_radius(pools))
        else:
            for module in block.modules():
                if isinstance(module, nn.Conv2d):
                    value = _grow(value, module.kernel_size[0] // 2)
        if pools:
            for module in block.modules():
                if isinstance(module, ContextPool) and module.cell:
                    value = _pooled(value, module)
    return value


def _pooled(value: Interval, pool: ContextPool) -> Interval:
    """To whole cells, half a window and the neighbour that interpolation reads, back to pixels."""
    cells = pool.count // 2 + (1 if pool.cell > 1 else 0)
    first, last = value[0] // pool.cell - cells, value[1] // pool.cell + cells
    return first * pool.cell, last * pool.cell + pool.cell - 1


def _grow(value: Interval, by: int) -> Interval:
    return value[0] - by, value[1] + by


def _union(first: Interval, second: Interval) -> Interval:
    return min(first[0], second[0]), max(first[1], second[1])
