"""Pictures from layouts: objects painted where boxes say, at any size and number, into nothing or into a given picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from diffusers.utils import BaseOutput
from torch import Tensor
from torch.nn import functional as F

from ..gen.annotations.box import Box, Layout
from ..gen.conditioning.layout import plan_layout_guidance
from ..gen.data.tags import provenance
from ..gen.errors import InputError
from .earth_output import to_pil
from .earth_sampling import Beginning, solve
from .earth_windows import Windows
from .layout_model import LayoutModel
from .layout_request import LayoutRequest, layouts_of, request_of
from .layout_windows import canvas_of, predictor
from .noise_sources import NoiseSource, noise_sources
from .progress import OnStep, Progress, StepCallback, after_steps

LayoutOutputType = Literal["np", "pt", "pil"]


@dataclass
class LayoutOutput(BaseOutput):
    """What the pipeline returns.

    Attributes:
        images: ``[B, 3, H, W]`` float32, 0 to 1 (array or tensor); a list for ``pil``, and where sizes differ.
        labels: What is in each picture: the objects that were asked for, cut to it, without what lies mostly outside.
        masks: Where each picture was painted, bool ``[H, W]``; None where all of it was.
        seeds: The seed of each picture.
        notes: What was decided on the way, one sentence each.
        tags: For each picture how it was made, as tags for a file.
    """

    images: Any
    labels: list[Layout]
    masks: list[Any]
    seeds: list[int]
    notes: list[str]
    tags: list[dict[str, str]]


class LayoutToImagePipeline(LayoutModel):
    """Generation from layouts. It keeps no state between calls; threads may share it."""

    @torch.no_grad()
    def __call__(
        self,
        layout: Layout | Sequence[Layout] | str | Path | None = None,
        *,
        prompt: str | Sequence[str] = "",
        background: Any = None,
        mask: Any = None,
        insert: Layout | Box | Iterable[Box] | str | Path | None = None,
        remove: Layout | Box | Iterable[Box | int] | str | Path | None = None,
        margin: float = 0.2,
        height: int | None = None,
        width: int | None = None,
        num_images_per_layout: int = 1,
        num_inference_steps: int | None = None,
        guidance_scale: float | Mapping[str, float] | None = None,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: LayoutOutputType = "np",
        batch_size: int = 8,
        window: int | None = None,
        overlap: int | None = None,
        progress: Progress | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> LayoutOutput:
        """Paint layouts. Pictures larger than the model's are painted in windows that overlap, from one noise field under one layout.

        Args:
            layout: Objects in pixels: a `Layout`, several, or a file or folder of annotations (COCO, DOTA, YOLO, ...). With a background:
                what is in it already, as far as it is known. None with a background for none.
            prompt: What is to be seen; an empty one is no text. A list gives one for each picture.
            background: A picture to change: a file, PIL, or ``[3, H, W]``. Outside the mask it is kept to the last bit.
            mask: Where it is painted anew: 1 or white. Around `insert` and `remove` if left out.
            insert: Objects to paint into the background.
            remove: Objects to take out of it: boxes, or numbers of boxes of `layout`.
            margin: Room that the mask leaves around an object, in shares of its sides.
            height: Rows; layouts are scaled to it. Those of the layout if left out.
            width: Columns.
            num_images_per_layout: Pictures of each layout, one after the other.
            num_inference_steps: The model's own if left out.
            guidance_scale: One number for ``text`` and ``layout``, or one for each.
            seed: One per picture; a single number s stands for s, s + 1, ... Picture i depends on its seed alone.
            generator: One torch generator per picture instead of seeds.
            output_type: ``np``, ``pt`` or ``pil``.
            batch_size: Windows per network call.
            window: Side of a window in pixels; what the model was trained on if left out.
            overlap: Pixels that neighbours share at least; a quarter of the window if left out.
            progress: Called with (sampler steps done, total).
            callback_on_step_end: Called with (pipeline, step, time, values); ``sample`` in the dict it returns replaces the state.

        Returns:
            Pictures with their labels.

        Raises:
            InputError: If an argument is wrong, or values become infinite or NaN on the way.
        """
        if output_type not in get_args(LayoutOutputType):
            raise InputError(f"output_type is {output_type!r}; it is one of {', '.join(get_args(LayoutOutputType))}")
        requests = self._requests(layout, (height, width), num_images_per_layout, background, mask, insert, remove, margin)
        prompts = _prompts(prompt, len(requests))
        steps, scales = self.steps_of(num_inference_steps), self.scales_of(guidance_scale)
        sources, seeds = noise_sources(len(requests), seed, generator)
        groups = _groups(requests, max(1, batch_size))
        report = after_steps(self, len(groups) * steps, progress, callback_on_step_end)
        made: list[Tensor] = []
        for group in groups:
            span = slice(group[0], group[-1] + 1)
            cut = self._cut(requests[span], window, overlap, batch_size)
            made += self._paint(requests[span], prompts[span], sources[span], seeds[span], steps, scales, cut, report)
        notes = list(dict.fromkeys(note for request in requests for note in request.notes))
        tags = [
            provenance(
                self.name, self.digest, own, steps, type(self.scheduler).__name__, prompt=text or None,
                objects=str(len(request.told.boxes)),
                guidance=", ".join(f"{name} {scale:g}" for name, scale in scales.items()),
                repainted="part" if request.mask is not None else None,
            )
            for request, text, own in zip(requests, prompts, seeds, strict=True)
        ]  # fmt: skip
        labels, masks = [request.labels for request in requests], [request.mask for request in requests]
        return LayoutOutput(_formed(made, output_type), labels, masks, seeds, notes, tags)

    def _requests(
        self,
        layout: Any,
        size: tuple[int | None, int | None],
        copies: int,
        background: Any,
        mask: Any,
        insert: Any,
        remove: Any,
        margin: float,
    ) -> list[LayoutRequest]:
        if copies < 1:
            raise InputError(f"{copies} pictures of each layout were asked for; at least 1 is needed")
        if (size[0] is None) != (size[1] is None):
            raise InputError("only one of height and width is given; give both, or neither")
        whole = None if size[0] is None or size[1] is None else (size[0], size[1])
        if whole is not None and min(whole) < 1:
            raise InputError(f"a picture of {whole[0]} x {whole[1]} pixels has no area; give at least 1 x 1")
        if background is not None and not self.inpainting:
            raise InputError(f"the model {self.name} cannot change a picture; take one with inpainting")
        layouts: list[Layout | None] = [None] if layout is None else [*layouts_of(layout)]
        smallest = float(self.config["min_visible"])
        found = [request_of(self.names, smallest, one, whole, background, mask, insert, remove, margin) for one in layouts]
        return [request for request in found for _ in range(copies)]

    def _cut(self, requests: Sequence[LayoutRequest], window: int | None, overlap: int | None, batch: int) -> Windows:
        side = int(self.config["size"]) if window is None else window
        shared = side // 4 if overlap is None else overlap
        if side < 4 * self.patch or side % self.patch or not 0 <= shared < side or batch < 1:
            raise InputError(
                f"windows of {side} pixels that share {shared}, {batch} at once; windows are a multiple of {self.patch}, at least "
                f"{4 * self.patch} pixels, and share less than they have, at least 1 at once"
            )
        least = int(self.config["size"])
        height, width = (max(least, -(-n // self.patch) * self.patch) for n in (requests[0].told.height, requests[0].told.width))
        cells = side // self.patch
        return Windows(height // self.patch, width // self.patch, (cells, cells), -(-shared // self.patch), batch)

    def _paint(
        self,
        requests: Sequence[LayoutRequest],
        prompts: Sequence[str],
        sources: Sequence[NoiseSource],
        seeds: Sequence[int],
        steps: int,
        scales: Mapping[str, float],
        windows: Windows,
        report: OnStep | None,
    ) -> list[Tensor]:
        """Pictures of one size, ``[3, H, W]`` each."""
        silent, told = self.words([""] * len(prompts)), self.words(list(prompts))
        words = None if silent is None or told is None else (silent, told)
        canvas = canvas_of(
            requests, words, self.patch, int(self.config["size"]), self.names, float(self.config["min_visible"]), self.inpainting
        )
        plan = plan_layout_guidance(scales["text"], scales["layout"], has_text=words is not None and any(prompts))
        tall, wide = canvas.painted.shape[2:]
        noise = torch.stack([F.pixel_unshuffle(source(0, (3, tall, wide)), self.patch) for source in sources])
        beginning = None
        if bool((canvas.painted < 1).any()):
            # Where the picture is kept the sampler's state is its own, with the noise of the step.
            keep = F.pixel_unshuffle((1 - canvas.painted).expand(-1, 3, -1, -1), self.patch)
            beginning = Beginning(F.pixel_unshuffle(canvas.given, self.patch), keep=keep)
        state = solve(
            self.scheduler, steps, noise, predictor(self.unet, canvas, plan, windows), beginning=beginning, seeds=seeds, on_step=report
        )
        pictures = (F.pixel_shuffle(state, self.patch).float() / 2 + 0.5).clamp(0, 1)
        return [_put_back(picture, request) for picture, request in zip(pictures, requests, strict=True)]


def _put_back(picture: Tensor, request: LayoutRequest) -> Tensor:
    """The picture without the canvas's rim, the background where it was kept, and a soft border inside the mask."""
    picture = picture[:, : request.told.height, : request.told.width]
    if request.background is None or request.mask is None:
        return picture
    background, inside = torch.from_numpy(request.background), torch.from_numpy(request.mask)
    eroded = -F.max_pool2d(-inside[None, None].float(), 3, 1, 1)[0, 0]
    share = torch.where(eroded > 0, 1.0, 0.6)
    return torch.where(inside, background + share * (picture - background), background)


def _groups(requests: Sequence[LayoutRequest], batch: int) -> list[list[int]]:
    """Numbers of pictures that are painted together: neighbours of one size."""
    groups: list[list[int]] = []
    for number, request in enumerate(requests):
        shape = (request.told.height, request.told.width)
        last = requests[groups[-1][0]].told if groups else None
        if last is not None and (last.height, last.width) == shape and len(groups[-1]) < batch:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _prompts(given: str | Sequence[str], count: int) -> list[str]:
    prompts = [given] * count if isinstance(given, str) else list(given)
    if len(prompts) != count:
        raise InputError(f"{len(prompts)} prompts were given for {count} pictures; give one for each, or one for all")
    return prompts


def _formed(pictures: Sequence[Tensor], kind: LayoutOutputType) -> Any:
    if kind == "pil":
        return [to_pil(picture.numpy()) for picture in pictures]
    parts: list[Any] = [picture.contiguous() for picture in pictures]
    if kind == "np":
        parts = [part.numpy() for part in parts]
    alike = len({tuple(part.shape) for part in parts}) == 1
    return (torch.stack(parts) if kind == "pt" else np.stack(parts)) if alike else parts
