"""Mean and spread of an ensemble in the memory of two pictures, whatever its size (Welford 1962)."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMoments:
    """Mean and standard deviation of what it has been shown so far.

    Attributes:
        count: Pictures so far.
        mean: Their mean.
    """

    count: int
    mean: Tensor

    def __init__(self) -> None:
        self.count = 0
        self._squares = torch.zeros(())

    def update(self, picture: Tensor) -> None:
        """Take one more picture, of the shape of the others."""
        self.count += 1
        if self.count == 1:
            self.mean, self._squares = picture.clone(), torch.zeros_like(picture)
            return
        deviation = picture - self.mean
        self.mean = self.mean + deviation / self.count
        self._squares = self._squares + deviation * (picture - self.mean)

    def std(self) -> Tensor:
        """Standard deviation with n - 1 in the denominator; zeros for a single picture."""
        return (self._squares / max(1, self.count - 1)).sqrt()
