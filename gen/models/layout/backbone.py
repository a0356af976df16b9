"""A stock U-Net, run block by block so that something can be done to its first features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from diffusers import UNet2DConditionModel
from torch import Tensor

from ...errors import InputError


def stock_unet(
    into: int,
    out: int,
    widths: Sequence[int],
    attention: Sequence[bool],
    layers: int,
    context: int,
    heads: int,
    settings: Mapping[str, Any] | None,
) -> UNet2DConditionModel:
    """A stock U-Net with random weights.

    Args:
        into: Channels of its input.
        out: Of its output.
        widths: Of its levels.
        attention: Which of them attend.
        layers: Residual blocks of a level.
        context: Width of what cross-attention reads.
        heads: Of attention.
        settings: Other arguments of `UNet2DConditionModel`, which go before these.

    Returns:
        The network.

    Raises:
        InputError: If there is no such network.
    """
    own: dict[str, Any] = {
        "in_channels": into,
        "out_channels": out,
        "block_out_channels": tuple(widths),
        "down_block_types": tuple("CrossAttnDownBlock2D" if there else "DownBlock2D" for there in attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if there else "UpBlock2D" for there in reversed(attention)),
        "layers_per_block": layers,
        "cross_attention_dim": context,
        "attention_head_dim": heads,
        "norm_num_groups": 16,
        "use_linear_projection": True,
    }
    try:
        return UNet2DConditionModel(**{**own, **(settings or {})})
    except (ValueError, TypeError) as error:
        raise InputError(f"the U-Net of a layout network cannot be built: {error}; see the settings of UNet2DConditionModel") from error


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
