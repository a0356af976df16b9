"""The RSICD text-to-image protocol of the Txt2Img-MHN code, under its name, so that its figures are not taken for others.

What it fixes: the captions of all pictures that are not in the training split (2,187), the first of five captions each, ten generations a
caption (21,870); FID and IS by an Inception-v3 that the user has fine-tuned on 30 RSICD classes, against 1,000 real test pictures; the CLIP
score as the dot product of embeddings that are not normalised, over 100, by a CLIP fine-tuned on RSICD; accuracy of a ResNet-18 that was
trained on generations alone, on real pictures. The networks are the user's: their features, answers and embeddings come as arrays.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..gen.errors import InputError
from .clip_score import mean_estimate, raw_scores
from .distribution import Estimate, frechet_estimate, inception_score
from .generated import SetProtocol, SetScore

NAME = "RSICD (Txt2Img-MHN)"
CAPTIONS, PER_CAPTION, REFERENCE, CLASSES, WIDTH = 2187, 10, 1000, 30, 2048
_PREFIX = re.compile(r"([A-Za-z]+)")


@dataclass(frozen=True)
class Item:
    """One picture of the data set.

    Attributes:
        file: Its name.
        caption: The first of its captions.
        label: Class by the name's prefix; empty where the name is a number.
        split: ``train``, ``val`` or ``test``.
    """

    file: str
    caption: str
    label: str
    split: str


def read_index(path: str | Path) -> list[Item]:
    """All pictures of ``dataset_rsicd.json``.

    Args:
        path: The file: ``{"images": [{"filename", "split", "sentences": [{"raw"}, ...]}, ...]}``.

    Raises:
        InputError: If it is no such file.
    """
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
        return [
            Item(row["filename"], row["sentences"][0]["raw"].strip(), class_of(row["filename"]), row["split"]) for row in table["images"]
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path} is no RSICD index ({type(error).__name__}: {error}); give dataset_rsicd.json") from error


def prompts(items: list[Item]) -> list[Item]:
    """What is generated for: everything that is not for training, in the order of the index."""
    return [item for item in items if item.split != "train"]


def class_of(file: str) -> str:
    """Class by the prefix of a file's name, in lower case: ``airport_12.jpg`` is ``airport``."""
    found = _PREFIX.match(Path(file).name)
    return found.group(1).lower() if found and "_" in Path(file).name else ""


def generation_name(item: Item, number: int) -> str:
    """Name of a caption's generation, 0 to 9, such as ``airport_12_3.png``."""
    return f"{Path(item.file).stem}_{number}.png"


def scores(
    *,
    generated: Tensor,
    reference: Tensor,
    network: str,
    logits: Tensor | None = None,
    images: Tensor | None = None,
    texts: Tensor | None = None,
    clip: str = "",
    right: Tensor | None = None,
) -> dict[str, SetScore]:
    """The protocol's figures from what the user's networks said.

    Args:
        generated: ``[21870, 2048]`` pool features of the fine-tuned Inception, in the order caption by caption.
        reference: ``[1000, 2048]`` of the real test pictures.
        network: Name and digest of that Inception.
        logits: ``[21870, 30]`` of the same network, for IS.
        images: ``[21870, D]`` CLIP embeddings, not normalised.
        texts: ``[2187, D]`` of the first captions.
        clip: Name and digest of that CLIP.
        right: ``[m]`` bool, whether the classifier trained on generations was right on each real test picture.

    Returns:
        Scores by metric; a set of another size than the protocol's is scored and its name says so.

    Raises:
        InputError: If widths or numbers do not fit each other.
    """
    if generated.shape[1] != reference.shape[1]:
        raise InputError(f"generated features have width {generated.shape[1]}, the reference {reference.shape[1]}; use one network")
    whole = len(generated) == CAPTIONS * PER_CAPTION and len(reference) == REFERENCE and generated.shape[1] == WIDTH
    name = NAME if whole else f"{NAME}, not its numbers of pictures or features"
    about = {"network": network, "resize": "the user's", "n_generated": len(generated)}
    found = {"FID": _score("FID", frechet_estimate(generated, reference), f"{name}: squared Fréchet distance, Inception fine-tuned on "
        "RSICD, 1,000 real test pictures", "lower", {**about, "n_reference": len(reference)})}  # fmt: skip
    if logits is not None:
        found["IS"] = _score("IS", inception_score(logits), f"{name}: one split, at most {logits.shape[1]}", "higher", about)
    if images is not None and texts is not None:
        if len(images) != PER_CAPTION * len(texts):
            raise InputError(f"{len(images)} pictures for {len(texts)} captions; the protocol has {PER_CAPTION} a caption")
        each = raw_scores(images, texts.repeat_interleave(PER_CAPTION, 0))
        own = {**about, "network": clip, "n_generated": len(images)}
        found["CLIP"] = _score("CLIP", mean_estimate(each), f"{name}: dot product of embeddings not normalised, over 100", "higher", own)
    if right is not None:
        words = f"{name}: ResNet-18 trained on generations alone, share right of real test pictures"
        found["Cls-OA"] = _score(
            "Cls-OA", mean_estimate(right), words, "higher", {"n_generated": len(generated), "n_reference": len(right)}
        )
    return found


def read_array(path: str | Path) -> Tensor:
    """Features from a ``.npy`` file.

    Raises:
        InputError: If it is no array of finite numbers.
    """
    import numpy as np

    try:
        array = torch.from_numpy(np.load(path, allow_pickle=False).astype("float64"))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as an array of numbers ({error}); save it by numpy.save") from error
    if not bool(torch.isfinite(array).all()):
        raise InputError(f"{path} holds numbers that are not finite; make the features again")
    return array


def _score(metric: str, estimate: Estimate, words: str, better: str, about: dict[str, object]) -> SetScore:
    return SetScore(estimate, SetProtocol(metric=metric, definition=words, better=better, **about))  # type: ignore[arg-type]
