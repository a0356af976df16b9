"""EANet written the straightforward way: channels first, plain layers, one operation after the other.

The yardstick of `bench_eanet`, and the second implementation that the tests hold the package's network against. It has the structure and
the parameter names of the published checkpoints (variants ``rcab``, ``msgroup_a``, ``msgroup_b``, any number of bands) and of our
``cpem_lr``, so that the same weights load strictly. Sides must be multiples of the pyramid's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        variance = torch.var(x, dim=1, unbiased=False, keepdim=True)
        mean = torch.mean(x, dim=1, keepdim=True)
        return (x - mean) * (variance + 1e-5).rsqrt() * self.g


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return a * b


class TimeWaves(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, t: Tensor) -> Tensor:
        half = self.width // 2
        rate = torch.exp(torch.arange(half, device=t.device) * -(math.log(10000) / (half - 1)))
        phase = t[:, None] * rate[None, :]
        return torch.cat((phase.sin(), phase.cos()), dim=-1)


class LocalMean(nn.Module):
    """Window means on a grid of cells, written as weighted sums (for the configurations with local pooling)."""

    def __init__(self, window: int, pixel: int) -> None:
        super().__init__()
        cell = 1
        while cell < 16 and cell * 16 <= window:
            cell *= 2
        self.cell = max(1, cell // pixel)
        self.count = max(2, 2 * round(window / (2 * self.cell * pixel)))

    def forward(self, x: Tensor) -> Tensor:
        cells = F.avg_pool2d(x, self.cell)
        line = torch.ones(self.count + 1, dtype=x.dtype, device=x.device)
        line[0] = line[-1] = 0.5
        kernel = (line[:, None] * line[None, :]).expand(x.shape[1], 1, -1, -1)
        summed = F.conv2d(cells, kernel, padding=self.count // 2, groups=x.shape[1])
        return summed / F.conv2d(torch.ones_like(cells), kernel, padding=self.count // 2, groups=x.shape[1])


def pooled(window: int | None, pixel: int, *layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1) if window is None else LocalMean(window, pixel), *layers)


def attend(weights: Tensor, x: Tensor) -> Tensor:
    """Weights per picture broadcast; weights per cell are interpolated."""
    if weights.shape[2] > 1:
        weights = F.interpolate(weights, size=x.shape[2:], mode="bilinear", align_corners=False)
    return weights


class Block(nn.Module):
    def __init__(self, c: int, time: int, multi_scale: bool, window: int | None, pixel: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Gate(), nn.Linear(time // 2, 4 * c))
        self.conv1 = nn.Conv2d(c, 2 * c, 1)
        self.kernels = (3, 5, 7) if multi_scale else ()
        for k in self.kernels:
            setattr(self, f"conv2_{k}", nn.Conv2d(2 * c, 2 * c, k, padding=k // 2, groups=2 * c))
            setattr(self, f"sca_{k}", pooled(window, pixel, nn.Conv2d(c, c, 1)))
        if multi_scale:
            self.blending = nn.Conv2d(3 * c, c, 1)
        else:
            self.conv2 = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
            self.sca = pooled(window, pixel, nn.Conv2d(c, c, 1))
        self.conv3 = nn.Conv2d(c, c, 1)
        self.conv4 = nn.Conv2d(c, 2 * c, 1)
        self.conv5 = nn.Conv2d(c, c, 1)
        self.gate = Gate()
        self.norm1 = LayerNorm(c)
        self.norm2 = LayerNorm(c)
        self.beta = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, c, 1, 1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        shift_a, scale_a, shift_f, scale_f = self.mlp(t)[:, :, None, None].chunk(4, dim=1)
        h = self.norm1(x)
        h = h * (scale_a + 1) + shift_a
        h = self.conv1(h)
        if self.kernels:
            branches = [self.gate(getattr(self, f"conv2_{k}")(h)) for k in self.kernels]
            maps = [attend(getattr(self, f"sca_{k}")(b), b) for k, b in zip(self.kernels, branches, strict=True)]
            h = self.blending(torch.cat(maps, dim=1))
        else:
            h = self.gate(self.conv2(h))
            h = h * attend(self.sca(h), h)
        h = self.conv3(h)
        x = x + h * self.beta
        h = self.norm2(x)
        h = h * (scale_f + 1) + shift_f
        h = self.gate(self.conv4(h))
        h = self.conv5(h)
        return x + h * self.gamma


class Squeeze(nn.Module):
    def __init__(self, c: int, window: int | None, pixel: int) -> None:
        super().__init__()
        narrow = max(1, c // 16)
        self.attention = pooled(window, pixel, nn.Conv2d(c, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, c, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * attend(self.attention(x), x)


class RCAB(nn.Module):
    def __init__(self, c: int, window: int | None = None, pixel: int = 1) -> None:
        super().__init__()
        self.rcab = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1), nn.ReLU(), nn.Conv2d(c, c, 3, 1, 1), Squeeze(c, window, pixel))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rcab(x)


class Group(nn.Module):
    def __init__(self, c: int, blocks: int, window: int | None) -> None:
        super().__init__()
        self.residual_group = nn.Sequential(*[RCAB(c, window) for _ in range(blocks)])
        self.conv = nn.Conv2d(c, c, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.residual_group(x))


class LowGrid(nn.Module):
    """Our condition path on the low-resolution grid."""

    def __init__(self, bands: int, c: int, inner: int, blocks: int, scale: int, window: int | None) -> None:
        super().__init__()
        self.scale = scale
        self.fold = nn.Conv2d(bands * (1 + scale * scale), inner, 3, 1, 1)
        self.blocks = nn.ModuleList([RCAB(inner, window, scale) for _ in range(blocks)])
        self.unfold = nn.Conv2d(inner, c * scale * scale, 1)

    def forward(self, sample: Tensor, low: Tensor) -> Tensor:
        x = self.fold(torch.cat([low, F.pixel_unshuffle(sample, self.scale)], dim=1))
        for block in self.blocks:
            x = block(x)
        return F.pixel_shuffle(self.unfold(x), self.scale)


class ReferenceEANet(nn.Module):
    """See the module; arguments as in `EANet`."""

    def __init__(
        self,
        bands: int,
        width: int,
        enc_blocks: tuple[int, ...],
        mid_blocks: int,
        dec_blocks: tuple[int, ...],
        variant: str,
        window: int | None = None,
        scale: int = 4,
        cpem_width: int | None = None,
        cpem_blocks: int = 3,
    ) -> None:
        super().__init__()
        self.variant = variant
        time = 4 * width
        self.time_mlp = nn.Sequential(TimeWaves(width), nn.Linear(width, 2 * time), Gate(), nn.Linear(time, time))
        self.intro = nn.Conv2d(2 * bands, width, 3, 1, 1)
        if variant == "rcab":
            self.enhance: nn.Module = RCAB(width, window)
        elif variant == "cpem_lr":
            self.cpem = LowGrid(bands, width, cpem_width or 4 * width, cpem_blocks, scale, window)
        else:
            self.enhance = Group(width, 5 if variant == "msgroup_a" else 6, window)
        many = variant in ("msgroup_a", "msgroup_b")
        self.encoders, self.downs, self.ups, self.decoders = nn.ModuleList(), nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        c, pixel = width, 1
        for count in enc_blocks:
            self.encoders.append(nn.ModuleList([Block(c, time, many, window, pixel) for _ in range(count)]))
            self.downs.append(nn.Conv2d(c, 2 * c, 2, 2))
            c, pixel = 2 * c, 2 * pixel
        self.middle_blks = nn.ModuleList([Block(c, time, many, window, pixel) for _ in range(mid_blocks)])
        for count in dec_blocks:
            self.ups.append(nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2)))
            c, pixel = c // 2, pixel // 2
            self.decoders.append(nn.ModuleList([Block(c, time, many, window, pixel) for _ in range(count)]))
        self.ending = nn.Conv2d(width, bands, 3, 1, 1)

    def forward(self, sample: Tensor, timestep: Tensor, mu: Tensor, low: Tensor | None = None) -> Tensor:
        t = self.time_mlp(timestep)
        x = self.intro(torch.cat([sample, mu], dim=1))
        if low is not None:
            x = x + self.cpem(sample, low)
        elif self.variant == "msgroup_a":
            x = (x - self.enhance(x)) + x
        elif self.variant == "msgroup_b":
            x = self.enhance(x)
        else:
            x = x + self.enhance(x)
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            for block in blocks:
                x = block(x, t)
            skips.append(x)
            x = down(x)
        for block in self.middle_blks:
            x = block(x, t)
        for blocks, up in zip(self.decoders, self.ups, strict=True):
            x = up(x) + skips.pop()
            for block in blocks:
                x = block(x, t)
        return self.ending(x)
