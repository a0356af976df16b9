"""Samples of a generator: latents of crops with their captions, metadata and masks, held-out ones too.

A bank of crops is encoded once and kept: with a frozen autoencoder a crop's latents never change. Crops are encoded in fixed groups, so
that the numbers do not depend on which sample asked first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from ...gen.conditioning.metadata import Metadata
from ...gen.conditioning.schemas import MetadataSchema
from ...gen.data.described import COVER, Described
from ...gen.data.described_crops import Crop, CropSampler, Drawn, read_split
from ...gen.data.splits import Split
from ...gen.errors import InputError
from ...gen.models.autoencoder import encode_mean, latent_factor
from ..order import Stream, sample_rng
from .generation_cache import LatentCache
from .generation_config import GenerationConfig
from .generation_controls import ControlInputs

Group = tuple[float, list[Described] | Drawn]
_GROUP = 16
_LEAST, _MOST = 2.0**-5, 2.0**12  # metres per pixel that the schemas know


@dataclass(frozen=True)
class Sample:
    """One crop, encoded.

    Attributes:
        latents: ``[Z, h, w]``, scaled.
        hints: Share of each hint class in each latent's square, ``[K, h, w]``; None without a mask.
        of: The picture, with the crop's ground sampling distance.
        caption: One of its captions, or empty.
        name: Picture and corner.
        controls: What the control networks read of it.
    """

    latents: Tensor
    hints: Tensor | None
    of: Described
    caption: str
    name: str
    controls: Mapping[str, Tensor] = field(default_factory=dict)


class GenerationData:
    """Crops by place, and the autoencoder that turns them into latents.

    Attributes:
        autoencoder: Frozen.
        names: Names of the training pictures.
        held_out_names: Names of the validation pictures.
    """

    def __init__(self, config: GenerationConfig, root: Path, seed: int, autoencoder: AutoencoderKL, controls: ControlInputs) -> None:
        """Read the pictures.

        Args:
            config: The task's.
            root: Data folder.
            seed: Of the run.
            autoencoder: Frozen.
            controls: Reads what control networks are told.

        Raises:
            InputError: If no picture is large enough, or the crop is no multiple of the autoencoder's factor.
        """
        self.config, self.seed, self.controls = config, seed, controls
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.factor = latent_factor(autoencoder)
        size = config.pictures.size
        if size % self.factor:
            raise InputError(f"crops of {size} pixels are no multiple of the autoencoder's factor {self.factor}; choose another size")
        parts = self._read(root)
        self._samplers: dict[Split, CropSampler | None] = {part: self._sampler(part, groups) for part, groups in parts.items()}
        train, validation = self._samplers["train"], self._samplers["validation"]
        if train is None:
            raise InputError("none of the pictures belongs to a training place; add sources")
        self._train = train
        self.names = train.names
        self.held_out_names = validation.names if validation else []
        self._groups = parts["train"]
        self._bank: dict[int, Sample] = {}
        self._latents = LatentCache(Path(config.cache), self.autoencoder) if config.cache else self._encode

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a sample's latents: channels, rows, columns."""
        side = self.config.pictures.size // self.factor
        return int(self.autoencoder.config["latent_channels"]), side, side

    def captions(self) -> list[str]:
        """All captions of the training places in memory, and some of the collections', in order."""
        found: list[str] = []
        for _, pictures in self._groups:
            if isinstance(pictures, Drawn):
                found += pictures.stream.captions()
            else:
                found += [caption for picture in pictures for caption in picture.captions]
        return found

    def samples(self, indices: list[int]) -> list[Sample]:
        """Training samples of these indices, each with a caption of its own."""
        if not self.config.bank:
            crops = [self._train.item(sample_rng(self.seed, index, Stream.DATA)) for index in indices]
            return self._encoded(crops)
        found = []
        for index in indices:
            number = index % self.config.bank
            if number not in self._bank:
                self._fill(number // _GROUP)
            stored = self._bank[number]
            said = stored.of.captions
            rng = sample_rng(self.seed, index, Stream.DATA)
            found.append(replace(stored, caption=said[int(rng.integers(len(said)))] if said else ""))
        return found

    def held_out(self, part: Split, count: int, seed: int = 0) -> list[Sample]:
        """The same crops of held-out places each time; none where there are no such places.

        Args:
            part: ``validation``, which may choose a checkpoint, or ``test``, which may not.
            count: How many.
            seed: Of their choice.
        """
        return self._encoded(self.held_out_crops(part, count, seed))

    def held_out_crops(self, part: Split, count: int, seed: int = 0) -> list[Crop]:
        """The pictures themselves of `held_out`."""
        sampler = self._samplers.get(part)
        if sampler is None:
            return []
        return [sampler.item(np.random.default_rng([seed, 77, number])) for number in range(count)]

    def _read(self, root: Path) -> dict[Split, list[Group]]:
        """Pictures of each part, with weights that give `also` its share."""
        config = self.config
        parts = read_split(config.pictures.sources, root)
        if config.also is None:
            return parts
        share = config.also_share
        for part, groups in read_split(config.also.sources, root).items():
            total, own = sum(weight for weight, _ in groups), sum(weight for weight, _ in parts[part])
            # Held-out places count by their own weights: the share is of the training alone.
            factor = share / (1 - share) * own / total if part == "train" and total else 1.0
            parts[part] = [*parts[part], *((weight * factor, pictures) for weight, pictures in groups)]
        return parts

    def _sampler(self, part: Split, groups: list[Group]) -> CropSampler | None:
        least = self.config.minimum_quality
        if least is not None:
            groups = [(weight, _of_quality(pictures, least)) for weight, pictures in groups]
        size = self.config.pictures.size
        if not any(isinstance(found, Drawn) or any(min(p.pixels.shape[-2:]) >= size for p in found) for _, found in groups):
            return None
        return CropSampler(groups, size, self.config.pictures.reductions, turns=part == "train")

    def _fill(self, group: int) -> None:
        numbers = range(group * _GROUP, min((group + 1) * _GROUP, self.config.bank))
        crops = [self._train.item(sample_rng(self.seed, number, Stream.DATA)) for number in numbers]
        self._bank.update(zip(numbers, self._encoded(crops), strict=True))

    def _encoded(self, crops: list[Crop]) -> list[Sample]:
        if not crops:
            return []
        pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops]).astype(np.float32) / np.float32(255))
        latents = self._latents(pixels)
        return [
            Sample(row.clone(), self._hints(crop), replace(crop.of, mask=None, hints={}), crop.caption, crop.name, self.controls.read(crop))
            for row, crop in zip(latents, crops, strict=True)
        ]

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        home = next(self.autoencoder.parameters())
        return torch.cat([encode_mean(self.autoencoder, part.to(home)).float().cpu() for part in pixels.split(_GROUP)])

    def _hints(self, crop: Crop) -> Tensor | None:
        if crop.shares is None or not self.config.hints:
            return None
        chosen = torch.from_numpy(crop.shares[[COVER.index(name) for name in self.config.hints]])
        return F.avg_pool2d(chosen[None], self.factor)[0]


def _of_quality(pictures: list[Described] | Drawn, least: float) -> list[Described] | Drawn:
    if isinstance(pictures, Drawn):
        return pictures._replace(least=least)
    return [picture for picture in pictures if picture.quality is None or picture.quality >= least]


def metadata_of(picture: Described, schema: MetadataSchema) -> Metadata:
    """What a picture's metadata tell a network; a value outside what the schema knows is unknown.

    Args:
        picture: The picture.
        schema: The network's.
    """
    gsd = picture.gsd if picture.gsd is not None and _LEAST <= picture.gsd <= _MOST else None
    placed = picture.lat is not None and picture.lon is not None
    data = Metadata(
        lat=picture.lat if placed else None,
        lon=picture.lon if placed else None,
        gsd=gsd,
        date=picture.date,
        cloud_cover=picture.cloud_cover,
    )
    for name in ("gsd", "date", "cloud_cover", "lat"):
        try:
            schema.encode([data])
        except InputError:
            data = data.model_copy(update={name: None})
    return data
