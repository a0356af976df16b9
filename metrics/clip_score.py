"""Agreement of pictures and captions by any CLIP folder: score, retrieval, zero-shot classification.

The score is 100 times the cosine of the two embeddings (Hessel et al. 2021 without the factor 2.5 and without the cut at 0). Remote-sensing
captions move it little, so retrieval is the better figure: the share of pictures whose own caption is the nearest of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..gen.errors import InputError
from ..gen.zoo.folder import model_digest, refuse_pickles
from .distribution import Estimate
from .protocol import bootstrap_interval

TEMPLATE = "a satellite image of {}"


class ClipModel:
    """A CLIP of transformers with its tokenizer and image processor, read from a folder.

    Attributes:
        name: With the digest of the weights.
        resize: How pictures come to the model's size.
        cut: Captions so far that were longer than the model reads.
    """

    def __init__(self, folder: str | Path) -> None:
        """Read the folder, never the network.

        Args:
            folder: A model saved by transformers: ``config.json``, safetensors, tokenizer and preprocessor files.

        Raises:
            InputError: If it is none, or holds pickles.
        """
        from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder} is no CLIP folder: it has no config.json; give a model as transformers saves it")
        refuse_pickles(folder)
        try:
            self.model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
            self.tokenizer = CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
            self.processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise InputError(f"the CLIP folder {folder} cannot be read ({str(error).splitlines()[0]}); copy it again") from error
        self.name = f"{folder.name}, weights {model_digest(folder)}"
        size = self.processor.crop_size
        self.resize = f"the folder's processor: shortest side, then centre crop of {size['height']} x {size['width']}"
        self.cut = 0

    @torch.no_grad()
    def embed_images(self, pictures: Sequence[Tensor], batch: int = 32) -> Tensor:
        """Embeddings ``[n, D]``, not normalised, of pictures ``[3, H, W]``, 0 to 1."""
        rows = []
        for start in range(0, len(pictures), batch):
            bytes_ = [(p * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8).numpy() for p in pictures[start : start + batch]]
            values = self.processor(images=bytes_, return_tensors="pt", input_data_format="channels_first")["pixel_values"]
            rows.append(_tensor(self.model.get_image_features(pixel_values=values)))
        return torch.cat(rows)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str], batch: int = 64) -> Tensor:
        """Embeddings ``[n, D]``, not normalised; `cut` counts texts that were too long."""
        rows, longest = [], int(self.model.config.text_config.max_position_embeddings)
        for start in range(0, len(texts), batch):
            part = list(texts[start : start + batch])
            self.cut += sum(len(ids) > longest for ids in self.tokenizer(part)["input_ids"])
            tokens = self.tokenizer(part, padding=True, truncation=True, max_length=longest, return_tensors="pt")
            rows.append(_tensor(self.model.get_text_features(**{key: tokens[key] for key in ("input_ids", "attention_mask")})))
        return torch.cat(rows)


def clip_scores(images: Tensor, texts: Tensor) -> Tensor:
    """100 times the cosine of each picture and its caption.

    Args:
        images: ``[n, D]``.
        texts: ``[n, D]``, in the same order.

    Returns:
        ``[n]``, -100 to 100.

    Raises:
        InputError: If the numbers differ.
    """
    if images.shape != texts.shape:
        raise InputError(f"{len(images)} pictures have {len(texts)} captions; give one caption for each picture")
    return 100 * torch.cosine_similarity(images.double(), texts.double(), dim=1)


def raw_scores(images: Tensor, texts: Tensor) -> Tensor:
    """The score of the Txt2Img-MHN code: the dot product of embeddings as they come, over 100."""
    return (images.double() * texts.double()).sum(1) / 100


def retrieval(images: Tensor, texts: Tensor, captions: Sequence[str], top: int = 1) -> Tensor:
    """Whether each picture's own caption is among the `top` nearest; equal captions are one.

    Args:
        images: ``[n, D]``.
        texts: ``[n, D]``.
        captions: The n captions.
        top: How many count.

    Returns:
        ``[n]`` bool.
    """
    first = {caption: number for number, caption in reversed(list(enumerate(captions)))}
    kept = sorted(first.values())
    own = torch.tensor([kept.index(first[caption]) for caption in captions])
    near = torch.nn.functional.normalize(images.double(), dim=1) @ torch.nn.functional.normalize(texts[kept].double(), dim=1).T
    mine = near.gather(1, own[:, None])
    return (near > mine).sum(1) < top


def zero_shot(model: ClipModel, images: Tensor, classes: Sequence[str], template: str = TEMPLATE) -> Tensor:
    """The class that each picture is nearest to.

    Args:
        model: CLIP.
        images: ``[n, D]`` of `embed_images`.
        classes: Names.
        template: Sentence with ``{}`` for the name.

    Returns:
        ``[n]`` positions in `classes`.
    """
    texts = model.embed_texts([template.format(name) for name in classes])
    near = torch.nn.functional.normalize(images, dim=1) @ torch.nn.functional.normalize(texts, dim=1).T
    return near.argmax(1)


def mean_estimate(values: Tensor) -> Estimate:
    """Mean of a figure per picture with its bootstrap interval; pictures without the figure (NaN) do not count."""
    listed = [value for value in values.double().tolist() if not math.isnan(value)]
    return Estimate(sum(listed) / len(listed), bootstrap_interval(listed)) if listed else Estimate(math.nan)


def _tensor(found: Any) -> Tensor:
    """The embeddings, in whichever form this transformers version hands them out."""
    return found if isinstance(found, Tensor) else found.pooler_output
