"""Training of a generator of pictures from layouts of objects, in pixel space: text, boxes and given parts, each left out now and then."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...gen.errors import InputError
from ..order import Stream, sample_noise, sample_uniform
from ..task import Batch, Probe
from .autoencoder import contact_sheet
from .layout_config import LayoutConfig
from .layout_data import LayoutData, Told, layout_of, tell, tensors_of, whole
from .layout_parts import LayoutGenerator, build_network, read_tokenizer
from .layout_process import layout_process
from .layout_sampling import CONDITIONS, draw, outlined

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

    from ..recipe import Recipe

BINS = 4
"""Quarters of the diffusion time whose losses are told apart."""
_CHUNK = 16  # held-out samples per network call


class LayoutTask:
    """One generator: network, diffusion, conditions, pictures and scores."""

    def __init__(self, recipe: Recipe) -> None:
        """Read the pictures.

        Raises:
            InputError: If the data do not fit the recipe.
        """
        if not isinstance(recipe.task, LayoutConfig):
            raise TypeError(f"the recipe {recipe.name} describes {recipe.task.kind}, not layout")
        self.recipe, self.config = recipe, recipe.task
        torch.manual_seed(recipe.seed)
        self.data = LayoutData(self.config, recipe.data, recipe.seed)
        self.tokenizer: CLIPTokenizer | None = None
        if self.config.text is not None:
            self.tokenizer = read_tokenizer(recipe.initialise) or self._learnt_tokenizer()
        try:
            self.process = layout_process(self.config.scheduler, self.config.min_snr)
        except (TypeError, ValueError) as error:
            raise InputError(f"task.scheduler: {error}") from error

    def build(self, initialise: Path | None) -> nn.Module:
        """The network: new, or with the weights of an exported folder."""
        return build_network(self.config, self.tokenizer, initialise).to(memory_format=torch.channels_last)

    def batch(self, indices: list[int]) -> Batch:
        """Pictures, times, noise and conditions of these samples."""
        told = self.data.told(indices)
        # The first number of the stream that also decides what is told.
        uniform = sample_uniform(self.recipe.seed, indices, 1)[:, 0]
        tensors = {
            **self._tensors(told),
            "noise": self._noise(self.recipe.seed, indices, Stream.NOISE),
            "time": self.process.times(uniform),
        }
        return Batch(indices, [one.crop.name for one in told], tensors)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over the samples of the weighted squared error, and the plain one."""
        weighted, plain = self._errors(model, batch.tensors)
        return (self.process.weight(batch.tensors["time"]) * weighted).mean(), {"error": plain.detach().mean()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Weighted loss on crops of the validation places at fixed times and noise, over all times and for each quarter of them.

        ``score`` is its negative: the higher, the better.
        """
        if not self._validation:
            return {}
        count = len(self._validation)
        times = self.process.times((torch.arange(count, dtype=torch.float64) + 0.5) / count)
        losses = self.process.weight(times) * self._held_out_errors(model, {**self._held, "time": times})
        quarters = losses.chunk(BINS) if count >= BINS else ()
        figures = {f"loss_quarter_{number}": float(part.mean()) for number, part in enumerate(quarters, 1)}
        return {"loss": float(losses.mean()), **figures, "score": -float(losses.mean())}

    def show(self, model: nn.Module) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
        """Held-out layouts painted: as made, with the boxes, and what was there; then parts painted anew, with mask and boxes."""
        crops = [one.crop for one in self._validation[: self.config.guidance.shown]]
        if not crops:
            return {}
        names, count = self.config.names, len(crops)
        full = [whole(crop) for crop in crops]
        config = self.config.model_copy(update={"repaint": self.config.repaint.model_copy(update={"share": 1.0})})
        kept = [tell(crop, config, np.random.default_rng([5, number])) for number, crop in enumerate(crops)]
        kept = [Told(one.crop, one.listed, True, one.crop.caption, one.mask, one.repaint) for one in kept]
        sheets = {}
        for name, told in (("samples", full), ("repainted", kept)):
            made = self.sample(model, told)
            truth = [torch.from_numpy(crop.pixels.astype(np.float32) / np.float32(255)) for crop in crops]
            layouts = [layout_of(one.crop, names, one.listed) for one in told]
            masks = [one.mask if one.repaint else None for one in told]
            marked = [outlined(made[at], layouts[at], names, masks[at]) for at in range(count)]
            before = [outlined(truth[at], layouts[at], names, masks[at]) for at in range(count)]
            sheets[name] = contact_sheet(torch.stack([*made, *marked, *before]), count)
        return sheets

    @property
    def probes(self) -> Mapping[str, Probe]:
        """Whether the network listens: how much the error falls when the layout is told, and rises when it is another picture's."""
        return {"adherence": self._adherence}

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        """Write a folder that `LayoutToImagePipeline` loads."""
        from .layout_export import export_layout

        if not isinstance(model, LayoutGenerator):
            raise TypeError(f"a {type(model).__name__} is no LayoutGenerator")
        export_layout(self, model, folder, card)

    def sample(self, model: nn.Module, told: list[Told], seed: int = 0) -> Tensor:
        """Pictures from noise, one for each sample's conditions.

        Args:
            model: The network.
            told: Their layouts, captions and given parts are followed.
            seed: Of the noise; picture n has the noise of n.

        Returns:
            ``[n, 3, S, S]`` in [0, 1], on the CPU; given parts as they were.
        """
        tensors = self._tensors(told)
        if self.tokenizer is not None:
            tensors["no_tokens"] = self._words([""] * len(told))
        made = draw(model, self.config, tensors, self._noise(seed, list(range(len(told))), Stream.EVALUATION))
        masks = torch.from_numpy(np.stack([one.mask for one in told]))[:, None]
        pictures = torch.from_numpy(np.stack([one.crop.pixels for one in told]).astype(np.float32)) / 255
        return torch.where(masks > 0, made, pictures)

    @cached_property
    def _validation(self) -> list[Told]:
        return [whole(crop) for crop in self.data.held_out("validation", self.config.guidance.count)]

    @cached_property
    def _held(self) -> dict[str, Tensor]:
        """Tensors of the held-out samples, and their noise."""
        return {
            **self._tensors(self._validation), "noise": self._noise(0, list(range(len(self._validation))), Stream.EVALUATION)
        }  # fmt: skip

    def _tensors(self, told: list[Told]) -> dict[str, Tensor]:
        tensors = tensors_of(told, self.config)
        if self.tokenizer is not None:
            tensors["tokens"] = self._words([one.caption for one in told])
        return tensors

    def _words(self, texts: list[str]) -> Tensor:
        if self.tokenizer is None:
            raise TypeError("a model without text has no words")
        length = self.tokenizer.model_max_length
        found = self.tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        tokens: Tensor = found["input_ids"]
        return tokens

    def _noise(self, seed: int, indices: list[int], stream: Stream) -> Tensor:
        size = self.config.objects.size
        return F.pixel_unshuffle(sample_noise(seed, indices, (3, size, size), stream), self.config.patch)

    def _errors(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Weighted and plain mean squared error of each sample, ``[B]`` each."""
        clean, noise, time = tensors["clean"], tensors["noise"], tensors["time"]
        inputs = torch.cat([self.process.noised(clean, noise, time), tensors["kept"]], 1)
        output = model(inputs, time, *(tensors[name] for name in CONDITIONS), tensors.get("tokens"))
        squared = F.pixel_shuffle((output - self.process.target(clean, noise, time)).square(), self.config.patch)
        return (squared * tensors["weight"]).mean((1, 2, 3)), squared.mean((1, 2, 3))

    @torch.no_grad()
    def _held_out_errors(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        home, parts = next(model.parameters()).device, []
        for at in range(0, len(tensors["time"]), _CHUNK):
            moved = {name: value[at : at + _CHUNK].to(home) for name, value in tensors.items()}
            parts.append(self._errors(model, moved)[0].cpu())
        return torch.cat(parts)

    def _adherence(self, model: nn.Module) -> dict[str, float]:
        """Share of the error at the middle of the diffusion that text and layout save, and that a wrong layout costs."""
        if len(self._validation) < 2:
            return {}
        time = self.process.times(torch.full((len(self._validation),), 0.6, dtype=torch.float64))
        full = {**self._held, "time": time}
        best = float(self._held_out_errors(model, full).mean())
        absent = {**full, "present": torch.zeros_like(full["present"])}
        other = {**full, **{name: full[name].roll(1, 0) for name in ("quads", "labels", "valid", "raster")}}
        figures = {
            "saved_by_layout": 1 - best / float(self._held_out_errors(model, absent).mean()),
            "cost_of_wrong_layout": float(self._held_out_errors(model, other).mean()) / best - 1,
        }
        if self.tokenizer is not None:
            silent = {**full, "tokens": self._words([""] * len(self._validation))}
            figures["saved_by_text"] = 1 - best / float(self._held_out_errors(model, silent).mean())
        return figures

    def _learnt_tokenizer(self) -> CLIPTokenizer:
        from ...gen.conditioning.tokenizer import train_tokenizer

        text = self.config.text
        if text is None:
            raise TypeError("a model without text has no tokenizer")
        length = int(text.model.get("max_position_embeddings", 77))
        return train_tokenizer(self.data.captions(), text.vocabulary, length)
