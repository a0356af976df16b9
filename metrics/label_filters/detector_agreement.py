"""Whether a detector finds what the labels say, and labels mended by what it finds (UAVGen's refinement).

A detector trained on the few real pictures knows easy objects: a filter by it keeps these. Any detections do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...gen.annotations.box import Box, Layout
from ...gen.annotations.geometry import rotated_iou
from ...gen.errors import InputError
from .scores import Floats, Scores, check_picture


@dataclass(frozen=True)
class Found:
    """What a detector found in one picture.

    Attributes:
        quads: ``[M, 4, 2]`` corners in pixels.
        scores: ``[M]`` confidences, 0 to 1.
        names: M class names.
    """

    quads: Floats
    scores: Floats
    names: list[str]

    def __post_init__(self) -> None:
        """Refuse lists of different lengths."""
        if not len(self.quads) == len(self.scores) == len(self.names):
            raise InputError(f"{len(self.quads)} quads have {len(self.scores)} scores and {len(self.names)} names; give as many of each")


Detect = Callable[[Tensor], Found]
"""A detector: a picture ``[3, H, W]``, 0 to 1, to what it finds, unsure finds too."""


class DetectorAgreement:
    """Confidence of the best find of the same class times its IoU with the label; 0 where nothing overlaps.

    The picture's score is the mean over labels and sure finds that no label accounts for (these count 0): what is missing from the labels
    is as wrong as what is missing from the picture.
    """

    name = "detector"

    def __init__(self, detect: Detect, sure: float = 0.5, overlap: float = 0.3, words: str = "detector") -> None:
        """Keep the detector.

        Args:
            detect: It.
            sure: Confidence from which a find that no label accounts for counts against the picture.
            overlap: IoU from which a find is of a label.
            words: Which detector it is, for a report.
        """
        self.detect, self.sure, self.overlap = detect, sure, overlap
        self.words = f"confidence times IoU of the best find of the class by {words}"

    def __call__(self, picture: Tensor, layout: Layout) -> Scores:
        """Scores of the labels, and their mean with unlabelled sure finds."""
        check_picture(picture, layout)
        found = self.detect(picture)
        iou = _same_class(layout, found)
        objects = (iou * found.scores[None]).max(1, initial=0.0)
        stray = (iou.max(0, initial=0.0) < self.overlap) & (found.scores >= self.sure)
        total = len(objects) + int(stray.sum())
        return Scores(self.name, objects, float(objects.sum() / total) if total else float("nan"))


@dataclass(frozen=True)
class Refined:
    """A layout after refinement, and where its boxes come from.

    Attributes:
        layout: The boxes; added ones carry their confidence.
        sources: Of each box, the label that it was, or -1 for one that was added.
        shifted: Of each box, whether it took the find's corners.
        dropped: Labels that were dropped.
    """

    layout: Layout
    sources: NDArray[np.int64]
    shifted: NDArray[np.bool_]
    dropped: NDArray[np.int64]


def refine(layout: Layout, found: Found, keep: float = 0.1, add: float = 0.6, shift: float = 0.6, overlap: float = 0.3) -> Refined:
    """Drop labels that no find accounts for, add sure finds without a label, and move labels onto surer finds.

    Finds and labels of a class are paired one to one, the most overlapping first.

    Args:
        layout: The labels.
        found: What the detector says.
        keep: Confidence of its find below which a label is dropped.
        add: Confidence from which a find without a label becomes one.
        shift: Confidence from which a label takes its find's corners.
        overlap: IoU from which a find is of a label.
    """
    iou = _same_class(layout, found)
    pairs: dict[int, int] = {}
    for flat in np.argsort(-iou, axis=None, kind="stable"):
        label, find = (int(value) for value in np.unravel_index(flat, iou.shape))
        if iou[label, find] < overlap:
            break
        if label not in pairs and find not in pairs.values():
            pairs[label] = find
    kept = [label for label in range(len(layout.boxes)) if label in pairs and found.scores[pairs[label]] >= keep]
    boxes, moved = [], []
    for label in kept:
        find = pairs[label]
        onto = bool(found.scores[find] >= shift)
        boxes.append(_box(found, find, score=None) if onto else layout.boxes[label])
        moved.append(onto)
    # A second find of a label that has one is the same object again.
    free = [
        find for find in range(len(found.names))
        if found.scores[find] >= add and find not in pairs.values() and iou[:, find].max(initial=0.0) < overlap
    ]  # fmt: skip
    boxes += [_box(found, find, score=float(found.scores[find])) for find in free]
    return Refined(
        replace(layout, boxes=tuple(boxes)),
        np.array([*kept, *[-1] * len(free)], np.int64),
        np.array([*moved, *[True] * len(free)], bool),
        np.array([label for label in range(len(layout.boxes)) if label not in kept], np.int64),
    )


def _same_class(layout: Layout, found: Found) -> Floats:
    """IoU ``[N, M]`` of labels and finds of one class, 0 for different classes."""
    iou = np.asarray(rotated_iou(layout.quads, found.quads.reshape(-1, 4, 2)), np.float64).reshape(len(layout.boxes), len(found.names))
    same = np.array(layout.names, object)[:, None] == np.array(found.names, object)[None]
    return np.where(same.reshape(iou.shape), iou, 0.0)


def _box(found: Found, number: int, score: float | None) -> Box:
    a, b, c, d = ((float(x), float(y)) for x, y in found.quads[number])
    return Box(found.names[number], (a, b, c, d), score=score)
