"""A small tokenizer of our own: byte pairs learnt from captions, in the layout of CLIP's.

The alphabet is all 256 bytes, so that any word in any script is some sequence of known tokens: a word that the captions do not have falls
into pieces, not into nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
"""Tokens of a prompt, as CLIP's."""
_SUFFIX = "</w>"


def train_tokenizer(captions: Iterable[str], size: int = 1024, length: int = LENGTH) -> CLIPTokenizer:
    """Learn a tokenizer.

    Args:
        captions: Texts; the same texts in the same order give the same tokenizer.
        size: Entries of the vocabulary, at least 514: the bytes, the bytes at a word's end, and two marks. Fewer are used where the texts
            have no more pairs.
        length: Tokens of a prompt.

    Returns:
        The tokenizer; ``save_pretrained`` writes a folder that transformers reads.

    Raises:
        ValueError: If `size` is below 514.
    """
    from tokenizers import Tokenizer, models, trainers
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    alphabet = sorted(ByteLevel.alphabet())
    least = 2 * len(alphabet) + 2
    if size < least:
        raise ValueError(f"a vocabulary of {size} does not hold the bytes; it has at least {least} entries")
    blank = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[])
    learner = Tokenizer(models.BPE(end_of_word_suffix=_SUFFIX))
    learner.normalizer = blank.backend_tokenizer.normalizer
    learner.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, end_of_word_suffix=_SUFFIX, special_tokens=[START, END], show_progress=False
    )
    learner.train_from_iterator(captions, trainer)
    import json

    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    merges = merges[: size - least]
    entries = [*alphabet, *(byte + _SUFFIX for byte in alphabet)]
    entries += [token for token in dict.fromkeys("".join(pair) for pair in merges) if token not in set(entries)]
    vocabulary = {token: number for number, token in enumerate([*entries, START, END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)
