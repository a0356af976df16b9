"""Training of the raster diffusion prior: layouts, turned, flipped and zoomed a little, as rasters; the squared error of the prediction.

What is reported is not the loss, which says little, but how far the statistics of drawn layouts are from those of layouts that were held
out (`gen.annotations.priors.assessment`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn

from ...gen.annotations.box import Box, Layout
from ...gen.annotations.geometry import crop
from ...gen.annotations.priors.assessment import PROTOCOL, assess
from ...gen.annotations.priors.bootstrap import symmetric
from ...gen.annotations.priors.raster import encode_raster
from ...gen.annotations.priors.raster_prior import RasterPrior
from ...gen.data.atomic import write_json
from ...gen.data.objects import ObjectPicture
from ...gen.data.splits import Split
from ...gen.errors import InputError
from ...gen.models.layout_prior import build_layout_prior, draw_rasters
from ...gen.schedulers.forward import forward_process
from ...gen.zoo.folder import load_weights, read_config, write_model_folder
from ..order import Stream, sample_noise, sample_rng, sample_uniform
from ..task import Batch
from .autoencoder import contact_sheet
from .layout_prior_config import LayoutPriorConfig

if TYPE_CHECKING:
    from ..recipe import Recipe

PIPELINE = "LayoutPriorPipeline"
_PARTS: tuple[Split, ...] = ("train", "validation")


class LayoutPriorTask:
    """Rasters, loss and scores of one prior."""

    def __init__(self, recipe: Recipe) -> None:
        """Read the layouts.

        Raises:
            InputError: If the data do not fit the recipe.
            TypeError: If the recipe describes another task.
        """
        if not isinstance(recipe.task, LayoutPriorConfig):
            raise TypeError(f"the recipe {recipe.name} describes {recipe.task.kind}, not a layout prior")
        self.recipe, self.config = recipe, recipe.task
        self._process = forward_process(self.config.scheduler, self.config.gamma)
        self._groups: list[tuple[float, list[Layout]]] = []
        self._held_out: list[Layout] = []
        for source in self.config.sources:
            parts = source.divided(recipe.data, _PARTS)
            layouts = [self._layout(picture) for picture in parts["train"]]
            if any(layout.boxes for layout in layouts) and source.weight > 0:
                self._groups.append((source.weight, layouts))
            self._held_out += [self._layout(picture) for picture in parts["validation"]]
        if not self._groups:
            raise InputError(f"no training picture holds an object of the classes {', '.join(self.config.names)}; check names and sources")
        weights = np.array([weight for weight, _ in self._groups])
        self._shares = weights / weights.sum()
        rng = np.random.default_rng([recipe.seed, 1])
        self.training = [self._view(layout, rng) for _, layouts in self._groups for layout in layouts for _ in range(self._views(layout))]
        self._held_out = [self._view(layout, rng) for layout in self._held_out for _ in range(self._views(layout))]
        self.prior = RasterPrior.of(self.training, self.config.names)

    def build(self, initialise: Path | None) -> nn.Module:
        """A fresh network, or the one stored in a model folder (its ``unet`` part)."""
        if initialise is not None:
            folder = initialise / "unet" if (initialise / "unet").is_dir() else initialise
            network = UNet2DModel.from_config(read_config(folder / "config.json"))
            network.load_state_dict(load_weights(folder, network))
            return network
        try:
            return build_layout_prior(len(self.config.names), self.config.size, **self.config.model)
        except (TypeError, ValueError) as error:
            raise InputError(f"task.model: {error}") from error

    def batch(self, indices: list[int]) -> Batch:
        """Rasters, times and noise."""
        rasters, names = [], []
        for index in indices:
            rng = sample_rng(self.recipe.seed, index, Stream.DATA)
            layouts = self._groups[int(rng.choice(len(self._groups), p=self._shares))][1]
            layout = layouts[int(rng.integers(len(layouts)))]
            view = symmetric(self._view(layout, rng), int(rng.integers(8)))
            rasters.append(encode_raster(view, self.config.names, self.config.size))
            names.append(layout.picture or "")
        shape = (len(self.config.names), self.config.size, self.config.size)
        time = self._process.times(sample_uniform(self.recipe.seed, indices, 1)[:, 0])
        noise = sample_noise(self.recipe.seed, indices, shape)
        return Batch(indices, names, {"raster": torch.from_numpy(np.stack(rasters)), "time": time, "noise": noise})

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted squared error of the prediction."""
        clean, noise, time = (batch.tensors[name] for name in ("raster", "noise", "time"))
        output = model(self._process.noised(clean, noise, time), time).sample
        error = (output - self._process.target(clean, noise, time)).square().mean((1, 2, 3))
        return (self._process.weight(time).to(error) * error).mean(), {"error": error.detach().mean()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures of drawn layouts against held-out ones; ``score`` is one minus the mean distance of their statistics."""
        drawn = self.draw(model, self.config.count)
        real = [layout for layout in self._held_out if layout.boxes]
        if not any(layout.boxes for layout in drawn):
            return {"objects_drawn": 0.0, "score": 0.0}
        figures = assess(self.training, drawn, real)
        # Where no object has a neighbour there is no distance of gaps.
        found = {name: value for name, value in figures.items() if isinstance(value, float) and math.isfinite(value)}
        each = [found[name] for name in ("ks_area", "ks_aspect", "ks_angle", "ks_count", "ks_gap") if name in found]
        return {**found, "score": 1 - float(np.mean(each))}

    def show(self, model: nn.Module) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
        """Drawn rasters, eight to a row; the first three classes are red, green and blue."""
        rasters = torch.from_numpy(self._rasters(model, 16, np.random.default_rng([self.recipe.seed, 2])))[:, :3]
        padded = torch.nn.functional.pad(rasters, (0, 0, 0, 0, 0, 3 - rasters.shape[1]), value=-1.0)
        return {"rasters": contact_sheet(((padded + 1) / 2).clamp(0, 1), 8)}

    def draw(self, model: nn.Module, count: int) -> list[Layout]:
        """Layouts by the network as it is, always from the same noise."""
        rng = np.random.default_rng([self.recipe.seed, 3])
        return self.prior.sample(count, rng, lambda number, own: self._rasters(model, number, own))

    def export(self, model: nn.Module, folder: Path, card: dict[str, Any]) -> None:
        """Write the model folder: weights in half precision, settings, card, and the effective recipe."""
        from ..recipe import dump_recipe

        if not isinstance(model, UNet2DModel):
            raise TypeError(f"a {type(model).__name__} is no UNet2DModel")
        record = dict(card.get("training", {}))
        figures = {name: round(value, 4) for name, value in dict(record.pop("figures", {})).items() if name != "score"}
        write_model_folder(
            folder,
            pipeline=PIPELINE,
            components={"unet": model, "scheduler": self._sampler()},
            settings={"layouts": self.prior.table(), "num_inference_steps": self.config.steps},
            card={
                "name": self.recipe.name,
                "task": f"layouts of {', '.join(self.config.names)}",
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                **{key: value for key, value in card.items() if key != "training"},
                "data": {"layouts": sum(len(layouts) for _, layouts in self._groups), "held_out": len(self._held_out)},
                "training": {"recipe": self.recipe.name, "batch": self.recipe.batch * self.recipe.accumulate, **record},
                "metrics": {"protocol": PROTOCOL, **figures},
            },
        )
        write_json(folder / "recipe.json", dump_recipe(self.recipe))

    def _layout(self, picture: ObjectPicture) -> Layout:
        """The boxes of the classes that are drawn."""
        height, width = picture.pixels.shape[1:]
        boxes = []
        for label, quad in zip(picture.labels, picture.quads, strict=True):
            if label in self.config.names:
                a, b, c, d = ((float(x), float(y)) for x, y in quad)
                boxes.append(Box(label, (a, b, c, d)))
        return Layout(width, height, tuple(boxes), picture.name)

    def _views(self, layout: Layout) -> int:
        """Windows that stand for a layout in the statistics."""
        return max(1, round(layout.width * layout.height / self.config.window**2)) if self.config.window else 1

    def _view(self, layout: Layout, rng: np.random.Generator) -> Layout:
        """A window, or the whole, zoomed a little: what is cut off is gone, what is beyond the picture is empty."""
        zoom = float(rng.uniform(*self.config.zoom))
        full = np.array([layout.width, layout.height])
        frame = np.minimum(full, self.config.window) if self.config.window else full
        seen = frame / zoom
        corner = (full - seen) * (rng.random(2) if self.config.window else 0.5)
        width, height = (max(1, round(float(value))) for value in seen)
        return crop(layout, float(corner[0]), float(corner[1]), width, height, self.config.min_visible)

    def _rasters(self, model: nn.Module, count: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
        shape = (len(self.config.names), self.config.size, self.config.size)
        parts = []
        for start in range(0, count, 16):
            noise = torch.from_numpy(rng.standard_normal((min(16, count - start), *shape), dtype=np.float32))
            parts.append(draw_rasters(model, self._sampler(), noise, self.config.steps).numpy())
        return np.concatenate(parts)

    def _sampler(self) -> Any:
        return DPMSolverMultistepScheduler.from_config(dict(self.config.scheduler), timestep_spacing="trailing", lambda_min_clipped=-5.1)
