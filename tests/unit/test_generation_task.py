"""Training of generators: what a sample's conditions become, what is left out, one network for all tasks, export, and a falling loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from earthgen.gen.conditioning.tokenizer import train_tokenizer
from earthgen.gen.errors import InputError
from earthgen.gen.models.generator import Generator, build_text_encoder, build_unet, input_channels
from earthgen.pipelines.earth import EarthPipeline
from earthgen.train.loop import train
from earthgen.train.recipe import check_recipe
from earthgen.train.tasks.generation import GenerationTask

UNET = {"block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 2}
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of a training place and one of validation, with dates and masks."""
    rng = np.random.default_rng(1)
    for place in ("a field", "place 2"):
        (tmp_path / place).mkdir()
        for month in (1, 7):
            shade = np.clip(rng.integers(0, 200) + 3 * rng.standard_normal((32, 32, 3)).cumsum(0), 0, 255)
            Image.fromarray(shade.astype(np.uint8)).save(tmp_path / place / f"x_2020-{month:02d}.png")
            Image.fromarray(np.uint8(255 * (np.arange(32) < 16))[None].repeat(32, 0)).save(tmp_path / place / f"x_2020-{month:02d}_m.jpg")
    return tmp_path


def task_of(folder: Path, samples: int = 16, **task: Any) -> GenerationTask:
    known = {"kind": "images", "gsd": 10.0, "lat": 48.0, "lon": 11.0, "subject": "fields"}
    sources = [{**known, "files": f"{place}/*.png", "place": place} for place in ("a field", "place 2")]
    sources = [{**source, "mask": "{folder}/{stem}_m.jpg", "mask_class": "water"} for source in sources]
    recipe = check_recipe(
        {
            "name": "tiny", "samples": samples, "batch": 4, "log_every": 4, "evaluate_every": samples, "show_every": samples,
            "probe_every": samples, "save_every": samples, "output": str(folder / "runs"), "data": str(folder), "ema_half_life": 20,
            "optimizer": {"lr": 3e-3, "warm_up": 0},
            "task": {
                "kind": "generation", "hints": ["water", "building"], "inpainting": 0.5, "min_snr": 5.0, "bank": 8,
                "scheduler": {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
                "unet": UNET, "text": {"vocabulary": 600, "model": TEXT}, "vae": {"block_out_channels": [8, 16], "norm_num_groups": 1},
                "pictures": {"size": 16, "sources": sources}, "guidance": {"steps": 3, "count": 8, "shown": 8}, **task,
            },
        },
        "test",
    )  # fmt: skip
    return GenerationTask(recipe)


def test_a_word_that_was_never_seen_falls_into_pieces_and_not_into_nothing() -> None:
    tokenizer = train_tokenizer(["a river in May", "a river in June"], 560)
    known, strange = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("river", "zebra Å"))
    assert len(known) == 1
    assert tokenizer.unk_token_id not in strange
    assert tokenizer.decode(strange) == "zebra å"
    assert train_tokenizer(["a river in May", "a river in June"], 560).get_vocab() == tokenizer.get_vocab()
    with pytest.raises(ValueError, match="514"):
        train_tokenizer(["a"], 100)


def test_a_tokenizer_is_read_back_from_its_folder(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer = train_tokenizer(["snow on the hills", "a harbour"], 560)
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "a snowy harbour, 1999"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.model_max_length == 77


def test_nothing_is_left_out_without_numbers(folder: Path) -> None:
    task = task_of(folder)
    sample = task.data.samples([0])
    made = task.conditions.tensors(sample)
    assert bool(made["known"][:, :3].all())  # sampling distance and month; the day is not known
    mask, kept, hints, there = made["extra"].split([1, 4, 2, 1], 1)
    assert bool((mask == 1).all())
    assert bool((kept == 0).all())
    assert float(hints[:, 0].sum()) > 0
    assert bool((hints[:, 1] == 0).all())
    assert bool((there == 1).all())
    assert made["tokens"].shape == (1, 77)


def test_each_condition_is_left_out_as_often_as_the_recipe_says(folder: Path) -> None:
    task = task_of(folder, drop={"text": 0.2, "field": 0.3, "hint": 0.4, "hint_class": 0.0, "everything": 0.1})
    count = 4000
    samples = task.data.samples([0]) * count
    uniform = torch.from_numpy(np.random.default_rng(0).random((count, task.conditions.draws)))
    made = task.conditions.tensors(samples, uniform)
    silent = task.conditions.words([""])[0]
    shares = {
        "text": float((made["tokens"] == silent).all(1).double().mean()),
        "month": 1 - float(made["known"][:, 1].double().mean()),
        "hint": 1 - float(made["extra"][:, -1, 0, 0].double().mean()),
        "hole": float((made["extra"][:, 0] == 0).any(-1).any(-1).double().mean()),
    }
    wanted = {"text": 1 - 0.8 * 0.9, "month": 1 - 0.7 * 0.9, "hint": 1 - 0.6 * 0.9, "hole": 0.5}
    for name, share in wanted.items():
        assert shares[name] == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5), name
    # Independent: text and month are left out together as often as the product says, given that not everything is.
    both = (made["tokens"] == silent).all(1) & ~made["known"][:, 1]
    assert float(both.double().mean()) == pytest.approx(0.1 + 0.9 * 0.2 * 0.3, abs=0.025)


def test_what_is_kept_is_the_picture_where_the_mask_is_nought(folder: Path) -> None:
    task = task_of(folder, inpainting=1.0)
    samples = task.data.samples(list(range(16)))
    made = task.conditions.tensors(samples, torch.rand(16, task.conditions.draws, dtype=torch.float64))
    mask, kept = made["extra"][:, :1], made["extra"][:, 1:5]
    latents = torch.stack([sample.latents for sample in samples])
    assert torch.equal(kept, latents * (1 - mask))
    shares = mask.mean((1, 2, 3))
    assert bool(((shares > 0) & (shares < 1)).all())


def test_samples_do_not_depend_on_who_asked_first(folder: Path) -> None:
    first, second = task_of(folder), task_of(folder)
    together = first.batch([0, 1, 2, 3, 9])
    second.batch([7])
    alone = second.batch([9])
    for name, value in together.tensors.items():
        assert torch.equal(value[4:], alone.tensors[name]), name


def test_a_network_without_hints_or_holes_has_only_latents() -> None:
    assert input_channels(4, 0, inpainting=False) == 4
    assert input_channels(4, 7) == 4 + 1 + 4 + 7 + 1
    torch.manual_seed(0)
    unet = build_unet(4, 16, class_embed_type=None, **UNET)
    model = Generator(unet, build_text_encoder(600, 1, 0, **TEXT))
    latents, time, tokens = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 700.0]), torch.randint(0, 600, (2, 77))
    made = model(latents, time, tokens)
    words = model.text_encoder(tokens).last_hidden_state
    plain = unet(latents, time, words).sample
    assert torch.allclose(made, plain, atol=1e-6)


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_run_lowers_the_loss_and_its_export_makes_pictures(folder: Path) -> None:
    task = task_of(folder, samples=240)
    trainer = train(task.recipe, task)
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-15:]) < 0.7 * np.mean(losses[:5])
    evaluated = next(line["evaluation"] for line in lines if "evaluation" in line)
    assert evaluated["score"] == -evaluated["loss"]
    assert {f"loss_quarter_{n}" for n in (1, 2, 3, 4)} <= set(evaluated)
    assert any(name.endswith("saved_by_metadata") for line in lines for name in line.get("probes", {}))
    pipeline = EarthPipeline.load(trainer.folder / "final", device="cpu", dtype="float32")
    half = torch.zeros(1, 16, 16)
    half[..., :8] = 1
    made = pipeline("fields", gsd=10.0, lat=48.0, lon=11.0, date="2020-07", hints={"water": half}, num_images=2, output_type="pt")
    assert made.images.shape == (2, 3, 16, 16)
    assert bool(torch.isfinite(made.images).all())
    # The task's own sampler and the pipeline are two ways to the same denoiser.
    state, time = torch.randn(1, 4, 8, 8), torch.tensor([500.0])
    sample = task.data.samples([0])
    given = task.conditions.tensors(sample)
    network = trainer.state.model.eval()
    with torch.no_grad(), trainer.state.ema.applied(network):
        ours = network(torch.cat([state, given["extra"]], 1), time, given["tokens"], given["values"], given["known"])
        words = pipeline.text_encoder(given["tokens"]).last_hidden_state
        label = pipeline.metadata_embedding(given["values"], given["known"])
        theirs = pipeline.unet(torch.cat([state, given["extra"]], 1), time, words, class_labels=label).sample
    assert torch.allclose(ours, theirs, atol=5e-3)  # half precision on disk


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_run_goes_on_from_an_export(folder: Path) -> None:
    task = task_of(folder, samples=8)
    trainer = train(task.recipe, task)
    recipe = task.recipe.model_copy(update={"initialise": trainer.folder / "final"})
    again = GenerationTask(recipe)
    model = again.build(recipe.initialise)
    assert isinstance(model, Generator)
    assert again.tokenizer.get_vocab() == task.tokenizer.get_vocab()
    with trainer.state.ema.applied(trainer.state.model):
        for (name, old), new in zip(trainer.state.model.named_parameters(), model.parameters(), strict=True):
            assert torch.allclose(old, new, atol=1e-3), name


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ({"hints": ["unicorns"]}, "no mask class"),
        ({"scheduler": {"prediction_type": "flow_prediction"}}, "a flow weights by its density"),
        ({"scheduler": {"prediction_type": "vision"}, "min_snr": None}, "task.scheduler"),
        ({"pictures": {"size": 17, "sources": [{"kind": "images", "files": "*/*.png", "place": "a field"}]}}, "choose another size"),
        ({"pictures": {"size": 16, "sources": [{"kind": "images", "files": "*/*.png", "place": "place 2"}]}}, "training place"),
        ({"unet": {**UNET, "norm_num_groups": 3}}, "task.unet"),
        ({"base": "nowhere"}, "nowhere"),
        ({"controls": {"c": {"kind": "controlnet"}}}, "needs hints"),
    ],
)
def test_a_wrong_recipe_is_told_so(folder: Path, task: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        task_of(folder, **task).build(None)


def test_held_out_pictures_are_held_against_made_ones_in_a_feature_network(folder: Path) -> None:
    from earthgen.gen.models.features import FeatureNet
    from earthgen.gen.zoo.folder import write_model_folder
    from earthgen.metrics.feature_networks import PIPELINE

    torch.manual_seed(0)
    network = FeatureNet(classes=("a", "b"), covers=("c", "d"), widths=(8, 8, 8, 8))
    write_model_folder(folder / "net", pipeline=PIPELINE, components={"model": network}, settings={}, card={})
    task = task_of(folder, guidance={"steps": 2, "count": 6, "features": str(folder / "net")})
    model = task.build(None).eval()
    with torch.no_grad():
        found = task.evaluate(model)
    assert np.isfinite(found["kernel_distance"])
    assert found["score"] == -found["loss"]
