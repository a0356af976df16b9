"""Pictures of the Earth from any conditions: text, metadata, place, hints, a picture to change or to continue.

One pipeline holds a stock denoiser and what stands beside it; published systems (Text2Earth, DiffusionSat, CRS-Diff, GeoSynth, map-sat) and
ours differ in the settings that are stored with the model, not in code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..gen.conditioning.guidance import GuidancePlan, group_scales, plan_guidance
from ..gen.conditioning.metadata import Metadata
from ..gen.data.tags import provenance
from ..gen.errors import InputError
from ..gen.models.autoencoder import decode
from .earth_border import joined
from .earth_conditions import Conditions, guided
from .earth_model import EarthModel
from .earth_output import EarthOutput, OutputType, check_output_type, formed
from .earth_prepare import Request, beginning_of, conditions_of
from .earth_request import count_pictures, read_request
from .earth_sampling import evaluations, solve
from .noise_sources import NoiseSource, noise_sources
from .progress import OnStep, Progress, StepCallback, after_steps


class EarthPipeline(EarthModel):
    """Generation from any subset of conditions. It keeps no state between calls; threads may share it."""

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] = "",
        *,
        negative_prompt: str | Sequence[str] = "",
        metadata: Metadata | Mapping[str, Any] | Sequence[Metadata | Mapping[str, Any]] | None = None,
        gsd: float | None = None,
        lat: float | None = None,
        lon: float | None = None,
        date: str | None = None,
        cloud_cover: float | None = None,
        hints: Mapping[str, Any] | None = None,
        hint_weights: Mapping[str, float] | None = None,
        image: Any = None,
        mask: Any = None,
        strength: float = 1.0,
        extend: Sequence[int] | None = None,
        frames: Sequence[Any] | None = None,
        frame_metadata: Sequence[Any] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_images: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | Mapping[str, float] | None = None,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: OutputType = "np",
        batch_size: int = 4,
        progress: Progress | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> EarthOutput:
        """Make pictures. Every condition may be left out; what is unknown is at its null.

        Args:
            prompt: What is to be seen; an empty one is no text. A list gives one for each picture.
            negative_prompt: What stands in for no text in guidance.
            metadata: `Metadata` or its fields, for all pictures or one for each.
            gsd: Metres per pixel; this and the next four are fields of `metadata`.
            lat: Degrees.
            lon: Degrees.
            date: Such as ``2021-06``.
            cloud_cover: Share, 0 to 1.
            hints: Pictures or masks by the names that the model knows: files, PIL, ``[C, H, W]``, 0 to 1; a list is one for each picture.
            hint_weights: 0 to 2 by name; 1 where none is given. ``place`` and ``frames`` name what control networks read of these.
            image: A picture to begin from, ``[C, H, W]`` in the model's unit, a file, or PIL; a list is one for each picture.
            mask: Where it is painted anew: 1 or white.
            strength: How far `image` is taken back towards noise: 1 makes it anew.
            extend: Pixels that are painted around `image`: left, top, right, bottom. They begin from its mirror image, taken back towards
                noise by `strength`; where that is left at 1, by `CONTINUED`, so that its colours go on.
            frames: Other times of the same place, for a model with a temporal control network; for all pictures.
            frame_metadata: Metadata of each of the frames.
            height: Rows; those of `image`, or the model's own, if left out.
            width: Columns.
            num_images: How many, where no list says it.
            num_inference_steps: Of the whole way from noise; the model's own if left out.
            guidance_scale: One number for all conditions together, or by group: ``text``, ``metadata``, ``hints``; groups that are not
                named are taken as they are.
            seed: One per picture; a single number s stands for s, s + 1, ... Picture i depends on its seed alone.
            generator: One torch generator per picture instead of seeds.
            output_type: ``np``, ``pt``, ``pil``, ``xarray`` (georeferenced where place and pixel size are known), or ``latent``.
            batch_size: Pictures per network call.
            progress: Called with (steps done, total).
            callback_on_step_end: Called with (pipeline, step, time, values); ``sample`` in the dict it returns replaces the state.

        Returns:
            Pictures, their seeds, what was decided on the way, and how they were made.

        Raises:
            InputError: If an argument is wrong, or values become infinite or NaN on the way.
        """
        check_output_type(output_type)
        listed = {"prompt": prompt, "metadata": metadata, "image": image, "mask": mask, **(hints or {})}
        count = count_pictures(listed, seed, num_images)
        given = locals() | {"facts": {"gsd": gsd, "lat": lat, "lon": lon, "date": date, "cloud_cover": cloud_cover}}
        request = read_request(self, given, count)
        steps = self.steps_of(num_inference_steps)
        scales = self.scales_of(guidance_scale)
        sources, seeds = noise_sources(count, seed, generator)
        starts = range(0, count, max(1, batch_size))
        each = evaluations(steps, request.strength if request.images is not None else 1.0)
        report = after_steps(self, len(starts) * each, progress, callback_on_step_end)
        parts, notes = [], self.unread(request)
        for at in starts:
            span = slice(at, at + max(1, batch_size))
            made, said = self._batch(request.part(span), sources[span], seeds[span], steps, scales, output_type == "latent", report)
            parts.append(made)
            notes += [note for note in said if note not in notes]
        tags = [self.provenance(request, number, own, steps, scales) for number, own in enumerate(seeds)]
        images = formed(torch.cat(parts), output_type, self.bands, self.unit, request.metadata, tags)
        return EarthOutput(images, seeds, notes, tags)

    def _batch(
        self,
        request: Request,
        sources: Sequence[NoiseSource],
        seeds: Sequence[int],
        steps: int,
        scales: Mapping[str, float],
        latent: bool,
        report: OnStep | None,
    ) -> tuple[Tensor, list[str]]:
        conditions, notes = conditions_of(self, request)
        plan = plan_guidance(scales, conditions.groups)
        channels = int(self.unet.config["out_channels"])
        grid = (-(-request.height // self.factor), -(-request.width // self.factor))
        noise = torch.stack([source(0, (channels, *grid)) for source in sources]).to(self.unet.device)
        latents = solve(
            self.scheduler, steps, noise, self.predictor(conditions, plan), beginning=beginning_of(self, request), seeds=seeds,
            on_step=report,
        )  # fmt: skip
        return (latents if latent else self.pictures_of(latents, request)), notes

    def predictor(self, conditions: Conditions, plan: GuidancePlan) -> Callable[[Tensor, Tensor, int], Tensor]:
        """The guided prediction for whole pictures."""
        return lambda sample, time, step: guided(self.unet, conditions, plan, sample, time)

    def pictures_of(self, latents: Tensor, request: Request) -> Tensor:
        """Decode ``[B, Z, h, w]`` to ``[B, C, H, W]`` float32 on the CPU; kept pixels are the given ones, painted ones lead up to them."""
        pictures = decode(self.vae, latents.to(self.vae.device, self.vae.dtype)).float().cpu()[..., : request.height, : request.width]
        if not bool(torch.isfinite(pictures).all()):
            raise InputError("the autoencoder made values that are not finite; use the dtype float32, or take another model")
        if request.images is None or request.masks is None:
            return pictures
        return joined(pictures, request.images, request.masks)

    def steps_of(self, steps: int | None) -> int:
        """The steps of a call: the given ones, else the model's own."""
        chosen = int(self.config["num_inference_steps"]) if steps is None else steps
        if chosen < 1:
            raise InputError(f"{chosen} steps were asked for; at least 1 is needed")
        return chosen

    def scales_of(self, guidance: float | Mapping[str, float] | None) -> dict[str, float]:
        """The guidance scales of a call: the given ones, else the model's own."""
        return group_scales(self.config["guidance_scale"] if guidance is None else guidance)

    def unread(self, request: Request) -> list[str]:
        """One sentence for each known fact that the model does not know of."""
        known = self.metadata_schema
        names = {
            name
            for data in request.metadata
            for name in (known.unread(data) if known is not None else [key for key, value in data if value is not None])
        }
        if any(slots == ["place"] for slots in self.control_slots.values()):
            names -= {"lat", "lon"}
        return [f"the model {self.name} does not know {name}; it is only written into the file" for name in sorted(names)]

    def provenance(self, request: Request, number: int, seed: int, steps: int, scales: Mapping[str, float]) -> dict[str, str]:
        """Tags that say how a picture was made."""
        hints = {name: request.weights.get(name, 1.0) for name in request.hints[number]}
        return provenance(
            self.name,
            self.digest,
            seed,
            steps,
            type(self.scheduler).__name__,
            prompt=request.prompts[number] or None,
            negative_prompt=request.negatives[number] or None,
            metadata=request.metadata[number].model_dump_json(exclude_none=True),
            hints=", ".join(f"{name} {weight:g}" for name, weight in hints.items()) or None,
            guidance=", ".join(f"{name} {scale:g}" for name, scale in scales.items()),
            strength=None if request.images is None else f"{request.strength:g}",
            repainted="part" if request.masks is not None else None,
            lora=self.lora.name if self.lora is not None else None,
        )
