"""Names of weights: from the layout of CompVis' latent diffusion, in which CRS-Diff and GeoSynth are published, to that of diffusers.

Each table says what becomes of a part of a name. Where a layer stands follows from the number of residual blocks at each level, n: level l
of the encoder has the input blocks 1 + l (n + 1) to n + l (n + 1) and a halving behind them, and level l of the decoder, counted from the
bottom, the output blocks l (n + 1) to n + l (n + 1), the doubling being part of the last one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "norm_in": "norm1",
    "norm_out": "norm2",
}
UNET = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "out.0": "conv_norm_out", "out.2": "conv_out"}
MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
AUTOENCODER = {
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1.norm": "mid_block.attentions.0.group_norm",
    "mid.attn_1.q": "mid_block.attentions.0.to_q",
    "mid.attn_1.k": "mid_block.attentions.0.to_k",
    "mid.attn_1.v": "mid_block.attentions.0.to_v",
    "mid.attn_1.proj_out": "mid_block.attentions.0.to_out.0",
    "norm_out": "conv_norm_out",
}
OPEN_CLIP = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding": "embeddings.token_embedding",
    "ln_final": "final_layer_norm",
}
OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}

Rename = Callable[[str], str | None]


def rename_all(state: Mapping[str, Tensor], prefix: str, rename: Rename) -> tuple[dict[str, Tensor], set[str]]:
    """Take what stands under a prefix.

    Args:
        state: Published weights.
        prefix: Of their names.
        rename: From the rest of a name to ours; None for what is not known.

    Returns:
        Weights by our names, and the published names that were taken.
    """
    found, taken = {}, set()
    for key, value in state.items():
        if key.startswith(prefix) and (name := rename(key.removeprefix(prefix))) is not None:
            found[name] = value
            taken.add(key)
    return found, taken


def unet_key(blocks: int, levels: int) -> Rename:
    """For a U-Net, or for the encoder of a ControlNet, with so many residual blocks at each level."""
    step = blocks + 1

    def rename(key: str) -> str | None:
        part, _, rest = key.partition(".")
        if part == "input_blocks":
            return _input_block(rest, step)
        if part == "middle_block":
            number, _, layer = rest.partition(".")
            return f"mid_block.{MIDDLE[number]}.{_layer(layer)}" if number in MIDDLE else None
        if part == "output_blocks":
            return _output_block(rest, step, levels)
        return _by_prefix(key, UNET)

    return rename


def controlnet_key(blocks: int, hint_convs: int = 0) -> Rename:
    """For a ControlNet in the same layout, with so many convolutions in its hint encoder (0 where it has another one)."""
    encoder = unet_key(blocks, 0)

    def rename(key: str) -> str | None:
        if found := re.fullmatch(r"zero_convs\.(\d+)\.0\.(weight|bias)", key):
            return f"controlnet_down_blocks.{found[1]}.{found[2]}"
        if found := re.fullmatch(r"middle_block_out\.0\.(weight|bias)", key):
            return f"controlnet_mid_block.{found[1]}"
        if (found := re.fullmatch(r"input_hint_block\.(\d+)\.(weight|bias)", key)) and hint_convs:
            number = int(found[1]) // 2
            place = {0: "conv_in", hint_convs - 1: "conv_out"}.get(number, f"blocks.{number - 1}")
            return f"controlnet_cond_embedding.{place}.{found[2]}"
        return None if key.startswith(("output_blocks.", "out.")) else encoder(key)

    return rename


def autoencoder_key(levels: int) -> Rename:
    """For a KL autoencoder."""

    def rename(key: str) -> str | None:
        half, _, rest = key.partition(".")
        if half in ("quant_conv", "post_quant_conv"):
            return key
        if half not in ("encoder", "decoder"):
            return None
        if found := re.fullmatch(r"(down|up)\.(\d+)\.(block\.(\d+)|downsample|upsample)\.(.+)", rest):
            direction, level, what, number, layer = found.groups()
            place = int(level) if direction == "down" else levels - 1 - int(level)
            inner = f"resnets.{number}" if what.startswith("block") else f"{what}rs.0"
            return f"{half}.{direction}_blocks.{place}.{inner}.{layer.replace('nin_shortcut', 'conv_shortcut')}"
        named = _by_prefix(rest, AUTOENCODER)
        if named is None and rest.split(".")[0] in ("conv_in", "conv_out"):
            named = rest
        return named and f"{half}.{named}"

    return rename


def clip_key(key: str) -> str | None:
    """For transformers' CLIP text encoder, which older versions nest one level deeper and give a table of positions."""
    name = key.removeprefix("text_model.")
    return None if name == "embeddings.position_ids" else name


def open_clip_key(layers: int) -> Rename:
    """For OpenCLIP's text encoder up to layer `layers`; joined projections keep a name that `split_projections` takes apart."""

    def rename(key: str) -> str | None:
        if found := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", key):
            if int(found[1]) >= layers:
                return None
            layer = _by_prefix(found[2], OPEN_CLIP_LAYER)
            if found[2] in ("attn.in_proj_weight", "attn.in_proj_bias"):
                layer = f"self_attn.joined.{found[2].removeprefix('attn.in_proj_')}"
            return layer and f"encoder.layers.{found[1]}.{layer}"
        return _by_prefix(key, OPEN_CLIP)

    return rename


def split_projections(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values, which OpenCLIP stores in one matrix, under a name each."""
    split: dict[str, Tensor] = {}
    for key, value in state.items():
        if ".joined." in key:
            for name, part in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
                split[key.replace("joined", name)] = part
        else:
            split[key] = value
    return split


def _input_block(rest: str, step: int) -> str | None:
    found = re.fullmatch(r"(\d+)\.(\d)\.(.+)", rest)
    if not found:
        return None
    number, index, layer = int(found[1]), found[2], found[3]
    if number == 0:
        return f"conv_in.{layer}" if index == "0" else None
    level, place = divmod(number - 1, step)
    if place == step - 1:
        return f"down_blocks.{level}.downsamplers.0.conv.{layer.removeprefix('op.')}"
    kind = "resnets" if index == "0" else "attentions"
    return f"down_blocks.{level}.{kind}.{place}.{_layer(layer)}"


def _output_block(rest: str, step: int, levels: int) -> str | None:
    found = re.fullmatch(r"(\d+)\.(\d)\.(.+)", rest)
    if not found:
        return None
    (level, place), index, layer = divmod(int(found[1]), step), found[2], found[3]
    if level >= levels:
        return None
    if index != "0" and layer in ("conv.weight", "conv.bias"):
        return f"up_blocks.{level}.upsamplers.0.{layer}"
    kind = "resnets" if index == "0" else "attentions"
    return f"up_blocks.{level}.{kind}.{place}.{_layer(layer)}"


def _layer(name: str) -> str:
    """Inside a block: residual blocks are renamed, attention is called alike."""
    return _by_prefix(name, RESNET) or name


def _by_prefix(name: str, table: Mapping[str, str]) -> str | None:
    """The name with its beginning, whole parts of it, replaced; None if no beginning is in the table."""
    fitting: Iterable[str] = (old for old in table if name == old or name.startswith(f"{old}."))
    old = next(iter(fitting), None)
    return None if old is None else table[old] + name.removeprefix(old)
