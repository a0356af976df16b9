"""Time sampling and loss weights against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.gen.schedulers.weighting import logit_normal_density, logit_normal_times, min_snr_weight, shifted_times


def test_min_snr_is_one_weight_seen_through_three_targets() -> None:
    """The weighted squared errors are equal, whichever quantity the network predicts."""
    scheduler = MeanRevertingScheduler(prediction_type="v_prediction")
    time = torch.arange(1.0, 101.0, dtype=torch.float64)
    weight, std = (value.double() for value in scheduler.marginal(time))
    share = std / scheduler.spread
    snr = (weight / share) ** 2
    error_of_clean = torch.linspace(0.1, 1.0, 100, dtype=torch.float64)
    error_of_noise = error_of_clean * weight / share
    error_of_v = error_of_clean / share
    expected = snr.clamp(max=5.0) * error_of_clean**2
    for target, error in (("sample", error_of_clean), ("epsilon", error_of_noise), ("v_prediction", error_of_v)):
        torch.testing.assert_close(min_snr_weight(snr, 5.0, target) * error**2, expected, rtol=1e-4, atol=1e-7)  # type: ignore[arg-type]


def test_min_snr_values() -> None:
    snr = torch.tensor([0.0, 1.0, 5.0, 20.0])
    torch.testing.assert_close(min_snr_weight(snr), torch.tensor([1.0, 1.0, 1.0, 0.25]))
    torch.testing.assert_close(min_snr_weight(snr, target="v_prediction"), torch.tensor([0.0, 0.5, 5 / 6, 5 / 21]))
    torch.testing.assert_close(min_snr_weight(snr, target="sample"), torch.tensor([0.0, 1.0, 5.0, 5.0]))
    with pytest.raises(ValueError, match="gamma"):
        min_snr_weight(snr, gamma=0)
    with pytest.raises(ValueError, match="SNR"):
        min_snr_weight(torch.tensor([-1.0]))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.8), (-1.0, 1.5)])
def test_logit_normal_times_follow_their_density(mean: float, std: float) -> None:
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:-1] + 0.5 / 20_000
    times = logit_normal_times(grid, mean, std)
    assert bool((times.diff() > 0).all()), "inversion keeps the order"
    assert float(times.min()) > 0
    assert float(times.max()) < 1
    z = np.log(times.numpy() / (1 - times.numpy()))
    np.testing.assert_allclose(stats.norm.cdf(z, mean, std), grid.numpy(), atol=1e-9)
    area, _ = integrate.quad(lambda t: float(logit_normal_density(torch.tensor(t, dtype=torch.float64), mean, std)), 0.0, 0.5)
    assert area == pytest.approx(float((times < 0.5).double().mean()), abs=1e-4)
    assert np.isfinite(logit_normal_times(torch.tensor([0.0, 1.0])).numpy()).all()
    with pytest.raises(ValueError, match="standard deviation"):
        logit_normal_times(grid, 0.0, 0.0)


def test_the_shift_moves_the_log_snr_by_a_constant() -> None:
    """For x = (1 - t) x0 + t noise the log-SNR is 2 log((1 - t) / t); a shift s takes 2 log s off it."""
    time = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    moved = shifted_times(time, 3.0)
    change = 2 * torch.log((1 - moved) / moved) - 2 * torch.log((1 - time) / time)
    torch.testing.assert_close(change, torch.full_like(change, -2 * np.log(3.0)))
    ends = torch.tensor([0.0, 1.0])
    assert torch.equal(shifted_times(ends, 5.0), ends)
    assert torch.equal(shifted_times(time, 1.0), time)
    with pytest.raises(ValueError, match="shift"):
        shifted_times(time, 0.0)
