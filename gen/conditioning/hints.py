"""Hints by name, made from a picture: edges by ourselves, line art, straight lines and depth by controlnet-aux.

A hint is a picture of the same size, 0 to 1. Those that are drawn rather than read off - roads, segmentation, maps (`osm`) - are given as
files or rendered; content is the picture itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Detector:
    """A network of controlnet-aux.

    Attributes:
        kind: Its class there.
        files: Weight files that its folder must hold.
        settings: Further arguments of a call.
    """

    kind: str
    files: tuple[str, ...]
    settings: tuple[tuple[str, Any], ...] = ()


DETECTORS = {
    "hed": Detector("HEDdetector", ("ControlNetHED.pth",)),
    "mlsd": Detector("MLSDdetector", ("mlsd_large_512_fp32.pth",)),
    "sketch": Detector("LineartDetector", ("sk_model.pth", "sk_model2.pth"), (("coarse", True),)),
    "depth": Detector("MidasDetector", ("dpt_hybrid-midas-501f0c75.pt",)),
}
"""Hints that need networks of others."""
GIVEN = ("segmentation", "roads", "road", "osm")
"""Hints that are drawn, not read off a picture."""


def canny(pictures: Tensor, *, low: float = 0.1, high: float = 0.25, sigma: float = 1.0) -> Tensor:
    """Edges one pixel wide (Canny 1986): Gaussian, Sobel, thinning along the gradient, two thresholds.

    Args:
        pictures: ``[B, C, H, W]``, 0 to 1; three bands are red, green, blue, of others the mean is taken.
        low: Gradient (per pixel) that continues an edge.
        high: Gradient that begins one.
        sigma: Of the Gaussian, pixels.

    Returns:
        ``[B, 1, H, W]``, 0 and 1.

    Raises:
        InputError: If the thresholds are out of order.
    """
    if not 0 < low <= high:
        raise InputError(f"the thresholds of Canny edges are {low} and {high}; give 0 < low <= high")
    across, down = _gradients(_smoothed(_grey(pictures), sigma))
    size = torch.sqrt(across.square() + down.square())
    thin = size * _is_crest(size, across, down)
    strong, weak = thin >= high, (thin >= low).float()
    while True:
        grown = (F.max_pool2d(strong.float(), 3, 1, 1) * weak) > 0
        if bool((grown == strong).all()):
            return strong.float()
        strong = grown


def sobel(pictures: Tensor, sigma: float = 0.0) -> Tensor:
    """Size of the gradient, 1 at a sharp step from black to white.

    Args:
        pictures: ``[B, C, H, W]``, 0 to 1.
        sigma: Of a Gaussian before it, pixels.

    Returns:
        ``[B, 1, H, W]``, 0 to 1.
    """
    grey = _grey(pictures)
    across, down = _gradients(_smoothed(grey, sigma) if sigma > 0 else grey)
    return (2 * torch.sqrt(across.square() + down.square())).clamp(0, 1)


EDGES: dict[str, Callable[[Tensor], Tensor]] = {"canny": canny, "sobel": sobel}
"""Hints that need nothing installed."""


def make_hint(name: str, pictures: Tensor, weights: str | Path | None = None) -> Tensor:
    """A hint from pictures.

    Args:
        name: One of `EDGES`, `DETECTORS`, or ``content``.
        pictures: ``[B, 3, H, W]``, 0 to 1.
        weights: Folder of the network's weight files; only for `DETECTORS`.

    Returns:
        ``[B, C, H, W]``, 0 to 1, of the pictures' size: one band for edges, three for the others.

    Raises:
        InputError: If there is no such hint, it is drawn and not made, or its network or weights are not on this machine.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise InputError(f"the hint {name!r} is made from pictures [B, 3, H, W], not {tuple(pictures.shape)}; choose red, green and blue")
    if name == "content":
        return pictures
    if name in EDGES:
        return EDGES[name](pictures)
    if name in GIVEN:
        raise InputError(f"the hint {name!r} is drawn, not read off a picture; give it as a file, or render it from OpenStreetMap vectors")
    if name not in DETECTORS:
        raise InputError(f"there is no hint {name!r}; choose from {', '.join([*EDGES, *DETECTORS, *GIVEN, 'content'])}")
    detector, settings = load_detector(name, weights)
    height, width = pictures.shape[2:]
    found = []
    for picture in pictures:
        pixels = (picture.permute(1, 2, 0) * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8).numpy()
        side = min(height, width)
        drawn = detector(pixels, detect_resolution=side, image_resolution=side, output_type="np", **settings)
        hint = torch.as_tensor(drawn).float().reshape(*drawn.shape[:2], -1).permute(2, 0, 1)[None] / 255.0
        hint = F.interpolate(hint, size=(height, width), mode="bilinear", align_corners=False)
        found.append(hint.expand(1, 3, -1, -1) if hint.shape[1] == 1 else hint)
    return torch.cat(found)


def load_detector(name: str, weights: str | Path | None) -> tuple[Any, dict[str, Any]]:
    """A network of controlnet-aux from local files; nothing is downloaded.

    Args:
        name: One of `DETECTORS`.
        weights: Folder of its weight files.

    Returns:
        The network and further arguments of its calls.

    Raises:
        InputError: If controlnet-aux is not installed, or a weight file is missing.
    """
    wanted = DETECTORS[name]
    try:
        import controlnet_aux
    except ImportError as error:
        raise InputError(f"the hint {name!r} needs controlnet-aux; install the extra: pip install 'earthgen[control]'") from error
    folder = Path(weights) if weights is not None else None
    missing = [file for file in wanted.files if folder is None or not (folder / file).is_file()]
    if missing:
        raise InputError(f"the hint {name!r} needs {', '.join(missing)} in a folder of weights; give that folder, nothing is downloaded")
    return getattr(controlnet_aux, wanted.kind).from_pretrained(str(folder)), dict(wanted.settings)


def _grey(pictures: Tensor) -> Tensor:
    if pictures.ndim != 4:
        raise InputError(f"edges are made of pictures [B, C, H, W], not {tuple(pictures.shape)}; add the missing axes")
    if pictures.shape[1] != 3:
        return pictures.mean(1, keepdim=True)
    return (pictures * pictures.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def _smoothed(grey: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, dtype=grey.dtype, device=grey.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(grey, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :])


def _gradients(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences per pixel, smoothed across (Sobel over 8)."""
    kernel = grey.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])[None, None] / 8
    padded = F.pad(grey, (1,) * 4, mode="replicate")
    return F.conv2d(padded, kernel), F.conv2d(padded, kernel.transpose(2, 3))


def _is_crest(size: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """1 where no neighbour along the gradient is larger; of two equal ones the first stays."""
    sector = torch.round(torch.atan2(down, across) / (math.pi / 4)).long() % 4
    padded = F.pad(size, (1,) * 4)
    height, width = size.shape[2:]

    def neighbour(row: int, col: int) -> Tensor:
        return padded[:, :, 1 + row : 1 + row + height, 1 + col : 1 + col + width]

    crest = torch.zeros_like(size)
    for number, (row, col) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        largest = (size > neighbour(-row, -col)) & (size >= neighbour(row, col))
        crest = torch.where(sector == number, largest.to(size.dtype), crest)
    return crest
