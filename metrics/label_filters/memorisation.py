"""How far a crop is from every real crop in training: what is nearer than real ones are to each other is a copy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...gen.annotations.box import Layout
from ...gen.errors import InputError
from ..feature_networks import FeatureNetwork
from .crops import SIZE, cut
from .scores import Floats, Scores, check_picture


class MemorisationDistance:
    """Distance in features to the nearest real crop of the same class, the least over its turns and flips.

    Features are standardised over the real crops; the unit of the distance is the median distance of a real crop to the nearest other one.
    The picture's score is the least over its objects. A class without real crops has no answer.
    """

    name = "memorisation"

    def __init__(self, network: FeatureNetwork, pairs: Sequence[tuple[Tensor, Layout]], size: int = SIZE) -> None:
        """Take features of all real crops.

        Args:
            network: What reads crops.
            pairs: The real pictures ``[3, H, W]`` and layouts that the generator was trained on.
            size: Side of a crop in pixels.

        Raises:
            InputError: If there are fewer than two real objects.
        """
        self.network, self.size = network, size
        crops = [cut(picture, layout.boxes, size) for picture, layout in pairs]
        self._labels = np.array([name for _, layout in pairs for name in layout.names], dtype=object)
        if len(self._labels) < 2:
            raise InputError(f"{len(self._labels)} real objects tell no distance; give pictures with two or more")
        plain = torch.cat(crops)
        features = network(plain).double().cpu()
        self._mean, self._spread = features.mean(0), features.std(0).clamp(min=1e-6)
        self._known = self._standard(features)
        self._turned = torch.stack([self._standard(network(look).double().cpu()) for look in _symmetries(plain)])
        # A real crop beside the others: its own looks are left out.
        among = self._nearest(self._known, self._labels, exclude_self=True)
        self.real = among
        self._unit = float(np.nanmedian(among)) or 1.0
        self.words = f"distance to the nearest real crop of the class ({network.name}), over the real crops' own median {self._unit:.3g}"

    def __call__(self, picture: Tensor, layout: Layout) -> Scores:
        """Distances of the objects' crops."""
        check_picture(picture, layout)
        if not layout.boxes:
            return Scores.least(self.name, np.zeros(0))
        features = self._standard(self.network(cut(picture, layout.boxes, self.size)).double().cpu())
        return Scores.least(self.name, self._nearest(features, np.array(layout.names, dtype=object)) / self._unit)

    def _standard(self, features: Tensor) -> Tensor:
        return (features - self._mean) / self._spread

    def _nearest(self, features: Tensor, labels: NDArray[np.object_], exclude_self: bool = False) -> Floats:
        # Turning the real crops is turning the new ones the other way round.
        distance = torch.stack([torch.cdist(features, looks) for looks in self._turned]).min(0).values
        distance[torch.from_numpy(labels[:, None] != self._labels[None])] = torch.inf
        if exclude_self:
            distance.fill_diagonal_(torch.inf)
        found = distance.min(1).values.numpy()
        return np.where(np.isinf(found), np.nan, found)


def _symmetries(crops: Tensor) -> list[Tensor]:
    """The turns and flips that leave an upright crop's long side horizontal; all eight would be more than a box can be."""
    return [crops, crops.flip(2), crops.flip(3), crops.flip(2, 3)]
