"""Straightforward second implementations, from descriptions, of what CRS-Diff and GeoSynth publish: plain functions of a state dict.

Names are the published ones (latent diffusion's layout). Attention is written out, with its whole matrix. For tests and for the benchmark.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def conv(state: State, name: str, value: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(value, weight, state.get(f"{name}.bias"), stride=stride, padding=weight.shape[-1] // 2)


def linear(state: State, name: str, value: Tensor) -> Tensor:
    return F.linear(value, state[f"{name}.weight"], state.get(f"{name}.bias"))


def group_norm(state: State, name: str, value: Tensor, eps: float) -> Tensor:
    return F.group_norm(value, 32, state[f"{name}.weight"], state[f"{name}.bias"], eps)


def layer_norm(state: State, name: str, value: Tensor) -> Tensor:
    return F.layer_norm(value, value.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def sinusoid(steps: Tensor, width: int) -> Tensor:
    """Cosines, then sines."""
    frequencies = torch.tensor([10_000.0 ** (-2 * number / width) for number in range(width // 2)])
    angles = steps.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def interleaved(value: Tensor, width: int) -> Tensor:
    """Sine, cosine, sine, ..."""
    columns = []
    for number in range(width // 2):
        angle = value * 10_000.0 ** (-2 * number / width)
        columns += [angle.sin(), angle.cos()]
    return torch.stack(columns, dim=1)


def position_attention(state: State, name: str, value: Tensor) -> Tensor:
    """SAGAN's attention with the whole map of pairs, as published."""
    batch, channels, height, width = value.shape
    query = conv(state, f"{name}.query_conv", value).reshape(batch, -1, height * width).permute(0, 2, 1)
    key = conv(state, f"{name}.key_conv", value).reshape(batch, -1, height * width)
    parts = conv(state, f"{name}.value_conv", value).reshape(batch, channels, height * width)
    shares = torch.softmax(torch.bmm(query, key), dim=-1)
    mixed = torch.bmm(parts, shares.permute(0, 2, 1))
    return value + mixed.reshape(value.shape)


def injection(state: State, name: str, value: Tensor, hints: Tensor) -> Tensor:
    if f"{name}.attention.query_conv.weight" in state:
        value = position_attention(state, f"{name}.attention", value)
    plain = F.group_norm(value, 32)
    return plain * (1 + conv(state, f"{name}.fdn.conv_gamma", hints)) + conv(state, f"{name}.fdn.conv_beta", hints)


def residual_block(state: State, name: str, value: Tensor, embedding: Tensor, hints: Tensor | None = None) -> Tensor:
    if hints is None:
        hidden = F.silu(group_norm(state, f"{name}.in_layers.0", value, 1e-5))
    else:
        hidden = F.silu(injection(state, f"{name}.norm_in", value, hints))
    hidden = conv(state, f"{name}.in_layers.2", hidden)
    hidden = hidden + linear(state, f"{name}.emb_layers.1", F.silu(embedding))[:, :, None, None]
    if hints is None:
        hidden = F.silu(group_norm(state, f"{name}.out_layers.0", hidden, 1e-5))
    else:
        hidden = F.silu(injection(state, f"{name}.norm_out", hidden, hints))
    hidden = conv(state, f"{name}.out_layers.3", hidden)
    return hidden + (conv(state, f"{name}.skip_connection", value) if f"{name}.skip_connection.weight" in state else value)


def head_attention(state: State, name: str, value: Tensor, context: Tensor, heads: int) -> Tensor:
    query, key, parts = (linear(state, f"{name}.to_{part}", given) for part, given in (("q", value), ("k", context), ("v", context)))
    split = [given.unflatten(2, (heads, -1)).transpose(1, 2) for given in (query, key, parts)]
    scores = split[0] @ split[1].transpose(2, 3) / math.sqrt(split[0].shape[-1])
    return linear(state, f"{name}.to_out.0", (scores.softmax(dim=-1) @ split[2]).transpose(1, 2).flatten(2))


def transformer(state: State, name: str, value: Tensor, context: Tensor, heads: int) -> Tensor:
    hidden = group_norm(state, f"{name}.norm", value, 1e-6)
    flat = state[f"{name}.proj_in.weight"].ndim == 2
    shape = hidden.shape[2:]
    if not flat:
        hidden = conv(state, f"{name}.proj_in", hidden)
    tokens = hidden.flatten(2).transpose(1, 2)
    tokens = linear(state, f"{name}.proj_in", tokens) if flat else tokens
    inner = f"{name}.transformer_blocks.0"
    normed = layer_norm(state, f"{inner}.norm1", tokens)
    tokens = tokens + head_attention(state, f"{inner}.attn1", normed, normed, heads)
    tokens = tokens + head_attention(state, f"{inner}.attn2", layer_norm(state, f"{inner}.norm2", tokens), context, heads)
    gated, gate = linear(state, f"{inner}.ff.net.0.proj", layer_norm(state, f"{inner}.norm3", tokens)).chunk(2, dim=-1)
    tokens = tokens + linear(state, f"{inner}.ff.net.2", gated * F.gelu(gate))
    tokens = linear(state, f"{name}.proj_out", tokens) if flat else tokens
    hidden = tokens.transpose(1, 2).unflatten(2, shape)
    return value + (hidden if flat else conv(state, f"{name}.proj_out", hidden))


def pyramid(state: State, name: str, hints: Tensor) -> list[Tensor]:
    """Features of CRS-Diff's extractor for every level."""
    value, features, level = hints, [], 0
    for number in (0, 2, 4, 6, 8):
        value = F.silu(conv(state, f"{name}.pre_extractor.{number}", value, stride=2 if number in (2, 6) else 1))
    while f"{name}.extractors.{level}.0.weight" in state:
        value = F.silu(conv(state, f"{name}.extractors.{level}.0", value, stride=2))
        features.append(conv(state, f"{name}.zero_convs.{level}", value))
        level += 1
    return features


def time_embedding(state: State, prefix: str, steps: Tensor) -> Tensor:
    first = state[f"{prefix}time_embed.0.weight"]
    return linear(state, f"{prefix}time_embed.2", F.silu(linear(state, f"{prefix}time_embed.0", sinusoid(steps, first.shape[1]))))


def encoder(
    state: State,
    prefix: str,
    sample: Tensor,
    steps: Tensor,
    context: Tensor,
    heads: dict[int, int],
    *,
    hint: Tensor | None = None,
    hints: Tensor | None = None,
) -> list[Tensor]:
    """Residuals of a ControlNet (`hint`) or of CRS-Diff's local adapter (`hints`), the middle's last; `heads` by channels."""
    embedding = time_embedding(state, prefix, steps)
    features = pyramid(state, f"{prefix}feature_extractor", hints) if hints is not None else []
    outs, value, number, level = [], sample, 0, 0
    while any(key.startswith(f"{prefix}input_blocks.{number}.") for key in state):
        name = f"{prefix}input_blocks.{number}"
        if number == 0:
            value = conv(state, f"{name}.0", value)
            if hint is not None:
                value = value + hint_block(state, f"{prefix}input_hint_block", hint)
        elif f"{name}.0.op.weight" in state:
            value = conv(state, f"{name}.0.op", value, stride=2)
            level += 1
        else:
            injected = f"{name}.0.norm_in.fdn.conv_gamma.weight" in state
            value = residual_block(state, f"{name}.0", value, embedding, features[level] if injected else None)
            if f"{name}.1.proj_in.weight" in state:
                value = transformer(state, f"{name}.1", value, context, heads[value.shape[1]])
        outs.append(conv(state, f"{prefix}zero_convs.{number}.0", value))
        number += 1
    value = residual_block(state, f"{prefix}middle_block.0", value, embedding)
    value = transformer(state, f"{prefix}middle_block.1", value, context, heads[value.shape[1]])
    value = residual_block(state, f"{prefix}middle_block.2", value, embedding)
    return [*outs, conv(state, f"{prefix}middle_block_out.0", value)]


def hint_block(state: State, name: str, hint: Tensor) -> Tensor:
    """A ControlNet's hint encoder: halved at its third, fifth, seventh, ... convolution."""
    numbers = sorted(int(key.removeprefix(f"{name}.").split(".")[0]) for key in state if key.startswith(name) and key.endswith("weight"))
    value = hint
    for place, number in enumerate(numbers):
        value = conv(state, f"{name}.{number}", value, stride=2 if place in range(2, len(numbers) - 1, 2) else 1)
        value = value if number == numbers[-1] else F.silu(value)
    return value


def place_residuals(state: State, prefix: str, place: Tensor, steps: Tensor, heads: int = 4) -> list[Tensor]:
    """GeoSynth's location vectors, one for each tap and the middle's last, with the single key written as what it is: a share of 1."""
    time = time_embedding(state, prefix, steps)
    value, outs, number = place, [], 0
    names = []
    while f"{prefix}loc_blocks.{number}.ff.weight" in state:
        names.append(f"{prefix}loc_blocks.{number}")
        number += 1
    for name in [*names, f"{prefix}loc_middle_block"]:
        width = value.shape[1]
        inside = linear(state, f"{name}.value_embed", time)
        weight, bias = state[f"{name}.cross_attn.in_proj_weight"][2 * width :], state[f"{name}.cross_attn.in_proj_bias"][2 * width :]
        mixed = linear(state, f"{name}.cross_attn.out_proj", F.linear(inside, weight, bias))
        value = layer_norm(state, f"{name}.norm1", mixed) + value
        value = layer_norm(state, f"{name}.norm2", linear(state, f"{name}.ff", value)) + value
        outs.append(linear(state, f"{name}.ff_zero", value))
    return outs


def content_tokens(state: State, prefix: str, embedding: Tensor) -> Tensor:
    """CRS-Diff's tokens of a content picture, ``[B, M, E]``."""
    value = embedding
    for stage in (1, 2):
        value = layer_norm(state, f"{prefix}norm{stage}", value)
        gated, gate = linear(state, f"{prefix}ff{stage}.net.0.proj", value).chunk(2, dim=-1)
        value = linear(state, f"{prefix}ff{stage}.net.2", gated * F.gelu(gate))
    return value.unflatten(1, (-1, embedding.shape[1]))


def metadata_vector(state: State, prefix: str, shares: Tensor) -> Tensor:
    """CRS-Diff's metadata: shares 0 to 1 of each field's range, times 1000, interleaved, one linear layer each, summed."""
    total = torch.zeros(())
    for number in range(shares.shape[1]):
        weight = state[f"{prefix}mlp_models.{number}.fc1.weight"]
        total = total + linear(state, f"{prefix}mlp_models.{number}.fc1", interleaved(1000 * shares[:, number], weight.shape[1]))
    return total
