"""Mean and covariance of features that come in batches, in float64, with exact counts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..gen.errors import InputError


class Moments:
    """First and second moments of a stream of vectors, merged pairwise (Chan et al. 1983), so that no large sums are subtracted.

    Attributes:
        count: Vectors seen.
        mean: ``[D]`` float64.
    """

    def __init__(self, width: int) -> None:
        """Start empty.

        Args:
            width: D.
        """
        self.count = 0
        self.mean = torch.zeros(width, dtype=torch.float64)
        self._scatter = torch.zeros(width, width, dtype=torch.float64)

    @classmethod
    def of(cls, features: Tensor | Iterable[Tensor]) -> Moments:
        """Moments of ``[n, D]``, or of several such batches.

        Raises:
            InputError: If there is no batch.
        """
        batches = [features] if isinstance(features, Tensor) else list(features)
        if not batches:
            raise InputError("there are no features to take moments of; give at least one picture")
        moments = cls(batches[0].shape[1])
        for batch in batches:
            moments.add(batch)
        return moments

    def add(self, features: Tensor) -> None:
        """Take up a batch.

        Args:
            features: ``[n, D]``.

        Raises:
            InputError: If the shape does not fit or a value is not finite.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise InputError(f"features have shape {tuple(features.shape)}; expected [n, {len(self.mean)}]")
        values = features.detach().to("cpu", torch.float64)
        if not bool(torch.isfinite(values).all()):
            raise InputError("a feature is not finite; look for NaN in the pictures")
        if len(values):
            mean = values.mean(0)
            centred = values - mean
            self._merge(len(values), mean, centred.T @ centred)

    def merge(self, other: Moments) -> None:
        """Take up all that another stream has seen; it is left as it is."""
        if other.count:
            self._merge(other.count, other.mean, other._scatter)

    @property
    def covariance(self) -> Tensor:
        """``[D, D]`` float64, divided by the count less one.

        Raises:
            InputError: If there are fewer than two vectors.
        """
        if self.count < 2:
            raise InputError(f"a covariance of {self.count} pictures is not defined; give at least two")
        return self._scatter / (self.count - 1)

    def _merge(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        total, shift = self.count + count, mean - self.mean
        self._scatter += scatter + torch.outer(shift, shift) * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total
