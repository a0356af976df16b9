"""`earthgen export`: from a training run to a model folder."""

from __future__ import annotations

from pathlib import Path

import typer


def export(
    run: Path = typer.Argument(..., help="Folder of a training run, with its checkpoints."),
    out: Path = typer.Argument(..., help="Model folder to write."),
    trained: bool = typer.Option(False, "--trained", help="Take the weights as trained instead of their average."),
) -> None:
    """Write the model of a run's newest checkpoint as a folder that `upscale` takes; the run may be unfinished.

    Example: `earthgen export runs/ediffsr-x4-small models/mine`
    """
    from ..train.launch import export_run

    samples = export_run(run, out, trained)
    typer.echo(f"wrote {out}, after {samples:,} samples of training")
