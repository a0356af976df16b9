"""Crops along boxes: what a box holds, turned upright, with a margin, at one size; and crops of ground that holds nothing.

A crop is sampled in the box's own directions, so that a wrong angle shows. Large boxes are averaged down, not thinned out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...gen.annotations.box import Box, Layout
from ...gen.annotations.geometry import rotated_iou, visible_share
from ...gen.annotations.priors.statistics import covered_shares
from .scores import Floats, check_picture

SIZE = 32
MARGIN = 0.2
"""Room around a box on each side, in shares of the longer side."""
_FINEST = 8
"""Samples per crop pixel and axis at most."""
APART = 0.1
"""Largest IoU of a background crop with any object."""


@dataclass(frozen=True)
class LabelledCrops:
    """Crops of one class each.

    Attributes:
        pixels: ``[n, 3, SIZE, SIZE]``, 0 to 1.
        labels: ``[n]`` positions in the class list; the last one after it is the background.
    """

    pixels: Tensor
    labels: Tensor


def cut(picture: Tensor, boxes: Sequence[Box], size: int = SIZE, margin: float = MARGIN) -> Tensor:
    """What boxes hold.

    Args:
        picture: ``[3, H, W]``, 0 to 1.
        boxes: Where; parts outside the picture repeat its edge.
        size: Side of a crop in pixels.
        margin: See `MARGIN`.

    Returns:
        ``[len(boxes), 3, size, size]``: squares about the middles, the long side of each box horizontal.
    """
    return torch.cat([torch.zeros(0, picture.shape[0], size, size), *(_cut(picture, box, size, margin) for box in boxes)])


def object_crops(pairs: Sequence[tuple[Tensor, Layout]], names: Sequence[str], rng: np.random.Generator) -> LabelledCrops:
    """Crops of all objects, and one of background for each: empty ground, and places half beside an object.

    Args:
        pairs: Pictures ``[3, H, W]`` and layouts.
        names: Classes.
        rng: Where the background lies.
    """
    pixels, labels = [], []
    for picture, layout in pairs:
        check_picture(picture, layout)
        objects = [box for box in layout.boxes if box.name in names]
        pixels.append(cut(picture, objects))
        labels += [names.index(box.name) for box in objects]
        empty = list(background(layout, len(objects), rng))
        pixels.append(cut(picture, empty))
        labels += [len(names)] * len(empty)
    return LabelledCrops(torch.cat([torch.zeros(0, 3, SIZE, SIZE), *pixels]), torch.tensor(labels, dtype=torch.long))


def background(layout: Layout, count: int, rng: np.random.Generator, tries: int = 40) -> Iterator[Box]:
    """Boxes that hold no object: as large and as turned as the layout's own, elsewhere, every second one close to an object.

    Args:
        layout: Objects to keep away from.
        count: How many at most; crowded pictures give fewer.
        rng: Where randomness comes from.
        tries: Places that are tried for each.
    """
    if not layout.boxes:
        return
    quads, areas = layout.quads, np.array([box.area for box in layout.boxes])
    for number in range(count):
        for _ in range(tries):
            model = layout.boxes[int(rng.integers(len(layout.boxes)))]
            if number % 2:
                side, way = math.sqrt(model.area), rng.uniform(0, 2 * math.pi)
                middle = np.array(model.centre) + rng.uniform(0.7, 1.3) * side * np.array([math.cos(way), math.sin(way)])
            else:
                middle = rng.random(2) * [layout.width, layout.height]
            box = moved(model, middle)
            iou = rotated_iou(box_quads(box), quads)
            # A small box inside a large object has a small IoU and holds nothing but the object.
            held = covered_shares(iou, np.array([box.area]), areas).max()
            if visible_share(box, layout.width, layout.height) > 0.7 and iou.max() < APART and held < 2 * APART:
                yield box
                break


def moved(box: Box, middle: Floats) -> Box:
    """A box about another middle."""
    step = middle - np.array(box.centre)
    a, b, c, d = ((x + float(step[0]), y + float(step[1])) for x, y in box.corners)
    return Box(box.name, (a, b, c, d))


def box_quads(box: Box) -> Floats:
    """``[1, 4, 2]``."""
    return np.array([box.corners], np.float64)


def _cut(picture: Tensor, box: Box, size: int, margin: float) -> Tensor:
    cx, cy, long, _, angle = box.le90
    side = max(long * (1 + 2 * margin), 1.0)
    fine = min(_FINEST, max(1, math.ceil(side / size)))
    steps = ((torch.arange(size * fine) + 0.5) / (size * fine) - 0.5) * side
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = cx + across * cos - down * sin, cy + across * sin + down * cos
    height, width = picture.shape[1:]
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], -1)
    found = F.grid_sample(picture[None].float(), grid[None].float(), mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(found, fine) if fine > 1 else found
