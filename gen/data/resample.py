"""The one way in which pictures are brought from a coarse to a fine grid.

Pixels are areas: low-resolution pixel i covers the fine pixels ``i * scale .. i * scale + scale - 1``, and its centre is the centre of
that block (half-pixel convention, ``align_corners=False``). A blob therefore keeps its centroid, and an output raster keeps its
upper-left corner.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def upsample(low: Tensor, scale: int) -> Tensor:
    """Bicubic interpolation (Keys 1981, a = -0.75) onto a grid finer by a whole factor; the border's pixels are repeated outwards.

    Args:
        low: ``[B, C, h, w]``, any unit.
        scale: Fine pixels per coarse pixel side, at least 1.

    Returns:
        ``[B, C, h * scale, w * scale]``, in the dtype of ``low``.
    """
    if scale == 1:
        return low
    size = (low.shape[-2] * scale, low.shape[-1] * scale)
    return F.interpolate(low, size=size, mode="bicubic", align_corners=False)
