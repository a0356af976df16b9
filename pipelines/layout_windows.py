"""The guided prediction for pictures of layouts: one window, or many that overlap, each told the objects that it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..gen.annotations.box import Layout
from ..gen.annotations.geometry import crop
from ..gen.conditioning.guidance import guide
from ..gen.conditioning.layout import LayoutGuidance, layout_tensors
from .earth_windows import Windows, window_weights
from .layout_request import LayoutRequest

Place = tuple[int, int, int, int]
"""Number of the picture, and first row and column and side of a window in cells."""
_KEPT = 512  # windows whose tensors are kept


@dataclass
class LayoutCanvas:
    """Pictures of one size in the making, on a canvas of whole cells that is at least as large as what the model was trained on.

    Attributes:
        layouts: What is in each picture, in pixels of the canvas.
        painted: Where each is painted, ``[B, 1, H, W]`` float32.
        given: Each picture outside that, -1 to 1, 0 inside, ``[B, 3, H, W]``.
        words: Text without and with the prompt, ``[B, L, D]`` each; None for a model without text.
        patch: Pixels along a cell.
        names: The model's classes.
        min_visible: Share of an object that a window must show.
        inpainting: Whether the network takes mask and given picture.
    """

    layouts: list[Layout]
    painted: Tensor
    given: Tensor
    words: tuple[Tensor, Tensor] | None
    patch: int
    names: list[str]
    min_visible: float
    inpainting: bool
    _told: dict[tuple[int, int, int, int, int], dict[str, Tensor]] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return self.painted.shape[2] // self.patch, self.painted.shape[3] // self.patch

    def extra(self) -> Tensor | None:
        """Channels beside the noisy picture, ``[B, 4 p^2, h, w]``."""
        if not self.inpainting:
            return None
        return torch.cat([F.pixel_unshuffle(self.painted, self.patch), F.pixel_unshuffle(self.given, self.patch)], 1)

    def told(self, number: int, rows: tuple[int, int], cols: tuple[int, int]) -> dict[str, Tensor]:
        """What the network is told of a window of a picture, batch 1."""
        key = (number, *rows, *cols)
        if key not in self._told:
            if len(self._told) >= _KEPT:
                self._told.clear()
            side = self.patch
            part = crop(
                self.layouts[number], cols[0] * side, rows[0] * side, (cols[1] - cols[0]) * side, (rows[1] - rows[0]) * side,
                self.min_visible, cut=False,
            )  # fmt: skip
            self._told[key] = layout_tensors([part], self.names)
        return self._told[key]


def canvas_of(
    requests: Sequence[LayoutRequest], words: tuple[Tensor, Tensor] | None, patch: int, size: int, names: list[str],
    min_visible: float, inpainting: bool,
) -> LayoutCanvas:  # fmt: skip
    """Put pictures of one size on canvases.

    Args:
        requests: B of them.
        words: Text without and with the prompts.
        patch: Pixels along a cell.
        size: Least side.
        names: The model's classes.
        min_visible: See `LayoutCanvas`.
        inpainting: See `LayoutCanvas`.
    """
    height, width = requests[0].told.height, requests[0].told.width
    tall, wide = (max(size, -(-side // patch) * patch) for side in (height, width))
    painted, given = torch.ones(len(requests), 1, tall, wide), torch.zeros(len(requests), 3, tall, wide)
    for number, request in enumerate(requests):
        if request.background is None or request.mask is None:
            continue
        picture = np.pad(request.background, ((0, 0), (0, tall - height), (0, wide - width)), mode="edge")
        mask = np.pad(request.mask, ((0, tall - height), (0, wide - width)))
        painted[number, 0] = torch.from_numpy(mask.astype(np.float32))
        given[number] = torch.from_numpy(picture * np.float32(2) - np.float32(1)) * (1 - painted[number])
    layouts = [Layout(wide, tall, request.told.boxes) for request in requests]
    return LayoutCanvas(layouts, painted, given, words, patch, names, min_visible, inpainting)


def predictor(
    unet: Any, canvas: LayoutCanvas, plan: LayoutGuidance, windows: Windows, report: Callable[[int, int], None] | None = None
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """The guided prediction of whole pictures ``[B, 3 p^2, h, w]``.

    Windows in which nothing is painted are left out; there the prediction is 0.

    Args:
        unet: A `LayoutUNet`.
        canvas: The pictures.
        plan: Of guidance.
        windows: How they are cut.
        report: Called with windows done and all windows of the step.
    """
    extra = canvas.extra()
    busy = F.max_pool2d(canvas.painted, canvas.patch)[:, 0] > 0

    def predict(sample: Tensor, time: Tensor, step: int) -> Tensor:
        spans = windows.spans(step)
        tasks = [(n, r, c) for n in range(len(sample)) for r, c in spans if bool(busy[n, slice(*r), slice(*c)].any())]
        total, weights = torch.zeros_like(sample), torch.zeros_like(sample[:, :1])
        whole = sample if extra is None else torch.cat([sample, extra.to(sample)], 1)
        for at in range(0, len(tasks), windows.batch):
            group = tasks[at : at + windows.batch]
            cuts = torch.stack([whole[n, :, slice(*r), slice(*c)] for n, r, c in group])
            made = _guided(unet, canvas, plan, cuts, time, group)
            profile = window_weights(made.shape[-2], made.shape[-1]).to(made)
            for (n, r, c), one in zip(group, made, strict=True):
                total[n, :, slice(*r), slice(*c)] += one * profile
                weights[n, :, slice(*r), slice(*c)] += profile
            if report is not None:
                report(at + len(group), len(tasks))
        return torch.where(weights > 0, total / weights.clamp(min=1e-12), 0.0)

    return predict


def _guided(
    unet: Any, canvas: LayoutCanvas, plan: LayoutGuidance, cuts: Tensor, time: Tensor,
    group: Sequence[tuple[int, tuple[int, int], tuple[int, int]]],
) -> Tensor:  # fmt: skip
    told = _together([canvas.told(*place) for place in group])
    moved = {name: value.to(unet.device) for name, value in told.items()}
    times = torch.as_tensor(time, dtype=torch.float32, device=unet.device).expand(len(cuts))
    outputs = []
    for text, layout in plan.stages:
        words = None if canvas.words is None else canvas.words[int(text)][[n for n, _, _ in group]]
        present = torch.full((len(cuts),), layout, dtype=torch.bool, device=unet.device)
        outputs.append(unet(cuts.to(unet.device), times, encoder_hidden_states=words, present=present, **moved).float().to(cuts.device))
    return guide(outputs, plan.scales)


def _together(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Layouts of several windows as a batch, padded to the most objects."""
    count = max(part["valid"].shape[1] for part in parts)

    def padded(value: Tensor) -> Tensor:
        lack = count - value.shape[1]
        return F.pad(value, (*(0, 0) * (value.ndim - 2), 0, lack)) if lack else value

    several = {name: torch.cat([padded(part[name]) for part in parts]) for name in ("quads", "labels", "valid")}
    return {**several, "raster": torch.cat([part["raster"] for part in parts])}
