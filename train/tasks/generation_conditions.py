"""The conditions of training samples as tensors, with some of them left out: every combination is trained, so that any can be asked for.

Channels beside the noisy latents, in the order of `gen.models.generator`: repaint mask (1 is to be made), latents of what is kept (those of
the picture times 1 - mask), share of each hint class, and whether there is a hint at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...gen.conditioning.schemas import MetadataSchema
from .generation_config import DropConfig, GenerationConfig
from .generation_controls import ControlInputs
from .generation_data import Sample, metadata_of

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

CONTROL = "control."
"""Names of tensors for control networks begin with this."""
_HOLE = 6  # uniform numbers that a hole in a picture takes


class Conditions:
    """Turns samples into what the network takes."""

    def __init__(self, config: GenerationConfig, tokenizer: CLIPTokenizer, schema: MetadataSchema | None, controls: ControlInputs) -> None:
        """Remember the parts.

        Args:
            config: The task's.
            tokenizer: Of the text encoder.
            schema: Of the metadata; None for a network without.
            controls: What control networks read.
        """
        self.config, self.tokenizer, self.schema, self.controls = config, tokenizer, schema, controls
        fields = 0 if schema is None else len(schema.fields)
        self._own = 3 + fields + len(config.hints) + 1 + _HOLE
        self.draws = self._own + controls.draws
        """Uniform numbers that a sample takes."""

    def tensors(self, samples: Sequence[Sample], uniform: Tensor | None = None) -> dict[str, Tensor]:
        """Conditions of a batch.

        Args:
            samples: What is known.
            uniform: ``[B, draws]`` in [0, 1), which decide what is left out and what is to be repainted; None leaves nothing out and
                repaints everything.

        Returns:
            ``tokens`` ``[B, L]``, ``values`` and ``known`` ``[B, F]`` where there is a schema, and ``extra`` ``[B, ..., h, w]``, the
            channels beside the noisy latents, where there are any; and what control networks read.
        """
        numbers = torch.ones(len(samples), self.draws, dtype=torch.float64) if uniform is None else uniform
        drop = self.config.drop if uniform is not None else DropConfig(text=0, field=0, hint=0, hint_class=0, everything=0)
        nothing = numbers[:, 0] < drop.everything
        made: dict[str, Tensor] = {"tokens": self._tokens(samples, nothing | (numbers[:, 1] < drop.text))}
        at = 3
        if self.schema is not None:
            values, known = self.schema.encode([metadata_of(sample.of, self.schema) for sample in samples])
            kept = (numbers[:, at : at + len(self.schema.fields)] >= drop.field) & ~nothing[:, None]
            at += len(self.schema.fields)
            known = self.schema.keep(known, kept)
            made |= {"values": torch.where(known, values, self.schema.nulls()), "known": known}
        parts = []
        if self.config.inpainting is not None:
            parts.append(self._kept(samples, numbers[:, self._own - _HOLE - 1 : self._own]))
        if self.config.hints:
            there = (numbers[:, 2] >= drop.hint) & ~nothing
            parts.append(self._hints(samples, there, numbers[:, at : at + len(self.config.hints)] >= drop.hint_class))
        if parts:
            made["extra"] = torch.cat(parts, 1)
        told = self.controls.tensors([sample.controls for sample in samples], None if uniform is None else uniform[:, self._own :])
        return made | {f"{CONTROL}{name}": value for name, value in told.items()}

    def without(self, conditions: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same with text, metadata and hints left out, for guidance; a given part of the picture stays."""
        count = len(conditions["tokens"])
        made = {"tokens": self.words([""] * count).to(conditions["tokens"].device)}
        if self.schema is not None:
            made["values"] = self.schema.nulls().to(conditions["values"]).expand_as(conditions["values"])
            made["known"] = torch.zeros_like(conditions["known"])
        if "extra" in conditions:
            hints = len(self.config.hints) + 1 if self.config.hints else 0
            made["extra"] = conditions["extra"].clone()
            made["extra"][:, made["extra"].shape[1] - hints :] = 0
        # Control networks stay on: guidance acts on text and metadata, as published.
        return made | {name: value for name, value in conditions.items() if name.startswith(CONTROL)}

    def words(self, texts: Sequence[str]) -> Tensor:
        """Tokens ``[B, L]`` of texts, cut at the tokenizer's length."""
        length = self.tokenizer.model_max_length
        found = self.tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        tokens: Tensor = found["input_ids"]
        return tokens

    def _tokens(self, samples: Sequence[Sample], dropped: Tensor) -> Tensor:
        return self.words(["" if gone else sample.caption for sample, gone in zip(samples, dropped.tolist(), strict=True)])

    def _kept(self, samples: Sequence[Sample], numbers: Tensor) -> Tensor:
        share = self.config.inpainting or 0.0
        rows = []
        for sample, row in zip(samples, numbers.tolist(), strict=True):
            size = sample.latents.shape[-2:]
            mask = _hole(row[1:], (size[0], size[1])) if row[0] < share else torch.ones(1, *size)
            rows.append(torch.cat([mask, sample.latents * (1 - mask)]))
        return torch.stack(rows)

    def _hints(self, samples: Sequence[Sample], there: Tensor, classes: Tensor) -> Tensor:
        rows = []
        for number, sample in enumerate(samples):
            blank = torch.zeros(len(self.config.hints) + 1, *sample.latents.shape[-2:])
            if sample.hints is not None and bool(there[number]):
                blank[:-1] = sample.hints * classes[number].to(torch.float32)[:, None, None]
                blank[-1] = 1.0
            rows.append(blank)
        return torch.stack(rows)


def _hole(numbers: Sequence[float], size: tuple[int, int]) -> Tensor:
    """A repaint mask ``[1, h, w]``: a rectangle to be made, or all but a rectangle or a border strip."""
    kind, top, left, high, wide, side = numbers
    height, width = size
    mask = torch.zeros(1, height, width)
    if kind < 0.35:  # one side is given, the rest continues it
        given = max(1, round((0.25 + 0.5 * high) * (height if side < 0.5 else width)))
        mask[:] = 1.0
        ends = {0: (slice(0, given), slice(None)), 1: (slice(height - given, height), slice(None))}
        ends |= {2: (slice(None), slice(0, given)), 3: (slice(None), slice(width - given, width))}
        rows, cols = ends[min(int(side * 4), 3)]
        mask[:, rows, cols] = 0.0
        return mask
    rows_, cols_ = (max(2, round((0.25 + 0.6 * share) * length)) for share, length in ((high, height), (wide, width)))
    first, start = int(top * (height - rows_ + 1)), int(left * (width - cols_ + 1))
    mask[:, first : first + rows_, start : start + cols_] = 1.0
    return 1.0 - mask if kind > 0.85 else mask


def for_controls(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a batch what the control networks read, by the networks' names."""
    return {name.removeprefix(CONTROL): value for name, value in tensors.items() if name.startswith(CONTROL)}
