"""Super-resolution by EDiffSR's mean-reverting diffusion (Xiao et al. 2024): a picture in, a sharper one with its doubts out.

Beyond the published code: any bands in physical units, seeds, few-step samplers, back-projection, ensembles, nodata, georeference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput

from ..gen.data.frames import LocalContrast
from ..gen.data.sensor_model import SensorModel
from ..gen.data.tags import provenance
from ..gen.errors import InputError
from ..gen.models.eanet import EANet
from ..gen.schedulers.mean_reverting import MeanRevertingScheduler
from ..gen.zoo.card import read_card
from ..gen.zoo.folder import model_digest, read_config, read_index, write_model_folder
from ..gen.zoo.names import resolve_model
from .agreement import Limits
from .noise_sources import noise_sources
from .pictures import OutputType, Picture, check_output_type, read_pictures
from .progress import Progress, StepCallback, after_steps
from .super_resolution_parts import check_parts, load_network
from .upscaling import Consistency, Reduce, Upscaler, UpscaleSettings

_SETTINGS = ("bands", "unit", "scale", "mtf", "contrast", "temperature", "num_inference_steps")


@dataclass
class SuperResolutionOutput(BaseOutput):
    """What the pipeline returns. Pictures have the form of the input (a path gives a DataArray) and NaN where it has no data.

    Attributes:
        images: The sharper pictures, physical units.
        uncertainty: Standard deviation over the ensemble, same form and unit; None for one sample.
        invented: ``|image - bicubic|``, same form and unit: how much the network added.
        consistency_error: For each picture the largest ``|input - sensor(output)|``, same unit.
        seeds: The seed of each picture.
    """

    images: Any
    uncertainty: Any
    invented: Any
    consistency_error: list[float]
    seeds: list[int]


class SuperResolutionPipeline(DiffusionPipeline):
    """Super-resolution by a whole factor, for any bands. It keeps no state between calls; threads may share it."""

    model_cpu_offload_seq = "model"

    def __init__(
        self,
        model: EANet,
        scheduler: MeanRevertingScheduler,
        bands: list[str] | None = None,
        unit: str = "reflectance",
        scale: int = 4,
        mtf: float = 0.3,
        contrast: dict[str, Any] | None = None,
        temperature: float = 1.0,
        num_inference_steps: int = 20,
    ) -> None:
        """Put the parts together.

        Args:
            model: The denoiser.
            scheduler: Its diffusion; ``data_scale`` in its config multiplies physical values before the network.
            bands: Names of the bands that the model takes, in its order; numbers from 1 if left out.
            unit: Unit of the physical values: ``reflectance`` or ``display`` (both about 0 to 1), ``dB``, ...
            scale: Fine pixels per coarse pixel side.
            mtf: Modulation transfer of the sensor at the coarse grid's Nyquist frequency, for back-projection.
            contrast: ``window`` and ``floor`` of `LocalContrast`; None for a model that works in a constant unit.
            temperature: Factor on the noise where a call gives none; below 1, less texture is drawn and the error is smaller.
            num_inference_steps: Network evaluations per sample where a call gives no number; 1 for a distilled model.

        Raises:
            InputError: If the parts do not fit together.
        """
        super().__init__()
        self.register_modules(model=model, scheduler=scheduler)
        bands = list(bands or map(str, range(1, model.config["bands"] + 1)))
        self.register_to_config(bands=bands, unit=unit, scale=scale, mtf=mtf, contrast=contrast, temperature=temperature)
        self.register_to_config(num_inference_steps=num_inference_steps)
        self.sensor = SensorModel(scale, mtf)
        self.contrast = None if contrast is None else LocalContrast(**contrast)
        self.folder: Path | None = None
        check_parts(model, scheduler, bands, scale, num_inference_steps)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands that the model takes."""
        return tuple(self.config["bands"])

    @property
    def scale(self) -> int:
        """Fine pixels per coarse pixel side."""
        return int(self.config["scale"])

    @property
    def unit(self) -> str:
        """Unit of the physical values."""
        return str(self.config["unit"])

    def warmth(self, temperature: float | None) -> float:
        """The factor on the noise of a call: the given one, else the model's own."""
        return float(self.config["temperature"]) if temperature is None else temperature

    def steps(self, number: int | None) -> int:
        """The network evaluations per sample of a call: the given number, else the model's own."""
        return int(self.config["num_inference_steps"]) if number is None else number

    @property
    def name(self) -> str:
        """The model's name: of its folder, or ``unsaved``."""
        return self.folder.resolve().name if self.folder is not None else "unsaved"

    @cached_property
    def digest(self) -> str:
        """Digest over the weights: of the files it was loaded from, else of the weights in memory."""
        if self.folder is not None:
            return model_digest(self.folder)
        whole = hashlib.sha256()
        for key, value in sorted(self.model.state_dict().items()):
            whole.update(key.encode() + value.detach().cpu().to(torch.float64).numpy().tobytes())
        return whole.hexdigest()[:12]

    @torch.no_grad()
    def __call__(
        self,
        image: Picture,
        *,
        num_inference_steps: int | None = None,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        samples: int = 1,
        consistency: Consistency = "ibp",
        temperature: float | None = None,
        reduce: Reduce = "mean",
        sampler: str | None = None,
        limits: Limits | None = None,
        output_type: OutputType | None = None,
        batch_size: int = 4,
        progress: Progress | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> SuperResolutionOutput:
        """Upscale one picture or a batch.

        Args:
            image: A path, a DataArray ``[time,] band, y, x``, or floats ``[C, H, W]`` or ``[B, C, H, W]`` (array or tensor) in the
                model's unit; NaN where there is no data. H and W are free.
            num_inference_steps: Network evaluations per sample, the model's own number if left out: 20, or 1 for a distilled model. With 1
                any other model gives its one-step mean.
            seed: One per picture; a single number s stands for s, s + 1, ... Picture i depends on its seed alone.
            generator: One torch generator per picture instead of seeds.
            samples: Members of the ensemble; 2 and more give `uncertainty`.
            consistency: ``ibp`` corrects each sample until the sensor sees the input in it; ``none``.
            temperature: Factor on the noise: 1 as trained, 0 none (deterministic, smoother); the model's own if left out.
            reduce: What `images` is for an ensemble: its ``mean`` or its ``first`` member.
            sampler: ``dpmpp_2m``, ``posterior``, ``ode`` or ``em`` instead of the scheduler's own.
            limits: Range that pictures with ``ibp`` keep to, as far as the input allows; such as (0, 1) for display values.
            output_type: ``np``, ``pt`` or ``xarray`` instead of the form of the input.
            batch_size: Pictures per network call.
            progress: Called with (network calls done, total).
            callback_on_step_end: Called with (pipeline, step, time, values); ``sample`` in the dict it returns replaces the state.

        Returns:
            Pictures of H * scale times W * scale pixels, and what is known about them.

        Raises:
            InputError: If an argument is wrong, or values become infinite or NaN on the way.
        """
        check_output_type(output_type)
        if batch_size < 1:
            raise InputError(f"the batch size is {batch_size}; it is at least 1")
        steps = self.steps(num_inference_steps)
        settings = UpscaleSettings(steps, samples, consistency, self.warmth(temperature), reduce, sampler, limits)
        upscaler = Upscaler(self.model, self.scheduler, self.sensor, settings, self.contrast)
        pictures = read_pictures(image, self.bands, self.unit)
        sources, seeds = noise_sources(len(pictures.pixels), seed, generator)
        starts = range(0, len(sources), batch_size)
        report = after_steps(self, len(starts) * samples * steps, progress, callback_on_step_end)
        parts = [
            upscaler(pictures.pixels[at : at + batch_size].to(self.model.device), sources[at : at + batch_size], report) for at in starts
        ]
        errors = [float(error) for part in parts for error in part.error]
        tags = self.provenance(settings, seeds if len(seeds) > 1 else seeds[0], max(errors))

        def form(layer: str) -> Any:
            values = torch.cat([getattr(part, layer).cpu() for part in parts])
            return pictures.give_back(values, self.bands, self.scale, output_type, {**tags, "EARTHGEN_LAYER": layer})

        uncertainty = form("uncertainty") if samples > 1 else None
        return SuperResolutionOutput(form("image"), uncertainty, form("invented"), errors, seeds)

    def provenance(self, settings: UpscaleSettings, seed: int | list[int], error: float | None) -> dict[str, str]:
        """Tags that say how a picture was made; `error` is the measured consistency error."""
        sampler = settings.sampler or self.scheduler.config["sampler"]
        return provenance(
            self.name,
            self.digest,
            seed,
            settings.steps,
            sampler if settings.steps > 1 else "one_step",
            upscale=self.scale,
            samples=settings.samples,
            reduce=settings.reduce if settings.samples > 1 else None,
            temperature=f"{settings.temperature:g}",
            consistency=settings.consistency,
            consistency_error=None if error is None else f"{error:.3g}",
        )

    @classmethod
    def load(cls, name: str | Path, device: str = "auto", dtype: str = "auto", *, allow_download: bool = False) -> SuperResolutionPipeline:
        """Load a model by name and make it ready to run.

        Args:
            name: A folder, ``zoo:name``, or a hub id.
            device: ``auto``, ``cpu``, ``cuda``, ...
            dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
            allow_download: Whether a hub id may be fetched over the network.

        Raises:
            InputError: If the model cannot be found or loaded, or the device is not there.
        """
        from ..gen.models.fast import pick_device, pick_dtype, prepare_for_inference

        pipeline = cls.from_pretrained(name, allow_download=allow_download)
        place = pick_device(device)
        pipeline.register_modules(model=prepare_for_inference(pipeline.model, place, pick_dtype(dtype, place)))
        return pipeline

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, torch_dtype: torch.dtype = torch.float32, allow_download: bool = False
    ) -> SuperResolutionPipeline:
        """Load a model folder, strictly and without a network.

        Args:
            pretrained_model_name_or_path: A folder, ``zoo:name``, or a hub id.
            torch_dtype: Of the weights in memory; stored half precision is widened.
            allow_download: Whether a hub id may be fetched over the network.

        Raises:
            InputError: If the folder is incomplete, damaged or made for another pipeline, or holds pickles.
        """
        folder = resolve_model(pretrained_model_name_or_path, allow_download=allow_download)
        index = read_index(folder, cls.__name__)
        try:
            scheduler = MeanRevertingScheduler.from_config(read_config(folder / "scheduler" / MeanRevertingScheduler.config_name))
            model = load_network(folder / "model")
            pipeline = cls(
                model.eval() if torch_dtype == torch.float32 else model.to(torch_dtype).eval(),
                scheduler,
                **{key: index[key] for key in _SETTINGS if key in index},
            )
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the configs in {folder} cannot be built ({error}); copy the model again") from error
        pipeline.folder = folder
        return pipeline

    def save_pretrained(self, save_directory: str | Path, *, half: bool = False, card: dict[str, Any] | None = None) -> None:
        """Write the pipeline as a model folder, whole or not at all.

        Args:
            save_directory: Where to; an older model there is replaced.
            half: Whether weights are stored in half precision.
            card: What ``card.toml`` says; the card of the folder it was loaded from if left out.

        Raises:
            InputError: If the place holds something else, or a weight is not finite.
        """
        card = card if card is not None else read_card(self.folder) if self.folder is not None else {}
        settings = {key: self.config[key] for key in _SETTINGS if self.config[key] is not None}
        components = {"model": self.model, "scheduler": self.scheduler}
        write_model_folder(
            Path(save_directory), pipeline=type(self).__name__, components=components, settings=settings, card=card, half=half
        )
