"""The part of `earthgen evaluate` that scores a folder of generated pictures."""

from __future__ import annotations

from pathlib import Path

import typer


def evaluate_sets(
    *,
    generated: Path,
    reference: Path | None,
    training: Path | None,
    features: str,
    clip: Path | None,
    captions: Path | None,
    seed: int,
    device: str,
    json_out: Path | None,
) -> None:
    """Print and write the report of generated pictures against a reference.

    Raises:
        InputError: If there is no reference or a folder or model is wrong.
    """
    from rich.console import Console

    from ..gen.errors import InputError
    from ..metrics.generated_folders import SetOptions, evaluate_folders
    from .progress import progress_bar

    if reference is None:
        raise InputError("generated pictures are scored against real ones; give their folder with --reference")
    options = SetOptions(
        generated=generated,
        reference=reference,
        training=training,
        features=features,
        clip=clip,
        captions=captions,
        seed=seed,
        device="cpu" if device == "auto" else device,
    )
    with progress_bar(f"Evaluating {generated}", "pictures") as progress:
        report = evaluate_folders(options, progress)
    Console().print(report.table())
    if json_out is not None:
        report.write(json_out)
        typer.echo(f"wrote {json_out}")
