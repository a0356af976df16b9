"""Whether a crop and a picture fit their words, by a CLIP folder where there is one (AeroGen, X-Paste)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...gen.annotations.box import Layout
from ..clip_score import ClipModel, clip_scores
from .crops import cut
from .scores import Scores, check_picture

CROP_TEMPLATE = "an aerial photo of a {}"
PICTURE_TEMPLATE = "an aerial image with {}"
_SIZE = 224


class TextSimilarity:
    """100 times the cosine of a crop and its class's sentence, and of the picture and a sentence that names all its classes."""

    name = "text"

    def __init__(self, clip: ClipModel, sentences: Mapping[str, str] | None = None, size: int = _SIZE) -> None:
        """Keep the model.

        Args:
            clip: Of `metrics.clip_score`.
            sentences: Of classes, where the template does not fit them.
            size: Side of the crops that the model's processor is given.
        """
        self.clip, self.sentences, self.size = clip, dict(sentences or {}), size
        self.words = f"100 times the cosine of crop and sentence ({CROP_TEMPLATE!r}) by {clip.name}"
        self._known: dict[str, Tensor] = {}

    def __call__(self, picture: Tensor, layout: Layout) -> Scores:
        """Scores of the objects and of the picture, each on its own; NaN for a picture without objects."""
        check_picture(picture, layout)
        if not layout.boxes:
            return Scores(self.name, torch.zeros(0).double().numpy(), float("nan"))
        crops = self.clip.embed_images(list(cut(picture, layout.boxes, self.size)))
        texts = torch.stack([self._text(self.sentences.get(name, CROP_TEMPLATE.format(name))) for name in layout.names])
        whole = self._text(PICTURE_TEMPLATE.format(", ".join(sorted(set(layout.names)))))
        picture_score = clip_scores(self.clip.embed_images([picture]), whole[None])
        return Scores(self.name, clip_scores(crops, texts).double().numpy(), float(picture_score[0]))

    def _text(self, sentence: str) -> Tensor:
        if sentence not in self._known:
            self._known[sentence] = self.clip.embed_texts([sentence])[0]
        return self._known[sentence]
