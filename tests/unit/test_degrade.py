"""Each degradation against its closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from earthgen.gen.data.degrade import Decimate, Misregister, MtfBlur, Noise, Quantise, build_degradation
from earthgen.gen.data.sensor_model import SensorModel


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def wave(size: int, frequency: float, phase: float = 0.0) -> Tensor:
    """Cosine along x around 1, ``[1, size, size]``; frequency in cycles per pixel, phase counted at x = -0.5 (the picture's edge)."""
    x = torch.arange(size, dtype=torch.float64) + 0.5
    return (1.0 + torch.cos(2 * math.pi * frequency * x + phase)).expand(1, size, size).to(torch.float32)


def amplitude(image: Tensor, frequency: float) -> float:
    """Amplitude of a frequency in the middle rows and columns, by projection over whole periods."""
    row = image[0, image.shape[-2] // 2].double()
    row = row - row.mean()
    x = torch.arange(len(row), dtype=torch.float64)
    spectrum = (row * torch.exp(-2j * math.pi * frequency * x)).mean()
    return 2 * float(spectrum.abs())


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
@pytest.mark.parametrize("mtf", [0.15, 0.3, 0.45])
def test_blur_and_decimation_have_the_declared_transfer(scale: int, mtf: float) -> None:
    """Half the low grid's Nyquist frequency passes with mtf^(1/4): it is a Gaussian with the declared value at Nyquist."""
    low_size = 64
    chain = build_degradation([MtfBlur(mtf=mtf, scale=scale), Decimate(scale=scale)])
    image = wave(low_size * scale, 0.25 / scale)
    found = amplitude(chain(image, rng()), 0.25)
    assert found == pytest.approx(mtf**0.25, rel=0.01)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_pair_is_the_sensor_model(scale: int) -> None:
    """The recipe's blur and decimation and the sensor model that evaluation uses are one operator, but for the Gaussian's sampling."""
    picture = torch.from_numpy(rng(3).random((2, 24 * scale, 20 * scale), dtype=np.float32))
    smooth = torch.nn.functional.avg_pool2d(picture, 3, 1, 1)
    low = build_degradation([MtfBlur(mtf=0.3, scale=scale), Decimate(scale=scale)])(smooth, rng())
    expected = SensorModel(scale, mtf=0.3).degrade(smooth[None])[0]
    inner = (slice(None), slice(3, -3), slice(3, -3))
    assert low.shape == expected.shape
    assert float((low - expected)[inner].abs().max()) < 0.02 * float(smooth.std())


def test_a_range_is_drawn_from_and_keeps_the_mean() -> None:
    step = MtfBlur(mtf=(0.2, 0.4), scale=4)
    image = torch.from_numpy(rng(1).random((1, 64, 64), dtype=np.float32))
    one, two = step(image, rng(1)), step(image, rng(2))
    assert not torch.equal(one, two)
    assert torch.equal(one, step(image, rng(1)))
    flat = torch.full((3, 40, 40), 0.37)
    torch.testing.assert_close(step(flat, rng()), flat, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4, 5, 6])
def test_decimation_keeps_the_centroid(scale: int) -> None:
    """Half-pixel convention: low pixel i is centred at (i + 0.5) * scale - 0.5."""
    size = 40 * scale
    centre = (19.3 * scale, 21.1 * scale)
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    blob = torch.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * (2.0 * scale) ** 2))[None]
    low = Decimate(scale=scale)(blob, rng())[0].double()
    places = (torch.arange(40) + 0.5) * scale
    found = ((low.sum(1) * places).sum() / low.sum(), (low.sum(0) * places).sum() / low.sum())
    assert float(found[0]) == pytest.approx(centre[0], abs=0.01)
    assert float(found[1]) == pytest.approx(centre[1], abs=0.01)


def test_decimation_drops_what_does_not_fill_a_block() -> None:
    assert Decimate(scale=4)(torch.rand(2, 19, 22), rng()).shape == (2, 4, 5)


def test_noise_has_the_declared_spread() -> None:
    flat = torch.full((1, 400, 400), 0.25)
    noise = Noise(std=0.02, relative=0.1)(flat, rng()) - flat
    assert float(noise.std()) == pytest.approx(math.sqrt(0.02**2 + 0.1**2 * 0.25), rel=0.01)
    assert float(noise.mean()) == pytest.approx(0.0, abs=5e-4)
    below_zero = torch.full((1, 50, 50), -0.1)
    assert torch.equal(Noise(std=0.0, relative=0.5)(below_zero, rng()), below_zero)


def test_quantising_rounds_to_steps() -> None:
    image = torch.rand(1, 30, 30)
    rounded = Quantise(step=0.01)(image, rng())
    assert float((rounded - image).abs().max()) <= 0.005 + 1e-6
    torch.testing.assert_close(rounded / 0.01, torch.round(rounded / 0.01), rtol=0, atol=1e-4)


def test_misregistration_moves_each_band_by_the_length() -> None:
    size, length = 64, 0.4
    y, x = torch.meshgrid(torch.arange(size).double(), torch.arange(size).double(), indexing="ij")
    blob = torch.exp(-((y - 32) ** 2 + (x - 31) ** 2) / (2 * 5.0**2)).float().expand(3, -1, -1)
    moved = Misregister(shift=length)(blob, rng(2)).double()
    shifts = []
    for band in moved:
        centre = (float((band * y).sum() / band.sum()) - 32, float((band * x).sum() / band.sum()) - 31)
        assert math.hypot(*centre) == pytest.approx(length, abs=0.01)
        shifts.append(centre)
    assert len({round(shift[0], 3) for shift in shifts}) == 3, "each band has its own direction"


def test_a_chain_is_a_function_of_the_generator() -> None:
    steps = [MtfBlur(mtf=(0.2, 0.4)), Misregister(shift=(0.0, 0.3)), Decimate(), Noise(std=(0.0, 0.01)), Quantise()]
    chain = build_degradation(steps)
    image = torch.rand(4, 64, 64)
    assert chain.scale == 4
    assert torch.equal(chain(image, rng(5)), chain(image, rng(5)))
    assert not torch.equal(chain(image, rng(5)), chain(image, rng(6)))


@pytest.mark.parametrize(
    ("step", "values"),
    [(MtfBlur, {"mtf": 0.0}), (MtfBlur, {"mtf": 1.2}), (MtfBlur, {"mtf": [0.4, 0.2]}), (Noise, {"std": [-1, 1]}), (Quantise, {"step": 0})],
)
def test_impossible_values_are_refused(step: type, values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        step(**values)
