"""What control networks hand to a U-Net: one residual for each skip connection and one for the middle.

The form is that of diffusers' `ControlNetOutput`, so that stock ControlNets and ours are summed alike. A residual has the size of its skip
connection, or is ``[B, C, 1, 1]`` and holds for the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from diffusers.models.controlnets.controlnet import ControlNetOutput
from torch import Tensor, nn

from ...errors import InputError


def add_residuals(outputs: Sequence[ControlNetOutput]) -> ControlNetOutput:
    """Sum what several control networks say.

    Args:
        outputs: At least one, for U-Nets of the same shape.

    Returns:
        The sum, tap by tap.

    Raises:
        InputError: If there is none, or they are made for U-Nets of different shapes.
    """
    if not outputs:
        raise InputError("there are no residuals to add; call at least one control network first")
    taps = {len(output.down_block_res_samples) for output in outputs}
    if len(taps) > 1:
        raise InputError(f"the control networks are made for U-Nets of {' and '.join(map(str, sorted(taps)))} taps; use ones of one U-Net")
    down = tuple(reduce(_add, tap) for tap in zip(*(output.down_block_res_samples for output in outputs), strict=True))
    return ControlNetOutput(down_block_res_samples=down, mid_block_res_sample=reduce(_add, (out.mid_block_res_sample for out in outputs)))


def scale_residuals(down: Sequence[Tensor], middle: Tensor, scale: float | Sequence[float], gate: Tensor | None = None) -> ControlNetOutput:
    """Weight residuals.

    Args:
        down: One for each skip connection.
        middle: The one of the middle.
        scale: One number, or one for each of ``[*down, middle]``.
        gate: ``[B]``, a further factor for each sample; 1 if left out.

    Returns:
        The weighted residuals.

    Raises:
        InputError: If there are more or fewer scales than residuals.
    """
    values = [*down, middle]
    scales = [float(scale)] * len(values) if isinstance(scale, int | float) else [float(one) for one in scale]
    if len(scales) != len(values):
        raise InputError(f"there are {len(scales)} scales for {len(values)} residuals; give one number, or one for each residual")
    if gate is not None:
        values = [value * gate.to(value.dtype)[:, None, None, None] for value in values]
    scaled = [value if one == 1.0 else value * one for value, one in zip(values, scales, strict=True)]
    return ControlNetOutput(down_block_res_samples=tuple(scaled[:-1]), mid_block_res_sample=scaled[-1])


def zeroed(module: nn.Module) -> nn.Module:
    """The module with all parameters at zero: what it adds is nothing until it is trained."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def _add(first: Tensor, second: Tensor) -> Tensor:
    return first + second
