"""Samples of a layout-to-image generator: crops with objects, and what of them the network is told.

Everything is a pure function of (seed, sample index).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...gen.annotations.box import Box, Layout
from ...gen.conditioning.layout import layout_tensors
from ...gen.data.objects import turned, turned_pixels
from ...gen.data.objects_crops import CropRule, ObjectCrop, ObjectSampler
from ...gen.data.objects_scene import captions_of_scenes
from ...gen.data.splits import Split
from ...gen.errors import InputError
from ..order import Stream, sample_rng
from .layout_config import LayoutConfig
from .layout_masks import background_mask, foreground_weight, object_mask, touching
from .layout_sources import SceneObjects, read_sources


@dataclass(frozen=True)
class Told:
    """What the network is told of a crop.

    Attributes:
        crop: The crop.
        listed: Which of its objects are in the layout, bool ``[N]``.
        present: Whether there is a layout at all.
        caption: Text, empty for none.
        mask: 1 where the picture is painted, ``[S, S]`` float32.
        repaint: Whether a part is given.
    """

    crop: ObjectCrop
    listed: np.ndarray
    present: bool
    caption: str
    mask: np.ndarray
    repaint: bool


class LayoutData:
    """Crops of the training and held-out places."""

    def __init__(self, config: LayoutConfig, root: Path, seed: int) -> None:
        """Read the pictures.

        Args:
            config: The task's.
            root: Data folder.
            seed: Of the run.

        Raises:
            InputError: If there is nothing to train on.
        """
        self.config, self.seed = config, seed
        crops = config.objects
        rule = CropRule(
            crops.size, crops.extent, crops.scales, crops.min_visible, crops.min_pixels, crops.background, balance=crops.balance
        )
        sources = read_sources(crops.sources, root, ("train", "validation", "test"))
        if not sources["train"]:
            raise InputError("none of the pictures belongs to a training place; add sources, or hold out fewer places")
        self._samplers = {
            part: ObjectSampler(found, config.names, rule if part == "train" else replace(rule, turns=False))
            for part, found in sources.items()
            if found
        }
        self._bank: dict[int, ObjectCrop] = {}

    @property
    def train(self) -> ObjectSampler:
        """The training crops."""
        return self._samplers["train"]

    def names(self, part: Split) -> list[str]:
        """Names of the pictures in memory of a part."""
        return [picture.name for picture in self._samplers[part].pictures] if part in self._samplers else []

    def captions(self) -> list[str]:
        """All captions of the training pictures."""
        drawn = captions_of_scenes() if any(isinstance(source, SceneObjects) for source in self.config.objects.sources) else ()
        return [*(caption for picture in self.train.pictures for caption in picture.captions), *drawn]

    def told(self, indices: list[int]) -> list[Told]:
        """Training samples of these indices."""
        return [tell(self._crop(index), self.config, sample_rng(self.seed, index, Stream.TIME)) for index in indices]

    def held_out(self, part: Split, count: int, seed: int = 0) -> list[ObjectCrop]:
        """The same crops of held-out places each time; none where there are no such places."""
        if part not in self._samplers:
            return []
        return [self._samplers[part].item(np.random.default_rng([seed, 78, number])) for number in range(count)]

    def _crop(self, index: int) -> ObjectCrop:
        rng = sample_rng(self.seed, index, Stream.DATA)
        if not self.config.bank:
            return self.train.item(rng)
        number = index % self.config.bank
        if number not in self._bank:
            self._bank[number] = self.train.item(sample_rng(self.seed, number, Stream.DATA))
        stored, which = self._bank[number], int(rng.integers(8))
        size = float(self.config.objects.size)
        return replace(stored, pixels=turned_pixels(stored.pixels, which), quads=turned(stored.quads, which, size))


def tell(crop: ObjectCrop, config: LayoutConfig, rng: np.random.Generator) -> Told:
    """Decide what is left out and what is painted. The first number of `rng` is not used: it is the diffusion time.

    Objects under the mask of a partly given picture stay listed: what is not listed there must not be painted.
    """
    rng.random()
    drop, repaint = config.drop, config.repaint
    nothing, no_text, no_layout, part, around = (float(value) for value in rng.random(5))
    size, count = config.objects.size, len(crop.quads)
    listed = rng.random(count) >= drop.object
    mask, given = np.ones((size, size), np.float32), part < repaint.share
    if given:
        if count and (around < repaint.objects or not crop.complete):
            mask = object_mask(crop.quads, size, repaint.margin, rng)
        else:
            mask = background_mask(crop.quads, size, rng) if crop.complete else mask
        given = bool(mask.min() < 1)
        listed = listed | touching(crop.quads, mask) if given else listed
    gone = nothing < drop.everything
    caption = "" if gone or no_text < drop.text else crop.caption
    return Told(crop, listed, not (gone or no_layout < drop.layout), caption, mask, given)


def whole(crop: ObjectCrop) -> Told:
    """All told, all painted."""
    size = crop.pixels.shape[-1]
    return Told(crop, np.ones(len(crop.quads), bool), True, crop.caption, np.ones((size, size), np.float32), False)


def layout_of(crop: ObjectCrop, names: Sequence[str], listed: np.ndarray | None = None) -> Layout:
    """The crop's objects as a layout."""
    size = crop.pixels.shape[-1]
    kept = range(len(crop.quads)) if listed is None else np.flatnonzero(listed).tolist()
    boxes = []
    for number in kept:
        a, b, c, d = ((float(x), float(y)) for x, y in crop.quads[number])
        boxes.append(Box(names[int(crop.labels[number])], (a, b, c, d)))
    return Layout(size, size, tuple(boxes))


def tensors_of(told: Sequence[Told], config: LayoutConfig) -> dict[str, Tensor]:
    """A batch.

    Returns:
        ``clean`` ``[B, 3 p^2, h, w]`` in -1..1, ``kept`` ``[B, 4 p^2, h, w]`` (mask, then the picture outside it), ``weight``
        ``[B, 1, S, S]`` of mean 1, ``present`` bool ``[B]``, and what `layout_tensors` makes.
    """
    pixels = torch.from_numpy(np.stack([one.crop.pixels for one in told]).astype(np.float32)) / 127.5 - 1
    masks = torch.from_numpy(np.stack([one.mask for one in told]))[:, None]
    weights = [foreground_weight(one.crop.quads, one.mask if one.repaint else None, one.mask.shape[0], config) for one in told]
    kept = torch.cat([F.pixel_unshuffle(masks, config.patch), F.pixel_unshuffle(pixels * (1 - masks), config.patch)], 1)
    return {
        "clean": F.pixel_unshuffle(pixels, config.patch),
        "kept": kept,
        "weight": torch.from_numpy(np.stack(weights))[:, None],
        "present": torch.tensor([one.present for one in told]),
        **layout_tensors([layout_of(one.crop, config.names, one.listed) for one in told], config.names),
    }
