"""Classification accuracy score: train on synthetic pictures, test on real ones (Ravuri and Vinyals 2019).

The classifier is `FeatureNet`'s trunk with a head for the classes, trained from nothing or from given weights. A figure says little without
the same classifier trained on real pictures of the same number, which belongs beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..gen.errors import InputError
from ..gen.models.features import FeatureNet
from .clip_score import mean_estimate
from .distribution import Estimate
from .trivial_pictures import symmetries


@dataclass(frozen=True)
class Training:
    """How the classifier is trained.

    Attributes:
        epochs: Passes over the pictures.
        batch: Pictures of a step.
        lr: Largest learning rate; it rises over a tenth of the steps and falls to 0 as a cosine.
        widths: Of the trunk.
        seed: Of weights, order, turns and flips.
    """

    epochs: int = 20
    batch: int = 32
    lr: float = 2e-3
    widths: tuple[int, int, int, int] = (16, 32, 48, 64)
    seed: int = 0

    def words(self) -> str:
        """For a protocol."""
        widths = "-".join(map(str, self.widths))
        return f"FeatureNet {widths} from nothing, AdamW {self.lr:g}, {self.epochs} epochs, batch {self.batch}, turns and flips"


def train_classifier(pictures: Tensor, labels: Tensor, classes: int, training: Training | None = None) -> FeatureNet:
    """Fit a classifier.

    Args:
        pictures: ``[n, 3, H, W]``, 0 to 1.
        labels: ``[n]`` from 0.
        classes: Their number.
        training: How.

    Returns:
        The network, in evaluation mode; `Features.classes` are the answers.

    Raises:
        InputError: If numbers differ or a label is out of range.
    """
    how = training or Training()
    if len(pictures) != len(labels) or not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise InputError(f"{len(pictures)} pictures have {len(labels)} labels; give one from 0 to {classes - 1} for each")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        net = FeatureNet(classes=[str(code) for code in range(classes)], covers=["none"], widths=list(how.widths))
    rng = np.random.default_rng(how.seed)
    optimizer = torch.optim.AdamW(net.parameters(), how.lr, weight_decay=0.02)
    steps = how.epochs * max(1, len(pictures) // how.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / steps))
    for _ in range(how.epochs):
        order = torch.from_numpy(rng.permutation(len(pictures)))
        for chosen in order.split(how.batch)[: max(1, len(pictures) // how.batch)]:
            turned = torch.stack([symmetries(pictures[int(i)], int(rng.integers(0, 8))) for i in chosen])
            loss = F.cross_entropy(net(turned).classes, labels[chosen].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: FeatureNet, pictures: Tensor, labels: Tensor, batch: int = 64) -> Estimate:
    """Share of pictures whose class is right, with its bootstrap interval."""
    answers = torch.cat([net(part).classes.argmax(1) for part in pictures.split(batch)])
    return mean_estimate(answers == labels.long())


def _rate(progress: float) -> float:
    return min(progress / 0.1, 1.0) * 0.5 * (1 + float(np.cos(np.pi * min(progress, 1.0)))) + 1e-6
