"""Resampling keeps places, the sensor has the transfer it declares, and back-projection makes pictures agree with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch import Tensor

from earthgen.gen.data.resample import upsample
from earthgen.gen.data.sensor_model import SensorModel, gaussian_taps, mtf_sigma
from earthgen.gen.errors import InputError


def centroid(image: Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass, in units of the picture's side."""
    rows = (torch.arange(image.shape[-2]) + 0.5) / image.shape[-2]
    cols = (torch.arange(image.shape[-1]) + 0.5) / image.shape[-1]
    total = image.sum()
    return float((image.sum(-1) * rows).sum() / total), float((image.sum(-2) * cols).sum() / total)


def blob(height: int, width: int, row: float, col: float, sigma: float) -> Tensor:
    rows = torch.arange(height)[:, None] + 0.5 - row
    cols = torch.arange(width)[None] + 0.5 - col
    return torch.exp(-(rows**2 + cols**2) / (2 * sigma**2))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_a_blob_keeps_its_centroid_up_and_down(scale: int) -> None:
    low = blob(24, 30, 11.3, 14.8, 2.0)
    up = upsample(low[None, None], scale)[0, 0]
    assert up.shape == (24 * scale, 30 * scale)
    assert np.allclose(centroid(up), centroid(low), atol=2e-4)
    high = blob(24 * scale, 30 * scale, 11.3 * scale, 14.8 * scale, 2.0 * scale)
    down = SensorModel(scale).degrade(high[None, None])[0, 0]
    assert np.allclose(centroid(down), centroid(high), atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("mtf", [0.2, 0.3, 0.4])
def test_the_transfer_at_the_coarse_nyquist_frequency_is_the_declared_one(scale: int, mtf: float) -> None:
    taps = gaussian_taps(mtf_sigma(mtf, scale), half=scale % 2 == 0).double()
    places = torch.arange(len(taps)) - (len(taps) - 1) / 2
    transfer = float((taps * torch.cos(2 * math.pi * places / (2 * scale))).sum())
    assert transfer == pytest.approx(mtf, abs=2e-3)


@pytest.mark.parametrize(("scale", "height", "width"), [(2, 30, 44), (3, 33, 30), (4, 40, 64)])
def test_degrade_equals_a_second_implementation(scale: int, height: int, width: int) -> None:
    image = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(1))
    sensor = SensorModel(scale)
    taps = gaussian_taps(mtf_sigma(0.3, scale), half=scale % 2 == 0).numpy().astype(np.float64)
    dense = image[0].numpy().astype(np.float64)
    # scipy's "mirror" is torch's "reflect"; an even filter reads from len/2 before to len/2 - 1 after.
    for axis in (1, 2):
        dense = correlate1d(dense, taps, axis=axis, mode="mirror", origin=0)
    first = scale // 2 if scale % 2 == 0 else (scale - 1) // 2
    inside = slice(2, -2)
    expected = dense[:, first::scale, first::scale][:, inside, inside]
    assert np.abs(sensor.degrade(image)[0].numpy()[:, inside, inside] - expected).max() < 1e-6


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("mtf", [0.2, 0.3, 0.4])
def test_back_projection_reaches_agreement_also_at_the_borders(scale: int, mtf: float) -> None:
    rng = torch.Generator().manual_seed(0)
    sensor = SensorModel(scale, mtf)
    truth = torch.rand(1, 3, 20 * scale, 27 * scale, generator=rng) * 0.3
    low = sensor.degrade(truth)
    image, error = sensor.back_project(torch.full_like(truth, 0.1), low)
    assert torch.allclose(error, low - sensor.degrade(image))
    assert float(error.abs().max()) < 1e-3
    assert float(error[..., 6:-6, 6:-6].abs().max()) < 1e-4


def test_back_projection_leaves_a_consistent_picture_alone() -> None:
    sensor = SensorModel(4)
    truth = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    image, _ = sensor.back_project(truth, sensor.degrade(truth))
    assert torch.equal(image, truth)


def test_back_projection_is_local_and_the_same_everywhere() -> None:
    sensor = SensorModel(4)
    rng = torch.Generator().manual_seed(4)
    image, low = torch.rand(1, 1, 256, 256, generator=rng), torch.rand(1, 1, 64, 64, generator=rng) * 0.01
    whole = sensor.back_project(image, low + sensor.degrade(image))[0]
    part = sensor.back_project(image[..., 32:224, 32:224], (low + sensor.degrade(image))[..., 8:56, 8:56])[0]
    inner = (whole[..., 112:144, 112:144] - part[..., 80:112, 80:112]).abs().max()
    assert float(inner) < 1e-5


def test_taps_made_in_inference_mode_serve_training() -> None:
    sensor = SensorModel(5, 0.27)
    with torch.inference_mode():
        sensor.back_project(torch.zeros(1, 1, 40, 40), torch.zeros(1, 1, 8, 8))
    image = torch.rand(1, 1, 40, 40, requires_grad=True)
    sensor.back_project(image, torch.zeros(1, 1, 8, 8))[0].square().mean().backward()
    assert image.grad is not None
    assert bool(torch.isfinite(image.grad).all())


def test_bad_values_are_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        SensorModel(4, 1.5)
    with pytest.raises(InputError, match="multiples of 4"):
        SensorModel(4).degrade(torch.zeros(1, 1, 42, 40))
