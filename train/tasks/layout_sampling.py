"""From noise to pictures of a layout with a network in training, and sheets on which the boxes are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...gen.annotations.box import Layout
from ...gen.conditioning.guidance import guide
from ...gen.conditioning.layout import plan_layout_guidance
from .layout_config import LayoutConfig

COLOURS = ((255, 60, 60), (255, 230, 60), (60, 230, 255), (255, 80, 255), (80, 255, 80), (255, 150, 40), (120, 140, 255), (255, 255, 255))
CONDITIONS = ("quads", "labels", "valid", "raster", "present")


@torch.no_grad()
def draw(model: nn.Module, config: LayoutConfig, given: dict[str, Tensor], noise: Tensor) -> Tensor:
    """Solve from noise with the recipe's sampler and guidance.

    Args:
        model: A `LayoutGenerator`, in evaluation mode.
        config: The task's.
        given: Of a batch: ``kept``, the layout's tensors, and ``tokens`` and ``no_tokens`` where there is text.
        noise: Standard normal, ``[B, 3 p^2, h, w]``.

    Returns:
        Pictures ``[B, 3, S, S]``, 0 to 1, on the CPU.
    """
    home = next(model.parameters()).device
    given = {name: value.to(home) for name, value in given.items()}
    scheduler = build_sampler(config)
    scheduler.set_timesteps(config.guidance.steps, device=home)
    plan = plan_layout_guidance(config.guidance.text, config.guidance.layout, has_text="tokens" in given)
    state = noise.to(home) * float(scheduler.init_noise_sigma)
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(state, time) if hasattr(scheduler, "scale_model_input") else state
        inputs, times = torch.cat([scaled, given["kept"]], 1), time.to(torch.float32).expand(len(state))
        outputs = []
        for text, layout in plan.stages:
            told = {name: given[name] for name in CONDITIONS}
            told["present"] = told["present"] & layout
            outputs.append(model(inputs, times, *told.values(), given.get("tokens" if text else "no_tokens")))
        state = scheduler.step(guide(outputs, plan.scales), time, state).prev_sample
    return (F.pixel_shuffle(state, config.patch).float().cpu() / 2 + 0.5).clamp(0, 1)


def build_sampler(config: LayoutConfig) -> Any:
    """The diffusers scheduler that the model is saved with."""
    settings = {key: value for key, value in config.scheduler.items() if key not in ("logit_mean", "logit_std")}
    if config.sampler == "FlowMatchEulerDiscreteScheduler":
        return diffusers.FlowMatchEulerDiscreteScheduler(shift=float(settings.get("flow_shift", 1.0)))
    return getattr(diffusers, config.sampler).from_config(settings)


def outlined(picture: Tensor, layout: Layout, names: Sequence[str], mask: np.ndarray[Any, Any] | None = None) -> Tensor:
    """A picture ``[3, H, W]`` in [0, 1] with its boxes, and the outline of a mask in white."""
    from PIL import Image, ImageDraw

    image = Image.fromarray((picture.permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for box in layout.boxes:
        pen.polygon(box.corners, outline=COLOURS[names.index(box.name) % len(COLOURS)])
    made = torch.from_numpy(np.asarray(image, np.float32) / np.float32(255)).permute(2, 0, 1).contiguous()
    if mask is not None:
        inside = torch.from_numpy(mask)[None, None]
        edge = (F.max_pool2d(inside, 3, 1, 1) - inside)[0, 0] > 0
        made[:, edge] = 1.0
    return made
