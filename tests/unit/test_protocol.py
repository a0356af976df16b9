"""Scores carry their protocol, intervals cover, and tables refuse to mix."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from earthgen.gen.errors import InputError
from earthgen.metrics.protocol import Protocol, Score, Setting, bootstrap_interval, mean_score, require_one_protocol

SETTING = Setting(scale=4, degradation="Gaussian MTF 0.3", border=4, images="abc")
PSNR = Protocol(metric="PSNR", definition="as usual", unit="dB", better="higher", bands="RGB", data_range=1.0, setting=SETTING)
SSIM = replace(PSNR, metric="SSIM", unit="")


def test_a_score_cannot_be_made_without_a_protocol() -> None:
    with pytest.raises(TypeError, match="protocol"):
        Score(value=1.0, n=1, interval=None)  # type: ignore[call-arg]


def test_the_mean_leaves_out_undefined_images_and_says_how_many_are_left() -> None:
    score = mean_score([1.0, math.nan, 3.0], PSNR)
    assert (score.value, score.n, len(score.each)) == (2.0, 2, 3)
    assert score.interval is not None
    assert score.interval[0] <= 2.0 <= score.interval[1]
    assert score.to_dict()["each"] == [1.0, None, 3.0]
    empty = mean_score([math.nan], PSNR)
    assert math.isnan(empty.value)
    assert (empty.n, empty.interval, empty.to_dict()["value"]) == (0, None, None)


def test_an_infinite_figure_has_no_interval() -> None:
    score = mean_score([math.inf, 30.0, 31.0], PSNR)
    assert math.isinf(score.value)
    assert score.interval is None


def test_one_image_has_no_interval_and_equal_ones_a_point() -> None:
    assert bootstrap_interval([3.0]) is None
    assert bootstrap_interval([3.0, 3.0, 3.0]) == (3.0, 3.0)
    with pytest.raises(InputError, match="confidence is 95"):
        bootstrap_interval([1.0, 2.0], confidence=95)


def test_the_interval_is_a_function_of_the_seed() -> None:
    values = np.random.default_rng(0).normal(size=20).tolist()
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_covers_the_true_mean_as_often_as_it_says(confidence: float) -> None:
    rng = np.random.default_rng(11)
    hits, trials = 0, 300
    for trial in range(trials):
        interval = bootstrap_interval(rng.normal(5.0, 2.0, size=40).tolist(), confidence=confidence, seed=trial, resamples=400)
        assert interval is not None
        hits += interval[0] <= 5.0 <= interval[1]
    # Three standard errors of the count, plus the known slight under-coverage of the percentile method at n = 40.
    slack = 3 * math.sqrt(confidence * (1 - confidence) / trials)
    assert confidence - slack - 0.02 <= hits / trials <= confidence + slack


def test_one_protocol_passes() -> None:
    rows = {
        "ours": {"PSNR": mean_score([30.0, 31.0], PSNR)},
        "bicubic": {"PSNR": mean_score([29.0, 30.0], PSNR), "SSIM": mean_score([0.9, 0.8], SSIM)},
    }
    assert require_one_protocol(rows) == SETTING


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bands": "Y"}, "bands is 'Y' and 'RGB'"),
        ({"data_range": 255.0}, "data_range is 255.0 and 1.0"),
        ({"definition": "otherwise"}, "definition is 'otherwise'"),
        ({"setting": replace(SETTING, border=0)}, "border is 0 and 4"),
        ({"setting": replace(SETTING, images="def")}, "images is 'def' and 'abc'"),
    ],
)
def test_two_protocols_in_one_column_are_refused(change: dict[str, object], words: str) -> None:
    other = replace(PSNR, **change)  # type: ignore[arg-type]
    rows = {"bicubic": {"PSNR": mean_score([29.0], PSNR)}, "ours": {"PSNR": mean_score([30.0], other)}}
    with pytest.raises(InputError, match=f"{words}.*two tables"):
        require_one_protocol(rows)


def test_two_settings_in_one_table_are_refused_even_across_columns() -> None:
    other = replace(SSIM, setting=replace(SETTING, scale=2))
    rows = {"ours": {"PSNR": mean_score([30.0], PSNR), "SSIM": mean_score([0.9], other)}}
    with pytest.raises(InputError, match="scale is 2 and 4"):
        require_one_protocol(rows)


def test_different_numbers_of_images_and_empty_tables_are_refused() -> None:
    rows = {"ours": {"PSNR": mean_score([30.0], PSNR)}, "theirs": {"PSNR": mean_score([30.0, 31.0], PSNR)}}
    with pytest.raises(InputError, match="measure both on the same images"):
        require_one_protocol(rows)
    with pytest.raises(InputError, match="has no score"):
        require_one_protocol({"ours": {}})
