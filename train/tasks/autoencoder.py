"""Training of a KL autoencoder: pictures to latents that a small diffusion can learn, and back without blur.

No discriminator: distances in value and in edges, and the strength of local texture (`autoencoder_loss`), keep pictures sharp at this size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ...gen.data.atomic import write_json
from ...gen.errors import InputError
from ...gen.models.autoencoder import TrainedAutoencoder, build_autoencoder, latent_factor, standardise
from ...gen.zoo.folder import load_weights, read_config, write_model_folder
from ...metrics.fidelity import psnr
from ...metrics.spectrum import band_power_ratio
from ..order import Stream, sample_noise, sample_rng
from ..task import Batch
from .autoencoder_config import AutoencoderConfig
from .autoencoder_data import crops_of
from .autoencoder_loss import colour_distance, energy_distance, gradient_distance

if TYPE_CHECKING:
    from ..recipe import Recipe

PIPELINE = "EarthAutoencoder"
"""What the index of an exported folder names: its only part is ``vae``, which `EarthPipeline` takes."""
_SCALED = 256  # crops whose latents are measured for the scale


class AutoencoderTask:
    """Crops, loss and scores of one autoencoder."""

    def __init__(self, recipe: Recipe) -> None:
        """Read the pictures.

        Raises:
            InputError: If the data do not fit the recipe.
        """
        if not isinstance(recipe.task, AutoencoderConfig):
            raise TypeError(f"the recipe {recipe.name} describes {recipe.task.kind}, not an autoencoder")
        self.recipe, self.config = recipe, recipe.task
        self.crops = crops_of(self.config, recipe.data)
        self._held_out: Tensor | None = None
        self._latent = self._shape()

    def build(self, initialise: Path | None) -> nn.Module:
        """A fresh network, or the one stored in a folder."""
        if initialise is not None:
            return TrainedAutoencoder(read_autoencoder(initialise)).to(memory_format=torch.channels_last)
        return TrainedAutoencoder(self._fresh()).to(memory_format=torch.channels_last)

    def batch(self, indices: list[int]) -> Batch:
        """Crops and the noise of their latents."""
        drawn = [self.crops.item(sample_rng(self.recipe.seed, index, Stream.DATA)) for index in indices]
        pictures = torch.stack([crop for crop, _ in drawn])
        noise = sample_noise(self.recipe.seed, indices, self._latent)
        return Batch(indices, [name for _, name in drawn], {"pictures": pictures, "noise": noise})

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of the terms, mean over the samples; and each term."""
        truth, weights = batch.tensors["pictures"], self.config.weights
        made, divergence = model(truth, batch.tensors["noise"])
        terms = {
            "l1": (made - truth).abs().mean((1, 2, 3)),
            "colour": colour_distance(made, truth),
            "gradient": gradient_distance(made, truth),
            "spectrum": energy_distance(made, truth),
            "kl": divergence,
        }
        total = sum((getattr(weights, name) * value.mean() for name, value in terms.items()), torch.zeros((), device=truth.device))
        return total, {name: value.detach().mean() for name, value in terms.items()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """PSNR (dB, data range 1, all bands) and power in the upper half band relative to the truth's, over the held-out crops.

        ``score``, by which checkpoints are compared, is the PSNR less 10 times the absolute logarithm (base 10) of that ratio.
        """
        truth = self._truth()
        if not len(truth):
            return {}
        made = self._reconstructed(model, truth)
        fidelity = float(np.mean([float(psnr(a[None], b[None], data_range=1.0)) for a, b in zip(made, truth, strict=True)]))
        power = float(band_power_ratio(made, truth).nanmean())
        return {"psnr": fidelity, "power": power, "score": fidelity - 10 * abs(float(np.log10(max(power, 1e-6))))}

    def show(self, model: nn.Module) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
        """Held-out crops above their reconstructions, eight to a row."""
        truth = self._truth()[:32, :3]
        if not len(truth):
            return {}
        both = torch.stack([truth, self._reconstructed(model, self._truth()[:32])[:, :3]], 1)
        return {"reconstructions": contact_sheet(both.flatten(0, 1), 8)}

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        """Write the autoencoder, its latents brought to unit scale, with its card and the recipe."""
        from ..recipe import dump_recipe

        trained = _inner(model)
        copy = AutoencoderKL.from_config(trained.config)
        copy.load_state_dict(trained.state_dict())
        made = self.batch(list(range(_SCALED))).tensors["pictures"].float()
        standardise(copy, made.split(8))
        record = dict(card.get("training", {}))
        figures = {name: round(value, 4) for name, value in dict(record.pop("figures", {})).items() if name != "score"}
        write_model_folder(
            folder,
            pipeline=PIPELINE,
            components={"vae": copy},
            settings={"bands": list(self.config.bands), "unit": self.config.unit},
            card={
                "name": self.recipe.name,
                "task": f"autoencoder of {', '.join(self.config.bands)} ({self.config.unit})",
                "parameters": sum(p.numel() for p in copy.parameters()),
                **{key: value for key, value in card.items() if key != "training"},
                "data": {"pictures": len(self.crops.names)},
                "training": {"recipe": self.recipe.name, "batch": self.recipe.batch * self.recipe.accumulate, **record},
                "metrics": {
                    "protocol": "means over held-out crops; PSNR in dB, all bands, data range 1; power: upper half band",
                    **figures,
                },
            },
        )
        write_json(folder / "recipe.json", dump_recipe(self.recipe))

    def _fresh(self) -> AutoencoderKL:
        try:
            return build_autoencoder(len(self.config.bands), **self.config.model)
        except (TypeError, ValueError) as error:
            raise InputError(f"task.model: {error}") from error

    def _shape(self) -> tuple[int, int, int]:
        with torch.device("meta"):
            network = self._fresh()
        size = self.config.crop if self.config.pictures is None else self.config.pictures.size
        factor = latent_factor(network)
        if size % factor:
            raise InputError(f"crops of {size} pixels are no multiple of the autoencoder's factor {factor}; choose another size")
        return int(network.config["latent_channels"]), size // factor, size // factor

    def _truth(self) -> Tensor:
        if self._held_out is None:
            self._held_out = self.crops.held_out()
        return self._held_out

    def _reconstructed(self, model: nn.Module, pictures: Tensor) -> Tensor:
        home = next(model.parameters())
        parts = []
        for part in pictures.split(16):
            silent = torch.zeros(len(part), *self._latent).to(home)
            parts.append(model(part.to(home), silent)[0].clamp(0, 1).float().cpu())
        return torch.cat(parts)


def contact_sheet(pictures: Tensor, columns: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pictures ``[n, 3, H, W]`` in [0, 1] side by side, ``[H * rows, W * columns, 3]`` uint8, black where there are none left."""
    count, bands, height, width = pictures.shape
    rows = -(-count // columns)
    sheet = torch.zeros(rows * columns, bands, height, width)
    sheet[:count] = pictures
    grid = sheet.view(rows, columns, bands, height, width).permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, bands)
    return np.asarray((grid.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy())


def read_autoencoder(folder: Path) -> AutoencoderKL:
    """The autoencoder of a folder: its ``vae``, or the folder itself; float32, in evaluation mode.

    Raises:
        InputError: If there is none, or its weights do not fit its config.
    """
    from ...gen.zoo.names import resolve_model

    part = folder if (folder / "config.json").is_file() else resolve_model(folder) / "vae"
    config: Mapping[str, Any] = read_config(part / "config.json")
    network = AutoencoderKL.from_config(dict(config))
    network.load_state_dict(load_weights(part, network))
    return network.eval()


def _inner(model: nn.Module) -> AutoencoderKL:
    if not isinstance(model, TrainedAutoencoder):
        raise TypeError(f"a {type(model).__name__} is no TrainedAutoencoder")
    return model.autoencoder
