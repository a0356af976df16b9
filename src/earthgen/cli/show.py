"""`earthgen demo` and `earthgen app`: see what the package does."""

from __future__ import annotations

from pathlib import Path

import typer


def demo(
    out: Path = typer.Argument(..., help="Folder for the GeoTIFFs, the contact sheet and report.json; created if it does not exist."),
    data: Path = typer.Option(Path("../shared/data"), help="Folder of real sample data; left out where it does not exist."),
    model: str = typer.Option("zoo:ediffsr-x4-small", help="Model for red, green, blue and near infrared."),
    rgb_model: str = typer.Option("zoo:ediffsr-x4-small-rgb", help="Model for red, green and blue pictures."),
    steps: int = typer.Option(10, min=2, help="Sampling steps."),
    samples: int = typer.Option(4, min=2, help="Samples behind the uncertainty."),
    seed: int = typer.Option(0, help="Seed of the world and of the samples."),
) -> None:
    """Upscale a scene of the procedural world and, where they are at hand, real Sentinel-2 and aerial pictures.

    Writes GeoTIFFs, a contact sheet (low, bicubic, ours, truth, uncertainty) and report.json with every score and its protocol.

    Example: `earthgen demo out/demo`
    """
    from ..demos.showcase import run_demo
    from .progress import progress_bar

    with progress_bar("Upscaling", "steps") as progress:
        result = run_demo(
            out,
            data if data.is_dir() else None,
            model=model,
            rgb_model=rgb_model,
            steps=steps,
            samples=samples,
            seed=seed,
            progress=progress,
        )
    from rich.console import Console

    console = Console()
    for table in result.tables:
        console.print(table)
        console.print()
    for path in (result.sheet, result.report):
        typer.echo(f"wrote {path}")
    typer.echo(f"wrote {result.files} GeoTIFFs below {out}")


def app(
    host: str = typer.Option("127.0.0.1", help="Address to listen on; the default can be reached from this machine only."),
    port: int = typer.Option(0, min=0, max=65535, help="Port; 0 takes the first free one from 7860."),
    open_browser: bool = typer.Option(False, "--open", help="Open the system's browser at the app."),
) -> None:
    """Serve the web app on this machine.

    Example: `earthgen app --port 7860`
    """
    from ..demos.app import launch

    launch(host, port or None, open_browser=open_browser)
