"""Prompts as token ids: what is longer than the encoder's window is cut into chunks, and said to be.

A chunk is what a CLIP text encoder takes at once: a beginning token, up to 75 tokens of text, an end token, padding. The chunks' encodings
follow each other in the denoiser's cross-attention. An empty prompt is the null condition: one chunk without text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

LEVEL_MARK = "_GOOGLE_LEVEL_"
MAX_CHUNKS = 8


@dataclass(frozen=True)
class Tokens:
    """Prompts in chunks.

    Attributes:
        ids: ``[B, N, L]`` int64; chunks that a prompt does not need have no text.
        attention: ``[B, N, L]`` int64, 0 where there is padding.
        counts: How many chunks each prompt needs, 1 to N.
        notes: One sentence for each prompt that was cut into chunks.
    """

    ids: Tensor
    attention: Tensor
    counts: tuple[int, ...]
    notes: tuple[str, ...]


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> Tokens:
    """Cut prompts into chunks of the encoder's window.

    Args:
        tokenizer: Of transformers, with a beginning and an end token, such as `CLIPTokenizer`; its ``model_max_length`` is L.
        prompts: Texts; an empty one is the null.

    Returns:
        The chunks, as many for each prompt as the longest needs.

    Raises:
        InputError: If a prompt is no text or needs more than `MAX_CHUNKS` chunks.
    """
    length = int(tokenizer.model_max_length)
    room = length - 2
    pieces: list[list[list[int]]] = []
    notes = []
    for number, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise InputError(f"prompt {number} is a {type(prompt).__name__}; give text, or an empty text for none")
        ids = _token_ids(tokenizer, prompt)
        chunks = [ids[at : at + room] for at in range(0, len(ids), room)] or [[]]
        if len(chunks) > MAX_CHUNKS:
            raise InputError(f"the prompt has {len(ids)} tokens; at most {MAX_CHUNKS * room} are read, so shorten it")
        if len(chunks) > 1:
            notes.append(f"the prompt has {len(ids)} tokens, more than the {room} of one window; it is read in {len(chunks)} chunks")
        pieces.append(chunks)
    most = max(map(len, pieces))
    rows = [[_window(tokenizer, chunk, length) for chunk in chunks + [[]] * (most - len(chunks))] for chunks in pieces]
    ids_of, attention = (torch.tensor([[window[part] for window in row] for row in rows]) for part in (0, 1))
    return Tokens(ids_of, attention, tuple(map(len, pieces)), tuple(notes))


def split_level(prompt: str) -> tuple[int | None, str]:
    """Text2Earth's way of writing a zoom level before a prompt: ``"17_GOOGLE_LEVEL_a harbour"``.

    Args:
        prompt: With or without such a prefix.

    Returns:
        The level, None for ``0`` or without a prefix, and the text.

    Raises:
        InputError: If what stands before the mark is no whole number.
    """
    head, mark, text = prompt.partition(LEVEL_MARK)
    if not mark:
        return None, prompt
    try:
        level = int(head)
    except ValueError:
        raise InputError(f"the prompt begins with {head!r} before {LEVEL_MARK}; a zoom level there is a whole number such as 17") from None
    return level or None, text


def _token_ids(tokenizer: Any, prompt: str) -> list[int]:
    """The text's tokens alone. The tokenizer's own warning about long texts is not wanted: they are cut here."""
    ids = tokenizer(prompt, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    return [int(token) for token in ids]


def _window(tokenizer: Any, chunk: list[int], length: int) -> tuple[list[int], list[int]]:
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    filled = [begin, *chunk, end]
    return filled + [pad] * (length - len(filled)), [1] * len(filled) + [0] * (length - len(filled))
