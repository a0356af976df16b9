"""Pixel-wise and structural fidelity to a truth: RMSE, PSNR, SSIM, and LPIPS where local weights are given.

Each function returns one figure per image; masked pixels have no influence. PSNR and SSIM are torchmetrics', to which only the masks are
added.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from ..gen.errors import InputError
from .pixels import check_same_shape, combined_mask, eroded

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5


def rmse(image: Tensor, truth: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Root mean square error over valid pixels and all bands.

    Args:
        image: ``[B, C, H, W]``, physical units, NaN = nodata.
        truth: ``[B, C, H, W]``.
        mask: Boolean ``[B, H, W]``; None = every finite pixel.

    Returns:
        ``[B]`` in the pictures' units; NaN for an image without valid pixel.
    """
    valid = combined_mask(image, truth, mask)
    return torch.stack([(a[:, v].double() - b[:, v].double()).square().mean().sqrt() for a, b, v in zip(image, truth, valid, strict=True)])


def psnr(image: Tensor, truth: Tensor, *, data_range: float, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio ``10 log10(data_range^2 / MSE)``; the MSE is over valid pixels and all bands together.

    Args:
        image: ``[B, C, H, W]``, physical units, NaN = nodata.
        truth: ``[B, C, H, W]``.
        data_range: Peak, in the pictures' units (1 for reflectance and display values).
        mask: Boolean ``[B, H, W]``; None = every finite pixel.

    Returns:
        ``[B]`` in dB; infinite for equal pictures, NaN for an image without valid pixel.

    Raises:
        InputError: If shapes differ or `data_range` is not positive.
    """
    _check_range(data_range)
    valid = combined_mask(image, truth, mask)
    values = [
        peak_signal_noise_ratio(a[:, v].double(), b[:, v].double(), data_range=data_range) if v.any() else torch.tensor(math.nan)
        for a, b, v in zip(image, truth, valid, strict=True)
    ]
    return torch.stack([value.double() for value in values])


def ssim(image: Tensor, truth: Tensor, *, data_range: float, mask: Tensor | None = None) -> Tensor:
    """Structural similarity (Wang et al. 2004) with a Gaussian window of standard deviation 1.5 px and 11 x 11 px, K1 = 0.01, K2 = 0.03.

    The mean is over bands and over windows that lie wholly inside the picture and the valid pixels.

    Args:
        image: ``[B, C, H, W]``, physical units, NaN = nodata.
        truth: ``[B, C, H, W]``.
        data_range: Dynamic range, in the pictures' units.
        mask: Boolean ``[B, H, W]``; None = every finite pixel.

    Returns:
        ``[B]``; NaN for an image without a whole valid window.

    Raises:
        InputError: If shapes differ or `data_range` is not positive.
    """
    _check_range(data_range)
    valid = combined_mask(image, truth, mask)
    if min(image.shape[-2:]) < 2 * SSIM_RADIUS + 1:
        return torch.full((len(image),), math.nan, dtype=torch.float64)
    keep = eroded(valid, SSIM_RADIUS)
    filled = (torch.where(valid[:, None], picture, 0.0).double() for picture in (image, truth))
    result = structural_similarity_index_measure(*filled, sigma=SSIM_SIGMA, data_range=data_range, reduction="none", return_full_image=True)
    return torch.stack([windows[:, k].mean() for windows, k in zip(result[1], keep, strict=True)])


def _check_range(data_range: float) -> None:
    if not data_range > 0:
        raise InputError(f"data_range is {data_range}; it must be positive, for instance 1.0 for reflectance")


class Lpips:
    """LPIPS (Zhang et al. 2018) by torchmetrics, with weights from a local safetensors file; nothing is ever downloaded.

    The file holds the state of torchmetrics' network: trunk (``net.slice1.0.weight``, ...) and linear heads (``lin0.model.1.weight``, ...).

    Attributes:
        name: Network and digest of the weights, for the protocol.
    """

    def __init__(self, weights: str | Path, net: Literal["alex", "vgg", "squeeze"] = "alex") -> None:
        """Load the network.

        Args:
            weights: The safetensors file.
            net: Trunk.

        Raises:
            InputError: If torchvision or the file is missing, or its keys do not fit.
        """
        path = Path(weights)
        if not path.is_file():
            raise InputError(
                f"no LPIPS weights at {path}; give a local .safetensors file of torchmetrics' LPIPS network, or leave LPIPS out"
            )
        self._network = _lpips_network(net)
        self.name = f"{net}, weights sha256 {_digest(path)}"
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            self._network.load_state_dict(load_file(path), strict=True)
        except (RuntimeError, SafetensorError, OSError) as error:
            raise InputError(
                f"{path} does not fit LPIPS with the {net} trunk: {str(error).splitlines()[0]}; expected the state of torchmetrics' network"
            ) from error

    @torch.inference_mode()
    def __call__(self, image: Tensor, truth: Tensor) -> Tensor:
        """Distance of RGB pictures.

        Args:
            image: ``[B, 3, H, W]`` in 0-1; values outside are clipped, since the network was trained on 8-bit pictures.
            truth: ``[B, 3, H, W]``.

        Returns:
            ``[B]``; NaN for an image with any invalid pixel, which a convolutional network cannot leave out.

        Raises:
            InputError: If the pictures do not have three bands or differ in shape.
        """
        check_same_shape(image, truth)
        if image.shape[1] != 3:
            raise InputError(f"LPIPS needs red, green and blue; got {image.shape[1]} bands; choose bands=RGB")
        whole = torch.isfinite(image).flatten(1).all(1) & torch.isfinite(truth).flatten(1).all(1)
        a, b = (picture.nan_to_num(0.0).clamp(0, 1).float() for picture in (image, truth))
        distance = self._network(a, b, normalize=True).reshape(-1).double()
        return torch.where(whole, distance, math.nan)


def _lpips_network(net: str) -> Any:
    from importlib.util import find_spec

    if find_spec("torchvision") is None:
        raise InputError("LPIPS needs torchvision for its trunk; install it with: pip install 'earthgen[fid]'")
    from torchmetrics.functional.image.lpips import _LPIPS

    return _LPIPS(pretrained=False, pnet_rand=True, net=net).eval()


def _digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
