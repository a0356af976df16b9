"""Edges against shapes whose edges are known, and what is said of hints that cannot be made."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from earthgen.gen.conditioning.hints import DETECTORS, GIVEN, canny, load_detector, make_hint, sobel
from earthgen.gen.errors import InputError


def step(size: int = 16, column: int = 8, height: float = 1.0) -> torch.Tensor:
    picture = torch.zeros(1, 1, size, size)
    picture[..., column:] = height
    return picture


def test_the_gradient_of_a_step_and_of_a_ramp() -> None:
    edges = sobel(step())
    assert edges[0, 0, 5].tolist() == [1.0 if column in (7, 8) else 0.0 for column in range(16)]
    ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    assert torch.allclose(sobel(ramp)[..., 1:-1], torch.tensor(2 / 15), atol=1e-6)
    assert torch.allclose(sobel(ramp.transpose(2, 3)), sobel(ramp).transpose(2, 3), atol=1e-6)


def test_canny_draws_a_step_as_one_line_and_turns_with_the_picture() -> None:
    edges = canny(step())
    assert edges.sum(3).unique().tolist() == [1.0]
    assert int(edges[0, 0, 3].argmax()) in (7, 8)
    square = torch.zeros(1, 3, 32, 32)
    square[:, :, 8:24, 8:24] = 1
    drawn = canny(square)
    assert 52 <= int(drawn.sum()) <= 68  # the outline has about 60 pixels
    assert float(drawn[..., 12:20, 12:20].sum()) == 0
    assert float(drawn[..., :5, :].sum()) == 0


def test_a_weak_edge_counts_where_it_goes_on_from_a_strong_one() -> None:
    picture = torch.zeros(1, 1, 32, 16)
    picture[:, :, :16, 8:] = 1.0
    picture[:, :, 16:, 8:] = 0.45
    alone = torch.zeros(1, 1, 32, 16)
    alone[:, :, 16:, 8:] = 0.45
    low, high = 0.1, 0.3
    assert float(canny(alone, low=low, high=high).sum()) == 0
    assert float(canny(picture, low=low, high=high)[..., 24:, :].sum()) >= 8
    assert float(canny(picture, low=high, high=high)[..., 24:, :].sum()) == 0
    with pytest.raises(InputError, match="low <= high"):
        canny(picture, low=0.5, high=0.2)


def test_canny_is_that_of_scikit_image() -> None:
    feature = pytest.importorskip("skimage.feature")
    filters = pytest.importorskip("scipy.ndimage")
    picture = filters.gaussian_filter(np.random.default_rng(0).random((64, 64)), 3)
    picture = ((picture - picture.min()) / np.ptp(picture)).astype(np.float32)
    # Its Sobel is not divided by 8. Its crests are interpolated, ours compare two neighbours.
    theirs = feature.canny(picture, sigma=1.0, low_threshold=0.32, high_threshold=0.64, mode="nearest")
    ours = canny(torch.from_numpy(picture)[None, None], low=0.04, high=0.08)[0, 0].numpy() > 0
    grown = filters.binary_dilation(theirs, iterations=1), filters.binary_dilation(ours, iterations=1)
    assert (ours & grown[0]).sum() / ours.sum() > 0.9
    assert (theirs & grown[1]).sum() / theirs.sum() > 0.9


def test_hints_of_all_names() -> None:
    pictures = torch.rand(2, 3, 20, 24)
    assert make_hint("canny", pictures).shape == (2, 1, 20, 24)
    assert make_hint("sobel", pictures).shape == (2, 1, 20, 24)
    assert make_hint("content", pictures) is pictures
    for name in GIVEN:
        with pytest.raises(InputError, match="drawn, not read off"):
            make_hint(name, pictures)
    with pytest.raises(InputError, match="no hint 'edges'; choose from canny"):
        make_hint("edges", pictures)
    with pytest.raises(InputError, match=r"not \(2, 13, 20, 24\)"):
        make_hint("hed", torch.rand(2, 13, 20, 24))


@pytest.mark.parametrize("name", list(DETECTORS))
def test_networks_of_others_are_asked_for_by_name(name: str, tmp_path: Path) -> None:
    installed = importlib.util.find_spec("controlnet_aux") is not None
    with pytest.raises(InputError, match="nothing is downloaded" if installed else r"earthgen\[control\]"):
        load_detector(name, tmp_path)
