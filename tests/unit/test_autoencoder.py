"""The small autoencoder: bands, colours from the start, scale, loss terms, and a training run that lowers its loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from earthgen.gen.errors import InputError
from earthgen.gen.models.autoencoder import TrainedAutoencoder, build_autoencoder, decode, encode_mean, latent_factor, standardise
from earthgen.train.loop import train
from earthgen.train.recipe import Recipe, check_recipe
from earthgen.train.tasks.autoencoder import AutoencoderTask, contact_sheet, read_autoencoder
from earthgen.train.tasks.autoencoder_loss import colour_distance, energy_distance, gradient_distance

TINY = {"block_out_channels": [8, 16], "norm_num_groups": 1}


def recipe_of(folder: Path, count: int = 3, samples: int = 24, **task: object) -> Recipe:
    rng = np.random.default_rng(0)
    walks = rng.standard_normal((4, count, 40, 40)).astype(np.float32).cumsum(-1).cumsum(-2)
    np.savez(folder / "pictures.npz", x=0.5 + 0.02 * walks / walks.std())
    source = {"kind": "array", "files": "pictures.npz", "key": "x", "bands": list(range(count))}
    return check_recipe(
        {
            "name": "tiny",
            "samples": samples,
            "batch": 4,
            "log_every": 4,
            "evaluate_every": samples,
            "save_every": samples,
            "output": str(folder / "runs"),
            "data": str(folder),
            "optimizer": {"lr": 3e-3, "warm_up": 0},
            "task": {
                "kind": "autoencoder",
                "bands": [f"B{number:02d}" for number in range(count)],
                "crop": 16,
                "sources": [{**source, "exclude": ["*#3"]}],
                "held_out": [{**source, "only": ["*#3"]}],
                "model": TINY,
                **task,
            },
        },
        "test",
    )


@pytest.mark.parametrize("bands", [3, 4, 13])
def test_any_number_of_bands_goes_in_and_out(bands: int) -> None:
    torch.manual_seed(0)
    network = build_autoencoder(bands, **TINY)
    assert latent_factor(network) == 2
    latents = encode_mean(network, torch.rand(2, bands, 16, 24))
    assert latents.shape == (2, 4, 8, 12)
    assert decode(network, latents).shape == (2, bands, 16, 24)


def test_a_fresh_network_shows_colours() -> None:
    torch.manual_seed(0)
    network = build_autoencoder(3)
    shades = torch.rand(8, 3, 1, 1).expand(8, 3, 32, 32)
    made = decode(network, encode_mean(network, shades))[:, :, 16, 16]
    # Without the pass-through the error is that of one grey for all, about the standard deviation 0.29.
    assert float((made - shades[:, :, 0, 0]).detach().abs().mean()) < 0.06


def test_standard_latents_have_unit_scale_and_the_same_pictures() -> None:
    torch.manual_seed(0)
    network = build_autoencoder(3, **TINY)
    pictures = torch.rand(6, 3, 16, 16)
    with torch.no_grad():
        before = network(pictures * 2 - 1).sample
        spread = network.encode(pictures).latent_dist.std / network.encode(pictures).latent_dist.mean.std((0, 2, 3), keepdim=True)
        standardise(network, pictures.split(2))
        latents = encode_mean(network, pictures)
        after = network(pictures * 2 - 1).sample
        relative = network.encode(pictures).latent_dist.std / network.encode(pictures).latent_dist.mean.std((0, 2, 3), keepdim=True)
    assert float(latents.mean((0, 2, 3)).abs().max()) < 1e-4
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-4)
    assert torch.allclose(before, after, atol=1e-4)
    # What the posterior does not know is scaled along.
    assert torch.allclose(spread, relative, rtol=1e-3)


def test_the_divergence_is_that_of_normal_distributions() -> None:
    torch.manual_seed(0)
    model = TrainedAutoencoder(build_autoencoder(3, **TINY))
    pictures = torch.rand(2, 3, 16, 16)
    noise = torch.randn(2, 4, 8, 8)
    made, divergence = model(pictures, noise)
    posterior = model.autoencoder.encode(pictures * 2 - 1).latent_dist
    wanted = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, posterior.std), torch.distributions.Normal(0.0, 1.0)
    )
    assert torch.allclose(divergence, wanted.mean((1, 2, 3)), rtol=1e-5)
    assert made.shape == pictures.shape


def test_loss_terms_are_nought_for_equals_and_see_what_they_are_for() -> None:
    torch.manual_seed(0)
    truth = torch.rand(3, 3, 32, 32)
    for distance in (colour_distance, gradient_distance, energy_distance):
        assert float(distance(truth, truth).abs().max()) == 0
    brighter = truth + 0.1
    assert float(gradient_distance(brighter, truth).max()) < 1e-6
    assert torch.allclose(colour_distance(brighter, truth), torch.full((3,), 0.1), atol=1e-6)
    # White noise of another seed has the same texture; half of it has a quarter of the energy in every octave.
    other = torch.rand(3, 3, 32, 32)
    assert float(energy_distance(other, truth).mean()) < 0.15
    halved = 0.5 + 0.5 * (truth - 0.5)
    assert float(energy_distance(halved, truth).mean()) == pytest.approx(np.log(4), rel=0.02)


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_run_lowers_the_loss_and_its_export_is_read_back(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, count=5, samples=160)
    trainer = train(recipe, AutoencoderTask(recipe))
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    evaluated = next(line["evaluation"] for line in lines if "evaluation" in line)
    assert set(evaluated) == {"psnr", "power", "score"}
    network = read_autoencoder(trainer.folder / "final")
    assert network.config["in_channels"] == 5
    crops = AutoencoderTask(recipe).batch(list(range(32))).tensors["pictures"]
    assert torch.allclose(encode_mean(network, crops).std((0, 2, 3)), torch.ones(4), rtol=0.2)


def test_a_batch_is_a_function_of_its_indices(tmp_path: Path) -> None:
    task = AutoencoderTask(recipe_of(tmp_path))
    together, alone = task.batch([3, 4]), task.batch([4])
    for name, value in together.tensors.items():
        assert torch.equal(value[1:], alone.tensors[name])


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ({"sources": []}, "give either pictures or sources"),
        ({"bands": ["B01"]}, "make them agree"),
        ({"model": {"block_out_channels": [8, 16, 16, 16, 16, 16]}}, "choose another size"),
        ({"model": {"norm_num_groups": 3}}, "task.model"),
        ({"held_out": [{"kind": "array", "files": "pictures.npz", "key": "x", "bands": [0, 1, 2]}]}, "also trained on"),
    ],
)
def test_a_wrong_recipe_is_told_so(tmp_path: Path, task: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        AutoencoderTask(recipe_of(tmp_path, **task))


def test_a_sheet_puts_pictures_side_by_side() -> None:
    pictures = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 2, 2) / 2
    sheet = contact_sheet(pictures, 2)
    assert sheet.shape == (4, 4, 3)
    assert sheet[0, 0, 0] == 0
    assert sheet[0, 2, 0] == 128
    assert sheet[2, 0, 0] == 255
    assert sheet[2, 2, 0] == 0
