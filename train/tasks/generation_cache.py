"""Latents and embedded captions of a generator's samples, kept on disk between runs.

What is kept is computed for one picture or caption at a time: so an entry is a function of it alone, and a run gives the same numbers
bit for bit whether it finds its entries or makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel

from ...gen.data.tensor_cache import TensorCache, digest_of, digest_of_array
from ...gen.models.autoencoder import encode_mean
from ..adapters import trains

if TYPE_CHECKING:
    from ..recipe import Recipe


class LatentCache:
    """A frozen autoencoder whose latents are kept."""

    def __init__(self, folder: Path, autoencoder: AutoencoderKL) -> None:
        """Open the cache.

        Args:
            folder: Where it lies; made if it is not there.
            autoencoder: Frozen.

        Raises:
            InputError: If the folder cannot be made or written.
        """
        self.autoencoder = autoencoder
        self.kept = TensorCache(folder, f"latents {digest_of(autoencoder)} {autoencoder.config['scaling_factor']}")

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Scaled latents ``[B, Z, H / F, W / F]`` of pictures ``[B, C, H, W]`` in [0, 1], float32 on the CPU."""
        return torch.stack([self._one(picture) for picture in pictures])

    def _one(self, picture: Tensor) -> Tensor:
        home = next(self.autoencoder.parameters())

        def compute() -> dict[str, Tensor]:
            return {"latents": encode_mean(self.autoencoder, picture[None].to(home))[0].float()}

        return self.kept.get(self.kept.key(digest_of_array(picture), {"type": str(home.dtype), "device": home.device.type}), compute)[
            "latents"
        ]


class WordCache:
    """A frozen text encoder whose embeddings are kept."""

    def __init__(self, folder: Path, encoder: CLIPTextModel) -> None:
        """Open the cache.

        Args:
            folder: Where it lies; made if it is not there.
            encoder: Frozen; a copy beside the one in the network, which is in evaluation mode and stays on the CPU.

        Raises:
            InputError: If the folder cannot be made or written.
        """
        self.encoder = encoder.eval().requires_grad_(False)
        self.kept = TensorCache(folder, f"words {digest_of(encoder)}")

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """Embeddings ``[B, L, D]`` of token rows ``[B, L]``, float32."""
        return torch.stack([self._one(row) for row in tokens])

    def _one(self, row: Tensor) -> Tensor:
        def compute() -> dict[str, Tensor]:
            return {"words": self.encoder(row[None]).last_hidden_state[0].float()}

        return self.kept.get(self.kept.key(digest_of_array(row)), compute)["words"]


def word_cache(recipe: Recipe, folder: Path | None, read: Callable[[], CLIPTextModel]) -> WordCache | None:
    """A cache of embedded captions, where the recipe wants one and trains nothing of the text encoder; else None.

    Args:
        recipe: The run's.
        folder: Of the cache; None for none.
        read: Reads the text encoder.
    """
    if folder is None:
        return None
    encoder = read()
    names = [f"text_encoder.{name}" for name, _ in encoder.named_parameters()]
    return None if trains(recipe, names) else WordCache(folder, encoder)
