"""Classification accuracy score of folders, and the RSICD protocol from a folder of arrays: what `earthgen evaluate` does with classes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..gen.errors import InputError
from .classification import Training, accuracy, train_classifier
from .generated import SetProtocol, SetScore
from .picture_folder import PictureFolder
from .rsicd import read_array, scores
from .trivial_pictures import fitted

ARRAYS = ("generated", "reference", "logits", "images", "texts", "right")
"""Files of the RSICD protocol, ``.npy``; the last four may be left out."""


def class_scores(
    generated: PictureFolder, reference: PictureFolder, training: PictureFolder | None, size: tuple[int, int], how: Training
) -> dict[str, dict[str, SetScore]]:
    """Train a classifier on generated pictures and test it on real ones; the same with real training pictures beside it.

    Args:
        generated: A sub-folder for each class.
        reference: The same classes, real.
        training: Real ones to train on, of which as many of a class are taken as were generated.
        size: Of the pictures; real ones are cut to it.
        how: The classifier is trained.

    Returns:
        Scores by row, ``generated`` and ``training pictures``.

    Raises:
        InputError: If a picture lies in no class, or the folders have other classes.
    """
    classes = sorted(set(class_names(generated)))
    if len(classes) < 2:
        raise InputError(f"{generated.folder} has the class {', '.join(classes)} alone; an accuracy needs two sub-folders or more")
    test = _labelled(reference, classes, size)
    counts = [class_names(generated).count(name) for name in classes]
    arms = {"generated": _labelled(generated, classes, size)}
    if training is not None:
        arms["training pictures"] = _as_many(_labelled(training, classes, size), classes, counts, training)
    words = f"share right of {len(test[1])} real pictures of {len(classes)} classes by a classifier trained on the row's pictures alone: "
    words += f"{how.words()}, seed {how.seed}; always the commonest class: {float(torch.bincount(test[1]).max()) / len(test[1]):.3f}"
    protocol = SetProtocol(
        metric="CAS", definition=words, better="higher", n_generated=len(generated), n_reference=len(test[1]), reference=reference.digest
    )
    found = {}
    for row, (pictures, labels) in arms.items():
        net = train_classifier(pictures, labels, len(classes), how)
        found[row] = {"CAS": SetScore(accuracy(net, *test), protocol)}
    return found


def class_names(folder: PictureFolder) -> list[str]:
    """The class of each picture: its first sub-folder.

    Raises:
        InputError: If a picture lies in none.
    """
    parts = [path.relative_to(folder.folder).parts for path in folder.paths]
    loose = [path for path, own in zip(folder.paths, parts, strict=True) if len(own) < 2]
    if loose:
        raise InputError(f"{loose[0]} lies in no sub-folder; classes are the names of sub-folders, such as {folder.folder}/forest/")
    return [own[0] for own in parts]


def rsicd_scores(folder: Path, network: str, clip: str) -> dict[str, dict[str, SetScore]]:
    """The figures of the RSICD protocol from `ARRAYS` in a folder.

    Raises:
        InputError: If the first two are missing, or an array is none or does not fit.
    """
    missing = [name for name in ARRAYS[:2] if not (folder / f"{name}.npy").is_file()]
    if missing:
        raise InputError(f"there is no {folder / missing[0]}.npy; the RSICD protocol needs features of generated and of reference pictures")
    arrays = {name: read_array(folder / f"{name}.npy") for name in ARRAYS if (folder / f"{name}.npy").is_file()}
    if ("images" in arrays) != ("texts" in arrays):
        raise InputError(f"{folder} has one of images.npy and texts.npy; the CLIP score needs both")
    optional = {name: arrays.get(name) for name in ("logits", "images", "texts")}
    right = arrays["right"] > 0.5 if "right" in arrays else None
    found = scores(generated=arrays["generated"], reference=arrays["reference"], network=network, clip=clip, right=right, **optional)
    return {"generated": found}


def _labelled(folder: PictureFolder, classes: list[str], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    names = class_names(folder)
    strange = sorted(set(names) ^ set(classes))
    if strange:
        raise InputError(f"{folder.folder} and the generated pictures do not both have the class {strange[0]!r}; give the same sub-folders")
    pictures = torch.stack([fitted(picture, size) for picture in folder])
    return pictures, torch.tensor([classes.index(name) for name in names])


def _as_many(arm: tuple[Tensor, Tensor], classes: list[str], counts: list[int], folder: PictureFolder) -> tuple[Tensor, Tensor]:
    """As many pictures of each class as were generated."""
    pictures, labels = arm
    chosen = []
    for code, count in enumerate(counts):
        members = torch.nonzero(labels == code).flatten()
        if len(members) < count:
            raise InputError(
                f"{folder.folder} has {len(members)} pictures of {classes[code]!r} and {count} were generated; give as many, or leave "
                "--training out"
            )
        chosen.append(members[torch.linspace(0, len(members) - 1, count).round().long()])
    kept = torch.cat(chosen)
    return pictures[kept], labels[kept]
