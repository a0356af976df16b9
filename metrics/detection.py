"""Average precision of found boxes against true ones, by exact overlap of rotated rectangles.

COCO's rules (101 recall points, precision never rising, the surest hundred objects of a picture, thresholds .50 to .95) with the overlap of
quadrilaterals in place of that of axis-aligned boxes. On horizontal boxes it is the same number, and `coco_precision` is that number from
pycocotools. Objects marked difficult are neither wanted nor forbidden, as COCO does with ignored ones.
"""

# Letters: N found, M true objects of one picture and class, T overlap thresholds, K classes, R recall points.

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gen.annotations.box import Layout
from ..gen.annotations.geometry import rotated_iou
from ..gen.errors import InputError
from ..gen.models.detector import Detections

Floats = NDArray[np.float64]
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps from which a found box counts as right."""
MOST = 100
"""Objects of a picture that are looked at, the surest first."""
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Precision:
    """Average precision.

    Attributes:
        names: Classes.
        thresholds: Overlaps.
        table: ``[K, T]``, NaN for a class without a true object.
        objects: ``[K]`` true objects that count.
    """

    names: tuple[str, ...]
    thresholds: tuple[float, ...]
    table: Floats
    objects: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean over classes and thresholds (mAP); NaN without any true object."""
        return _mean(self.table)

    @property
    def ap50(self) -> float:
        """Mean over classes at overlap .50."""
        return self.at(0.5)

    @property
    def ap75(self) -> float:
        """Mean over classes at overlap .75."""
        return self.at(0.75)

    def at(self, threshold: float) -> float:
        """Mean over classes at one of the thresholds.

        Raises:
            InputError: If it is not among them.
        """
        if threshold not in self.thresholds:
            raise InputError(f"the overlap {threshold:g} was not measured; the thresholds are {list(self.thresholds)}")
        return _mean(self.table[:, self.thresholds.index(threshold)])


def average_precision(
    truths: Sequence[Layout],
    found: Sequence[Detections],
    names: Sequence[str],
    thresholds: Sequence[float] = THRESHOLDS,
    most: int = MOST,
) -> Precision:
    """How well found boxes agree with true ones.

    Args:
        truths: True boxes by picture; those of other classes do not count.
        found: Found boxes of the same pictures; labels are indexes into `names`.
        names: Classes.
        thresholds: Overlaps.
        most: Objects of a picture that are looked at, over all classes as a detector gives them.

    Returns:
        The table.

    Raises:
        InputError: If the numbers of pictures differ or a label is out of range.
    """
    _check(truths, found, names)
    table, objects = np.full((len(names), len(thresholds)), np.nan), np.zeros(len(names), np.int64)
    kept = [_surest(one, most) for one in found]
    for label, name in enumerate(names):
        scores, right, ignored = [], [], []
        for truth, (quads, sureness, labels) in zip(truths, kept, strict=True):
            mine = labels == label
            boxes = [box for box in truth.boxes if box.name == name]
            difficult = np.array([box.difficult for box in boxes], dtype=bool)
            objects[label] += int((~difficult).sum())
            true_quads = np.array([box.corners for box in boxes], dtype=np.float64).reshape(-1, 4, 2)
            matched, aside = match(rotated_iou(quads[mine], true_quads), difficult, thresholds)
            scores.append(sureness[mine])
            right.append(matched)
            ignored.append(aside)
        if objects[label]:
            hits, aside = np.concatenate(right, 1), np.concatenate(ignored, 1)
            table[label] = _precision(np.concatenate(scores), hits, aside, int(objects[label]))
    return Precision(tuple(names), tuple(thresholds), table, objects)


def match(overlap: Floats, difficult: NDArray[np.bool_], thresholds: Sequence[float]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give each found box, the surest first, the best true one that is left.

    Args:
        overlap: ``[N, M]``, rows in order of falling score.
        difficult: ``[M]``: taken only where no other is left, and then the found box does not count.
        thresholds: Least overlaps.

    Returns:
        ``[T, N]`` which found boxes are right, and which do not count.
    """
    count, many = overlap.shape
    right, aside = np.zeros((len(thresholds), count), bool), np.zeros((len(thresholds), count), bool)
    if not many:
        return right, aside
    for level, threshold in enumerate(thresholds):
        free = np.ones(many, bool)
        for row in range(count):
            for group in (~difficult, difficult):
                fit = np.where(free & group, overlap[row], -1.0)
                best = many - 1 - int(fit[::-1].argmax())  # of equal ones the last, as COCO has it
                if fit[best] >= min(threshold, 1 - 1e-10):
                    free[best] = False
                    right[level, row], aside[level, row] = not difficult[best], difficult[best]
                    break
    return right, aside


def coco_precision(truths: Sequence[Layout], found: Sequence[Detections], names: Sequence[str]) -> Precision:
    """The same by pycocotools; horizontal boxes only.

    Args:
        truths: True boxes by picture, without difficult ones.
        found: Found boxes of the same pictures.
        names: Classes.

    Returns:
        The table at thresholds .50 to .95.

    Raises:
        InputError: If pycocotools is missing, a true box is turned or difficult, or the numbers of pictures differ.
    """
    _check(truths, found, names)
    if any(box.difficult or not box.is_horizontal for truth in truths for box in truth.boxes):
        raise InputError("pycocotools knows neither turned nor difficult boxes here; use average_precision for them")
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise InputError("pycocotools is missing; pip install pycocotools, or use average_precision") from error
    pictures = [{"id": number, "width": truth.width, "height": truth.height} for number, truth in enumerate(truths, 1)]
    codes = {name: code for code, name in enumerate(names, 1)}
    boxes = [(number, box) for number, truth in enumerate(truths, 1) for box in truth.boxes if box.name in codes]
    labelled = [
        {"id": key, "image_id": number, "category_id": codes[box.name], "bbox": list(box.xywh), "area": box.area, "iscrowd": 0}
        for key, (number, box) in enumerate(boxes, 1)
    ]
    objects = np.array([sum(box.name == name for _, box in boxes) for name in names], np.int64)
    answers = [answer for number, one in enumerate(found, 1) for answer in _coco_rows(number, one)]
    if not boxes or not answers:
        table = np.where(objects[:, None] > 0, 0.0, np.nan) * np.ones(len(THRESHOLDS))
        return Precision(tuple(names), THRESHOLDS, table, objects)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        truth_set: Any = COCO()
        truth_set.dataset = {
            "info": {}, "images": pictures, "annotations": labelled, "categories": [{"id": codes[n], "name": n} for n in names]
        }  # fmt: skip
        truth_set.createIndex()
        run: Any = COCOeval(truth_set, truth_set.loadRes(answers), "bbox")
        run.evaluate()
        run.accumulate()
    logging.getLogger(__name__).debug("pycocotools: %s", said.getvalue())
    precision = run.eval["precision"][:, :, :, 0, 2]  # [T, R, K], all areas, the hundred surest
    table = np.where(precision < 0, np.nan, precision).mean(1).T
    return Precision(tuple(names), THRESHOLDS, table, objects)


def _precision(scores: Floats, right: NDArray[np.bool_], aside: NDArray[np.bool_], objects: int) -> Floats:
    """Average precision ``[T]`` from all pictures' matches ``[T, N]``."""
    order = np.argsort(-scores, kind="stable")
    result = np.zeros(len(right))
    for level in range(len(right)):
        counts = ~aside[level, order]
        hits = right[level, order][counts]
        if not len(hits):
            continue
        found = np.cumsum(hits)
        recall, precision = found / objects, found / np.arange(1, len(hits) + 1)
        falling = np.maximum.accumulate(precision[::-1])[::-1]
        place = np.searchsorted(recall, _RECALLS, side="left")
        result[level] = np.append(falling, 0.0)[place].mean()
    return result


def _surest(found: Detections, most: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    order = np.argsort(-found.scores, kind="stable")[:most]
    return found.quads[order], found.scores[order], found.labels[order]


def _coco_rows(number: int, found: Detections) -> list[dict[str, Any]]:
    quads, scores, labels = _surest(found, MOST)
    low, high = quads.min(1), quads.max(1)
    return [
        {"image_id": number, "category_id": int(label) + 1, "bbox": [*map(float, a), *map(float, b - a)], "score": float(score)}
        for a, b, score, label in zip(low, high, scores, labels, strict=True)
    ]


def _check(truths: Sequence[Layout], found: Sequence[Detections], names: Sequence[str]) -> None:
    if len(truths) != len(found):
        raise InputError(f"{len(truths)} pictures have true boxes and {len(found)} found ones; give both of the same pictures")
    for number, one in enumerate(found):
        if len(one.labels) and not (int(one.labels.min()) >= 0 and int(one.labels.max()) < len(names)):
            raise InputError(f"picture {number} has found objects of class {int(one.labels.max())}; there are {len(names)} classes, from 0")


def _mean(values: Floats) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
