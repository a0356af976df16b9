"""Do generated pictures show the objects that were asked for? Layout score, error of direction, and the classification accuracy score.

Layout score: average precision of the requested boxes under a detector trained on real pictures, at the confidence 0.001 - a higher one
cuts the curve short. It means something only beside the same detector's score on real pictures. The classification accuracy score
(Ravuri and Vinyals 2019, on objects as in arXiv 2303.17189) trains a classifier on generated objects and tests it on real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..gen.annotations.box import Box, Layout
from ..gen.annotations.geometry import rotated_iou
from ..gen.errors import InputError
from ..gen.models.detector import Detections, Detector
from .classification import Training, accuracy, train_classifier
from .detection import Precision, average_precision
from .distribution import Estimate

Sample = tuple[NDArray[np.uint8], Layout]
"""A picture uint8 [H, W, 3] and its boxes."""
CONFIDENCE = 0.001
CROP = 32
"""Pixels of a side of an object's crop."""
MARGIN = 1.25
"""Side of what a crop shows over the object's."""


@dataclass(frozen=True)
class Directions:
    """How well directions of found objects agree with the requested ones.

    Attributes:
        median: Degrees, 0 to 90; NaN without a match.
        matched: Objects that were found and have a direction.
        asked: Objects that have a direction.
    """

    median: float
    matched: int
    asked: int


def layout_score(detector: Detector, samples: Sequence[Sample]) -> tuple[Precision, Directions]:
    """Score pictures against the layouts they were made from.

    Args:
        detector: Trained on real pictures; its classes are the ones that count.
        samples: Pictures and requested boxes.

    Returns:
        Average precision, and the error of directions of turned boxes.
    """
    names = list(detector.config["classes"])
    found = [detector.detect(_tensor(picture)[None].to(detector.device), CONFIDENCE)[0] for picture, _ in samples]
    layouts = [layout for _, layout in samples]
    return average_precision(layouts, found, names), direction_error(layouts, found, names)


def direction_error(
    truths: Sequence[Layout], found: Sequence[Detections], names: Sequence[str], *, score: float = 0.3, least_ratio: float = 1.3
) -> Directions:
    """Median angle between the longer edges of true objects and of those found in their place.

    A true object's match is the surest found one of its class whose middle is inside it and that is not another's match. Overlap plays
    no part: a threshold on it would leave out just the wrongly turned ones.

    Args:
        truths: True boxes by picture.
        found: Found boxes of the same pictures.
        names: Classes.
        score: Least confidence of a found object.
        least_ratio: Longer over shorter side from which an object has a direction.

    Raises:
        InputError: If the numbers of pictures differ.
    """
    if len(truths) != len(found):
        raise InputError(f"{len(truths)} pictures have true boxes and {len(found)} found ones; give both of the same pictures")
    errors: list[float] = []
    asked = 0
    for truth, one in zip(truths, found, strict=True):
        free = one.scores >= score
        middles = shapely.points(one.quads.mean(1))
        for box in truth.boxes:
            _, _, w, h, angle = box.le90
            if box.name not in names or box.difficult:
                continue
            fits = free & (one.labels == names.index(box.name)) & shapely.contains(shapely.Polygon(box.corners), middles)
            oblong = w >= least_ratio * h
            asked += oblong
            if fits.any():
                best = int(np.nonzero(fits)[0][one.scores[fits].argmax()])
                free[best] = False
                if oblong:
                    errors.append(_between(angle, _longer_edge(one.quads[best])))
    return Directions(float(np.median(errors)) if errors else float("nan"), len(errors), asked)


def object_crops(
    samples: Sequence[Sample], names: Sequence[str], *, size: int = CROP, ground: bool = True, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Objects cut out upright, and as many pieces of ground without any.

    Args:
        samples: Pictures and their boxes; difficult ones are left out.
        names: Classes.
        size: Pixels of a side; objects are stretched to squares.
        ground: Whether pieces of ground are added as one more class, the last.
        seed: Of the places of ground.

    Returns:
        Crops ``[n, 3, size, size]``, 0 to 1, and classes ``[n]``.
    """
    rng = np.random.default_rng(seed)
    crops, labels = [], []
    for picture, layout in samples:
        boxes = [box for box in layout.boxes if box.name in names and not box.difficult]
        for box in boxes:
            crops.append(_upright(picture, box, size))
            labels.append(list(names).index(box.name))
        for box in boxes if ground else []:
            empty = _ground(layout, box, rng)
            if empty is not None:
                crops.append(_upright(picture, empty, size))
                labels.append(len(names))
    pictures = torch.stack([_tensor(crop) for crop in crops]) if crops else torch.zeros(0, 3, size, size)
    return pictures, torch.tensor(labels, dtype=torch.int64)


def classification_score(
    generated: Sequence[Sample], real: Sequence[Sample], names: Sequence[str], training: Training | None = None
) -> Estimate:
    """Accuracy on real objects (and pieces of real ground) of a classifier that saw only generated ones.

    Args:
        generated: Pictures and the boxes they were made from.
        real: Real pictures and their boxes.
        names: Classes.
        training: Of the classifier.

    Returns:
        Share of right answers, with its interval.

    Raises:
        InputError: If either holds no object.
    """
    pictures, labels = object_crops(generated, names)
    test, answers = object_crops(real, names)
    if not len(labels) or not len(answers):
        raise InputError(f"{len(labels)} generated and {len(answers)} real objects were found; both sets need objects of {list(names)}")
    return accuracy(train_classifier(pictures, labels, len(names) + 1, training), test, answers)


def _ground(layout: Layout, like: Box, rng: np.random.Generator) -> Box | None:
    """A piece as large as a box, anywhere in the picture where no object is; None if none was found."""
    _, _, w, h = like.xywh
    if w >= layout.width or h >= layout.height:
        return None
    for _ in range(200):
        x, y = rng.uniform(0, layout.width - w), rng.uniform(0, layout.height - h)
        # With the margin that is cut out around it, so that no object looks in.
        wide, high = w * (MARGIN - 1) / 2, h * (MARGIN - 1) / 2
        around = Box.horizontal(like.name, x - wide, y - high, w + 2 * wide, h + 2 * high)
        if rotated_iou(np.array([around.corners]), layout.quads).max(initial=0.0) == 0.0:
            return Box.horizontal(like.name, x, y, w, h)
    return None


def _upright(picture: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """What is in a box, and a margin round it, as a square whose x axis is the box's first edge; edges of the picture are repeated."""
    pad = 16
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    quad = np.array(box.corners)
    quad = (quad - quad.mean(0)) * MARGIN + quad.mean(0) + pad
    across, down = (quad[1] - quad[0]) / size, (quad[3] - quad[0]) / size
    rows = (across[0], down[0], quad[0, 0], across[1], down[1], quad[0, 1])
    image = Image.fromarray(padded).transform((size, size), Image.Transform.AFFINE, rows, resample=Image.Resampling.BILINEAR)
    return np.asarray(image)


def _tensor(picture: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1) / 255


def _longer_edge(quad: NDArray[np.float64]) -> float:
    first, second = quad[1] - quad[0], quad[2] - quad[1]
    longer = first if np.hypot(*first) >= np.hypot(*second) else second
    return float(np.arctan2(longer[1], longer[0]))


def _between(one: float, other: float) -> float:
    """Angle between two lines in degrees, 0 to 90."""
    apart = np.degrees(abs(one - other)) % 180
    return float(min(apart, 180 - apart))
