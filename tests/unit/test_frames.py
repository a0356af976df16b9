"""The diffusion's unit: exactly undone, local, and the same whatever the brightness and contrast of the place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from earthgen.gen.data.frames import LocalContrast, frame_of
from earthgen.gen.data.resample import upsample
from earthgen.gen.errors import InputError

CONTRAST = LocalContrast(9, 1e-3)


def pictures(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 80, 96, generator=rng) * 0.3, torch.rand(2, 3, 20, 24, generator=rng) * 0.3


@pytest.mark.parametrize("contrast", [None, CONTRAST])
def test_the_unit_is_undone_exactly(contrast: LocalContrast | None) -> None:
    high, low = pictures()
    frame = frame_of(low, 4, 2.0, contrast)
    assert torch.allclose(frame.leave(frame.enter(high)), high, atol=1e-6)
    assert torch.equal(frame.mu, upsample(frame.low, 4))


def test_a_constant_factor_is_the_published_unit() -> None:
    high, low = pictures()
    frame = frame_of(low, 4, 5.0)
    assert torch.equal(frame.low, low * 5.0)
    assert torch.allclose(frame.enter(high), high * 5.0)


def test_brightness_and_contrast_of_a_place_do_not_matter() -> None:
    high, low = pictures()
    exact = LocalContrast(9, 1e-9)
    one, other = frame_of(low, 4, 1.0, exact), frame_of(0.1 * low + 0.4, 4, 1.0, exact)
    assert torch.allclose(one.low, other.low, atol=1e-4)
    assert torch.allclose(one.enter(high), other.enter(0.1 * high + 0.4), atol=1e-3)


def test_statistics_equal_those_of_the_window() -> None:
    _, low = pictures(3)
    mean, spread = CONTRAST.statistics(low)
    window = low[0, 1, 6:15, 8:17]
    assert float(mean[0, 1, 10, 12]) == pytest.approx(float(window.mean()), abs=1e-6)
    deviation = (low - mean)[0, 1, 6:15, 8:17]
    assert float(spread[0, 1, 10, 12]) == pytest.approx(float((deviation.square().mean() + 1e-6).sqrt()), rel=1e-5)


def test_the_unit_is_local() -> None:
    _, low = pictures(4)
    other = low.clone()
    other[..., 0, 0] += 1.0
    one, two = frame_of(low, 4, 1.0, CONTRAST), frame_of(other, 4, 1.0, CONTRAST)
    for first, second, reach in ((one.low, two.low, 9), (one.mu, two.mu, 46), (one.gain, two.gain, 46)):
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        assert torch.equal(first[..., reach:, reach:], second[..., reach:, reach:])


def test_flat_ground_keeps_its_floor() -> None:
    frame = frame_of(torch.full((1, 1, 12, 12), 0.05), 4, 1.0, CONTRAST)
    assert torch.allclose(frame.low, torch.zeros(()), atol=1e-4)
    assert torch.allclose(torch.as_tensor(frame.gain), torch.tensor(1e-3), rtol=1e-3)


def test_bad_values_are_refused() -> None:
    with pytest.raises(InputError, match="odd"):
        LocalContrast(8, 0.001)
