"""The zoo's super-resolution models on the places that their training left out, beside bicubic.

The places are those of the training recipes, read by the same code, so that the split is the same. Each picture's centre crop is the truth;
the low picture is what the model's sensor model sees of it. Three promises are checked for each model: a sample's PSNR is at most 0.5 dB
under bicubic's; its power ratio in the upper half band is at least twice as close to 1; the one-step mean's PSNR is above bicubic's. The
back-projected bicubic stands beside them, since agreement with the low picture alone, without any learning, already gains over bicubic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rasterio.transform import Affine

from earthgen.gen.data.rasters import located
from earthgen.gen.data.sources import Picture
from earthgen.gen.zoo import resolve_model
from earthgen.metrics.evaluate import Options, Pair, evaluate_pairs
from earthgen.metrics.report import Report
from earthgen.pipelines.super_resolution import SuperResolutionPipeline
from earthgen.train.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("ediffsr-x4-small", "ediffsr-x4-small-rgb")
STEPS, SEED, CROP = 20, 0, 192
METRICS = (
    "PSNR",
    "SSIM",
    "SAM",
    "ERGAS",
    "power ratio",
    "sensor error",
    "reflectance",
    "synthesis",
    "hallucination (l1)",
    "improvement (l1)",
)


def run(out: Path) -> dict[str, Any]:
    """Score both models; the full reports go to ``out``."""
    return {name: measure(f"zoo:{name}", name, out) for name in MODELS}


def measure(model: str | Path, recipe: str, out: Path, steps: int = STEPS, crop: int = CROP) -> dict[str, Any]:
    """One model on the held-out places of a recipe.

    Args:
        model: Name or folder.
        recipe: The recipe that trained it.
        out: Folder for the report.
        steps: Sampling steps.
        crop: Side of the centre crops.

    Returns:
        Means with intervals, per image, and whether each promise is kept.
    """
    resolve_model(model)
    pipeline = SuperResolutionPipeline.load(model)
    number = {"sample": 0, "one-step mean": 0}

    def predict(name: str, count: int) -> Any:
        def method(low: Any) -> Any:
            number[name] += 1
            return pipeline(low, num_inference_steps=count, seed=SEED + number[name] - 1)

        return method

    options = Options(
        degradation=f"the model's sensor model (Gaussian MTF {pipeline.sensor.mtf:g}, decimation by {pipeline.scale}), no noise",
        metrics=METRICS,
        sensor=pipeline.sensor,
    )
    report = evaluate_pairs(
        {"one-step mean": predict("one-step mean", 1), "sample": predict("sample", steps)},
        list(held_out_pairs(recipe, pipeline, crop)),
        options,
        title=f"{pipeline.name} on the held-out places of its recipe",
        facts={
            "model": pipeline.name,
            "digest": pipeline.digest,
            "steps": steps,
            "seed": SEED,
            "crop": crop,
            "recipe": recipe,
            "temperature": pipeline.warmth(None),
        },
    )
    report.write(out / f"zoo_{recipe}.json")
    return figures(report)


def held_out_pairs(recipe: str, pipeline: SuperResolutionPipeline, crop: int) -> Iterator[Pair]:
    """Centre crops of the recipe's held-out pictures with what the sensor sees of them; none of them is among its training pictures."""
    chosen = load_recipe(recipe)
    root = chosen.data if chosen.data.is_absolute() else ROOT / chosen.data
    task = chosen.task
    kept = [picture for source in task.held_out.sources for picture in source.pictures(root)]
    trained = {picture.name for source in task.sources if source.weight > 0 and source.kind != "world" for picture in source.pictures(root)}
    both = trained & {picture.name for picture in kept}
    if both:
        raise RuntimeError(f"these are trained on and held out: {sorted(both)[:3]}")
    yield from centre_pairs(kept, pipeline, crop)


def centre_pairs(pictures: Iterable[Picture], pipeline: SuperResolutionPipeline, crop: int) -> Iterator[Pair]:
    """Centre crops of pictures with what the model's sensor sees of them, without noise."""
    for picture in pictures:
        height, width = (min(crop, side) // pipeline.scale * pipeline.scale for side in picture.pixels.shape[-2:])
        top, left = (picture.pixels.shape[-2] - height) // 2, (picture.pixels.shape[-1] - width) // 2
        high = np.ascontiguousarray(picture.pixels[:, top : top + height, left : left + width])
        low = pipeline.sensor.degrade(torch.from_numpy(high)[None])[0].numpy()
        place = Affine.identity()
        named = [located(pixels, pipeline.bands, None, place * Affine.scale(s)) for pixels, s in ((low, pipeline.scale), (high, 1))]
        yield Pair(picture.name, *named)


def figures(report: Report) -> dict[str, Any]:
    """What the promises need, and whether they are kept."""
    scores = {method: {metric: _figure(score.to_dict()) for metric, score in row.items()} for method, row in report.methods.items()}
    ours, bicubic = report.methods["sample"]["power ratio"].each, report.methods["bicubic"]["power ratio"].each
    distance = {"sample": _distances(ours), "bicubic": _distances(bicubic)}
    sample, mean = report.gain("sample", "PSNR"), report.gain("one-step mean", "PSNR")
    learned = report.gain("one-step mean", "PSNR", "back-projected")
    closer = float(np.mean(distance["bicubic"]) / np.mean(distance["sample"]))
    return {
        "images": list(report.images),
        "protocol": report.protocol_text().splitlines(),
        "scores": scores,
        "psnr_sample_over_bicubic": _figure(sample.to_dict()),
        "psnr_mean_over_bicubic": _figure(mean.to_dict()),
        "psnr_mean_over_back_projected": _figure(learned.to_dict()),
        "power_ratio_distance_to_1": {name: {"mean": float(np.mean(values)), "each": values} for name, values in distance.items()},
        "power_ratio_times_closer": closer,
        "promises": {
            "sample PSNR at most 0.5 dB under bicubic": sample.value >= -0.5,
            "sample power ratio at least twice as close to 1": closer >= 2.0,
            "one-step mean PSNR above bicubic": mean.value > 0.0,
        },
    }


def _distances(ratios: Sequence[float]) -> list[float]:
    return [abs(value - 1.0) for value in ratios if np.isfinite(value)]


def _figure(score: dict[str, Any]) -> dict[str, Any]:
    return {"mean": score["value"], "interval": score["interval"], "n": score["n"], "each": score["each"]}
