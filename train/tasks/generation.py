"""Training of a conditional latent generator: text, metadata, masks and given parts of the picture, each left out now and then.

The autoencoder is frozen; a bank of crops is encoded once. Text encoder and metadata embedding are trained with the denoiser where the
recipe makes them anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...gen.conditioning.schemas import MetadataSchema, schema
from ...gen.errors import InputError
from ...gen.models.autoencoder import decode
from ...gen.models.generator import Generator
from ...gen.schedulers.forward import forward_process
from ..order import Stream, sample_noise, sample_uniform
from ..task import Batch, Probe
from .autoencoder import contact_sheet
from .generation_cache import word_cache
from .generation_conditions import Conditions, for_controls
from .generation_config import GenerationConfig
from .generation_controls import ControlInputs
from .generation_data import GenerationData, Sample
from .generation_parts import Parts, build_network, read_parts, text_encoder
from .generation_sampling import draw

if TYPE_CHECKING:
    from ..recipe import Recipe

BINS = 4
"""Quarters of the diffusion time whose losses are told apart."""


class GenerationTask:
    """One generator: networks, diffusion, conditions, pictures and scores."""

    def __init__(self, recipe: Recipe) -> None:
        """Read the pictures and the frozen parts.

        Raises:
            InputError: If the data or parts do not fit the recipe.
        """
        if not isinstance(recipe.task, GenerationConfig):
            raise TypeError(f"the recipe {recipe.name} describes {recipe.task.kind}, not generation")
        self.recipe, self.config = recipe, recipe.task
        torch.manual_seed(recipe.seed)
        self.parts: Parts = read_parts(self.config, recipe.initialise)
        self.controls = ControlInputs(self.config.controls, self.parts.folder)
        self.data = GenerationData(self.config, recipe.data, recipe.seed, self.parts.autoencoder, self.controls)
        self.tokenizer = self.parts.tokenizer or self._learnt_tokenizer()
        self.schema: MetadataSchema | None = schema(self.config.metadata_schema) if self.config.metadata_schema else None
        cache = Path(self.config.cache) if self.config.cache and self.parts.folder is not None else None
        self.words = word_cache(recipe, cache, lambda: text_encoder(self.config, self.tokenizer, self.parts.folder))
        self.conditions = Conditions(self.config, self.tokenizer, self.schema, self.controls)
        try:
            self.process = forward_process(self.config.scheduler, self.config.min_snr)
        except (TypeError, ValueError) as error:
            raise InputError(f"task.scheduler: {error}") from error

    def build(self, initialise: Path | None) -> nn.Module:
        """The network: new, from `task.base`, or with the weights of an exported folder."""
        return build_network(self.config, self.parts, self.tokenizer, self.data.shape, initialise)

    def batch(self, indices: list[int]) -> Batch:
        """Latents, times, noise and conditions of these samples."""
        seed = self.recipe.seed
        samples = self.data.samples(indices)
        latents = torch.stack([sample.latents for sample in samples])
        uniform = sample_uniform(seed, indices, 1 + self.conditions.draws)
        tensors = {
            "latents": latents,
            "noise": sample_noise(seed, indices, tuple(latents.shape[1:])),
            "time": self.process.times(uniform[:, 0]),
            **self.conditions.tensors(samples, uniform[:, 1:]),
        }
        if self.words is not None:
            tensors["words"] = self.words(tensors["tokens"])
        return Batch(indices, [sample.name for sample in samples], tensors)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over the samples of the weighted squared error, and the plain one."""
        error = self._errors(model, batch.tensors)
        return (self.process.weight(batch.tensors["time"]) * error).mean(), {"error": error.detach().mean()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Weighted loss on crops of the validation places at fixed times and noise: over all times, and for each quarter of them.

        ``score`` is its negative: the higher, the better.
        """
        samples = self._validation
        if not samples:
            return {}
        count, home = len(samples), next(model.parameters()).device
        latents = torch.stack([sample.latents for sample in samples])
        times = self.process.times((torch.arange(count, dtype=torch.float64) + 0.5) / count)
        noise = sample_noise(0, list(range(count)), tuple(latents.shape[1:]), Stream.EVALUATION)
        tensors = {"latents": latents, "noise": noise, "time": times, **self.conditions.tensors(samples)}
        moved = {name: value.to(home) for name, value in tensors.items()}
        losses = (self.process.weight(moved["time"]) * self._errors(model, moved)).cpu()
        quarters = losses.chunk(BINS) if count >= BINS else ()
        figures = {f"loss_quarter_{number}": float(part.mean()) for number, part in enumerate(quarters, 1)}
        return {"loss": float(losses.mean()), **figures, **self._distance(model), "score": -float(losses.mean())}

    def show(self, model: nn.Module) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
        """Pictures of validation captions, metadata and masks; below each row what was there in truth."""
        samples = self._validation[: self.config.guidance.shown]
        if not samples:
            return {}
        made = self.sample(model, samples)
        truth = decode(self.data.autoencoder, torch.stack([s.latents for s in samples]).to(self.data.autoencoder.device)).cpu()
        columns = min(8, len(samples))
        rows = [torch.cat([a, b]) for a, b in zip(made.split(columns), truth.split(columns), strict=True) if len(a) == columns]
        return {"samples": contact_sheet(torch.cat(rows), columns)} if rows else {}

    @property
    def probes(self) -> Mapping[str, Probe]:
        """Whether the network listens: how far its prediction moves when a condition is taken away or exchanged."""
        return {"adherence": self._adherence}

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        """Write a folder that `EarthPipeline` loads."""
        from .generation_export import export_model

        export_model(self, _network(model), folder, card)

    def sample(self, model: nn.Module, samples: list[Sample], scale: float | None = None, seed: int = 0) -> Tensor:
        """Pictures from noise, one for each sample's conditions.

        Args:
            model: The network.
            samples: Their captions, metadata and masks are followed; nothing else of them is used.
            scale: Of guidance; the recipe's if left out.
            seed: Of the noise; picture n has the noise of n.

        Returns:
            ``[n, 3, H, W]`` in [0, 1], on the CPU.
        """
        noise = sample_noise(seed, list(range(len(samples))), self.data.shape, Stream.EVALUATION)
        given = self.conditions.tensors(samples)
        guidance = self.config.guidance
        latents = draw(model, self.config, self.conditions, given, noise, guidance.steps, guidance.scale if scale is None else scale)
        home = self.data.autoencoder.device
        with torch.no_grad():
            return torch.cat([decode(self.data.autoencoder, part.to(home)).float().cpu() for part in latents.split(16)])

    @cached_property
    def _validation(self) -> list[Sample]:
        return self.data.held_out("validation", self.config.guidance.count)

    def _errors(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error of each sample, ``[B]``."""
        clean, noise, time = tensors["latents"], tensors["noise"], tensors["time"]
        state = self.process.noised(clean, noise, time)
        inputs = torch.cat([state, tensors["extra"]], 1) if "extra" in tensors else state
        output = model(
            inputs, time, tensors["tokens"], tensors.get("values"), tensors.get("known"), for_controls(tensors), tensors.get("words")
        )
        return (output - self.process.target(clean, noise, time)).square().mean((1, 2, 3))

    def _distance(self, model: nn.Module) -> dict[str, float]:
        """Kernel distance of pictures of the validation conditions to the validation pictures."""
        guidance = self.config.guidance
        if not guidance.features or len(self._validation) < 2:
            return {}
        from ...metrics.distribution import kernel_distance
        from ...metrics.feature_networks import feature_network, features_of

        network = feature_network(guidance.features)
        crops = self.data.held_out_crops("validation", guidance.count)
        truth = torch.from_numpy(np.stack([crop.pixels for crop in crops]).astype(np.float32) / np.float32(255))
        made, wanted = (features_of(iter(pictures), network) for pictures in (self.sample(model, self._validation), truth))
        return {"kernel_distance": kernel_distance(made, wanted)}

    def _adherence(self, model: nn.Module) -> dict[str, float]:
        """Loss that each condition saves on validation places at the middle of the diffusion, relative to the loss without it."""
        samples = self._validation
        if not samples:
            return {}
        home = next(model.parameters()).device
        latents = torch.stack([sample.latents for sample in samples]).to(home)
        noise = sample_noise(1, list(range(len(samples))), tuple(latents.shape[1:]), Stream.EVALUATION).to(home)
        time = self.process.times(torch.full((len(samples),), 0.6, dtype=torch.float64)).to(home)
        full = {name: value.to(home) for name, value in self.conditions.tensors(samples).items()}
        none = self.conditions.without(full)
        rest = {"latents": latents, "noise": noise, "time": time}
        best = float(self._errors(model, {**rest, **full}).mean())
        saved: dict[str, float] = {}
        groups = {"text": ("tokens",), "metadata": ("values", "known"), "hint": ("extra",)}
        for name, keys in groups.items():
            if all(key in full for key in keys):
                worse = float(self._errors(model, {**rest, **full, **{key: none[key] for key in keys}}).mean())
                saved[f"saved_by_{name}"] = 1 - best / worse
        return saved

    def _learnt_tokenizer(self) -> Any:
        from ...gen.conditioning.tokenizer import train_tokenizer

        length = int(self.config.text.model.get("max_position_embeddings", 77))
        return train_tokenizer(self.data.captions(), self.config.text.vocabulary, length)


def _network(model: nn.Module) -> Generator:
    if not isinstance(model, Generator):
        raise TypeError(f"a {type(model).__name__} is no Generator")
    return model
