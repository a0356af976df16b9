"""The RSICD protocol: which captions, how many, and a name that no other set-up gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from earthgen.gen.errors import InputError
from earthgen.metrics import rsicd
from earthgen.metrics.distribution import frechet_distance


def index(folder: Path) -> Path:
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": f" first of {name} "}, {"raw": "second"}]}
        for name, split in (("airport_1.jpg", "train"), ("BareLand_20.jpg", "val"), ("00623.jpg", "test"), ("beach_3.jpg", "test"))
    ]
    path = folder / "dataset_rsicd.json"
    path.write_text(json.dumps({"images": images}))
    return path


def test_captions_are_the_first_of_all_that_is_not_for_training(tmp_path: Path) -> None:
    items = rsicd.prompts(rsicd.read_index(index(tmp_path)))
    assert [item.caption for item in items] == ["first of BareLand_20.jpg", "first of 00623.jpg", "first of beach_3.jpg"]
    assert [item.label for item in items] == ["bareland", "", "beach"]
    assert rsicd.generation_name(items[0], 9) == "BareLand_20_9.png"
    (tmp_path / "x.json").write_text('{"images": [{"filename": "a"}]}')
    with pytest.raises(InputError, match="no RSICD index"):
        rsicd.read_index(tmp_path / "x.json")


def test_scores_say_when_the_numbers_are_not_the_protocols() -> None:
    rng = np.random.default_rng(0)
    generated, reference = (torch.from_numpy(rng.standard_normal((n, 6))) for n in (40, 30))
    images, texts = torch.from_numpy(rng.standard_normal((40, 5))), torch.from_numpy(rng.standard_normal((4, 5)))
    found = rsicd.scores(
        generated=generated, reference=reference, network="I", logits=generated, images=images, texts=texts, clip="C",
        right=torch.tensor([True, False, True, True]),
    )  # fmt: skip
    assert all("not its numbers" in score.protocol.definition for score in found.values())
    truth = frechet_distance(generated.mean(0), torch.cov(generated.T), reference.mean(0), torch.cov(reference.T))
    assert found["FID"].estimate.value == pytest.approx(truth, rel=1e-9)
    assert found["CLIP"].estimate.value == pytest.approx(float(sum(images[i] @ texts[i // 10] for i in range(40))) / 40 / 100)
    assert found["Cls-OA"].estimate.value == 0.75
    assert 1 <= found["IS"].estimate.value <= 6
    with pytest.raises(InputError, match="10 a caption"):
        rsicd.scores(generated=generated, reference=reference, network="I", images=images[:39], texts=texts)
    with pytest.raises(InputError, match="one network"):
        rsicd.scores(generated=generated, reference=reference[:, :5], network="I")


def test_arrays_are_read_without_pickles(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    assert rsicd.read_array(tmp_path / "a.npy").dtype == torch.float64
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object))
    with pytest.raises(InputError, match="array of numbers"):
        rsicd.read_array(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.array([np.nan]))
    with pytest.raises(InputError, match="not finite"):
        rsicd.read_array(tmp_path / "c.npy")
