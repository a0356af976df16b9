"""Scores of every made object and picture, thresholds from real held-out objects, and what is accepted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...gen.annotations.box import Layout
from ...gen.data.atomic import atomic_path, write_json
from ...gen.errors import InputError
from ...metrics.feature_networks import feature_network
from ...metrics.label_filters.calibration import acceptance_curve, collected, thresholds, write_curves
from ...metrics.label_filters.crop_classifier import CropClassifier
from ...metrics.label_filters.detector_agreement import DetectorAgreement, Found
from ...metrics.label_filters.label_statistics import LabelStatistics
from ...metrics.label_filters.memorisation import MemorisationDistance
from ...metrics.label_filters.scores import LabelFilter, Scores, judge
from ...train.detection.samples import Sample
from ...train.detection.training import detect, train_detector
from .project import Project
from .real import places_of, squares_of
from .records import records

FILTERS = ("statistics", "classifier", "detector", "memorisation")
Progress = Callable[[int, int], None]
Pair = tuple[Tensor, Layout]


@dataclass(frozen=True)
class Verdict:
    """What the filters say of one made picture.

    Attributes:
        index: Its number.
        accepted: Whether it goes into an export.
        image: Score of the picture by filter.
        objects: Scores of its objects by filter.
        reasons: By filter how many objects it refuses; -1 for the picture.
    """

    index: int
    accepted: bool
    image: dict[str, float | None]
    objects: dict[str, list[float | None]]
    reasons: dict[str, int]


def filter_samples(
    project: Project, chosen: Sequence[str], share: float, seed: int, progress: Progress | None = None
) -> tuple[int, int, list[str]]:
    """Score everything that was sampled, and say what is accepted.

    Writes ``filter.jsonl`` (a line for each picture), ``thresholds.json``, and the acceptance curves as JSON and PNG.

    Args:
        project: With samples.
        chosen: Filters, of `FILTERS`.
        share: Of the real held-out objects that each filter lets pass.
        seed: Of what is trained for it.
        progress: Called with (pictures scored, all).

    Returns:
        Pictures accepted, all, and the filters that refuse nothing, since there are too few real held-out objects for the share.

    Raises:
        InputError: If a filter does not exist, or there are no real held-out objects.
    """
    strange = [name for name in chosen if name not in FILTERS]
    if strange or not chosen:
        raise InputError(f"there is no filter {(strange or ['(none)'])[0]!r}; choose from {', '.join(FILTERS)}")
    made = list(records(project))
    real, held = (squares_of(places_of(project, part), project.settings.size) for part in (False, True))
    filters = make_filters(project, chosen, real, seed)
    calibration = [[one(*pair) for one in filters] for pair in map(as_pair, held)]
    least = thresholds(calibration, share)
    scored: list[list[Scores]] = []
    for number, record in enumerate(made, 1):
        picture = as_tensor(record.pixels(project))
        scored.append([one(picture, record.layout) for one in filters])
        if progress is not None:
            progress(number, len(made))
    verdicts = []
    for record, scores in zip(made, scored, strict=True):
        found = judge(scores, least)
        told = {one.filter: one.plain() for one in scores}
        image, objects = ({name: value[key] for name, value in told.items()} for key in ("picture", "objects"))
        accepted = bool(found.picture) and bool(record.layout.boxes)
        verdicts.append(Verdict(record.index, accepted, image, objects, dict(found.reasons)))
    with atomic_path(project.verdicts) as partial:
        partial.write_text("".join(json.dumps(verdict.__dict__, allow_nan=False) + "\n" for verdict in verdicts), encoding="utf-8")
    words = {one.name: one.words for one in filters}
    finite = {name: value if np.isfinite(value) else None for name, value in least.items()}
    write_json(project.folder / "thresholds.json", {"share": share, "held_out_squares": len(held), "least": finite, "words": words})
    truth, ours = collected(calibration), collected(scored)
    curves = [acceptance_curve(name, values, {"made": ours[name]}, share) for name, values in truth.items() if name in least]
    write_curves(curves, project.folder / "acceptance.json", words)
    idle = [name for name, value in least.items() if not np.isfinite(value)]
    return sum(verdict.accepted for verdict in verdicts), len(verdicts), idle


def make_filters(project: Project, chosen: Sequence[str], real: Sequence[Sample], seed: int) -> list[LabelFilter]:
    """Filters fitted to real training squares.

    Args:
        project: Whose classes count.
        chosen: Names.
        real: Squares of places that are not held out.
        seed: Of what is trained.
    """
    names, pairs = list(project.settings.names), [as_pair(sample) for sample in real]
    made: list[LabelFilter] = []
    if "statistics" in chosen:
        made.append(LabelStatistics([layout for _, layout in real]))
    if "classifier" in chosen:
        made.append(CropClassifier.fit(pairs, names))
    if "detector" in chosen:
        made.append(DetectorAgreement(_detector(project, real, seed), words="a small detector trained on the real squares"))
    if "memorisation" in chosen:
        made.append(MemorisationDistance(feature_network("zoo:features-small"), pairs))
    return made


def read_verdicts(project: Project) -> list[Verdict]:
    """What `filter_samples` found.

    Raises:
        InputError: If it has not run, or the file is damaged.
    """
    path = project.need(project.verdicts, "filter")
    try:
        return [Verdict(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); run earthgen synthesize filter {project.folder} again") from error


def as_pair(sample: Sample) -> Pair:
    """A square as the filters take it."""
    return as_tensor(sample[0]), sample[1]


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """``[H, W, 3]`` uint8 as ``[3, H, W]``, 0 to 1."""
    return torch.from_numpy(np.moveaxis(pixels, -1, 0).astype(np.float32) / 255)


def _detector(project: Project, real: Sequence[Sample], seed: int) -> Callable[[Tensor], Found]:
    names = list(project.settings.names)
    net = train_detector(real, names, seed=seed, horizontal=project.settings.horizontal)

    def find(picture: Tensor) -> Found:
        pixels = np.moveaxis((picture.numpy() * 255 + 0.5).astype(np.uint8), 0, -1)
        seen = detect(net, [np.ascontiguousarray(pixels)], threshold=0.02)[0]
        return Found(seen.quads, seen.scores, [names[int(label)] for label in seen.labels])

    return find
