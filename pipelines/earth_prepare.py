"""From what a caller gives to the tensors of a batch: text, metadata, hints, a picture to begin from, a part of one to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..gen.conditioning.metadata import Metadata
from ..gen.conditioning.text import split_level, tokenize
from ..gen.errors import InputError
from ..gen.models.autoencoder import encode_mean
from .earth_conditions import Conditions, encode_words, heard_tokens
from .earth_content import CONTENT, add_content
from .earth_controls import BoundControl, stacked, takes_labels, unread_pixels
from .earth_hints import pad_to, to_grid
from .earth_sampling import Beginning

if TYPE_CHECKING:
    from .earth import EarthPipeline


@dataclass(frozen=True)
class Request:
    """What is wanted of B pictures.

    Attributes:
        prompts: B texts.
        negatives: B texts that stand in for no text.
        metadata: B entries.
        hints: For each picture its hints ``[C, H, W]`` by name.
        weights: Of hints by name.
        height: H.
        width: W.
        images: Pictures to begin from, ``[B, C, H, W]``, 0 to 1; None for noise.
        masks: 1 where they are painted anew, ``[B, 1, H, W]``; None for everywhere.
        strength: Share of the steps that are run on `images`.
        frames: Earlier and later pictures, ``[B, T, C, H, W]``.
        frame_metadata: For each picture that of its frames.
        contents: For each picture the embedding of a content picture, None where there is none.
    """

    prompts: Sequence[str]
    negatives: Sequence[str]
    metadata: Sequence[Metadata]
    hints: Sequence[Mapping[str, Tensor]]
    weights: Mapping[str, float]
    height: int
    width: int
    images: Tensor | None = None
    masks: Tensor | None = None
    strength: float = 1.0
    frames: Tensor | None = None
    frame_metadata: Sequence[Sequence[Metadata]] = field(default_factory=tuple)
    contents: Sequence[Tensor | None] = field(default_factory=tuple)

    def part(self, at: slice) -> Request:
        """Some of the pictures."""
        images, masks, frames = (None if value is None else value[at] for value in (self.images, self.masks, self.frames))
        return replace(
            self, prompts=self.prompts[at], negatives=self.negatives[at], metadata=self.metadata[at], hints=self.hints[at], images=images,
            masks=masks, frames=frames, frame_metadata=self.frame_metadata[at], contents=self.contents[at],
        )  # fmt: skip


def leveled(prompts: Sequence[str], metadata: Sequence[Metadata]) -> tuple[list[str], list[Metadata]]:
    """Prompts without Text2Earth's zoom level before them, which goes into the metadata instead."""
    texts, facts = [], []
    for prompt, data in zip(prompts, metadata, strict=True):
        level, text = split_level(prompt)
        texts.append(text)
        facts.append(data if level is None else Metadata(**{**data.model_dump(exclude_none=True), "zoom_level": level}))
    return texts, facts


def conditions_of(pipeline: EarthPipeline, request: Request) -> tuple[Conditions, list[str]]:
    """The conditions of a batch, and what was decided on the way."""
    words, heard, notes = _text(pipeline, request)
    labels, known = _labels(pipeline, request.metadata, pipeline.metadata_embedding)
    own = pipeline.metadata_embedding_of_controls
    told = labels if own is None else _labels(pipeline, request.metadata, own)[0]
    hints = _hint_channels(pipeline, request)
    controls = _controls(pipeline, request)
    groups = []
    if hints[1] is not None and bool(hints[1].any()):
        groups.append("hints")
    if controls and not groups:
        groups.append("hints")
    if known:
        groups.append("metadata")
    if any(request.prompts) or any(request.negatives) or any(content is not None for content in request.contents):
        groups.append("text")
    conditions = Conditions(words, heard, labels, told, hints, _kept(pipeline, request), controls, pipeline.factor, tuple(groups))
    return conditions, notes


def beginning_of(pipeline: EarthPipeline, request: Request) -> Beginning | None:
    """Where the sampler begins, if not from noise alone."""
    if request.images is None:
        return None
    told = bool(pipeline.config["inpainting"])
    if request.masks is not None and told and request.strength == 1.0:
        return None
    latents = _latents(pipeline, request.images)
    keep = None
    if request.masks is not None and not told:
        keep = 1.0 - _grid_mask(pipeline, request.masks)
    return Beginning(latents, request.strength, keep)


def _text(pipeline: EarthPipeline, request: Request) -> tuple[tuple[Tensor, Tensor], tuple[Tensor | None, Tensor | None], list[str]]:
    count, device = len(request.prompts), pipeline.unet.device
    if pipeline.text_encoder is None:
        if any(request.prompts) or any(request.negatives):
            raise InputError(f"the model {pipeline.name} takes no text; leave the prompt out")
        blank = torch.zeros(count, 1, pipeline.unet.config["cross_attention_dim"], device=device, dtype=pipeline.unet.dtype)
        return (blank, blank), (None, None), []
    tokens = tokenize(pipeline.tokenizer, [*request.negatives, *request.prompts])
    distinct, places = torch.unique(tokens.ids, dim=0, return_inverse=True)
    encoded = encode_words(pipeline.text_encoder, distinct)[places.to(device)].to(pipeline.unet.dtype)
    words = add_content(pipeline, request.contents, request.weights, (encoded[:count], encoded[count:]))
    chunks, length = tokens.ids.shape[1:]
    heard = heard_tokens(tokens.counts, chunks, length)
    if heard is None:
        return words, (None, None), list(dict.fromkeys(tokens.notes))
    heard = torch.nn.functional.pad(heard, (0, words[0].shape[1] - heard.shape[1]), value=True).to(device)
    return words, (heard[:count], heard[count:]), list(dict.fromkeys(tokens.notes))


def _labels(pipeline: EarthPipeline, metadata: Sequence[Metadata], embedding: Any) -> tuple[tuple[Tensor | None, Tensor | None], bool]:
    """Metadata at their null and as known, for a time embedding; and whether anything is known."""
    found = pipeline.metadata_schema if embedding is None else embedding.schema
    if found is None:
        return (None, None), False
    values, known = (part.to(pipeline.unet.device) for part in found.encode(metadata))
    nulls = found.nulls().to(values).expand_as(values)
    if embedding is not None:
        off = embedding(nulls, torch.zeros_like(known))
        return (off, embedding(values, known)), bool(known.any())
    if pipeline.unet.config["class_embed_type"] != "timestep":
        return (None, None), False
    return (nulls[:, 0], values[:, 0]), bool(known.any())


def _hint_channels(pipeline: EarthPipeline, request: Request) -> tuple[Tensor | None, Tensor | None]:
    """Hint channels of the denoiser's input: each hint averaged to the latents' grid, then whether there is any."""
    names = list(pipeline.config["hints"])
    if not names:
        return None, None
    rows = []
    for given in request.hints:
        blank = torch.zeros(len(names) + 1, request.height, request.width)
        for number, name in enumerate(names):
            if name in given:
                weight = min(request.weights.get(name, 1.0), 1.0)
                blank[number] = given[name][0] * weight
                blank[-1] = blank[-1].clamp_min(weight)
        rows.append(blank)
    on = to_grid(torch.stack(rows), pipeline.factor).to(pipeline.unet.device)
    return torch.zeros_like(on), on


def _kept(pipeline: EarthPipeline, request: Request) -> Tensor | None:
    """Repaint mask and latents of what is kept, for a denoiser that is told of them."""
    if not pipeline.config["inpainting"]:
        return None
    count, device = len(request.prompts), pipeline.unet.device
    size = (-(-request.height // pipeline.factor), -(-request.width // pipeline.factor))
    mask = torch.ones(count, 1, *size, device=device)
    if request.images is None or request.masks is None:
        if pipeline.config["masked"] == "image":  # as published: the latents of a grey picture
            grey = torch.full((count, len(pipeline.bands), request.height, request.width), 0.5)
            return torch.cat([mask, _latents(pipeline, grey)], dim=1)
        return torch.cat([mask, torch.zeros(count, pipeline.unet.config["out_channels"], *size, device=device)], dim=1)
    mask = _grid_mask(pipeline, request.masks, soft=bool(pipeline.config["soft_mask"]))
    if pipeline.config["masked"] == "image":
        hidden = torch.where(request.masks > 0.5, 0.5, request.images)  # 0 in the autoencoder's range
        return torch.cat([mask, _latents(pipeline, hidden)], dim=1)
    return torch.cat([mask, _latents(pipeline, request.images) * (1.0 - mask)], dim=1)


def _grid_mask(pipeline: EarthPipeline, masks: Tensor, soft: bool = False) -> Tensor:
    """The mask on the latents' grid: a latent with any pixel to repaint is repainted; `soft` takes the mean."""
    padded = pad_to(masks, pipeline.factor).to(pipeline.unet.device)
    if soft:
        return to_grid(padded, pipeline.factor)
    return (torch.nn.functional.max_pool2d(padded, pipeline.factor) > 0.5).to(padded)


def _latents(pipeline: EarthPipeline, images: Tensor) -> Tensor:
    padded = pad_to(images, pipeline.factor).to(pipeline.vae.device, pipeline.vae.dtype)
    return encode_mean(pipeline.vae, padded).float().to(pipeline.unet.device)


def _controls(pipeline: EarthPipeline, request: Request) -> tuple[BoundControl, ...]:
    """Every control network that has something to say."""
    bound = []
    for name, slots in pipeline.control_slots.items():
        module = pipeline.controls[name]
        if slots == ["frames"]:
            if request.frames is not None:
                bound.append(_temporal(pipeline, module, request))
        elif slots == ["place"]:
            bound += _location(pipeline, module, request)
        elif slots == [CONTENT]:
            continue  # in the text
        elif any(slot in given for given in request.hints for slot in slots):
            bound.append(_pictured(pipeline, name, module, slots, request))
    return tuple(bound)


def _pictured(pipeline: EarthPipeline, name: str, module: Any, slots: Sequence[str], request: Request) -> BoundControl:
    channels = [pipeline.hint_channels(slot) for slot in slots]
    pictures, present = stacked([[given.get(slot) for slot in slots] for given in request.hints], channels, (request.height, request.width))
    pictures = pad_to(pictures, pipeline.factor)
    coarse = unread_pixels(module)
    if coarse > 1:
        pictures = torch.nn.functional.avg_pool2d(pictures, coarse)
    device = pipeline.unet.device
    weights = [request.weights.get(slot, 1.0) for slot in slots]
    if type(module).__name__ == "MultiHintAdapter":
        strengths = torch.tensor(weights, device=device)
        return BoundControl(module, pictures.to(device), 1.0, present.to(device), strengths, labels=takes_labels(module))
    if not bool(present.all()):
        raise InputError(f"the control network {name!r} needs the hint {slots[0]!r} for every picture of the batch; give it for all")
    return BoundControl(module, pictures.to(device), weights[0], labels=takes_labels(module))


def _location(pipeline: EarthPipeline, module: Any, request: Request) -> list[BoundControl]:
    present = torch.tensor([data.lon is not None and data.lat is not None for data in request.metadata])
    if not bool(present.any()) or pipeline.location_encoder is None:
        return []
    lonlat = torch.tensor([[data.lon or 0.0, data.lat or 0.0] for data in request.metadata], dtype=torch.float64)
    location = pipeline.location_encoder(lonlat).to(pipeline.unet.device)
    return [BoundControl(module, None, request.weights.get("place", 1.0), present.to(pipeline.unet.device), location=location)]


def _temporal(pipeline: EarthPipeline, module: Any, request: Request) -> BoundControl:
    assert request.frames is not None
    device = pipeline.unet.device
    labels = None
    embedding = pipeline.metadata_embedding_of_controls or pipeline.metadata_embedding
    if embedding is not None and request.frame_metadata:
        rows = [_labels(pipeline, entry, embedding)[0][1] for entry in request.frame_metadata]
        labels = torch.stack([row for row in rows if row is not None])
    frames = request.frames.to(device)
    padded = torch.stack([pad_to(picture, pipeline.factor) for picture in frames])
    return BoundControl(module, padded, request.weights.get("frames", 1.0), frame_labels=labels, labels=takes_labels(module))
