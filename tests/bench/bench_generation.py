"""The small generator of the zoo on places that it was not trained on: distance to their pictures, and whether it follows its conditions.

Reference are crops of the test places of its own recipe, which chose nothing; the generator is told their captions and metadata, not
their masks. Beside it: training crops as they are (what a perfect memory would reach), under a Gaussian blur of radius 4, and noise in the
colours of a training crop; and the test crops through the autoencoder, whose losses no generator in its latents can undo. Distances are
taken twice: in the features of the zoo's own network, and in plain statistics of colour and texture that need no network and see blur
(`statistics_of`). None compares with a published one.

Conditions are exchanged with the noise held: month, ground sampling distance, and which half of a mask is water. What the pictures then
look like is read by the heads of the same network, and by what needs no network: for the month the share of bright pixels (snow) and
greenness, for the mask how blue and dark its half is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from earthgen.gen.conditioning.metadata import Metadata
from earthgen.gen.data.described_crops import Crop
from earthgen.gen.data.splits import Split
from earthgen.gen.models.autoencoder import decode, encode_mean
from earthgen.metrics.distribution import Estimate, kernel_estimate
from earthgen.metrics.feature_networks import OurFeatures, load_features
from earthgen.metrics.metadata_fidelity import direction_share, month_direction_share
from earthgen.metrics.trivial_pictures import blurred, colour_noise
from earthgen.pipelines.earth import EarthPipeline
from earthgen.train.recipe import load_recipe
from earthgen.train.tasks.generation_controls import ControlInputs
from earthgen.train.tasks.generation_data import GenerationData, metadata_of

ROOT = Path(__file__).resolve().parents[3] / "shared/data"
MODEL, FEATURES, RECIPE = "zoo:earth-small", "zoo:features-small", "earth-small"
COUNT, SEEDS, SEED = 512, 64, 1_000_000
FIELD = {"lat": 48.256, "lon": 26.361, "gsd": 10.0}
"""The Ukrainian cropland whose months are among the training pictures; the other condition of the switches."""


def run(out: Path) -> dict[str, Any]:
    """Measure the zoo's model."""
    return measure(MODEL, FEATURES)


def measure(model: str | Path, features: str | Path, part: Split = "test", count: int = COUNT, seeds: int = SEEDS) -> dict[str, Any]:
    """All figures of a model.

    Args:
        model: Name or folder of a generator.
        features: Name or folder of the feature network.
        part: Which places.
        count: Pictures of each set.
        seeds: Pairs of each switch.

    Returns:
        Kernel distances with intervals, ratios, shares with intervals, and what they were made with.
    """
    pipeline, network = EarthPipeline.load(model), load_features(features)
    data = held_out(pipeline)
    return {
        "model": {"name": pipeline.name, "digest": pipeline.digest},
        "features": network.name,
        "distance": distances(pipeline, network, data, part, count),
        "switches": switches(pipeline, network, seeds),
    }


def held_out(pipeline: EarthPipeline) -> GenerationData:
    """The real pictures of the recipe, divided by place, with the model's own autoencoder."""
    config = load_recipe(RECIPE).task.model_copy(update={"also": None})
    return GenerationData(config, ROOT, 0, pipeline.vae, ControlInputs({}, None))


def distances(pipeline: EarthPipeline, network: OurFeatures, data: GenerationData, part: Split, count: int) -> dict[str, Any]:
    """Kernel distances to the crops of the held-out places."""
    reference, training = data.held_out_crops(part, count, seed=11), data.held_out_crops("train", count, seed=12)
    shown, trained = pixels(reference), pixels(training)
    with torch.no_grad():
        through = torch.cat([decode(pipeline.vae, encode_mean(pipeline.vae, some)) for some in shown.split(32)])
    sets = {
        "generated": generated(pipeline, data, reference),
        "training crops": trained,
        "test crops through the autoencoder": through,
        "training crops, blurred": torch.stack([blurred(picture) for picture in trained]),
        "colour noise": torch.stack([colour_noise(picture, number) for number, picture in enumerate(trained)]),
    }
    spaces = {network.name: partial(read, network), "statistics of colour and texture": scaled_by(statistics_of(shown))}
    return {"part": part, "pictures": count, **{name: _table(space, sets, shown) for name, space in spaces.items()}}


def _table(space: Callable[[Tensor], Tensor], sets: Mapping[str, Tensor], shown: Tensor) -> dict[str, Any]:
    wanted = space(shown)
    found = {name: kernel_estimate(space(pictures), wanted) for name, pictures in sets.items()}
    own = found["generated"].value
    return {
        "kernel distance": {name: plain(estimate) for name, estimate in found.items()},
        "times lower than": {name: found[name].value / own for name in ("training crops, blurred", "colour noise")},
    }


def statistics_of(shown: Tensor) -> Tensor:
    """Statistics of pictures ``[n, 3, H, W]``, ``[n, 24]`` float64.

    Mean and spread of each band, the correlations of the bands, and for each band the logarithm of the energy of four octaves of spatial
    frequency; and of brightness the skewness, and the spread of the finest octave's energy over a grid of 4 x 4.
    """
    flat = shown.double().flatten(2)
    mean, spread = flat.mean(2), flat.std(2) + 1e-3
    unit = (flat - mean[..., None]) / spread[..., None]
    pairs = [(unit[:, a] * unit[:, b]).mean(1) for a, b in ((0, 1), (0, 2), (1, 2))]
    columns = [*mean.T, *spread.log().T, *pairs, unit.mean(1).pow(3).mean(1).clamp(-5, 5)]
    image = shown.double()
    for octave in range(4):
        smooth = F.interpolate(F.avg_pool2d(image, 2), scale_factor=2.0, mode="nearest")
        detail = (image - smooth).square()
        if octave == 0:
            cells = F.adaptive_avg_pool2d(detail.mean(1, keepdim=True), 4).flatten(1)
            columns += [(cells + 1e-6).log().std(1), (cells + 1e-6).log().mean(1)]
        columns += list((detail.mean((2, 3)) + 1e-6).log().T)
        image = F.avg_pool2d(image, 2)
    return torch.stack(columns, 1)


def scaled_by(reference: Tensor) -> Callable[[Tensor], Tensor]:
    """`statistics_of` in units of the reference's mean and spread, cut to 5."""
    mean, spread = reference.mean(0), reference.std(0)
    return lambda shown: ((statistics_of(shown) - mean) / spread).clamp(-5, 5)


def generated(pipeline: EarthPipeline, data: GenerationData, crops: Sequence[Crop]) -> Tensor:
    """One picture for each crop's caption and metadata, ``[n, 3, H, W]``."""
    schema = pipeline.metadata_schema
    assert schema is not None
    told = [metadata_of(crop.of, schema) for crop in crops]
    seeds = list(range(SEED, SEED + len(crops)))
    made = pipeline([crop.caption for crop in crops], metadata=told, seed=seeds, output_type="pt", batch_size=32)
    return torch.as_tensor(made.images)


def switches(pipeline: EarthPipeline, network: OurFeatures, seeds: int) -> dict[str, Any]:
    """Shares of the pairs in which the pictures change as their conditions do."""
    winter, summer = (pictures(pipeline, seeds, "croplands", [Metadata(**FIELD, date=f"2018-{month:02d}")]) for month in (1, 7))
    near, far = (pictures(pipeline, seeds, "trees and fields", [Metadata(gsd=gsd)]) for gsd in (0.1, 10.0))
    fine, coarse = (pictures(pipeline, seeds, "fields and a town", [Metadata(gsd=gsd)]) for gsd in (10.0, 40.0))
    left = torch.zeros(1, *pipeline.size)
    left[:, :, : pipeline.size[1] // 2] = 1
    masks = [{"water": left, "fields": 1 - left}, {"water": 1 - left, "fields": left}]
    west, east = (pictures(pipeline, seeds, "", [Metadata(gsd=10.0)], hints=mask) for mask in masks)
    january, july = torch.full((seeds,), 1), torch.full((seeds,), 7)
    months = month_direction_share(heads(network, winter)["month"], heads(network, summer)["month"], january, july)
    return {
        "pairs": seeds,
        "month, January against July, read by the network": plain(months),
        "month, more bright pixels in January": plain(direction_share(bright(summer), bright(winter))),
        "month, greener in July": plain(direction_share(green(winter), green(summer))),
        "gsd, 0.1 m against 10 m": plain(direction_share(heads(network, near)["gsd"], heads(network, far)["gsd"])),
        "gsd, 10 m against 40 m": plain(direction_share(heads(network, fine)["gsd"], heads(network, coarse)["gsd"])),
        "mask, water in the left half against the right, read by the network": plain(
            direction_share(*(lean(heads(network, made)["water"]) for made in (east, west)))
        ),
        "mask, bluer or darker in the masked half": plain(direction_share(*(lean(watery(made)) for made in (east, west)))),
    }


def pictures(pipeline: EarthPipeline, seeds: int, prompt: str, told: list[Metadata], hints: Any = None) -> Tensor:
    """Pictures of one condition from the noise of 64 seeds, ``[n, 3, H, W]``."""
    made = pipeline(
        [prompt] * seeds, metadata=told * seeds, hints=hints, seed=list(range(SEED, SEED + seeds)), output_type="pt", batch_size=32
    )
    return torch.as_tensor(made.images)


def heads(network: OurFeatures, shown: Tensor) -> dict[str, Tensor]:
    """What the network reads: ``month`` ``[n, 2]``, ``gsd`` ``[n]`` (log2 metres), ``water`` ``[n, h, w]`` (probability)."""
    found = [network.read(part) for part in shown.split(64)]
    water = network.covers.index("water")
    return {
        "month": torch.cat([one.month for one in found]),
        "gsd": torch.cat([one.log2_gsd for one in found]),
        "water": torch.cat([one.cover.softmax(1)[:, water] for one in found]),
    }


def read(network: OurFeatures, shown: Tensor) -> Tensor:
    """Features ``[n, D]``."""
    return torch.cat([network(part) for part in shown.split(64)])


def pixels(crops: Sequence[Crop]) -> Tensor:
    """Crops as ``[n, 3, H, W]``, 0 to 1."""
    return torch.from_numpy(np.stack([crop.pixels for crop in crops]).astype(np.float32) / 255)


def bright(shown: Tensor) -> Tensor:
    """Mean of the darkest band, ``[n]``: high where there is snow."""
    return shown.amin(1).mean((1, 2))


def green(shown: Tensor) -> Tensor:
    """Mean of green relative to red and blue, ``[n]``."""
    return (shown[:, 1] / shown.sum(1).clamp(min=0.05)).mean((1, 2))


def watery(shown: Tensor) -> Tensor:
    """Blue less red, less brightness, ``[n, H, W]``."""
    return shown[:, 2] - shown[:, 0] - shown.mean(1)


def lean(values: Tensor) -> Tensor:
    """Mean of the left half less that of the right, ``[n]``."""
    half = values.shape[-1] // 2
    return values[..., :half].mean((-2, -1)) - values[..., -half:].mean((-2, -1))


def plain(estimate: Estimate) -> dict[str, Any]:
    """An estimate as plain types."""
    return {"value": estimate.value, "interval": None if estimate.interval is None else list(estimate.interval)}
