"""Training of the small detector: a fixed number of steps on pools of pictures, the same seed giving the same weights on one thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ...gen.errors import InputError
from ...gen.models.detector import Detections, Detector, DetectorMaps
from .samples import Prepared, Sample, Targets, class_codes, drawn, prepare, targets


@dataclass(frozen=True)
class Pool:
    """Pictures that fill a fixed share of every batch.

    Attributes:
        samples: At least one; all pools' pictures are of one size.
        share: Of the batch, in proportion to the other pools' shares.
    """

    samples: Sequence[Sample]
    share: float = 1.0


@dataclass(frozen=True)
class DetectorTraining:
    """How a detector is trained; the same for every arm.

    Attributes:
        steps: Optimizer steps.
        batch: Pictures of a step.
        lr: Largest learning rate; it rises over a quarter of the steps and falls to nearly 0.
        decay: Weight decay.
        brightness: Largest change of brightness, of the whole range.
        contrast: Largest relative change of contrast.
        widths: Channels of the network at strides 2, 4, 8 and 16.
        width: Channels where they meet.
    """

    steps: int = 600
    batch: int = 8
    lr: float = 3e-3
    decay: float = 0.01
    brightness: float = 0.15
    contrast: float = 0.25
    widths: tuple[int, int, int, int] = (16, 32, 64, 112)
    width: int = 48

    def words(self) -> str:
        """For a protocol."""
        return (
            f"centre-point detector {'-'.join(map(str, self.widths))} / {self.width}, {self.steps} steps of {self.batch}, AdamW with one "
            f"cycle up to {self.lr:g}, 8 symmetries, brightness +-{self.brightness:g}, contrast +-{self.contrast:g}"
        )


def train_detector(
    samples: Sequence[Sample],
    names: Sequence[str],
    steps: int | None = None,
    seed: int = 0,
    *,
    horizontal: Sequence[str] = (),
    training: DetectorTraining | None = None,
) -> Detector:
    """Train a detector on one set of pictures.

    Args:
        samples: Pictures uint8 [H, W, 3] of one size, with their boxes; difficult boxes are neither wanted nor forbidden.
        names: Classes.
        steps: Optimizer steps; those of `training` if left out.
        seed: Of weights, order, turns and light.
        horizontal: Classes whose boxes lie along the axes.
        training: How.

    Returns:
        The detector, in evaluation mode.

    Raises:
        InputError: If pictures and boxes do not fit (see `prepare`).
    """
    return train_on_pools([Pool(samples)], names, steps, seed, horizontal=horizontal, training=training)


def train_on_pools(
    pools: Sequence[Pool],
    names: Sequence[str],
    steps: int | None = None,
    seed: int = 0,
    *,
    horizontal: Sequence[str] = (),
    training: DetectorTraining | None = None,
) -> Detector:
    """Train a detector on a mixture; see `train_detector`.

    Raises:
        InputError: If pictures and boxes do not fit, or no share is above 0.
    """
    how = training or DetectorTraining()
    count = how.steps if steps is None else steps
    _, flat = class_codes(names, horizontal)
    prepared = [(prepare(pool.samples, names), pool.share) for pool in pools if pool.share > 0]
    if not prepared or count < 1:
        raise InputError(f"a detector needs a pool with a share above 0 and at least one step, not {len(prepared)} pools and {count} steps")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Detector(list(names), list(horizontal), list(how.widths), how.width)
    net = net.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), how.lr, weight_decay=how.decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.lr, total_steps=count, pct_start=0.25)
    rng = np.random.default_rng(seed)
    batches = _batches(prepared, how, rng)
    for _ in range(count):
        pictures, batch = next(batches)
        loss = detection_loss(net(pictures), targets(batch, flat))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return net.eval()


def detection_loss(maps: DetectorMaps, wanted: Targets) -> Tensor:
    """Focal loss of the heat maps over the number of objects, plus mean absolute errors of offset, log size and direction.

    Args:
        maps: Of the network.
        wanted: Of the same shapes.
    """
    heat = maps.heat.float()
    centre = (wanted.heat == 1).float()
    sure = heat.sigmoid()
    right = centre * (1 - sure).square() * F.logsigmoid(heat)
    wrong = (1 - centre) * (1 - wanted.heat) ** 4 * sure.square() * F.logsigmoid(-heat)
    focal = -((right + wrong) * wanted.counted).sum() / centre.sum().clamp(min=1)
    total = wanted.weight.sum().clamp(min=1)
    offset = ((maps.offset - wanted.offset).abs() * wanted.weight).sum() / total
    size = ((maps.size - wanted.size).abs() * wanted.weight).sum() / total
    turn = ((maps.turn - wanted.turn).abs() * wanted.turn_weight).sum() / wanted.turn_weight[:, 2:3].sum().clamp(min=1)
    return focal + offset + size + 0.5 * turn


def detect(net: Detector, pictures: Sequence[NDArray[np.uint8]], threshold: float = 0.001, most: int = 100) -> list[Detections]:
    """Find objects in pictures, each by itself.

    Args:
        net: A trained detector.
        pictures: uint8 ``[H, W, 3]``, any sizes.
        threshold: Least score.
        most: Objects of a picture that are kept.
    """
    found = []
    for picture in pictures:
        tensor = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None] / 255
        found += net.detect(tensor.to(net.device), threshold, most)
    return found


def _batches(
    pools: Sequence[tuple[list[Prepared], float]], how: DetectorTraining, rng: np.random.Generator
) -> Iterator[tuple[Tensor, list[Prepared]]]:
    shares = np.cumsum([share for _, share in pools])
    ends = np.round(shares / shares[-1] * how.batch).astype(int)
    counts = np.diff(ends, prepend=0)
    decks = [_endless(len(samples), rng) for samples, _ in pools]
    while True:
        chosen = [samples[next(deck)] for (samples, _), deck, many in zip(pools, decks, counts, strict=True) for _ in range(int(many))]
        made = [drawn(sample, rng, how.brightness, how.contrast) for sample in chosen]
        pictures = torch.from_numpy(np.stack([picture for picture, _ in made]))  # [B, H, W, 3] is channels-last already
        yield pictures.permute(0, 3, 1, 2), [sample for _, sample in made]


def _endless(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Numbers below `count`, each once before any comes again."""
    while True:
        yield from (int(number) for number in rng.permutation(count))
