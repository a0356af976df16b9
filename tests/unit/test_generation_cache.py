"""Latents and embedded captions on disk: the same numbers as without, found again bit for bit, and no captions where they are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from earthgen.train.adapters import build_model
from earthgen.train.loop import train
from earthgen.train.recipe import Recipe, check_recipe
from earthgen.train.tasks.generation import GenerationTask


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A run of two steps on pictures of noise, exported."""
    rng = np.random.default_rng(1)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"x_2020-0{number + 1}.png")
    recipe = recipe_of(tmp_path, name="base")
    train(recipe, GenerationTask(recipe))
    return tmp_path


def recipe_of(folder: Path, name: str = "next", task: dict[str, Any] | None = None, **more: Any) -> Recipe:
    source = {"kind": "images", "files": "*.png", "place": "a field", "gsd": 10.0, "subject": "fields"}
    return check_recipe(
        {
            "name": name, "samples": 8, "batch": 4, "evaluate_every": 0, "save_every": 8, "output": str(folder / "runs"),
            "data": str(folder), "optimizer": {"lr": 1e-3},
            "task": {
                "kind": "generation", "scheduler": {"prediction_type": "v_prediction"},
                "unet": {"block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 2},
                "text": {
                    "vocabulary": 600,
                    "model": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
                },
                "vae": {"block_out_channels": [8, 16], "norm_num_groups": 1},
                "pictures": {"size": 16, "sources": [source]}, **(task or {}),
            },
            **more,
        },
        "test",
    )  # fmt: skip


def goes_on(base: Path, task: dict[str, Any] | None = None, **more: Any) -> Recipe:
    return recipe_of(
        base, task={"unet": {}, "text": {}, "vae": {}, **(task or {})}, initialise=str(base / "runs" / "base" / "final"), **more
    )


def loss_of(recipe: Recipe, task: GenerationTask) -> torch.Tensor:
    model = build_model(recipe, task, initialise=True).eval()
    return task.loss(model, task.batch([0, 1, 2, 3]))[0]


def test_a_frozen_text_encoder_is_asked_once_and_every_crop_is_encoded_once(base: Path) -> None:
    only = {"train_only": ["unet.*"]}
    plain, kept = goes_on(base, **only), goes_on(base, {"cache": str(base / "kept")}, **only)
    expected = loss_of(plain, GenerationTask(plain))
    first = GenerationTask(kept)
    made = loss_of(kept, first)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-7)
    assert first.words is not None
    assert first.words.kept.misses == len(set(map(tuple, first.batch([0, 1, 2, 3]).tensors["tokens"].tolist())))
    again = GenerationTask(kept)
    assert torch.equal(loss_of(kept, again), made)
    assert again.words is not None
    assert (again.words.kept.misses, again.words.kept.hits) == (0, 4)
    assert len(list((base / "kept").rglob("*.safetensors"))) == 4 + first.words.kept.misses


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"train_only": ["text_encoder.*", "unet.conv_in.*"]},
        {"adapter": {"rank": 2, "targets": ["q_proj"]}},
    ],
    ids=["everything", "named", "LoRA"],
)
def test_captions_are_embedded_anew_where_the_text_encoder_is_trained(base: Path, more: dict[str, Any]) -> None:
    recipe = goes_on(base, {"cache": str(base / "kept")}, **more)
    assert GenerationTask(recipe).words is None


def test_lora_of_the_denoiser_alone_leaves_the_captions_kept(base: Path) -> None:
    recipe = goes_on(base, {"cache": str(base / "kept")}, adapter={"rank": 2, "targets": ["to_k"]})
    assert GenerationTask(recipe).words is not None


def test_a_run_that_finds_its_entries_gives_the_weights_of_the_one_that_made_them(base: Path) -> None:
    recipe = goes_on(base, {"cache": str(base / "kept")}, train_only=["unet.*"])
    weights = [train(recipe.model_copy(update={"name": name}), GenerationTask(recipe)).state.model.state_dict() for name in ("one", "two")]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
