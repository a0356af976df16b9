"""Does a picture keep to its control? The condition is read back from the output and held against what was asked for.

Edges: F1 of edge pixels with a tolerance, re-extracted by the same detector as the hint. Masks: mean IoU of a segmenter's answer. Content:
colour distance of coarse means. Each function gives one figure per picture, for `clip_score.mean_estimate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..gen.errors import InputError

_WHITE_POINT = (0.95047, 1.0, 1.08883)


def edge_f1(found: Tensor, wanted: Tensor, tolerance: int = 2) -> Tensor:
    """F1 of edge maps: an edge pixel is right if the other map has one within the tolerance (chessboard distance).

    Args:
        found: ``[B, H, W]`` bool, re-extracted from the pictures.
        wanted: ``[B, H, W]`` bool, the hint.
        tolerance: Pixels.

    Returns:
        ``[B]``; NaN where neither map has an edge.

    Raises:
        InputError: If shapes differ.
    """
    _same_shape(found, wanted, "edge maps")
    right_found = (found & _grown(wanted, tolerance)).sum((1, 2)).double()
    right_wanted = (wanted & _grown(found, tolerance)).sum((1, 2)).double()
    n_found, n_wanted = found.sum((1, 2)).double(), wanted.sum((1, 2)).double()
    precision, recall = right_found / n_found.clamp(min=1), right_wanted / n_wanted.clamp(min=1)
    score = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return torch.where(n_found + n_wanted > 0, score, torch.nan)


def mask_iou(found: Tensor, wanted: Tensor, classes: int, unknown: int = 255) -> tuple[Tensor, Tensor]:
    """Mean IoU over the classes that occur in either map.

    Args:
        found: ``[B, H, W]`` codes that a segmenter read from the pictures.
        wanted: ``[B, H, W]`` codes that were asked for.
        classes: Number of classes, codes from 0.
        unknown: Code of pixels that ask for nothing; they do not count.

    Returns:
        Mean IoU ``[B]`` (NaN where nothing was asked for), and IoU of the whole set by class ``[classes]`` (NaN where it never occurs).

    Raises:
        InputError: If shapes differ.
    """
    _same_shape(found, wanted, "masks")
    known = wanted != unknown
    both, either = [], []
    for code in range(classes):
        a, b = (found == code) & known, (wanted == code) & known
        both.append((a & b).sum((1, 2)).double())
        either.append((a | b).sum((1, 2)).double())
    inner, outer = torch.stack(both, 1), torch.stack(either, 1)
    each = torch.where(outer > 0, inner / outer.clamp(min=1), torch.nan)
    return each.nanmean(1), torch.where(outer.sum(0) > 0, inner.sum(0) / outer.sum(0).clamp(min=1), torch.nan)


def segmented(logits: Tensor, size: tuple[int, int], groups: Mapping[int, int] | None = None) -> Tensor:
    """Codes of a segmenter's answer at a picture's size.

    Args:
        logits: ``[B, L, h, w]``.
        size: Height and width.
        groups: From the segmenter's classes to the mask's, where these are fewer; classes that are not named become 255.

    Returns:
        ``[B, H, W]`` int64.
    """
    shares = F.interpolate(logits.float().softmax(1), size=size, mode="bilinear", align_corners=False)
    if groups is None:
        return shares.argmax(1)
    kept = sorted(set(groups.values()))
    summed = torch.stack([sum(shares[:, a] for a, b in groups.items() if b == code) for code in kept], 1)  # type: ignore[misc]
    rest = 1 - summed.sum(1, keepdim=True)
    winner = torch.cat([summed, rest], 1).argmax(1)
    return torch.tensor([*kept, 255], device=logits.device)[winner]


def colour_error(pictures: Tensor, content: Tensor, cells: int = 8) -> Tensor:
    """Mean CIE76 colour difference of coarse means.

    Args:
        pictures: ``[B, 3, H, W]`` sRGB, 0 to 1.
        content: ``[B, 3, h, w]``, the content pictures; another size is fine.
        cells: Means per side.

    Returns:
        ``[B]``; 2.3 is a just noticeable difference.
    """
    means = [F.adaptive_avg_pool2d(_linear(value.double()), cells) for value in (pictures, content)]
    return (_lab(means[0]) - _lab(means[1])).square().sum(1).sqrt().mean((1, 2))


def re_extracted(pictures: Tensor, detector: Callable[[Tensor], Tensor], threshold: float = 0.5) -> Tensor:
    """Edge map ``[B, H, W]`` bool of pictures by the detector that made the hint (``[B, 3, H, W]`` to ``[B, 1, H, W]``, 0 to 1)."""
    return detector(pictures)[:, 0] > threshold


def _grown(edges: Tensor, reach: int) -> Tensor:
    return F.max_pool2d(edges[:, None].float(), 2 * reach + 1, stride=1, padding=reach)[:, 0] > 0


def _same_shape(found: Tensor, wanted: Tensor, what: str) -> None:
    if found.shape != wanted.shape or found.ndim != 3:
        raise InputError(f"{what} have shapes {tuple(found.shape)} and {tuple(wanted.shape)}; expected two of [B, H, W]")


def _linear(value: Tensor) -> Tensor:
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _lab(linear: Tensor) -> Tensor:
    """CIE L*a*b* (D65) of linear RGB ``[B, 3, h, w]``."""
    matrix = linear.new_tensor([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear) / linear.new_tensor(_WHITE_POINT)[:, None, None]
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=0) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
