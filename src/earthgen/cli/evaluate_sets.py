"""The part of `earthgen evaluate` that scores a folder of generated pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..metrics.generated import SetReport

_MEASURER = "zoo:features-small"


@dataclass(frozen=True, kw_only=True)
class SetWishes:
    """What is asked of a folder of generated pictures; the options of the command by their names."""

    generated: Path | None = None
    reference: Path | None = None
    training: Path | None = None
    features: str = "auto"
    clip: Path | None = None
    captions: Path | None = None
    hints: list[str] = field(default_factory=list)
    metadata: Path | None = None
    cas: bool = False
    epochs: int = 20
    rsicd: Path | None = None
    networks: str = ""
    seed: int = 0
    device: str = "auto"
    json_out: Path | None = None


def evaluate_sets(wishes: SetWishes) -> None:
    """Print and write the report of generated pictures.

    Raises:
        InputError: If there is nothing to hold them against, or a folder, file or model is wrong.
    """
    from rich.console import Console

    report = _report(wishes)
    Console().print(report.table())
    if wishes.json_out is not None:
        report.write(wishes.json_out)
        typer.echo(f"wrote {wishes.json_out}")


def _report(wishes: SetWishes) -> SetReport:
    from ..gen.errors import InputError
    from ..metrics.class_folders import rsicd_scores
    from ..metrics.generated import SetReport

    if wishes.rsicd is not None:
        network, _, clip = wishes.networks.partition(";")
        if not network.strip():
            raise InputError(
                "--rsicd needs the name of the network that made its features; give it with --networks 'Inception ...;CLIP ...'"
            )
        rows = rsicd_scores(wishes.rsicd, network.strip(), clip.strip())
        return SetReport(title=f"RSICD protocol, arrays of {wishes.rsicd}", rows=rows, facts={"networks": wishes.networks})
    told = _told(wishes)
    if wishes.reference is None and not told:
        raise InputError("generated pictures are scored against real ones or what they were told; give --reference, --hint or --metadata")
    if wishes.cas and wishes.reference is None:
        raise InputError("the classification accuracy score is tested on real pictures; give their folder with --reference")
    if wishes.reference is None:
        facts = {"metadata": str(wishes.metadata or ""), "hints": ", ".join(wishes.hints)}
        return SetReport(title=f"Pictures of {wishes.generated} and what they were told", rows=told, facts=facts)
    return _against_real(wishes, told)


def _against_real(wishes: SetWishes, told: dict[str, Any]) -> SetReport:
    """Distances to real pictures, with what else is asked for in the same table."""
    from dataclasses import replace

    from ..metrics.class_folders import class_scores
    from ..metrics.classification import Training
    from ..metrics.generated_folders import SetOptions, evaluate_folders
    from ..metrics.picture_folder import PictureFolder
    from .progress import progress_bar

    assert wishes.generated is not None
    assert wishes.reference is not None
    options = SetOptions(
        generated=wishes.generated, reference=wishes.reference, training=wishes.training, features=wishes.features, clip=wishes.clip,
        captions=wishes.captions, seed=wishes.seed, device=_device(wishes),
    )  # fmt: skip
    found = dict[str, Any]()
    if wishes.cas:  # before the rest: what is wrong with the sub-folders is said at once
        made, real = PictureFolder(wishes.generated), PictureFolder(wishes.reference)
        training = PictureFolder(wishes.training) if wishes.training else None
        height, width = next(iter(made)).shape[1:]
        found = class_scores(made, real, training, (height, width), Training(epochs=wishes.epochs, seed=wishes.seed))
    with progress_bar(f"Evaluating {wishes.generated}", "pictures") as progress:
        report = evaluate_folders(options, progress)
    rows = {name: dict(scores) for name, scores in report.rows.items()}
    for extra in (told, found):
        for name, scores in extra.items():
            rows.setdefault(name, {}).update(scores)
    return replace(report, rows=rows)


def _told(wishes: SetWishes) -> dict[str, Any]:
    """Scores of hints and metadata; nothing where none are given."""
    from ..metrics.feature_networks import load_features
    from ..metrics.picture_folder import PictureFolder
    from ..metrics.told_folders import Told, told_scores

    hints = read_kinds(wishes.hints)
    if not hints and wishes.metadata is None:
        return {}
    assert wishes.generated is not None
    other = wishes.features.startswith(("auto", "inception", "clip:"))
    network = load_features(_MEASURER if other else wishes.features, _device(wishes))
    return told_scores(PictureFolder(wishes.generated), Told(hints=hints, metadata=wishes.metadata), network)


def read_kinds(options: list[str]) -> dict[str, Path]:
    """Folders by kind of ``KIND=FOLDER``.

    Raises:
        InputError: If an option is none, or a kind is given twice.
    """
    from ..gen.errors import InputError

    found: dict[str, Path] = {}
    for option in options:
        kind, mark, folder = option.partition("=")
        if not mark or not kind or not folder:
            raise InputError(f"--hint is {option!r}; give KIND=FOLDER, such as canny=edges/ or water=masks/")
        if kind in found:
            raise InputError(f"the hint {kind!r} is given twice; give one folder for it")
        found[kind] = Path(folder)
    return found


def _device(wishes: SetWishes) -> str:
    return "cpu" if wishes.device == "auto" else wishes.device
