"""The latent space of small generators: a KL autoencoder (Rombach et al. 2022) for any number of bands.

It is a stock diffusers `AutoencoderKL`, which takes 3 to 13 bands as they are; what is ours is a size that one CPU core trains in half an
hour, and latents of unit scale in every channel. Pictures enter as ``2 x - 1`` with x in [0, 1].

One normalisation group: groups of few channels take the mean of each from a plain picture, and with it the picture's colour.

Letters: B batch, C bands, H W rows and columns, Z latent channels, F factor (2 to the number of levels less one).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from .pass_through import pass_colours


def build_autoencoder(bands: int = 3, **settings: Any) -> AutoencoderKL:
    """An `AutoencoderKL` whose blocks follow from its widths.

    Args:
        bands: C, at least 1.
        settings: Its other arguments; ``block_out_channels`` gives one width per level, the first at full resolution.

    Returns:
        The network, with random weights that let colours through (`pass_through`).
    """
    widths = tuple(settings.pop("block_out_channels", (16, 32, 64)))
    small = {"latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 1, "mid_block_add_attention": False}
    network = AutoencoderKL(
        in_channels=bands,
        out_channels=bands,
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        **{"scaling_factor": 1.0, **small, **settings},
    )
    return pass_colours(network)


def latent_factor(autoencoder: nn.Module) -> int:
    """F: pixels per latent and axis."""
    return int(2 ** (len(autoencoder.config["block_out_channels"]) - 1))  # type: ignore[index]


def encode_mean(autoencoder: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Scaled latents of pictures, without noise.

    Args:
        autoencoder: The network.
        pictures: ``[B, C, H, W]`` in [0, 1]; H and W multiples of F.

    Returns:
        ``[B, Z, H / F, W / F]``, of about unit standard deviation.
    """
    latents: Tensor = autoencoder.encode(pictures * 2 - 1).latent_dist.mode()
    return latents * float(autoencoder.config["scaling_factor"])


def decode(autoencoder: AutoencoderKL, latents: Tensor) -> Tensor:
    """Pictures of scaled latents: the inverse of `encode_mean`, ``[B, C, H, W]``, cut to [0, 1]."""
    pictures: Tensor = autoencoder.decode(latents / float(autoencoder.config["scaling_factor"])).sample
    return ((pictures + 1) / 2).clamp(0, 1)


@torch.no_grad()
def standardise(autoencoder: AutoencoderKL, batches: Iterable[Tensor]) -> None:
    """Give every latent channel mean 0 and standard deviation 1, so that a diffusion learns each equally well.

    Measured means and scales go into the 1 x 1 convolutions on both sides of the latents: reconstructions stay what they are, and the
    network stays a stock one. ``scaling_factor`` becomes 1.

    Args:
        autoencoder: The network; it is changed. Its config has ``use_quant_conv`` and ``use_post_quant_conv``.
        batches: Pictures ``[B, C, H, W]`` in [0, 1], at least one.

    Raises:
        ValueError: If there is no picture, a channel is the same everywhere, or the network has no such convolutions.
    """
    before, after = autoencoder.quant_conv, autoencoder.post_quant_conv
    found = [autoencoder.encode(pictures * 2 - 1).latent_dist.mode().transpose(0, 1).flatten(1).double() for pictures in batches]
    if not found or before is None or after is None:
        raise ValueError("standard latents need pictures, and an autoencoder with convolutions on both sides of the latents")
    latents = torch.cat(found, 1)
    mean, std = latents.mean(1), latents.std(1)
    if not bool((std > 0).all()):
        raise ValueError("a latent channel is the same everywhere; train the autoencoder first")
    count = len(std)
    shift, scale = mean.to(before.weight), std.to(before.weight)
    # The decoder's side first undoes what the encoder's does.
    after.bias += after.weight[:, :, 0, 0] @ shift
    after.weight *= scale[None, :, None, None]
    before.weight[:count] /= scale[:, None, None, None]
    before.bias[:count] = (before.bias[:count] - shift) / scale
    before.bias[count:] -= 2 * scale.log()
    autoencoder.register_to_config(scaling_factor=1.0)


class TrainedAutoencoder(nn.Module):
    """What a training step runs: pictures to their reconstruction and the divergence of their latents, in one forward."""

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Encode, draw latents, decode.

        Args:
            pictures: ``[B, C, H, W]`` in [0, 1].
            noise: Standard normal, ``[B, Z, H / F, W / F]``: the draw is the caller's.

        Returns:
            Reconstruction ``[B, C, H, W]`` (not cut), and the mean divergence from the standard normal per latent, ``[B]``.
        """
        posterior = self.autoencoder.encode(pictures * 2 - 1).latent_dist
        decoded = self.autoencoder.decode(posterior.mean + posterior.std * noise).sample
        return (decoded + 1) / 2, posterior.kl() / noise[0].numel()
