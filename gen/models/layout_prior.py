"""The network of the raster diffusion prior of layouts (AeroGen's first step): a stock U-Net over one channel per class.

Rasters are +1 inside objects and -1 outside (`gen.annotations.priors.raster`); the network sees nothing but the noisy raster and the time.
The published network is not described; this one is as small as a CPU asks for.

Letters: B batch, N classes, S cells per side.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor


def build_layout_prior(classes: int, size: int, **settings: Any) -> UNet2DModel:
    """A `UNet2DModel` whose blocks follow from its widths: attention at the two coarsest levels, where whole layouts are seen.

    Args:
        classes: N.
        size: S, a multiple of 2 to the number of levels less one.
        settings: Its other arguments; ``block_out_channels`` gives one width per level.

    Returns:
        The network with random weights; its last layer is zero, so that it begins with the mean.

    Raises:
        ValueError: If the size does not fit the levels.
    """
    widths = tuple(settings.pop("block_out_channels", (32, 64, 96)))
    if size % 2 ** (len(widths) - 1):
        raise ValueError(f"a raster of {size} cells cannot be halved {len(widths) - 1} times; choose another size or fewer widths")
    plain = max(1, len(widths) - 2)
    kinds = ["plain"] * plain + ["attention"] * (len(widths) - plain)
    down = {"plain": "DownBlock2D", "attention": "AttnDownBlock2D"}
    up = {"plain": "UpBlock2D", "attention": "AttnUpBlock2D"}
    small = {"layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 16}
    network = UNet2DModel(
        sample_size=size,
        in_channels=classes,
        out_channels=classes,
        block_out_channels=widths,
        down_block_types=tuple(down[kind] for kind in kinds),
        up_block_types=tuple(up[kind] for kind in reversed(kinds)),
        **{**small, **settings},
    )
    torch.nn.init.zeros_(network.conv_out.weight)
    torch.nn.init.zeros_(network.conv_out.bias)
    return network


@torch.no_grad()
def draw_rasters(network: UNet2DModel, scheduler: Any, noise: Tensor, steps: int) -> Tensor:
    """Solve from noise; the result follows from the noise alone.

    Args:
        network: The trained network, in evaluation mode.
        scheduler: Any deterministic sampler of diffusers; its state is changed.
        noise: Standard normal, ``[B, N, S, S]``.
        steps: Evaluations.

    Returns:
        ``[B, N, S, S]`` float32 on the CPU, about -1 to 1.
    """
    scheduler.set_timesteps(steps, device=network.device)
    state = noise.to(network.device, network.dtype) * float(scheduler.init_noise_sigma)
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(state, time)
        output = network(scaled, time.to(torch.float32).expand(len(state))).sample
        state = scheduler.step(output, time, state).prev_sample
    return state.float().cpu()
