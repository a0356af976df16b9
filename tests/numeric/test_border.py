"""Where painted pixels meet kept ones: exact inside, continued from there, fading out, and the same in tiles as in one piece."""

from __future__ import annotations

import math

import pytest
import torch

from earthgen.metrics.seams import seams
from earthgen.pipelines.earth_border import REACH, correction, joined
from earthgen.pipelines.earth_request import extended


def left_kept(height: int = 40, width: int = 64, kept: int = 20) -> torch.Tensor:
    mask = torch.ones(1, 1, height, width)
    mask[..., :kept] = 0
    return mask


def test_a_constant_difference_is_continued_and_fades_as_a_cosine() -> None:
    """All means of a constant are that constant, so what remains is the fade: cos^2 of the distance."""
    mask = left_kept()
    found = correction(torch.full((1, 2, 40, 64), 0.3), mask)
    for away in (1, 4, 8, 12):
        wanted = torch.full((1, 2, 40), 0.3 * math.cos(away / REACH * math.pi / 2) ** 2)
        assert torch.allclose(found[..., 19 + away], wanted, atol=1e-5)
    assert not found[..., 19 + REACH :].any()


def test_only_kept_differences_count() -> None:
    mask = left_kept()
    difference = torch.rand(1, 3, 40, 64)
    other = torch.where(mask > 0, 100.0, difference)
    assert torch.equal(correction(difference, mask), correction(other, mask))
    assert not correction(difference, torch.ones_like(mask)).any()
    assert not correction(difference, torch.zeros_like(mask)).any()


def test_kept_pixels_are_the_given_ones_and_the_step_at_the_border_goes() -> None:
    """A decoder that is too bright by 0.2 and blurs: pasting leaves a step of many times what is inside, joining none."""
    generator = torch.Generator().manual_seed(0)
    given = torch.rand(1, 3, 10, 16, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)
    given = torch.nn.functional.avg_pool2d(given, 5, 1, 2, count_include_pad=False) * 0.4 + 0.2
    decoded, mask = given + 0.2, left_kept()
    pasted, made = torch.lerp(given, decoded, mask), joined(decoded, given, mask)
    assert torch.equal(made[..., :20], given[..., :20])
    before, after = (seams(picture[0].numpy(), [20], [20], reach=8).cols for picture in (pasted, made))
    assert before > 4
    assert after < 1.3
    assert torch.equal(made[..., 20 + REACH :], decoded[..., 20 + REACH :])


def test_a_soft_mask_mixes() -> None:
    mask = left_kept()
    mask[..., 40:] = 0.5
    given, decoded = torch.full((1, 1, 40, 64), 0.2), torch.full((1, 1, 40, 64), 0.6)
    made = joined(decoded, given, mask)
    assert torch.allclose(made[..., 50:], torch.tensor(0.4))


@pytest.mark.parametrize("borders", [(3, 0, 5, 2), (20, 9, 0, 31)])
def test_the_unseen_part_mirrors_the_picture(borders: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = borders
    image = torch.arange(8.0 * 10).reshape(1, 1, 8, 10)
    canvas, mask = extended(image, None, borders)
    assert canvas.shape == mask.shape == (1, 1, 8 + top + bottom, 10 + left + right)
    assert torch.equal(canvas[..., top : top + 8, left : left + 10], image)
    assert not mask[..., top : top + 8, left : left + 10].any()
    assert mask.sum() == mask.numel() - 80
    if left >= 20:  # there and back again
        assert torch.equal(canvas[..., top : top + 8, left - 20 : left - 10], image)
    if 0 < left <= 10:
        assert torch.equal(canvas[..., top : top + 8, :left], image[..., :left].flip(-1))
