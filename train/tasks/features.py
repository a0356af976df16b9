"""Training of the feature network: four readings of one picture at once, on places that no test knows.

The terms of the loss are means over the samples for which a label is known: cross-entropy of the scene's class, squared error of the time
of the year on the circle, Huber error of log2 of the ground sampling distance, and cross-entropy against the shares of land cover in cells
of 4 pixels. A sample is two looks at one spot from different heights: a fifth term is the Huber error of the difference of their distances,
without which the network knows a place's sensor and overlooks the zoom. Turns and flips make the readings independent of the direction of
flight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...gen.data.atomic import write_json
from ...gen.data.labelled import LabelledPicture
from ...gen.data.splits import Split, split_of
from ...gen.data.world.spectra import CLASSES
from ...gen.errors import InputError
from ...gen.models.features import COVER_STRIDE, FeatureNet, Features
from ...gen.zoo.folder import write_model_folder
from ..order import Stream, sample_rng
from ..task import Batch
from .features_config import FeaturesConfig
from .features_evaluation import HeldOutReadings
from .super_resolution import configured

if TYPE_CHECKING:
    from ..recipe import Recipe

COVERS = tuple(CLASSES.values())
UNITS = 320
"""Samples from which an exported network takes the units of its features."""
_CODES = torch.zeros(256, dtype=torch.long)
_CODES[list(CLASSES)] = torch.arange(len(CLASSES))


class Look(NamedTuple):
    """A crop with its labels, as tensors: what the network sees and what it should say."""

    picture: Tensor
    label: Tensor
    month: Tensor
    log2_gsd: Tensor
    cover: Tensor
    known: Tensor


class FeatureTask:
    """Feature network, pictures and scores."""

    def __init__(self, recipe: Recipe) -> None:
        """Read and make the pictures.

        Args:
            recipe: The run's recipe.

        Raises:
            InputError: If the data do not fit the recipe.
            TypeError: If the recipe describes another task.
        """
        if not isinstance(recipe.task, FeaturesConfig):
            raise TypeError(f"the recipe {recipe.name} describes {recipe.task.kind}, not features")
        self.recipe, self.config = recipe, recipe.task
        self.words = {word: number for number, words in enumerate(self.config.classes.values()) for word in words}
        self.groups: list[tuple[float, list[list[list[LabelledPicture]]]]] = []
        held_out: dict[Split, list[LabelledPicture]] = {"validation": [], "test": []}
        for source in self.config.sources:
            pictures = [picture for picture in source.pictures(recipe.data) if min(picture.pixels.shape[1:]) >= self.config.crop]
            trained = grouped(picture for picture in pictures if split_of(picture.place) == "train")
            for part, kept in held_out.items():
                kept += [picture for picture in pictures if split_of(picture.place) == part]
            if trained:
                self.groups.append((source.weight, trained))
        if not self.groups:
            raise InputError(f"no training picture is at least {self.config.crop} pixels a side; lower 'crop' or add sources")
        weights = np.array([weight for weight, _ in self.groups])
        self._shares = weights / weights.sum()
        self.held_out = HeldOutReadings(held_out, self.look, self.config.crop)

    @property
    def names(self) -> list[str]:
        """Names of the training pictures."""
        return [picture.name for _, groups in self.groups for places in groups for place in places for picture in place]

    def build(self, initialise: Path | None) -> nn.Module:
        """A fresh network, or the one stored in a model folder (its ``model`` part)."""
        if initialise is not None:
            folder = initialise / "model" if (initialise / "model").is_dir() else initialise
            return FeatureNet.from_pretrained(folder, torch_dtype=torch.float32).to(memory_format=torch.channels_last)
        given = {**self.config.model, "classes": list(self.config.classes), "covers": list(COVERS)}
        return configured(FeatureNet, given, "task.model").to(memory_format=torch.channels_last)

    def batch(self, indices: list[int]) -> Batch:
        """Crops and labels of these samples."""
        pairs, names = [], []
        for index in indices:
            rng = sample_rng(self.recipe.seed, index, Stream.DATA)
            picture = self._drawn(rng)
            pairs.append(self._pair(picture, rng))
            names.append(picture.name)
        stacked = {name: torch.stack([torch.stack([getattr(look, name) for look in pair]) for pair in pairs]) for name in Look._fields}
        return Batch(indices, names, stacked)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of the terms, each a mean over the batch in which unknown labels count as zero."""
        truth = {name: value.flatten(0, 1) for name, value in batch.tensors.items()}
        terms = self._terms(model(truth["picture"]), truth)
        total = torch.stack([self.config.weights.get(name, 1.0) * term for name, term in terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Readings of the held-out places; ``score`` is minus the validation errors, each in the unit of a constant guess's."""
        return self.held_out(model)

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        """Write the model folder: weights in half precision, card, and the effective recipe."""
        from ..recipe import dump_recipe

        if not isinstance(model, FeatureNet):
            raise TypeError(f"a {type(model).__name__} is no FeatureNet")
        copy = FeatureNet.from_config(model.config)
        copy.load_state_dict(model.state_dict())
        copy.standardise(self._looks(UNITS))
        parameters = sum(parameter.numel() for parameter in copy.parameters())
        settings = {"crop": self.config.crop}
        write_model_folder(
            folder,
            pipeline="FeatureNetwork",
            components={"model": copy},
            settings=settings,
            card=self._card(card, parameters),
        )
        write_json(folder / "recipe.json", dump_recipe(self.recipe))

    def look(self, picture: LabelledPicture, top: int, left: int, size: int, turn: int = 0) -> Look:
        """A square of a picture at the network's size, turned, with its labels.

        Args:
            picture: What to look at.
            top: First row.
            left: First column.
            size: Side in the picture's pixels.
            turn: One of the eight symmetries of the square.
        """
        crop = self.config.crop
        square = picture.pixels[:, top : top + size, left : left + size]
        pixels = torch.from_numpy(turned(square, turn)).float() / 255.0
        if size != crop:
            pixels = F.interpolate(pixels[None], size=(crop, crop), mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)
        cells = crop // COVER_STRIDE
        cover = torch.zeros(len(COVERS), cells, cells)
        if picture.cover is not None:
            codes = turned(picture.cover[None, top : top + size, left : left + size], turn)[0]
            middles = (np.arange(crop) + 0.5) * (size / crop)
            codes = codes[np.ix_(middles.astype(int), middles.astype(int))]
            shares = F.one_hot(_CODES[torch.from_numpy(codes).long()], len(COVERS)).permute(2, 0, 1).float()
            cover = F.avg_pool2d(shares[None], COVER_STRIDE)[0]
        label = self.words.get(picture.label, -1)
        distance = math.log2(picture.gsd * size / crop) if math.isfinite(picture.gsd) else math.nan
        angle = 2 * math.pi * (picture.month - 0.5) / 12
        known = [label >= 0, picture.month > 0, math.isfinite(distance), picture.cover is not None]
        return Look(
            picture=pixels,
            label=torch.tensor(float(max(label, 0))),
            month=torch.tensor([math.sin(angle), math.cos(angle)]),
            log2_gsd=torch.tensor(distance if math.isfinite(distance) else 0.0),
            cover=cover,
            known=torch.tensor(known, dtype=torch.float32),
        )

    def _looks(self, count: int) -> Iterator[Tensor]:
        """Pictures of the first samples."""
        for start in range(0, count, self.recipe.batch):
            yield self.batch(list(range(start, min(start + self.recipe.batch, count)))).tensors["picture"].flatten(0, 1)

    def _drawn(self, rng: np.random.Generator) -> LabelledPicture:
        """A source by weight, then class, place and picture with equal chances, so that no place counts for its number of files."""
        groups = self.groups[int(rng.choice(len(self.groups), p=self._shares))][1]
        places = groups[int(rng.integers(0, len(groups)))]
        pictures = places[int(rng.integers(0, len(places)))]
        return pictures[int(rng.integers(0, len(pictures)))]

    def _pair(self, picture: LabelledPicture, rng: np.random.Generator) -> list[Look]:
        """Two looks at one spot from different heights, in one light."""
        crop, sides = self.config.crop, picture.pixels.shape[1:]
        reach = math.log(max(1.0, min(self.config.zoom, min(sides) / crop)))
        sizes = [min(round(crop * math.exp(rng.uniform(0.0, reach))), *sides) for _ in range(2)]
        middle = [rng.uniform(max(sizes) / 2, side - max(sizes) / 2) for side in sides]
        brightness, gamma = rng.uniform(*self.config.gain), rng.uniform(*self.config.gamma)
        tint = torch.from_numpy(rng.uniform(0.95, 1.05, 3).astype(np.float32))[:, None, None]
        looks = []
        for size in sizes:
            top, left = (min(max(0, round(at - size / 2)), side - size) for at, side in zip(middle, sides, strict=True))
            look = self.look(picture, top, left, size, turn=int(rng.integers(0, 8)))
            looks.append(look._replace(picture=(look.picture.pow(gamma) * tint * brightness).clamp(0, 1)))
        return looks

    @staticmethod
    def _terms(found: Features, truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
        known = truth["known"]
        off = found.log2_gsd - truth["log2_gsd"]
        between, level = off[1::2] - off[::2], torch.zeros_like(off[::2])
        each = {
            "class": F.cross_entropy(found.classes, truth["label"].long(), reduction="none"),
            "month": (found.month - truth["month"]).square().sum(1),
            "gsd": F.huber_loss(off, torch.zeros_like(off), reduction="none"),
            "cover": F.cross_entropy(found.cover, truth["cover"], reduction="none").mean((1, 2)),
        }
        terms = {name: (value * known[:, number]).mean() for number, (name, value) in enumerate(each.items())}
        return {**terms, "zoom": (F.huber_loss(between, level, reduction="none") * known[::2, 2]).mean()}

    def _card(self, card: Mapping[str, Any], parameters: int) -> dict[str, Any]:
        record = dict(card.get("training", {}))
        figures = dict(record.pop("figures", {}))
        trained = [picture for _, groups in self.groups for places in groups for place in places for picture in place]
        return {
            "name": self.recipe.name,
            "task": "features of RGB pictures; scene class, month, ground sampling distance, land cover",
            "parameters": parameters,
            **{key: value for key, value in card.items() if key != "training"},
            "data": {
                "pictures": len(trained),
                "places": len({picture.place for picture in trained}),
                "sources": sorted({getattr(source, "index", source.kind) for source in self.config.sources}),
                "held_out": self.held_out.places,
            },
            "training": {
                "recipe": self.recipe.name,
                "batch": self.recipe.batch * self.recipe.accumulate,
                "crop": self.config.crop,
                "precision": self.recipe.precision,
                **record,
            },
            "metrics": {"protocol": self.held_out.protocol, **{k: round(v, 4) for k, v in figures.items() if k != "score"}},
        }


def grouped(pictures: Iterable[LabelledPicture]) -> list[list[list[LabelledPicture]]]:
    """Pictures by class, and within a class by place."""
    table: dict[str, dict[str, list[LabelledPicture]]] = {}
    for picture in pictures:
        table.setdefault(picture.label, {}).setdefault(picture.place, []).append(picture)
    return [list(places.values()) for places in table.values()]


def turned(square: np.ndarray[Any, np.dtype[np.uint8]], which: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One of the eight symmetries of ``[C, n, n]``."""
    found = np.rot90(square, which % 4, axes=(1, 2))
    return np.ascontiguousarray(found[:, :, ::-1] if which >= 4 else found)
