"""Square crops with their objects, drawn by source, then by class, then by object, so that rare things are seen as often as common ones.

Each crop is resampled so that its objects have a few dozen pixels, whatever the sensor. All randomness comes from the generator that is
handed in: a crop is a pure function of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .objects import Bytes, ObjectPicture, Quads, turned, turned_pixels, visible_shares

Scene = Callable[[np.random.Generator], ObjectPicture]
"""Makes a new picture of a procedural world, at least as large as a crop."""
_TRIES = 12


@dataclass(frozen=True)
class ObjectCrop:
    """A square of a picture.

    Attributes:
        pixels: ``[3, S, S]`` uint8.
        quads: Corners ``[N, 4, 2]`` of the objects of which enough is seen; they may reach outside.
        labels: N class numbers, int64.
        caption: One of the picture's captions, or empty.
        gsd: Metres per pixel of the crop; None where unknown.
        complete: Whether all objects are labelled.
        name: Picture, corner and scale.
    """

    pixels: Bytes
    quads: Quads
    labels: NDArray[np.int64]
    caption: str
    gsd: float | None
    complete: bool
    name: str


@dataclass(frozen=True)
class CropRule:
    """How crops are cut.

    Attributes:
        size: Side in pixels.
        extent: Least and most pixels that the longer edge of the object aimed at should have; drawn evenly in the logarithm.
        scales: Least and most magnification.
        min_visible: Share of an object's area inside the crop from which on it is labelled.
        min_pixels: Objects whose longer edge is shorter than this after scaling are not labelled.
        background: Share of the crops that aim at a random place instead of an object.
        turns: Whether to turn and flip.
        balance: Power of a class's frequency in its chance to be drawn: 1 as they come, 0 all classes alike.
    """

    size: int = 128
    extent: tuple[float, float] = (18.0, 56.0)
    scales: tuple[float, float] = (0.25, 2.5)
    min_visible: float = 0.3
    min_pixels: float = 5.0
    background: float = 0.1
    turns: bool = True
    balance: float = 0.5


class PictureGroup:
    """The pictures of one source, with their objects by class."""

    def __init__(self, pictures: Sequence[ObjectPicture], names: Sequence[str], balance: float) -> None:
        """Index the objects.

        Args:
            pictures: In memory.
            names: Classes; objects of others are left out.
            balance: See `CropRule`.

        Raises:
            InputError: If there is no picture.
        """
        if not pictures:
            raise InputError("a source of objects has no picture in this part; add pictures, or give it the weight 0")
        self.pictures = list(pictures)
        numbers = {name: number for number, name in enumerate(names)}
        self.labels = [np.array([numbers.get(label, -1) for label in picture.labels], np.int64) for picture in pictures]
        self.by_class = [
            [(p, n) for p, row in enumerate(self.labels) for n in np.flatnonzero(row == k).tolist()] for k in range(len(names))
        ]
        weights = np.array([float(len(found)) ** balance if found else 0.0 for found in self.by_class])
        self.chances = weights / weights.sum() if weights.sum() else None

    def aimed(self, rng: np.random.Generator) -> tuple[int, int]:
        """A picture and one of its objects; the object is -1 in a source without any."""
        if self.chances is None:
            return int(rng.integers(len(self.pictures))), -1
        found = self.by_class[int(rng.choice(len(self.by_class), p=self.chances))]
        return found[int(rng.integers(len(found)))]


class ObjectSampler:
    """Draws crops from sources in memory and from procedural scenes.

    Attributes:
        names: The classes.
        rule: How crops are cut.
    """

    def __init__(self, sources: Sequence[tuple[float, Sequence[ObjectPicture] | Scene]], names: Sequence[str], rule: CropRule) -> None:
        """Index the sources.

        Args:
            sources: Weight of each, and its pictures or what makes a scene.
            names: The classes; their order gives the numbers.
            rule: How crops are cut.

        Raises:
            InputError: If nothing is left to draw from.
        """
        chosen = [(weight, source) for weight, source in sources if weight > 0 and (callable(source) or len(source))]
        if not chosen:
            raise InputError("there is no picture to cut crops from; add sources, or give one a weight above 0")
        self.names, self.rule = tuple(names), rule
        self._sources = [source if callable(source) else PictureGroup(source, names, rule.balance) for _, source in chosen]
        weights = np.array([weight for weight, _ in chosen])
        self._weights = weights / weights.sum()

    @property
    def pictures(self) -> list[ObjectPicture]:
        """All pictures in memory."""
        return [picture for source in self._sources if isinstance(source, PictureGroup) for picture in source.pictures]

    def counts(self) -> Mapping[str, int]:
        """Labelled objects of each class in memory."""
        found = [picture.labels for picture in self.pictures]
        return {name: sum(labels.count(name) for labels in found) for name in self.names}

    def item(self, rng: np.random.Generator) -> ObjectCrop:
        """One crop; all random choices come from `rng`."""
        source = self._sources[int(rng.choice(len(self._sources), p=self._weights))]
        if not isinstance(source, PictureGroup):
            return self._cut(source(rng), None, -1, rng)
        crop = self._cut_from(source, rng)
        for _ in range(_TRIES):
            # Pictures that are black at the rim show nothing there.
            if (crop.pixels.max(0) > 0).mean() > 0.97:
                break
            crop = self._cut_from(source, rng)
        return crop

    def _cut_from(self, group: PictureGroup, rng: np.random.Generator) -> ObjectCrop:
        number, aim = group.aimed(rng)
        return self._cut(group.pictures[number], group.labels[number], aim, rng)

    def _cut(self, picture: ObjectPicture, labels: NDArray[np.int64] | None, aim: int, rng: np.random.Generator) -> ObjectCrop:
        rule = self.rule
        if labels is None:
            labels = np.array([self.names.index(label) if label in self.names else -1 for label in picture.labels], np.int64)
        scale = self._scale(picture, aim, rng)
        side = rule.size / scale
        left, top = self._corner(picture, aim, side, rng)
        pixels = resampled(picture.pixels, left, top, side, rule.size)
        quads = (picture.quads - np.array([left, top])) * scale
        kept = np.flatnonzero(labels >= 0)
        kept = kept[visible_shares(quads[kept], rule.size, rule.size) >= rule.min_visible]
        extents = picture.extents * scale
        kept = kept[extents[kept] >= rule.min_pixels]
        which = int(rng.integers(8)) if rule.turns else 0
        said = picture.captions
        return ObjectCrop(
            pixels=turned_pixels(pixels, which), quads=turned(quads[kept], which, float(rule.size)), labels=labels[kept],
            caption=said[int(rng.integers(len(said)))] if said else "", gsd=None if picture.gsd is None else picture.gsd / scale,
            complete=picture.complete, name=f"{picture.name}@{left:.1f},{top:.1f}x{scale:.2f}",
        )  # fmt: skip

    def _scale(self, picture: ObjectPicture, aim: int, rng: np.random.Generator) -> float:
        """Magnification that gives the object aimed at the wanted size, within what the picture and the rule allow."""
        rule = self.rule
        least = max(rule.scales[0], rule.size / min(picture.pixels.shape[1:]))
        wanted = float(np.exp(rng.uniform(np.log(rule.extent[0]), np.log(rule.extent[1]))))
        extents = picture.extents
        typical = float(extents[aim]) if aim >= 0 else float(np.median(extents)) if len(extents) else wanted
        return float(np.clip(wanted / max(typical, 1.0), least, max(least, rule.scales[1])))

    def _corner(self, picture: ObjectPicture, aim: int, side: float, rng: np.random.Generator) -> tuple[float, float]:
        height, width = picture.pixels.shape[1:]
        room = np.array([max(0.0, width - side), max(0.0, height - side)])
        place = rng.random(2)
        if aim < 0 or rng.random() < self.rule.background:
            return float(room[0] * place[0]), float(room[1] * place[1])
        middle = picture.quads[aim].mean(0)
        # The object aimed at lies anywhere in the middle four fifths of the crop.
        corner = np.clip(middle - side * (0.1 + 0.8 * place), 0.0, room)
        return float(corner[0]), float(corner[1])


def resampled(pixels: Bytes, left: float, top: float, side: float, size: int) -> Bytes:
    """A square window of a picture at another pixel size, smoothed where it shrinks.

    Args:
        pixels: ``[3, H, W]``.
        left: Of the window, pixels; need not be whole.
        top: Of the window.
        side: Of the window, at most that of the picture.
        size: Side of the result.

    Returns:
        ``[3, size, size]``.
    """
    from PIL import Image

    height, width = pixels.shape[1:]
    box = (left, top, min(left + side, float(width)), min(top + side, float(height)))
    whole = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    made = whole.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.ascontiguousarray(np.asarray(made, dtype=np.uint8).transpose(2, 0, 1))
