"""What a feature network reads from places that it was not trained on, beside the best constant guess."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...gen.data.labelled import LabelledPicture
from ...gen.data.splits import Split

_BATCH = 64


class HeldOutReadings:
    """Fixed crops of the held-out pictures: up to four at full resolution and one of half.

    Attributes:
        places: Names of the places of the test split.
        protocol: How the figures are made, in words.
    """

    def __init__(
        self,
        pictures: Mapping[Split, Sequence[LabelledPicture]],
        look: Callable[[LabelledPicture, int, int, int], Any],
        crop: int,
    ) -> None:
        """Cut the crops.

        Args:
            pictures: Of the validation and test parts.
            look: Makes a crop with its labels: picture, top, left, size.
            crop: Side of a crop.
        """
        self.places = sorted({picture.place for picture in pictures["test"]})
        self._parts: dict[str, tuple[dict[str, Tensor], Tensor, Tensor]] = {}
        for split, members in pictures.items():
            looks, owners, reduced = [], [], []
            places = sorted({picture.place for picture in members})
            for picture in members:
                height, width = picture.pixels.shape[1:]
                squares = _squares(height, width, crop)
                looks += [look(picture, *square) for square in squares]
                owners += [places.index(picture.place)] * len(squares)
                reduced += [len(looks) - 1] * (len(squares) > 1)
            if looks:
                stacked = {name: torch.stack([getattr(one, name) for one in looks]) for name in looks[0]._fields}
                self._parts[split] = (stacked, torch.tensor(owners), torch.tensor(reduced, dtype=torch.long))
        self.protocol = (
            "places apart from training by a hash of their names; figures are means over places of the mean over their crops, "
            "up to five a picture; "
            "class: share right; gsd: mean |error| of log2 metres, octaves; month: mean distance on the circle, months (chance 3); "
            "zoom: share of crops reduced by 2 that read coarser than the whole (chance 0.5); "
            "cover: share of 4-pixel cells of the procedural world whose largest class is right; constant_...: the best constant guess"
        )

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Figures of each split, and ``score`` for choosing among checkpoints, from validation alone."""
        figures: dict[str, float] = {}
        for split, (truth, owners, reduced) in self._parts.items():
            figures |= {f"{split}_{name}": value for name, value in self._read(model, truth, owners, reduced).items()}
        parts = [
            figures.get("validation_class", math.nan),
            -figures.get("validation_gsd", math.nan) / figures.get("validation_constant_gsd", math.nan),
            -figures.get("validation_month", math.nan) / 3.0,
            figures.get("validation_cover", math.nan),
        ]
        known = [part for part in parts if math.isfinite(part)]
        return {**figures, "score": float(np.sum(known))} if known else figures

    def _read(self, model: nn.Module, truth: dict[str, Tensor], owners: Tensor, reduced: Tensor) -> dict[str, float]:
        device = next(model.parameters()).device
        dtype = next(model.parameters()).dtype
        found = [model(batch.to(device, dtype)) for batch in truth["picture"].split(_BATCH)]
        known = truth["known"].bool()
        log2_gsd = torch.cat([part.log2_gsd for part in found]).float().cpu()
        classes = torch.cat([part.classes for part in found]).float().cpu()
        right = (classes.argmax(1) == truth["label"].long()).float()
        distance = (log2_gsd - truth["log2_gsd"]).abs()
        month = _months_apart(torch.cat([part.month for part in found]).float().cpu(), truth["month"])
        cover = torch.cat([part.cover.argmax(1) for part in found]).cpu() == truth["cover"].argmax(1)
        each = {"class": right, "month": month, "gsd": distance, "cover": cover.float().mean((1, 2))}
        figures: dict[str, float] = {}
        for number, (name, value) in enumerate(each.items()):
            where = known[:, number]
            if where.any():
                figures[name] = _by_place(value[where], owners[where])
                figures[f"n_{name}"] = float(len(owners[where].unique()))
        if len(reduced):
            figures["zoom"] = _zoom(log2_gsd, reduced, owners)
        if known[:, 0].any():
            labels = truth["label"][known[:, 0]].long()
            figures["constant_class"] = _by_place((labels == labels.mode().values).float(), owners[known[:, 0]])
        if known[:, 2].any():
            values = truth["log2_gsd"][known[:, 2]]
            figures["constant_gsd"] = _by_place((values - values.median()).abs(), owners[known[:, 2]])
        return figures


def _zoom(found: Tensor, reduced: Tensor, owners: Tensor) -> float:
    """Share of the reduced crops that read coarser than the mean of the four before them, which show the same ground."""
    right = torch.stack([(found[end] > found[end - 4 : end].mean()).float() for end in reduced.tolist()])
    return _by_place(right, owners[reduced])


def _squares(height: int, width: int, crop: int) -> list[tuple[int, int, int]]:
    """Top, left, side: one, or the corners of the middle and a larger one around them."""
    side = min(height, width)
    if side < 2 * crop:
        return [((height - crop) // 2, (width - crop) // 2, crop)]
    top, left = (height - 2 * crop) // 2, (width - 2 * crop) // 2
    return [(top + row, left + col, crop) for row in (0, crop) for col in (0, crop)] + [(top, left, 2 * crop)]


def _months_apart(found: Tensor, truth: Tensor) -> Tensor:
    angle = torch.atan2(found[:, 0], found[:, 1]) - torch.atan2(truth[:, 0], truth[:, 1])
    return torch.atan2(angle.sin(), angle.cos()).abs() * 6 / math.pi


def _by_place(values: Tensor, owners: Tensor) -> float:
    """Mean over places of the mean over their crops."""
    return float(np.mean([float(values[owners == owner].mean()) for owner in owners.unique()]))
