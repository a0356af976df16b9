"""A stock U-Net, run block by block so that something can be done to its first features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from diffusers import UNet2DConditionModel
from torch import Tensor


def run_unet(
    unet: UNet2DConditionModel,
    sample: Tensor,
    timestep: Tensor,
    context: Any,
    class_labels: Tensor | None = None,
    inject: Callable[[Tensor], Tensor] | None = None,
    extra: dict[str, Any] | None = None,
) -> Tensor:
    """What ``unet(sample, timestep, context)`` computes, with `inject` applied to the output of its first convolution.

    Args:
        unet: The network.
        sample: ``[B, in_channels, h, w]``.
        timestep: ``[B]``.
        context: Of its cross-attention: ``[B, L, D]``, or whatever its processors take in place of it.
        class_labels: See `UNet2DConditionModel`.
        inject: From ``[B, C, h, w]`` to the same.
        extra: The U-Net's ``cross_attention_kwargs``, as its blocks get them.

    Returns:
        ``[B, out_channels, h, w]``.
    """
    net: Any = unet
    uneven = any(side % 2**net.num_upsamplers for side in sample.shape[-2:])
    embedding = net.time_embedding(net.get_time_embed(sample=sample, timestep=timestep), None)
    label = net.get_class_embed(sample=sample, class_labels=class_labels)
    embedding = embedding if label is None else embedding + label
    attended = {"encoder_hidden_states": context, "cross_attention_kwargs": extra}
    hidden = net.conv_in(sample)
    hidden = hidden if inject is None else inject(hidden)
    taps = [hidden]
    for block in net.down_blocks:
        hidden, more = block(hidden_states=hidden, temb=embedding, **_for(block, attended))
        taps += more
    if net.mid_block is not None:
        hidden = net.mid_block(hidden, embedding, **_for(net.mid_block, attended))
    for number, block in enumerate(net.up_blocks):
        count = len(block.resnets)
        taps, used = taps[:-count], tuple(taps[-count:])
        size = taps[-1].shape[2:] if uneven and number < len(net.up_blocks) - 1 else None
        hidden = block(hidden_states=hidden, temb=embedding, res_hidden_states_tuple=used, upsample_size=size, **_for(block, attended))
    if net.conv_norm_out:
        hidden = net.conv_act(net.conv_norm_out(hidden))
    return cast(Tensor, net.conv_out(hidden))


def _for(block: Any, attended: dict[str, Any]) -> dict[str, Any]:
    return attended if getattr(block, "has_cross_attention", False) else {}
