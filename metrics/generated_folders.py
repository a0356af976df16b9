"""From folders of pictures to a `SetReport`: what `earthgen evaluate --generated` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..gen.errors import InputError
from .clip_score import ClipModel, clip_scores, mean_estimate, retrieval
from .distribution import Estimate
from .feature_networks import FeatureNetwork, OurFeatures, feature_network, features_of
from .generated import SetProtocol, SetReport, SetScore, Space, set_scores, small_set_note
from .picture_folder import PictureFolder
from .trivial_pictures import WORDS, fitted, trivial_sets

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class SetOptions:
    """What to compare and how.

    Attributes:
        generated: Folder of the pictures to score.
        reference: Folder of real pictures.
        training: Folder of the generator's training pictures, for the trivial ones; the reference if left out.
        features: Name for `feature_network`.
        clip: CLIP folder for caption scores.
        captions: Text file ``name<TAB>caption``, names relative to `generated`.
        cut: Whether reference and training pictures are cut to the generated pictures' size; otherwise they are taken whole.
        seed: Of subsets, groups and noise.
        device: Where our network runs.
    """

    generated: Path
    reference: Path
    training: Path | None = None
    features: str = "auto"
    clip: Path | None = None
    captions: Path | None = None
    cut: bool = True
    seed: int = 0
    device: str = "cpu"


def evaluate_folders(options: SetOptions, progress: Progress | None = None) -> SetReport:
    """Score generated pictures and the trivial ones.

    Args:
        options: What and how.
        progress: Called with (pictures read, pictures in all).

    Returns:
        The report, a row per set.

    Raises:
        InputError: If a folder or model is wrong, sizes differ or there are too few pictures.
    """
    generated, reference = PictureFolder(options.generated), PictureFolder(options.reference)
    training = PictureFolder(options.training) if options.training else reference
    if (options.clip is None) != (options.captions is None):
        raise InputError("caption scores need both a CLIP folder and captions; give both or neither")
    captions = read_captions(options.captions, generated) if options.captions else []
    network = feature_network(options.features, options.device)
    size = _one_size(generated)
    count = len(generated)
    counted = _Counted(progress, 3 * count + len(reference))

    def real(folder: PictureFolder) -> Iterator[Tensor]:
        return (fitted(picture, size) for picture in folder) if options.cut else iter(folder)

    sets: dict[str, Iterable[Tensor]] = {"generated": generated}
    sets |= trivial_sets(lambda: real(training), count, size, options.seed)
    found = features_of(counted(real(reference)), network)
    resize = f"{network.resize}; reference cut to {size[0]} x {size[1]}" if options.cut else network.resize
    space = Space(network=network.name, resize=resize, reference=found, digest=reference.digest, seed=options.seed)
    rows = {}
    for name, pictures in sets.items():
        features, logits = _read(counted(pictures), network)
        classifier = network.name if logits is not None else ""
        rows[name] = set_scores(features, space, logits, classifier)
    if options.clip is not None:
        rows["generated"] |= caption_scores(ClipModel(options.clip), list(generated), captions)
    source = "of the training pictures" if options.training else "of the reference, since no training pictures were given"
    notes = (f"Trivial pictures ({source}): {WORDS}.", *small_set_note(min(count, len(reference)), found.shape[1]))
    facts = {"generated": generated.digest, "reference": reference.digest, "training": training.digest, "seed": options.seed}
    return SetReport(title=f"{count} pictures of {options.generated} against {len(reference)}", rows=rows, notes=notes, facts=facts)


def caption_scores(clip: ClipModel, pictures: list[Tensor], captions: list[str]) -> dict[str, SetScore]:
    """CLIP score and retrieval of pictures and their captions, with the score of captions dealt out wrongly as the floor."""
    images, texts = clip.embed_images(pictures), clip.embed_texts(captions)
    about: dict[str, Any] = {"network": clip.name, "resize": clip.resize, "n_generated": len(pictures)}
    cut = f"; {clip.cut} captions cut at the model's length" if clip.cut else ""
    figures: dict[str, tuple[Estimate, str]] = {
        "CLIP score": (mean_estimate(clip_scores(images, texts)), f"100 cosine with the own caption{cut}; bootstrap over pictures"),
        "CLIP score, next caption": (mean_estimate(clip_scores(images, texts.roll(1, 0))), "the same with the next picture's caption"),
        "CLIP retrieval": (
            mean_estimate(retrieval(images, texts, captions)),
            f"share of pictures whose own caption is the nearest of {len(set(captions))}; bootstrap over pictures",
        ),
    }
    return {
        name: SetScore(estimate, SetProtocol(metric=name, definition=words, better="none" if "next" in name else "higher", **about))
        for name, (estimate, words) in figures.items()
    }


def read_captions(path: Path, folder: PictureFolder) -> list[str]:
    """The caption of each picture of a folder, from lines ``name<TAB>caption``.

    Raises:
        InputError: If the file cannot be read or a picture has no caption.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the captions {path} cannot be read ({error}); give a UTF-8 text file") from error
    table = dict(line.split("\t", 1) for line in lines if "\t" in line)
    names = [file.relative_to(folder.folder).as_posix() for file in folder.paths]
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(f"{path} has no caption for {missing[0]} ({len(missing)} missing); write a line 'name<TAB>caption' for each")
    return [table[name].strip() for name in names]


class _Counted:
    """Tells a progress bar of every picture that goes by."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, pictures: Iterable[Tensor]) -> Iterator[Tensor]:
        for picture in pictures:
            yield picture
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.total)


def _read(pictures: Iterable[Tensor], network: FeatureNetwork) -> tuple[Tensor, Tensor | None]:
    """Features, and the classifier's answers where the network is one."""
    if not isinstance(network, OurFeatures):
        return features_of(pictures, network), None
    both = _Both(network)
    features = features_of(pictures, both)
    return features, torch.cat(both.answers)


class _Both:
    """A network of ours whose classifier's answers are kept beside the features."""

    def __init__(self, network: OurFeatures) -> None:
        self.name, self.resize = network.name, network.resize
        self.answers: list[Tensor] = []
        self._network = network

    def __call__(self, pictures: Tensor) -> Tensor:
        found = self._network.read(pictures)
        self.answers.append(found.classes.double().cpu())
        return found.features.double()


def _one_size(folder: PictureFolder) -> tuple[int, int]:
    sizes = {(picture.shape[1], picture.shape[2]) for picture in folder}
    if len(sizes) > 1:
        words = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)[:3])
        raise InputError(f"the pictures of {folder.folder} have {len(sizes)} sizes ({words}); generate them at one size")
    return sizes.pop()
