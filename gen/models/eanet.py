"""EANet: the denoiser of EDiffSR (Xiao et al., TGRS 2024, doi 10.1109/TGRS.2023.3341437).

A U-Net of efficient activation blocks (`EfficientActivationBlock`) with additive skips. It sees the deviation of the diffusion state from
the up-sampled low-resolution picture mu, and mu itself, and predicts the noise. One name covers several networks; the config says which one
this is:

- ``rcab``: the public code since 2024-05-01. One residual channel attention block behind the first convolution; no path on the
  low-resolution grid. 20.40 M parameters.
- ``msgroup_b``: the public code of 2024-04-02. A group of six such blocks, and depth-wise kernels 3, 5 and 7 in each block
  (`MultiScaleBlock`). 30.39 M parameters at the published size.
- ``msgroup_a``: the public code of 2024-01-27. The same with a group of five, taken from the features twice over: (x - group(x)) + x.
  30.31 M parameters.
- ``cpem_lr``: the design in the paper's figure, with the condition path on the low-resolution grid (`ConditionPath`); ours where the paper
  is silent.

Differences from the published code: any number of bands, any height and width; pooling over a local window if asked for; float32 norm
statistics in half precision.
"""

# Letters: B batch, C bands, H W full resolution, h w low resolution, c channels, e time embedding.

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from ..errors import InputError
from .cpem import ConditionPath
from .eanet_blocks import EfficientActivationBlock, MultiScaleBlock, ResidualChannelAttention, SimpleGate
from .embed import Sinusoids
from .pooling import ContextPool
from .reach import network_reach
from .strips import run_striped

Variant = Literal["rcab", "msgroup_a", "msgroup_b", "cpem_lr"]
Pool = Literal["global", "local"]
GROUP_BLOCKS = {"msgroup_a": 5, "msgroup_b": 6}


class Enhance(nn.Module):
    """The published stage behind the first convolution: x + RCAB(x)."""

    def __init__(self, channels: int, pool: ContextPool) -> None:
        super().__init__()
        self.rcab = ResidualChannelAttention(channels, pool).rcab

    def forward(self, value: Tensor) -> Tensor:
        """``[B, c, H, W]`` in and out. The block is residual itself, so the input enters twice, as published."""
        return 2 * value + self.rcab(value)


class EnhanceGroup(nn.Module):
    """The same stage before 2024-05: group(x) = x + conv(RCAB(...RCAB(x))), used as it is or, in the oldest code, as (x - group(x)) + x."""

    def __init__(self, channels: int, pool: ContextPool, blocks: int, subtract: bool) -> None:
        super().__init__()
        self.subtract = subtract
        self.residual_group = nn.Sequential(*(ResidualChannelAttention(channels, pool) for _ in range(blocks)))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, value: Tensor) -> Tensor:
        """``[B, c, H, W]`` in and out."""
        residual = self.conv(self.residual_group(value))
        return value - residual if self.subtract else value + residual


class EANet(ModelMixin, ConfigMixin):
    """EDiffSR's denoiser, for any number of bands."""

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        bands: int = 3,
        width: int = 64,
        enc_blocks: Sequence[int] = (14, 1, 1, 1),
        mid_blocks: int = 1,
        dec_blocks: Sequence[int] = (1, 1, 1, 1),
        variant: Variant = "cpem_lr",
        scale: int = 4,
        pool: Pool = "local",
        pool_size: int = 256,
        prediction: Literal["epsilon", "v_prediction"] = "epsilon",
        cpem_width: int | None = None,
        cpem_blocks: int = 3,
        group_blocks: int | None = None,
    ) -> None:
        """Build the network.

        Args:
            bands: Bands C of the picture.
            width: Channels c of the first level; each level down doubles them. A multiple of 4.
            enc_blocks: Blocks of each level on the way down.
            mid_blocks: Blocks at the bottom.
            dec_blocks: Blocks of each level on the way up, the deepest first; as many levels as ``enc_blocks``.
            variant: Which network; see the module's docstring.
            scale: Full-resolution pixels per low-resolution pixel side.
            pool: What channel attention averages over. The published networks were trained with ``global``.
            pool_size: Window side of ``local`` pooling in full-resolution pixels; best the side of the training crops.
            prediction: What the output means. Kept for the pipeline; it changes nothing here.
            cpem_width: Channels of the path on the low-resolution grid; four times ``width`` if left out. Only for ``cpem_lr``.
            cpem_blocks: Residual blocks of that path. Only for ``cpem_lr``.
            group_blocks: Residual blocks of the group of ``msgroup_a`` (5 if left out) and ``msgroup_b`` (6).

        Raises:
            InputError: If a number is out of range or a name unknown.
        """
        super().__init__()
        _check(bands, width, enc_blocks, dec_blocks, mid_blocks, variant, scale, pool, pool_size)
        self.gradient_checkpointing = False
        self.striped = False  # set by `prepare_for_inference` on CPUs
        self.levels = len(enc_blocks)
        local = pool_size if pool == "local" else None
        embedding = 4 * width
        self.time_mlp = nn.Sequential(Sinusoids(width), nn.Linear(width, 2 * embedding), SimpleGate(), nn.Linear(embedding, embedding))
        self.intro = nn.Conv2d(2 * bands, width, 3, padding=1)
        if variant == "cpem_lr":
            self.cpem = ConditionPath(bands, width, cpem_width or 4 * width, cpem_blocks, scale, local)
        else:
            self.enhance = _enhance(variant, width, ContextPool(local, 1), group_blocks)
        block = EfficientActivationBlock if variant in ("rcab", "cpem_lr") else MultiScaleBlock
        self._no_split_modules = [block.__name__]  # what is gathered at a time where the weights are cut up over processes

        def stage(channels: int, blocks: int, pixel: int) -> nn.ModuleList:
            return nn.ModuleList(block(channels, embedding, ContextPool(local, pixel)) for _ in range(blocks))

        widths = [width << level for level in range(self.levels + 1)]
        self.encoders = nn.ModuleList(stage(widths[i], blocks, 1 << i) for i, blocks in enumerate(enc_blocks))
        self.downs = nn.ModuleList(nn.Conv2d(c, 2 * c, 2, stride=2) for c in widths[:-1])
        self.middle_blks = stage(widths[-1], mid_blocks, 1 << self.levels)
        self.ups = nn.ModuleList(nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2)) for c in widths[:0:-1])
        up_levels = range(self.levels - 1, -1, -1)
        self.decoders = nn.ModuleList(stage(widths[i], blocks, 1 << i) for i, blocks in zip(up_levels, dec_blocks, strict=True))
        self.ending = nn.Conv2d(width, bands, 3, padding=1)
        if variant == "cpem_lr":
            self._zero_output()

    @property
    def multiple(self) -> int:
        """Sides are padded to a multiple of this: of 16 for four levels, and of the scale where the low-resolution grid takes part."""
        pyramid = 1 << self.levels
        return math.lcm(pyramid, self.config["scale"]) if self.config["variant"] == "cpem_lr" else pyramid

    @property
    def receptive_field(self) -> int:
        """How far a pixel reaches through the convolutions of one evaluation, in full-resolution pixels: the halo of a tile.

        The largest over all phases of the grid. Pooled means reach farther: over their window when ``pool`` is local (`context_reach`),
        over the whole tile when it is global.
        """
        return network_reach(self, pools=False)

    @property
    def context_reach(self) -> int | None:
        """The same with the windows of local pooling: nothing farther away can change a pixel. None for global pooling."""
        return None if self.config["pool"] == "global" else network_reach(self, pools=True)

    def forward(self, sample: Tensor, timestep: Tensor, mu: Tensor, low: Tensor | None = None) -> Tensor:
        """Predict the noise.

        Args:
            sample: x_t - mu, ``[B, C, H, W]``.
            timestep: ``[B]`` or a scalar, 1..T; fractions are allowed.
            mu: The up-sampled low-resolution picture, ``[B, C, H, W]``, in the same unit.
            low: The low-resolution picture, ``[B, C, H / scale, W / scale]`` (rounded up); only for the variant ``cpem_lr``.

        Returns:
            ``[B, C, H, W]``, in the dtype of ``sample``.

        Raises:
            InputError: If shapes disagree or ``low`` is missing.
        """
        self._check_input(sample, mu, low)
        dtype, (batch, _, height, width) = self.dtype, sample.shape
        embedding = self.embed(timestep.reshape(-1).expand(batch))
        state = self._pad(sample.to(dtype), self.multiple)
        value = self.intro(torch.cat([state, self._pad(mu.to(dtype), self.multiple)], dim=1).contiguous(memory_format=torch.channels_last))
        if low is not None and self.config["variant"] == "cpem_lr":
            value = value + self.cpem(state, self._pad(low.to(dtype), self.multiple // self.config["scale"]))
        elif self.config["variant"] != "cpem_lr":
            value = self.enhance(value)
        value = self._u_net(value, embedding)
        return self.ending(value)[:, :, :height, :width].to(sample.dtype)

    def embed(self, timestep: Tensor) -> Tensor:
        """Time embedding: ``[B]`` to ``[B, 4 width]``."""
        sines = self.time_mlp[0](timestep).to(self.dtype)
        return self.time_mlp[3](self.time_mlp[2](self.time_mlp[1](sines)))

    def _u_net(self, value: Tensor, embedding: Tensor) -> Tensor:
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            value = self._run(blocks, value, embedding)
            skips.append(value)
            value = down(value)
        value = self._run(self.middle_blks, value, embedding)
        for blocks, up in zip(self.decoders, self.ups, strict=True):
            value = self._run(blocks, up(value) + skips.pop(), embedding)
        return value

    def _run(self, blocks: nn.Module, value: Tensor, embedding: Tensor) -> Tensor:
        """All blocks of a stage; `value` may be overwritten."""
        adapted = hasattr(self, "peft_config")  # strips read the weights of the layers, which an adapter leaves alone
        if self.striped and not adapted and not torch.is_grad_enabled() and self.config["variant"] in ("rcab", "cpem_lr"):
            return run_striped(cast(Iterable[EfficientActivationBlock], blocks.children()), value, embedding)
        for block in blocks.children():
            if self.gradient_checkpointing and torch.is_grad_enabled():
                value = self._gradient_checkpointing_func(block, value, embedding)
            else:
                value = block(value, embedding)
        return value

    def _pad(self, value: Tensor, multiple: int) -> Tensor:
        """Fill up at the right and the bottom: by zeros as published, by the border's pixels in our own variant."""
        height, width = value.shape[2:]
        edges = (0, -width % multiple, 0, -height % multiple)
        if not any(edges):
            return value
        return F.pad(value, edges, mode="replicate" if self.config["variant"] == "cpem_lr" else "constant")

    def _zero_output(self) -> None:
        for parameter in self.ending.parameters():
            nn.init.zeros_(parameter)

    def _check_input(self, sample: Tensor, mu: Tensor, low: Tensor | None) -> None:
        bands, scale = self.config["bands"], self.config["scale"]
        if sample.ndim != 4 or sample.shape[1] != bands or sample.shape != mu.shape:
            raise InputError(
                f"sample has shape {tuple(sample.shape)} and mu {tuple(mu.shape)}; this network takes two equal [B, {bands}, H, W]; "
                "give the bands that the model was made for"
            )
        if self.config["variant"] != "cpem_lr":
            return
        expected = (*sample.shape[:2], -(-sample.shape[2] // scale), -(-sample.shape[3] // scale))
        if low is None or tuple(low.shape) != expected:
            got = "missing" if low is None else f"of shape {tuple(low.shape)}"
            raise InputError(
                f"the low-resolution picture is {got}; the variant cpem_lr at scale {scale} takes {expected}; pass it as `low`"
            )


def _enhance(variant: Variant, channels: int, pool: ContextPool, group_blocks: int | None) -> nn.Module:
    """The stage behind the first convolution of a published variant."""
    if variant == "rcab":
        return Enhance(channels, pool)
    return EnhanceGroup(channels, pool, blocks=group_blocks or GROUP_BLOCKS[variant], subtract=variant == "msgroup_a")


def _check(
    bands: int,
    width: int,
    enc_blocks: Sequence[int],
    dec_blocks: Sequence[int],
    mid_blocks: int,
    variant: str,
    scale: int,
    pool: str,
    pool_size: int,
) -> None:
    """Refuse a configuration that cannot be built."""
    names = {"variant": (variant, get_args(Variant)), "pool": (pool, get_args(Pool))}
    for name, (got, allowed) in names.items():
        if got not in allowed:
            raise InputError(f"{name} is {got!r}; it is one of {', '.join(allowed)}; choose one of them")
    if len(enc_blocks) != len(dec_blocks) or not enc_blocks or min(*enc_blocks, *dec_blocks, mid_blocks) < 0:
        raise InputError(
            f"enc_blocks {tuple(enc_blocks)} and dec_blocks {tuple(dec_blocks)} do not count the blocks of the same levels; "
            "give both as many numbers, none below 0"
        )
    if bands < 1 or scale < 1 or pool_size < 2 or width < 4 or width % 4:
        raise InputError(
            f"bands {bands}, scale {scale}, pool_size {pool_size} or width {width} is out of range; "
            "bands and scale are at least 1, pool_size at least 2, width a multiple of 4"
        )
