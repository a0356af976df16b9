"""Sizes of networks from the shapes of their weights in the layout of latent diffusion; heads alone leave no trace and must be said."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError

Heads = Callable[[int], int]
"""From the channels of a level to its heads."""
LATENT_SCALE = 0.18215


def eight_heads(_channels: int) -> int:
    """As Stable Diffusion 1.5."""
    return 8


def heads_of_64(channels: int) -> int:
    """As Stable Diffusion 2: 64 channels each."""
    return max(1, channels // 64)


def encoder_config(state: Mapping[str, Tensor], prefix: str, heads: Heads, path: Path) -> dict[str, Any]:
    """Settings of the encoder of a U-Net or a ControlNet.

    Args:
        state: Published weights.
        prefix: Of the network's names.
        heads: How many heads a level has.
        path: For error messages.

    Returns:
        Settings of `UNet2DConditionModel` that `ControlNetModel` shares.

    Raises:
        InputError: If there is no such network.
    """
    first = _weight(state, f"{prefix}input_blocks.0.0.weight", path)
    halvings = sorted(
        int(found[1]) for key in state if (found := re.fullmatch(rf"{re.escape(prefix)}input_blocks\.(\d+)\.0\.op\.weight", key))
    )
    blocks = halvings[0] - 1 if halvings else count(state, rf"{re.escape(prefix)}input_blocks\.(\d+)\.") - 1
    starts = [1 + level * (blocks + 1) for level in range(len(halvings) + 1)]
    if blocks < 1 or halvings != [start - 1 for start in starts[1:]]:
        raise InputError(f"the network {prefix} in {path} halves at blocks {halvings}, as Stable Diffusion does not; give other weights")
    channels = [_weight(state, f"{prefix}input_blocks.{start}.0.out_layers.3.weight", path).shape[0] for start in starts]
    attention = [f"{prefix}input_blocks.{start}.1." for start in starts]
    crossed = [f"{name}proj_in.weight" in state for name in attention]
    if not any(crossed):
        raise InputError(f"the network {prefix} in {path} attends to no text; give weights of a model made from Stable Diffusion")
    example = attention[crossed.index(True)]
    return {
        "in_channels": first.shape[1],
        "block_out_channels": channels,
        "down_block_types": ["CrossAttnDownBlock2D" if there else "DownBlock2D" for there in crossed],
        "layers_per_block": blocks,
        "cross_attention_dim": _weight(state, f"{example}transformer_blocks.0.attn2.to_k.weight", path).shape[1],
        "attention_head_dim": [heads(width) for width in channels],
        "use_linear_projection": state[f"{example}proj_in.weight"].ndim == 2,
        "transformer_layers_per_block": count(state, rf"{re.escape(example)}transformer_blocks\.(\d+)\."),
    }


def unet_config(state: Mapping[str, Tensor], prefix: str, heads: Heads, path: Path) -> dict[str, Any]:
    """Settings of a U-Net; as `encoder_config`."""
    config = encoder_config(state, prefix, heads, path)
    downs: Sequence[str] = config["down_block_types"]
    return {
        **config,
        "out_channels": _weight(state, f"{prefix}out.2.weight", path).shape[0],
        "up_block_types": [name.replace("Down", "Up") for name in reversed(downs)],
        "sample_size": 64,
    }


def autoencoder_config(state: Mapping[str, Tensor], prefix: str, path: Path) -> dict[str, Any]:
    """Settings of an `AutoencoderKL`."""
    levels = count(state, rf"{re.escape(prefix)}encoder\.down\.(\d+)\.")
    names = [f"{prefix}encoder.down.{level}.block.0.conv1.weight" for level in range(levels)]
    channels = [_weight(state, name, path).shape[0] for name in names]
    if not channels:
        raise InputError(f"{path} has no autoencoder under {prefix}; give a complete checkpoint")
    return {
        "in_channels": _weight(state, f"{prefix}encoder.conv_in.weight", path).shape[1],
        "out_channels": _weight(state, f"{prefix}decoder.conv_out.weight", path).shape[0],
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": count(state, rf"{re.escape(prefix)}encoder\.down\.0\.block\.(\d+)\."),
        "latent_channels": _weight(state, f"{prefix}post_quant_conv.weight", path).shape[1],
        "scaling_factor": LATENT_SCALE,
        "sample_size": 512,
    }


def clip_config(tokens: Tensor, positions: Tensor, inner: Tensor, layers: int, activation: str) -> dict[str, Any]:
    """Settings of a `CLIPTextModel` from its tables of tokens and positions and one inner layer; heads have 64 channels."""
    vocabulary, width = tokens.shape
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": inner.shape[0],
        "num_hidden_layers": layers,
        "num_attention_heads": heads_of_64(width),
        "max_position_embeddings": positions.shape[0],
        "hidden_act": activation,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def noise_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The diffusion's settings, from the table that a checkpoint keeps, or as published where it keeps none."""
    betas = state.get("betas")
    steps, start, end = (1000, 0.00085, 0.012) if betas is None else (len(betas), float(betas[0]), float(betas[-1]))
    return {
        "num_train_timesteps": steps,
        "beta_start": round(start, 7),
        "beta_end": round(end, 7),
        "beta_schedule": "scaled_linear",
        "prediction_type": "epsilon",
    }


def count(keys: Collection[str], pattern: str) -> int:
    """How many different numbers the pattern finds at the start of keys."""
    return len({found[1] for key in keys if (found := re.match(pattern, key))})


def _weight(state: Mapping[str, Tensor], key: str, path: Path) -> Tensor:
    if key not in state or state[key].ndim < 2:
        raise InputError(f"{path} has no weight {key}; give a complete checkpoint of this system")
    return state[key]
