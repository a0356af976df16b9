"""`earthgen train`: run a recipe on this machine."""

from __future__ import annotations

import typer


def train(
    recipe: str = typer.Argument(..., help="A recipe that comes with the package (ediffsr-x4-small), or a TOML file."),
    overrides: list[str] | None = typer.Argument(
        None, metavar="[KEY=VALUE]...", help="Settings that replace the recipe's: optimizer.lr=1e-4."
    ),
    check: bool = typer.Option(False, "--check", help="Build everything, run two steps, print parameters, speed and memory, keep nothing."),
) -> None:
    """Train a model by a recipe; a run that was stopped goes on where its last checkpoint stands.

    On SIGTERM the run saves and ends with code 0. For several GPUs start it as `accelerate launch -m earthgen.train RECIPE ...`.

    Example: `earthgen train ediffsr-x4-small output=runs samples=20000`
    """
    from ..train.launch import check_run, run_recipe
    from .progress import progress_bar

    if check:
        typer.echo(check_run(recipe, overrides or ()).sentence())
        return
    with progress_bar("training", "samples") as report:
        trainer = run_recipe(recipe, overrides or (), report)
    typer.echo(f"{trainer.samples} of {trainer.recipe.samples} samples seen; the run is in {trainer.folder}")
