"""A content picture as further words of the context (CRS-Diff's global branch): its embedding, and the adapter that makes words of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..gen.errors import InputError
from .earth_hints import read_image

if TYPE_CHECKING:
    from .earth_model import EarthModel

CONTENT = "content"
"""Name of the slot, and of the hint that a caller gives."""

# Mean and standard deviation of the pictures that CLIP was trained on.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def content_adapter(pipeline: EarthModel) -> Any:
    """The network that makes words of a content picture; None without."""
    return next((pipeline.controls[name] for name, slots in pipeline.control_slots.items() if slots == [CONTENT]), None)


def embed_content(pipeline: EarthModel, given: Any) -> Tensor:
    """The embedding of a content picture.

    Args:
        pipeline: With a content adapter.
        given: A picture of any size, or its embedding, a vector ``[E]``.

    Returns:
        ``[E]`` float32.

    Raises:
        InputError: If it has another width, or is a picture and the model has no image encoder.
    """
    adapter = content_adapter(pipeline)
    width = int(adapter.config["embedding_width"] or adapter.config["width"])
    if isinstance(given, np.ndarray | Tensor) and given.ndim == 1:
        vector = torch.as_tensor(given, dtype=torch.float32)
        if len(vector) != width or not bool(torch.isfinite(vector).all()):
            raise InputError(f"the content is a vector of {len(vector)} numbers; the model takes {width} finite ones")
        return vector
    if pipeline.image_encoder is None:
        raise InputError(f"the model {pipeline.name} has no image encoder; give the content as its embedding, a vector of {width} numbers")
    picture = read_image(given, "the content")
    if picture.shape[0] == 1:
        picture = picture.repeat(3, 1, 1)
    if picture.shape[0] != 3:
        raise InputError(f"the content has {picture.shape[0]} bands; give red, green and blue")
    side = int(pipeline.image_encoder.config.image_size)
    scale = side / min(picture.shape[1:])
    size = [max(side, round(length * scale)) for length in picture.shape[1:]]
    resized = F.interpolate(picture[None], size=size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = ((length - side) // 2 for length in size)
    square = resized[:, :, top : top + side, left : left + side]
    mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
    encoder = pipeline.image_encoder
    pixels = ((square - mean) / std).to(encoder.device, encoder.dtype)
    embedding: Tensor = encoder(pixel_values=pixels).image_embeds[0]
    return embedding.float().cpu()


def add_content(
    pipeline: EarthModel, contents: Sequence[Tensor | None], weights: Mapping[str, float], words: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Put content into the context: none into the one without text, each picture's own into the other.

    Args:
        pipeline: The model.
        contents: An embedding ``[E]`` for each picture, None where there is none.
        weights: Of hints by name.
        words: Without and with text, each ``[B, T, D]``.

    Returns:
        The same, with the adapter's words.
    """
    adapter = content_adapter(pipeline)
    if adapter is None:
        return words
    width = int(adapter.config["embedding_width"] or adapter.config["width"])
    device = words[0].device
    present = torch.tensor([content is not None for content in contents], device=device)
    embedding = torch.stack([torch.zeros(width) if content is None else content for content in contents]).to(device)
    off = adapter(embedding, words[0], dropped=True)
    return off, adapter(embedding, words[1], present, strength=weights.get(CONTENT, 1.0))
