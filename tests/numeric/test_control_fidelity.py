"""Scores of control and metadata against cases that are counted by hand; train-on-synthetic accuracy on a problem that can be learnt."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from earthgen.gen.errors import InputError
from earthgen.metrics.classification import Training, accuracy, train_classifier
from earthgen.metrics.clip_score import mean_estimate
from earthgen.metrics.control import colour_error, edge_f1, mask_iou, re_extracted, segmented
from earthgen.metrics.metadata_fidelity import direction_share, month_direction_share, month_error, reading_error


def line(column: int, rows: int = 8) -> torch.Tensor:
    edges = torch.zeros(1, 8, 8, dtype=torch.bool)
    edges[0, :rows, column] = True
    return edges


def test_edges_within_the_tolerance_count() -> None:
    assert float(edge_f1(line(3), line(3), 0)) == 1
    assert float(edge_f1(line(3), line(5), 2)) == 1
    assert float(edge_f1(line(3), line(6), 2)) == 0
    # Half of the line found: precision 1, recall 4 of 8 rows and 1 more by the tolerance of 1.
    assert float(edge_f1(line(3, 4), line(3), 1)) == pytest.approx(2 * (5 / 8) / (1 + 5 / 8))
    nothing = torch.zeros(1, 8, 8, dtype=torch.bool)
    assert math.isnan(float(edge_f1(nothing, nothing)))
    assert float(edge_f1(nothing, line(2))) == 0
    assert mean_estimate(edge_f1(torch.cat([nothing, line(2)]), torch.cat([nothing, line(2)]))).value == 1
    with pytest.raises(InputError, match="edge maps"):
        edge_f1(line(1), line(1)[:, :4])


def test_iou_by_hand() -> None:
    found = torch.tensor([[[0, 0, 1, 1], [2, 2, 2, 2]]])
    wanted = torch.tensor([[[0, 1, 1, 1], [2, 255, 255, 2]]])
    each, classes = mask_iou(found, wanted, classes=4)
    assert classes[:3].tolist() == pytest.approx([1 / 2, 2 / 3, 1.0])
    assert math.isnan(float(classes[3]))
    assert float(each[0]) == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert math.isnan(float(mask_iou(found, torch.full_like(found, 255), 3)[0][0]))


def test_segmenters_classes_are_grouped() -> None:
    logits = torch.log(torch.tensor([0.3, 0.3, 0.36, 0.04]))[None, :, None, None].expand(1, 4, 2, 2)
    assert segmented(logits, (4, 6)).unique().tolist() == [2]
    assert segmented(logits, (4, 6), {0: 7, 1: 7, 2: 1}).unique().tolist() == [7]
    assert segmented(logits, (4, 6), {3: 1}).unique().tolist() == [255]


def test_colour_difference_of_known_colours() -> None:
    """White is L = 100, black 0; red is L 53.24, a 80.09, b 67.20."""
    white, black = torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    red = black.clone()
    red[:, 0] = 1
    assert float(colour_error(white, black)) == pytest.approx(100, abs=0.01)
    assert float(colour_error(red, black)) == pytest.approx(math.sqrt(53.24**2 + 80.09**2 + 67.20**2), abs=0.05)
    assert float(colour_error(red, torch.nn.functional.interpolate(red, size=(19, 23)))) == pytest.approx(0, abs=1e-5)


def test_edges_are_read_again_by_the_given_detector() -> None:
    pictures = torch.zeros(2, 3, 4, 4)
    pictures[1, 0] = 0.9
    assert re_extracted(pictures, lambda value: value[:, :1]).flatten(1).all(1).tolist() == [False, True]


def test_directions() -> None:
    found = direction_share(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 2.0, 0.0]))
    assert found.value == pytest.approx(2.5 / 4)
    assert found.interval is not None
    # Wilson at 8 of 10: 0.4901 to 0.9433.
    eight = direction_share(torch.zeros(10), torch.tensor([1.0] * 8 + [-1.0] * 2))
    assert eight.interval == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert reading_error(torch.tensor([1.0]), torch.tensor([3.0])).tolist() == [2.0]
    with pytest.raises(InputError, match="pairs"):
        direction_share(torch.zeros(0), torch.zeros(0))


def point(*months: float) -> torch.Tensor:
    angle = 2 * math.pi * (torch.tensor(months, dtype=torch.float64) - 0.5) / 12
    return torch.stack([angle.sin(), angle.cos()], 1)


def test_months_are_on_a_circle() -> None:
    assert month_error(point(12, 1, 6), torch.tensor([1, 12, 6])).tolist() == pytest.approx([1, 1, 0], abs=1e-9)
    assert float(month_error(0.1 * point(7), torch.tensor([1]))) == pytest.approx(6)
    right = month_direction_share(point(12, 7), point(6, 1), torch.tensor([1, 1]), torch.tensor([7, 7]))
    assert right.value == pytest.approx(0.5)  # the first pair is right though each is off by one, the second is exchanged
    with pytest.raises(InputError, match="same month"):
        month_direction_share(point(1), point(1), torch.tensor([3]), torch.tensor([3]))


def striped(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes that a turn cannot mix: fine and coarse stripes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    place = np.arange(32)
    rows = [0.5 + 0.4 * np.sin(2 * np.pi * place / (4 if label else 16) + rng.uniform(0, 6)) for label in labels]
    pictures = np.stack([np.broadcast_to(row, (3, 32, 32)) for row in rows]) + 0.1 * rng.standard_normal((count, 3, 32, 32))
    return torch.from_numpy(pictures.clip(0, 1)).float(), torch.from_numpy(labels)


def test_a_classifier_trained_on_one_set_is_tested_on_another() -> None:
    training = Training(epochs=10, batch=16, lr=1e-2, widths=(8, 8, 8, 8))
    net = train_classifier(*striped(0, 96), classes=2, training=training)
    found = accuracy(net, *striped(1, 64))
    assert found.value > 0.9
    assert found.interval is not None
    again = train_classifier(*striped(0, 96), classes=2, training=training)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    with pytest.raises(InputError, match="labels"):
        train_classifier(torch.zeros(2, 3, 32, 32), torch.tensor([0, 5]), classes=2)
