"""Our figures against scikit-image and scipy on the same pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from earthgen.metrics.fidelity import psnr, rmse, ssim
from earthgen.metrics.pixels import luma
from earthgen.metrics.protocol import bootstrap_interval
from earthgen.metrics.registration import displacement
from earthgen.metrics.spectrum import power_spectrum
from earthgen.metrics.synthesis import match_histogram

metrics = pytest.importorskip("skimage.metrics")


def pair(seed: int, bands: int = 3, height: int = 70, width: int = 59) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ndimage = pytest.importorskip("scipy.ndimage")
    truth = ndimage.gaussian_filter(rng.random((bands, height, width)), (0, 1.5, 1.5))
    return truth + 0.03 * rng.standard_normal(truth.shape), truth


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array)[None] for array in arrays]


@pytest.mark.parametrize("data_range", [1.0, 0.4])
def test_psnr_and_rmse(data_range: float) -> None:
    image, truth = pair(0)
    ours = float(psnr(*tensors(image, truth), data_range=data_range))
    assert ours == pytest.approx(metrics.peak_signal_noise_ratio(truth, image, data_range=data_range), abs=1e-5)
    assert float(rmse(*tensors(image, truth))) == pytest.approx(np.sqrt(metrics.mean_squared_error(truth, image)), rel=1e-9)


@pytest.mark.parametrize("data_range", [1.0, 0.4])
def test_ssim(data_range: float) -> None:
    image, truth = pair(1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": data_range}
    theirs = metrics.structural_similarity(truth, image, channel_axis=0, **settings)
    assert float(ssim(*tensors(image, truth), data_range=data_range)) == pytest.approx(theirs, abs=1e-6)


def test_ssim_over_a_mask_is_the_mean_of_the_whole_windows_inside() -> None:
    image, truth = pair(2)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    _, windows = metrics.structural_similarity(truth, image, channel_axis=0, full=True, **settings)
    image[:, 30:40, :20] = np.nan
    ndimage = pytest.importorskip("scipy.ndimage")
    keep = ndimage.binary_erosion(np.isfinite(image[0]), np.ones((11, 11)), border_value=0)
    assert float(ssim(*tensors(image, truth), data_range=1.0)) == pytest.approx(windows[:, keep].mean(), abs=1e-6)


def test_luma() -> None:
    color = pytest.importorskip("skimage.color")
    picture = np.random.default_rng(3).random((3, 8, 9))
    theirs = color.rgb2ycbcr(picture, channel_axis=0)[0] / 255
    assert torch.allclose(luma(torch.from_numpy(picture)[None])[0, 0], torch.from_numpy(theirs), atol=1e-9)


def test_displacement() -> None:
    registration, ndimage = pytest.importorskip("skimage.registration"), pytest.importorskip("scipy.ndimage")
    _, truth = pair(4, bands=1, height=96, width=96)
    moved = ndimage.shift(truth, (0, 1.3, -2.4), order=5, mode="reflect")
    found = displacement(*tensors(moved, truth))[0]
    # skimage says how to move the picture back, hence the sign; the same taper keeps the borders out of both.
    taper = np.hanning(98)[1:-1, None] * np.hanning(98)[1:-1]
    theirs = registration.phase_cross_correlation(
        (truth[0] - truth[0].mean()) * taper, (moved[0] - moved[0].mean()) * taper, upsample_factor=100
    )[0]
    assert found.tolist() == pytest.approx([-theirs[0], -theirs[1]], abs=0.1)
    assert found.tolist() == pytest.approx([1.3, -2.4], abs=0.1)


def test_power_spectrum_along_one_axis() -> None:
    signal = pytest.importorskip("scipy.signal")
    # A picture that varies along columns only: its rows are one signal, seen by Welch's one-dimensional method.
    line = np.random.default_rng(5).standard_normal(256)
    picture = np.broadcast_to(line, (1, 64, 256)).copy()
    ours = power_spectrum(torch.from_numpy(picture)[None], block=64)[0, 0]
    _, theirs = signal.welch(line, fs=1.0, window="hann", nperseg=64, noverlap=32, detrend="constant", return_onesided=False)
    # Along rows the block is constant: all its power lies in the window's transform at row frequency 0.
    window = np.hanning(65)[:-1]
    assert np.allclose(ours[0].numpy(), theirs * window.sum() ** 2 / (window**2).sum(), rtol=1e-6)


def test_histogram_matching() -> None:
    exposure = pytest.importorskip("skimage.exposure")
    image, truth = pair(6)
    theirs = exposure.match_histograms(image, truth, channel_axis=0)
    ours = match_histogram(torch.from_numpy(image), torch.from_numpy(truth)).numpy()
    # Both are monotone maps onto the same values; skimage interpolates between quantiles.
    assert np.abs(ours - theirs).max() < 0.01


def test_bootstrap_interval() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(7).exponential(size=40)
    ours = bootstrap_interval(values.tolist(), resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, random_state=1).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03)
