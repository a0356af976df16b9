"""The small layout generator of the zoo on places that it was not trained on: is what is painted what was asked for, and where?

Layouts are those of real crops of the test places of its own recipe. A detector that was trained on real training crops looks at the real
crops, at generated pictures of the same layouts, and at what must score less: generated pictures of other layouts, and flat rectangles on
blurred real ground. Layout score is the mean average precision of the requested boxes at confidence 0.001. Speed is that of 256-pixel
pictures, told random layouts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earthgen.gen.annotations.box import Box, Layout
from earthgen.gen.data.objects_crops import ObjectCrop
from earthgen.metrics.layout_adherence import classification_score, layout_score
from earthgen.pipelines.layout import LayoutToImagePipeline
from earthgen.train.detection.cheap_pictures import flat_pictures
from earthgen.train.detection.samples import Sample
from earthgen.train.detection.training import DetectorTraining, train_detector
from earthgen.train.recipe import load_recipe
from earthgen.train.tasks.layout_config import LayoutConfig
from earthgen.train.tasks.layout_data import LayoutData, layout_of

ROOT = Path(os.environ.get("EARTHGEN_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
MODEL, RECIPE = "zoo:layout-small", "layout-small"
HORIZONTAL = ("tree", "plane")
TRAINING, COUNT, TIMED = 800, 200, 16


def run(out: Path) -> dict[str, Any]:
    """Measure the zoo's model."""
    return measure(MODEL)


def measure(model: str | Path, count: int = COUNT, steps: int = 800) -> dict[str, Any]:
    """All figures of a model.

    Args:
        model: Name or folder.
        count: Crops of the test places.
        steps: Of the detector.
    """
    config = load_recipe(RECIPE).task
    assert isinstance(config, LayoutConfig)
    real_only = [source for source in config.objects.sources if source.kind == "annotations"]
    config = config.model_copy(update={"objects": config.objects.model_copy(update={"sources": real_only})})
    data, names = LayoutData(config, ROOT, 0), list(config.names)
    training = [_sample(data.train.item(np.random.default_rng([1, number])), names) for number in range(TRAINING)]
    detector = train_detector(training, names, steps, horizontal=HORIZONTAL, training=DetectorTraining(steps=steps))
    real = [_sample(crop, names) for crop in data.held_out("test", count) if len(crop.quads)]
    pipeline = LayoutToImagePipeline.load(model)
    made = _made(pipeline, [layout for _, layout in real])
    others = [(picture, layout) for (picture, _), (_, layout) in zip(made, [*real[1:], real[0]], strict=True)]
    flat = flat_pictures(real, HORIZONTAL, len(real), np.random.default_rng(2))
    rows = {"real": real, "generated": made, "generated, told another layout": others, "flat rectangles, their own layouts": flat}
    scores = {}
    for name, samples in rows.items():
        precision, directions = layout_score(detector, samples)
        scores[name] = {"map": precision.mean, "ap50": precision.ap50, "by_class_ap50": _by_class(precision, names), **vars(directions)}
    scored = classification_score(made, real, names)
    return {
        "model": {"name": pipeline.name, "digest": pipeline.digest},
        "pictures": len(real),
        "objects": sum(len(layout.boxes) for _, layout in real),
        "layout_score": scores,
        "share_of_real": scores["generated"]["map"] / scores["real"]["map"],
        "classification_accuracy_score": {"value": scored.value, "interval": list(scored.interval or ())},
        "seconds_per_256_px": _seconds(pipeline, names),
        "settings": {"detector": DetectorTraining(steps=steps).words(), "training_crops": TRAINING, "steps": pipeline.steps_of(None)},
    }


def _by_class(precision: Any, names: Sequence[str]) -> dict[str, float | None]:
    return {name: None if np.isnan(row[0]) else round(float(row[0]), 4) for name, row in zip(names, precision.table, strict=True)}


def _sample(crop: ObjectCrop, names: Sequence[str]) -> Sample:
    return np.ascontiguousarray(crop.pixels.transpose(1, 2, 0)), layout_of(crop, names)


def _made(pipeline: LayoutToImagePipeline, layouts: Sequence[Layout]) -> list[Sample]:
    result = pipeline(list(layouts), seed=[1_000_000 + number for number in range(len(layouts))], batch_size=16)
    pictures = (np.moveaxis(np.asarray(result.images), 1, -1) * 255 + 0.5).astype(np.uint8)
    return list(zip(pictures, layouts, strict=True))


def _seconds(pipeline: LayoutToImagePipeline, names: Sequence[str]) -> dict[str, float]:
    """Wall seconds of a 256-pixel picture: in windows of the model's size, and whole."""
    rng, found = np.random.default_rng(3), {}
    layouts = [
        Layout(256, 256, tuple(Box.rotated(str(rng.choice(names)), *rng.uniform(30, 226, 2), 34, 20, rng.uniform(0, 3)) for _ in range(8)))
        for _ in range(TIMED)
    ]
    for name, window in (("windows", None), ("whole", 256)):
        pipeline(layouts[:2], window=window, seed=0)
        began = time.perf_counter()
        pipeline(layouts, window=window, seed=0, batch_size=8)
        found[name] = round((time.perf_counter() - began) / TIMED, 3)
    return found
