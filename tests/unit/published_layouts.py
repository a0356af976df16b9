"""Published checkpoints at tiny size: stock networks written out under the names of the published files, block by block.

The order of blocks is walked through here as latent diffusion numbers them; nothing is shared with the converters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

State = dict[str, Tensor]
RESNET = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
]
CHANNELS, WIDTH, VOCABULARY = (32, 64), 64, 514


def randomise(network: nn.Module, seed: int) -> nn.Module:
    """Every weight as after training: none at zero, nothing large."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            scale = 0.3 / max(value[0].numel(), 1) ** 0.5 if value.ndim > 1 else 0.1
            value.copy_(
                (1.0 if "norm" in name and name.endswith("weight") else 0.0) + scale * torch.randn(value.shape, generator=generator)
            )
    return network.eval()


def unet_settings(**more: Any) -> dict[str, Any]:
    return {
        "sample_size": 8,
        "block_out_channels": CHANNELS,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 2,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 8,
        **more,
    }


def make_unet(**more: Any) -> UNet2DConditionModel:
    return randomise(UNet2DConditionModel(**unet_settings(**more)), 1)


def make_vae() -> AutoencoderKL:
    """Eight pixels per latent, as the published one."""
    blocks: dict[str, Any] = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return randomise(AutoencoderKL(block_out_channels=(32, 32, 64, 64), layers_per_block=1, latent_channels=4, **blocks), 2)


def make_text(layers: int = 2, activation: str = "quick_gelu") -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=1,
        hidden_act=activation,
        bos_token_id=VOCABULARY - 2,
        eos_token_id=VOCABULARY - 1,
        pad_token_id=VOCABULARY - 1,
    )
    return randomise(CLIPTextModel(config), 3)


def moved(state: State, old: str, new: str) -> Iterator[tuple[str, Tensor]]:
    """All weights of a module under another name."""
    for key, value in state.items():
        if key.startswith(f"{old}."):
            yield f"{new}.{key.removeprefix(f'{old}.')}", value


def resnet(state: State, old: str, new: str) -> State:
    return {key: value for ours, theirs in RESNET for key, value in moved(state, f"{old}.{ours}", f"{new}.{theirs}")}


def ldm_encoder(state: State, levels: int = 2, layers: int = 2) -> State:
    """`conv_in`, time, down blocks and middle of a U-Net or ControlNet."""
    out = dict(moved(state, "time_embedding.linear_1", "time_embed.0")) | dict(moved(state, "time_embedding.linear_2", "time_embed.2"))
    out |= dict(moved(state, "conv_in", "input_blocks.0.0"))
    number = 1
    for level in range(levels):
        for layer in range(layers):
            out |= resnet(state, f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{number}.0")
            out |= dict(moved(state, f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{number}.1"))
            number += 1
        if level < levels - 1:
            out |= dict(moved(state, f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{number}.0.op"))
            number += 1
    out |= resnet(state, "mid_block.resnets.0", "middle_block.0") | resnet(state, "mid_block.resnets.1", "middle_block.2")
    return out | dict(moved(state, "mid_block.attentions.0", "middle_block.1"))


def ldm_unet(unet: UNet2DConditionModel) -> State:
    state = unet.state_dict()
    out = ldm_encoder(state) | dict(moved(state, "conv_norm_out", "out.0")) | dict(moved(state, "conv_out", "out.2"))
    number = 0
    for level in range(2):
        for layer in range(3):
            crossed = any(key.startswith(f"up_blocks.{level}.attentions.") for key in state)
            out |= resnet(state, f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{number}.0")
            out |= dict(moved(state, f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{number}.1"))
            if layer == 2 and level == 0:
                out |= dict(moved(state, "up_blocks.0.upsamplers.0", f"output_blocks.{number}.{2 if crossed else 1}"))
            number += 1
    assert len(out) == len(state)
    return out


def ldm_zero_convs(state: State) -> State:
    out = dict(moved(state, "controlnet_mid_block", "middle_block_out.0"))
    for number in range(6):
        out |= dict(moved(state, f"controlnet_down_blocks.{number}", f"zero_convs.{number}.0"))
    return out


def ldm_controlnet(network: ControlNetModel) -> State:
    state = network.state_dict()
    out = ldm_encoder(state) | ldm_zero_convs(state) | dict(moved(state, "controlnet_cond_embedding.conv_in", "input_hint_block.0"))
    blocks = len(network.controlnet_cond_embedding.blocks)
    for number in range(blocks):
        out |= dict(moved(state, f"controlnet_cond_embedding.blocks.{number}", f"input_hint_block.{2 * number + 2}"))
    out |= dict(moved(state, "controlnet_cond_embedding.conv_out", f"input_hint_block.{2 * blocks + 2}"))
    assert len(out) == len(state)
    return out


def ldm_vae(vae: AutoencoderKL) -> State:
    state, out = vae.state_dict(), {}
    for half, direction in (("encoder", "down"), ("decoder", "up")):
        for name, ours in (("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out")):
            out |= dict(moved(state, f"{half}.{ours}", f"{half}.{name}"))
        for level in range(4):
            place = level if half == "encoder" else 3 - level
            for layer in range(1 if half == "encoder" else 2):
                for key, value in moved(
                    state, f"{half}.{direction}_blocks.{level}.resnets.{layer}", f"{half}.{direction}.{place}.block.{layer}"
                ):
                    out[key.replace("conv_shortcut", "nin_shortcut")] = value
            sampler = f"{direction}sample"
            out |= dict(moved(state, f"{half}.{direction}_blocks.{level}.{sampler}rs.0.conv", f"{half}.{direction}.{place}.{sampler}.conv"))
        out |= dict(moved(state, f"{half}.mid_block.resnets.0", f"{half}.mid.block_1"))
        out |= dict(moved(state, f"{half}.mid_block.resnets.1", f"{half}.mid.block_2"))
        for ours, theirs in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
            for key, value in moved(state, f"{half}.mid_block.attentions.0.{ours}", f"{half}.mid.attn_1.{theirs}"):
                out[key] = value[:, :, None, None] if value.ndim == 2 else value
    out |= {key: value for key, value in state.items() if "quant_conv" in key}
    assert len(out) == len(state)
    return out


def old_clip(model: CLIPTextModel) -> State:
    """As older transformers saved it."""
    state = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in model.state_dict().items()}
    return {**state, "text_model.embeddings.position_ids": torch.arange(77)[None]}


def open_clip(model: CLIPTextModel) -> State:
    """One more layer than is used, joined projections, and what belongs to the contrastive loss."""
    state = {key.removeprefix("text_model."): value for key, value in model.state_dict().items()}
    out: State = {
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "text_projection": torch.randn(WIDTH, WIDTH),
        "logit_scale": torch.tensor(4.6),
        **dict(moved(state, "final_layer_norm", "ln_final")),
    }
    layers = model.config.num_hidden_layers
    for number in range(layers + 1):
        ours, theirs = f"encoder.layers.{min(number, layers - 1)}", f"transformer.resblocks.{number}"
        for kind in ("weight", "bias"):
            out[f"{theirs}.attn.in_proj_{kind}"] = torch.cat([state[f"{ours}.self_attn.{part}_proj.{kind}"] for part in "qkv"])
        for name, other in (
            ("self_attn.out_proj", "attn.out_proj"),
            ("layer_norm1", "ln_1"),
            ("layer_norm2", "ln_2"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
        ):
            out |= dict(moved(state, f"{ours}.{name}", f"{theirs}.{other}"))
    return out


def below(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def diffusion_tables() -> State:
    """What `DDPM` of latent diffusion keeps as buffers."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, dim=0)
    names = ("sqrt_one_minus_alphas_cumprod", "sqrt_alphas_cumprod", "alphas_cumprod_prev", "posterior_variance", "logvar")
    return {"betas": betas.float(), "alphas_cumprod": kept.float(), **{name: torch.zeros(1000) for name in names}}


def random_layers(shapes: dict[str, tuple[int, ...]], seed: int) -> State:
    """Weights by name and shape, each as large as its inputs allow."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes.items():
        inputs = torch.Size(shape[1:]).numel() if len(shape) > 1 else 16
        state[name] = (1.0 if name.endswith(("norm1.weight", "norm2.weight")) else 0.0) + 0.5 / inputs**0.5 * torch.randn(
            shape, generator=generator
        )
    return state
