"""`earthgen zoo`: the models that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def zoo(name: str = typer.Argument("", help="A model of the zoo, or any model folder, whose card to print.")) -> None:
    """List the models that ship with the package, or print one's card: data, licence, training, scores.

    Example: `earthgen zoo ediffsr-x4-small`
    """
    from rich.console import Console

    if name:
        _print_card(name)
    else:
        Console().print(_table())


def _print_card(name: str) -> None:
    from ..gen.errors import InputError
    from ..gen.zoo.card import CARD
    from ..gen.zoo.folder import model_digest
    from ..gen.zoo.names import PREFIX, resolve_model, zoo_models

    folder = resolve_model(f"{PREFIX}{name}" if name in dict(zoo_models()) else name)
    if not (folder / CARD).is_file():
        raise InputError(f"the model {folder} has no {CARD}; nothing is known about how it was made")
    typer.echo(f"# {folder}, weights {model_digest(folder)}")
    typer.echo((folder / CARD).read_text(encoding="utf-8"), nl=False)


def _table() -> Any:
    from rich.table import Table

    from ..gen.zoo.names import PREFIX, zoo_models

    table = Table(title="Models in the zoo", title_justify="left")
    for column in ("name", "task", "parameters", "MB", "samples seen", "PSNR: bicubic, one step, sample", "licence"):
        table.add_column(column, overflow="fold")
    for name, folder in zoo_models():
        table.add_row(f"{PREFIX}{name}", *_facts(folder))
    return table


def _facts(folder: Path) -> list[str]:
    from ..gen.zoo.card import read_card

    card = read_card(folder)
    metrics, training = card.get("metrics", {}), card.get("training", {})
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    one_step, sample = ("one_step_mean", "student") if "teacher" in card else ("one_step", "sample")
    scores = [metrics.get(f"psnr_{row}") for row in ("bicubic", one_step, sample)]
    return [
        str(card.get("task", "")),
        f"{card['parameters'] / 1e6:.2f} M" if "parameters" in card else "",
        f"{size / 1e6:.1f}",
        f"{training['samples']:,}" if isinstance(training.get("samples"), int) else "",
        ", ".join(f"{score:.2f}" if isinstance(score, int | float) else "?" for score in scores) + " dB" if any(scores) else "",
        str(card.get("licence", "")),
    ]
