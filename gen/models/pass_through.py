"""A start for autoencoders from which training begins with colours instead of grey: what is coarse passes through from the first step on.

In a freshly initialised network colours have to find their way through every normalisation, which takes thousands of steps. Here some
channels carry each band and its negative, ``+x`` and ``-x``: SiLU(x) - SiLU(-x) = x, so that nonlinearities pass them exactly, their mean
is zero, and a pair of constants beside them keeps the normalisation's scale from depending on the picture. Residual branches leave these
channels alone at first. The network then averages over F x F pixels and interpolates back; everything else is random as usual and learns
the rest.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

CONSTANT = 2.0
"""The value of the pair of constants."""
_QUIET = -5.0  # log-variance of the latents at the start


@torch.no_grad()
def pass_colours(autoencoder: AutoencoderKL) -> AutoencoderKL:
    """Let the first bands through, as many as there are latent channels and as fit into the narrowest level.

    Args:
        autoencoder: Freshly initialised; it is changed. Its decoder inverts its encoder on plain pictures afterwards.

    Returns:
        The same network.
    """
    config = autoencoder.config
    narrowest = min(config["block_out_channels"])
    count = min(config["in_channels"], config["latent_channels"], (narrowest - 2) // 2)
    if count < 1 or autoencoder.device.type == "meta":
        return autoencoder
    encoder: Any = autoencoder.encoder
    decoder: Any = autoencoder.decoder
    for conv in (encoder.conv_in, decoder.conv_in):
        _split(conv, count)
    for block in (*encoder.down_blocks, encoder.mid_block, decoder.mid_block, *decoder.up_blocks):
        for resnet in block.resnets:
            _leave(resnet, count)
        for sampler in (*(getattr(block, "downsamplers", None) or ()), *(getattr(block, "upsamplers", None) or ())):
            _carry(sampler.conv, count, _kernel(sampler.conv))
    for conv in (encoder.conv_out, decoder.conv_out):
        _join(conv, count)
    latents = config["latent_channels"]
    encoder.conv_out.weight[latents:] = 0
    encoder.conv_out.bias[latents:] = _QUIET
    for mixer in (autoencoder.quant_conv, autoencoder.post_quant_conv):
        if mixer is not None:
            nn.init.dirac_(mixer.weight)
            nn.init.zeros_(mixer.bias)
    _calibrate(autoencoder, count)
    return autoencoder


def _split(conv: nn.Conv2d, count: int) -> None:
    """Bands to pairs of opposite channels, and the constants."""
    width = 2 * count + 2
    weight, bias = _cleared(conv, width)
    for band in range(count):
        weight[2 * band, band, 1, 1] = 1
        weight[2 * band + 1, band, 1, 1] = -1
    bias[width - 2], bias[width - 1] = CONSTANT, -CONSTANT


def _leave(resnet: Any, count: int) -> None:
    """A residual block that adds nothing to the pairs."""
    _cleared(resnet.conv2, 2 * count + 2)
    if resnet.conv_shortcut is not None:
        _carry(resnet.conv_shortcut, count, torch.ones(1, 1))


def _carry(conv: nn.Conv2d, count: int, kernel: Tensor) -> None:
    """A convolution that gives each channel of the pairs to itself."""
    weight, _ = _cleared(conv, 2 * count + 2)
    for channel in range(2 * count + 2):
        weight[channel, channel] = kernel


def _cleared(conv: nn.Conv2d, rows: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution, its first outputs at zero."""
    assert conv.bias is not None
    conv.weight[:rows] = 0
    conv.bias[:rows] = 0
    return conv.weight, conv.bias


def _kernel(conv: nn.Conv2d) -> Tensor:
    """The mean of 2 x 2 pixels on the way down (padding is at the end), a smooth interpolation on the way up."""
    if conv.stride[0] == 2:
        kernel = torch.zeros(3, 3)
        kernel[:2, :2] = 0.25
        return kernel
    row = torch.tensor([0.25, 0.5, 0.25])
    return row[:, None] * row


def _join(conv: nn.Conv2d, count: int) -> None:
    """Pairs back to bands."""
    weight, _ = _cleared(conv, count)
    for band in range(count):
        weight[band, 2 * band, 1, 1] = 1
        weight[band, 2 * band + 1, 1, 1] = -1


def _calibrate(autoencoder: AutoencoderKL, count: int) -> None:
    """Undo the scale that the last normalisations put on plain pictures."""
    size = 2 ** (len(autoencoder.config["block_out_channels"]) + 1)
    shades = torch.linspace(-1, 1, 16)[:, None, None, None].expand(16, autoencoder.config["in_channels"], size, size)
    mean = autoencoder.encode(shades).latent_dist.mode()[:, :count]
    autoencoder.encoder.conv_out.weight[:count] /= _slope(mean, shades)
    latents = autoencoder.encode(shades).latent_dist.mode()
    autoencoder.decoder.conv_out.weight[:count] /= _slope(autoencoder.decode(latents).sample[:, :count], shades)


def _slope(found: Tensor, shades: Tensor) -> float:
    middle = found.shape[-1] // 2
    values, wanted = found[:, :, middle, middle].mean(1), shades[:, 0, 0, 0]
    return float((values * wanted).sum() / wanted.square().sum())
