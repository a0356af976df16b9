"""Power spectra, displacement, sensor error and opensr-style figures against what they must be by construction."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from earthgen.gen.data.resample import upsample
from earthgen.gen.data.sensor_model import SensorModel
from earthgen.gen.errors import InputError
from earthgen.metrics.consistency import opensr_triple, scale_between, sensor_error
from earthgen.metrics.registration import displacement
from earthgen.metrics.spectrum import band_power_ratio, power_spectrum, radial_frequency, ring_power, ring_ratio
from earthgen.metrics.synthesis import correctness, harmonised, match_histogram


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def texture(bands: int = 1, side: int = 96, seed: int = 0, *, reach: float = 0.12) -> Tensor:
    """A smooth periodic field whose shifts are known exactly: band-limited noise."""
    radius = radial_frequency(side)
    spectrum = torch.fft.fft2(white(1, bands, side, side, seed=seed).double()) * torch.exp(-((radius / reach) ** 2))
    return torch.fft.ifft2(spectrum).real


def shifted(image: Tensor, rows: float, columns: float) -> Tensor:
    """Periodic sub-pixel shift down and right by the Fourier shift theorem."""
    fy, fx = torch.fft.fftfreq(image.shape[-2], dtype=torch.float64), torch.fft.fftfreq(image.shape[-1], dtype=torch.float64)
    phase = torch.exp(-2j * math.pi * (fy[:, None] * rows + fx * columns))
    return torch.fft.ifft2(torch.fft.fft2(image) * phase).real


def test_white_noise_has_flat_power_equal_to_its_variance() -> None:
    _, power = ring_power(power_spectrum(3.0 * white(1, 4, 512, 512)).mean(dim=1), rings=8)
    assert torch.allclose(power, torch.full_like(power, 9.0), rtol=0.08)


def test_parseval_a_sinusoid_puts_its_power_at_its_frequency() -> None:
    column = torch.arange(128, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * 0.25 * column).expand(1, 1, 128, 128)
    spectrum = power_spectrum(wave)[0, 0]
    peak = int(spectrum.argmax())
    assert torch.fft.fftfreq(64)[peak % 64].abs() == 0.25
    assert peak // 64 == 0
    assert float(spectrum[0, [15, 16, 17, 47, 48, 49]].sum() / spectrum[0].sum()) > 0.99


def test_a_picture_against_itself_and_scaled() -> None:
    truth = white(2, 3, 128, 100)
    assert torch.allclose(band_power_ratio(truth, truth), torch.ones(2, dtype=torch.float64))
    assert torch.allclose(band_power_ratio(0.5 * truth, truth), torch.full((2,), 0.25, dtype=torch.float64))
    assert torch.allclose(ring_ratio(2 * truth + 7, truth), torch.full((2, 16), 4.0, dtype=torch.float64))


def test_a_known_filter_gives_its_squared_response() -> None:
    truth = white(1, 2, 512, 512).double()
    taps = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    image = F.conv2d(F.pad(truth, (1, 1, 1, 1), mode="circular"), (taps[:, None] * taps).expand(2, 1, 3, 3), groups=2)
    # Response of (1, 2, 1)/4 along one axis: cos^2(pi f); the expected ratio is the mean of its square over the band.
    axis = torch.cos(math.pi * torch.fft.fftfreq(64, dtype=torch.float64)) ** 2
    squared = (axis[:, None] * axis) ** 2
    inside = (radial_frequency(64) >= 0.25) & (radial_frequency(64) <= 0.5)
    assert float(band_power_ratio(image, truth)) == pytest.approx(float(squared[inside].mean()), rel=0.03)


def test_added_independent_noise_adds_its_power() -> None:
    truth = white(1, 3, 384, 384)
    noisy = truth + 0.5 * white(1, 3, 384, 384, seed=1)
    assert float(band_power_ratio(noisy, truth)) == pytest.approx(1.25, rel=0.03)


def test_bicubic_loses_most_of_the_upper_half_band() -> None:
    truth = white(1, 1, 256, 256)
    low = SensorModel(4).degrade(truth)
    assert float(band_power_ratio(upsample(low, 4), truth)) < 0.05


def test_nodata_blocks_count_for_nothing() -> None:
    truth, image = white(1, 2, 256, 256), white(1, 2, 256, 256, seed=3)
    image[..., 100:140, 90:120] = math.nan
    first = band_power_ratio(image, truth)
    truth[..., 100:140, 90:120] = 1e6
    assert torch.equal(band_power_ratio(image, truth), first)
    assert torch.isnan(band_power_ratio(torch.full_like(truth, math.nan), truth)).all()


def test_ring_centres_and_the_corner_are_as_said() -> None:
    centres, power = ring_power(torch.ones(1, 32, 32, dtype=torch.float64), rings=4)
    assert centres.tolist() == [0.0625, 0.1875, 0.3125, 0.4375]
    assert torch.equal(power, torch.ones(1, 4, dtype=torch.float64))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, -2.0), (0.37, 0.81), (-2.46, 1.12)])
def test_a_known_sub_pixel_shift_is_found(shift: tuple[float, float]) -> None:
    big = texture(bands=2)
    image, reference = shifted(big, *shift)[..., 8:88, 8:88], big[..., 8:88, 8:88]
    found = displacement(image, reference)[0]
    assert found.tolist() == pytest.approx(list(shift), abs=0.05)


def test_a_hole_does_not_draw_the_displacement_to_itself() -> None:
    big = texture()
    image, reference = shifted(big, 1.5, -0.75)[..., 8:88, 8:88].clone(), big[..., 8:88, 8:88].clone()
    image[..., 20:32, 50:70] = math.nan
    assert displacement(image, reference)[0].tolist() == pytest.approx([1.5, -0.75], abs=0.1)


def test_too_long_or_no_displacement_is_not_a_number() -> None:
    big = texture()
    assert torch.isnan(displacement(shifted(big, 9.0, 0.0), big, limit=5.0)).all()
    assert torch.isnan(displacement(torch.ones(1, 1, 32, 32), torch.ones(1, 1, 32, 32))).all()


def test_the_sensor_sees_its_own_picture_again() -> None:
    high, sensor = white(2, 3, 64, 48).abs(), SensorModel(4)
    low = sensor.degrade(high)
    assert float(sensor_error(high, low, sensor).largest.max()) < 1e-6
    assert torch.allclose(sensor_error(high, low + 0.02, sensor).mean, torch.full((2,), 0.02, dtype=torch.float64), atol=1e-6)


def test_nodata_is_kept_out_of_the_sensor_error_with_the_whole_reach_of_the_blur() -> None:
    high, sensor = white(1, 2, 128, 128).abs(), SensorModel(4)
    low = sensor.degrade(high)
    high[..., 40:52, 60:70] = math.nan
    assert float(sensor_error(high, low, sensor).largest) < 1e-6
    nothing = sensor_error(torch.full_like(high, math.nan), low, sensor)
    assert torch.isnan(nothing.mean).all()
    assert torch.isnan(nothing.largest).all()


def test_grids_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="by a whole factor with the same bands"):
        scale_between(torch.zeros(1, 2, 17, 16), torch.zeros(1, 2, 4, 4))
    with pytest.raises(InputError, match="by a whole factor with the same bands"):
        scale_between(torch.zeros(1, 3, 16, 16), torch.zeros(1, 2, 4, 4))
    with pytest.raises(InputError, match=r"differ by a factor 2, the sensor model has scale 4; use SensorModel\(2\)"):
        sensor_error(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4), SensorModel(4))


def test_the_triple_of_an_exact_reduction_is_zero_and_offsets_show() -> None:
    high = (texture(bands=3, side=192) + 1.0).float()
    low = F.interpolate(high, scale_factor=0.25, mode="bilinear", antialias=True)
    triple = opensr_triple(high, low, rgb=(0, 1, 2))
    assert float(triple.reflectance) < 1e-6
    assert float(triple.spectral) < 1e-3
    assert float(triple.spatial) <= 0.01 + 1e-9
    brighter = opensr_triple(high * 1.5, low)
    assert float(brighter.reflectance) == pytest.approx(0.5, rel=0.05)
    assert float(brighter.spectral) < 1e-3
    moved = opensr_triple(torch.roll(high, (4, 8), dims=(-2, -1)), low)
    assert float(moved.spatial) == pytest.approx(math.hypot(1, 2), abs=0.1)


def test_a_picture_smaller_than_the_border_has_no_triple() -> None:
    triple = opensr_triple(torch.ones(1, 2, 32, 32), torch.ones(1, 2, 8, 8))
    assert torch.isnan(triple.reflectance).all()


@pytest.mark.parametrize("distance", ["nd", "l1"])
def test_shares_sum_to_one_and_say_the_obvious(distance: str) -> None:
    field = texture(bands=3, side=128, reach=0.15).float()
    truth = 0.3 + 0.05 * field / field.std()
    low = F.interpolate(truth, scale_factor=0.25, mode="bilinear", antialias=True)
    lazy = F.interpolate(low, scale_factor=4, mode="bilinear")
    invented = lazy + 0.2 * white(*truth.shape, seed=5)
    results = {
        name: correctness(image, truth, low, distance=distance) for name, image in [("right", truth), ("lazy", lazy), ("bad", invented)]
    }  # type: ignore[arg-type]
    for result in results.values():
        total = result.hallucination + result.omission + result.improvement
        assert torch.allclose(total, torch.ones(1, dtype=torch.float64))
    assert results["right"].improvement > 0.8
    assert results["lazy"].omission > max(results["lazy"].improvement, results["lazy"].hallucination)
    assert results["bad"].hallucination > results["right"].hallucination
    assert results["right"].synthesis > results["lazy"].synthesis


def test_shares_are_undefined_where_there_is_nodata() -> None:
    truth = texture(bands=2, side=64).float()
    low = F.avg_pool2d(truth, 4)
    image = truth.clone()
    image[..., 30, 30] = math.nan
    assert torch.isnan(correctness(image, truth, low).improvement).all()


def test_histogram_matching_takes_the_values_and_keeps_the_order() -> None:
    image, reference = white(2, 9, 9), white(2, 9, 9, seed=1) * 5 + 2
    matched = match_histogram(image, reference)
    assert torch.equal(matched.flatten(1).sort(dim=1).values, reference.flatten(1).sort(dim=1).values)
    assert torch.equal(matched.flatten(1).argsort(dim=1), image.flatten(1).argsort(dim=1))


def test_harmonising_takes_brightness_and_a_whole_pixel_shift_back() -> None:
    truth = texture(bands=2)[0]
    moved = torch.roll(truth, (2, -1), dims=(-2, -1)) * 3 + 0.5
    back = harmonised(moved, truth)
    assert torch.allclose(back[:, 5:-5, 5:-5], truth[:, 5:-5, 5:-5], atol=1e-6)
