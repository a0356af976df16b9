"""`earthgen export`: from a training run to a model folder."""

from __future__ import annotations

from pathlib import Path

import typer


def export(
    run: Path = typer.Argument(..., help="Folder of a training run, with its checkpoints."),
    out: Path = typer.Argument(..., help="Model folder to write."),
    trained: bool = typer.Option(False, "--trained", help="Take the weights as trained instead of their average."),
    ema: float | None = typer.Option(
        None,
        "--ema",
        help="Take an average of this length instead of the run's own: below 0.29 a relative width (0.05), from 0.5 a decay per optimizer "
        "step (0.999); the run needs ema_profiles.",
    ),
) -> None:
    """Write the model of a run's newest checkpoint as a folder that `upscale` takes; the run may be unfinished.

    Example: `earthgen export runs/ediffsr-x4 models/mine --ema 0.07`
    """
    from ..train.launch import export_run

    samples = export_run(run, out, trained, ema)
    typer.echo(f"wrote {out}, after {samples:,} samples of training")
