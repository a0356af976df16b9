"""New layouts from a diffusion over rasters of objects: what `LayoutPrior.sample` is for the other priors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import DiffusionPipeline, UNet2DModel
from numpy.typing import NDArray

from ..gen.annotations.box import Layout
from ..gen.annotations.priors.raster_prior import RasterPrior
from ..gen.annotations.priors.rejection import Ground
from ..gen.errors import InputError
from ..gen.models.layout_prior import draw_rasters
from ..gen.zoo.folder import load_weights, read_config, read_index, write_model_folder
from ..gen.zoo.names import resolve_model
from .earth_parts import load_component

PIPELINE = "LayoutPriorPipeline"


class LayoutPriorPipeline(DiffusionPipeline):
    """A network over rasters, a sampler, and what turns rasters into layouts within the limits of the training layouts."""

    def __init__(self, unet: UNet2DModel, scheduler: Any, layouts: dict[str, Any], num_inference_steps: int = 25) -> None:
        """Put the parts together.

        Args:
            unet: Of `gen.models.layout_prior.build_layout_prior`.
            scheduler: A deterministic sampler of diffusers.
            layouts: `RasterPrior.table`.
            num_inference_steps: Evaluations of the network.

        Raises:
            InputError: If the parts do not fit together.
        """
        super().__init__()
        self.prior = RasterPrior.from_table(layouts)
        if int(unet.config["in_channels"]) != len(self.prior.decode.names):
            raise InputError(
                f"the network draws {unet.config['in_channels']} classes and the settings name {len(self.prior.decode.names)}; take the "
                "folder as it was written"
            )
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(layouts=layouts, num_inference_steps=num_inference_steps)

    @torch.no_grad()
    def __call__(
        self, seed: int | Sequence[int] = 0, *, num_layouts: int = 1, num_inference_steps: int | None = None, ground: Ground | None = None
    ) -> list[Layout]:
        """Draw layouts. Layout i depends on its own seed alone.

        Args:
            seed: One for each layout; a single number s stands for s, s + 1, ...
            num_layouts: How many, where `seed` is one number.
            num_inference_steps: Evaluations; the model's own number if left out.
            ground: Where classes may stand.

        Raises:
            InputError: If a number is wrong, or the network gives values that are not finite.
        """
        steps = int(self.config["num_inference_steps"]) if num_inference_steps is None else num_inference_steps
        seeds = [seed + number for number in range(num_layouts)] if isinstance(seed, int) else list(seed)
        if steps < 1 or num_layouts < 0 or any(one < 0 for one in seeds):
            raise InputError(
                f"{num_layouts} layouts in {steps} steps with seeds {seeds[:3]} were asked for; give numbers >= 0, and a step or more"
            )
        made: list[Layout] = []
        for one in seeds:
            rng = np.random.default_rng([one, 1])
            made += self.prior.sample(1, rng, lambda count, own: self.rasters(count, own, steps), ground)
        return made

    def sample(self, count: int, rng: np.random.Generator, ground: Ground | None = None) -> list[Layout]:
        """Draw layouts, 16 at a time; the same interface as that of the other priors.

        Args:
            count: How many.
            rng: Where randomness comes from.
            ground: Where classes may stand.
        """
        steps = int(self.config["num_inference_steps"])
        return self.prior.sample(count, rng, lambda number, own: self.rasters(number, own, steps), ground)

    def rasters(self, count: int, rng: np.random.Generator, steps: int, batch: int = 16) -> NDArray[np.float32]:
        """Rasters ``[count, N, S, S]``, about -1 to 1, from a generator's noise."""
        size, classes = int(self.unet.config["sample_size"]), int(self.unet.config["in_channels"])
        parts = []
        for start in range(0, count, batch):
            noise = torch.from_numpy(rng.standard_normal((min(batch, count - start), classes, size, size), dtype=np.float32))
            parts.append(draw_rasters(self.unet, self.scheduler, noise, steps).numpy())
        return np.concatenate([np.zeros((0, classes, size, size), np.float32), *parts])

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *, allow_download: bool = False) -> Self:
        """Load a model folder, strictly and without a network.

        Args:
            pretrained_model_name_or_path: A folder, ``zoo:name``, or a hub id.
            allow_download: Whether a hub id may be fetched over the network.

        Raises:
            InputError: If the folder is incomplete, damaged or made for another pipeline, or holds pickles.
        """
        folder = resolve_model(pretrained_model_name_or_path, allow_download=allow_download)
        index = read_index(folder, PIPELINE)
        try:
            unet = UNet2DModel.from_config(read_config(folder / "unet" / "config.json"))
            unet.load_state_dict(load_weights(folder / "unet", unet))
            scheduler = load_component(folder / "scheduler", "scheduler", str(index["scheduler"][1]))
            return cls(unet.eval(), scheduler, dict(index["layouts"]), int(index["num_inference_steps"]))
        except (TypeError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the settings in {folder} do not fit its parts ({error}); copy the model again") from error

    def save_pretrained(self, save_directory: str | Path, *, half: bool = False, card: dict[str, Any] | None = None) -> None:
        """Write the pipeline as a model folder, whole or not at all.

        Args:
            save_directory: Where to; an older model there is replaced.
            half: Whether weights are stored in half precision.
            card: What ``card.toml`` says.

        Raises:
            InputError: If the place holds something else, or a weight is not finite.
        """
        settings = {"layouts": self.config["layouts"], "num_inference_steps": self.config["num_inference_steps"]}
        components = {"unet": self.unet, "scheduler": self.scheduler}
        write_model_folder(Path(save_directory), pipeline=PIPELINE, components=components, settings=settings, card=card or {}, half=half)
