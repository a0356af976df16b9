"""One method's picture with what it is scored against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..gen.data.sensor_model import SensorModel
from .consistency import SensorError, Triple, opensr_triple, sensor_error
from .fidelity import Lpips
from .pixels import rgb_indices, select_bands, without_border
from .synthesis import Correctness, Distance, correctness


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture to be scored.

    Attributes:
        image: The method's picture ``[1, C, H, W]``, physical units, NaN = nodata.
        truth: ``[1, C, H, W]``.
        low: ``[1, C, h, w]``.
        mask: Pixels that count, boolean ``[1, H, W]``, the same for all methods.
        names: Names of the C bands.
        bands: Bands of the fidelity figures: ``all``, ``RGB``, ``Y`` or names.
        data_range: Distance between the smallest and largest value.
        border: High-resolution pixels left out along each edge.
        sensor: The declared sensor model, or None where there is none (real pairs).
        lpips: The network, or None.
    """

    image: Tensor
    truth: Tensor
    low: Tensor
    mask: Tensor
    names: tuple[str, ...]
    bands: str | tuple[str, ...]
    data_range: float
    border: int
    sensor: SensorModel | None = None
    lpips: Lpips | None = None

    @property
    def scale(self) -> int:
        """Whole factor between the grids."""
        return self.image.shape[-1] // self.low.shape[-1]

    @cached_property
    def cut(self) -> tuple[Tensor, Tensor, Tensor]:
        """Image, truth and mask without the border, all bands."""
        return tuple(without_border(part, self.border) for part in (self.image, self.truth, self.mask))  # type: ignore[return-value]

    @cached_property
    def chosen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Image, truth and mask without the border, in the bands of the fidelity figures."""
        image, truth, mask = self.cut
        return select_bands(image, self.names, self.bands)[0], select_bands(truth, self.names, self.bands)[0], mask

    @cached_property
    def counted(self) -> Tensor:
        """The image with NaN where pixels do not count: figures without a mask of their own see the same pixels for every method."""
        return torch.where(self.mask[:, None], self.image, torch.nan)

    @cached_property
    def seen_again(self) -> SensorError | None:
        """Error against the low picture under the declared sensor model."""
        return sensor_error(self.counted, self.low, self.sensor) if self.sensor else None

    @cached_property
    def triple(self) -> Triple:
        """The consistency triple of opensr-test."""
        return opensr_triple(self.counted, self.low, rgb=rgb_indices(self.names))

    @cached_property
    def correctness(self) -> dict[Distance, Correctness]:
        """Synthesis and its correctness under both distances."""
        return {
            "nd": correctness(self.counted, self.truth, self.low, distance="nd"),
            "l1": correctness(self.counted, self.truth, self.low, distance="l1"),
        }
