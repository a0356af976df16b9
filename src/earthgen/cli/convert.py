"""`earthgen convert`: published weights of other projects as a model folder."""

from __future__ import annotations

from pathlib import Path

import typer


def convert(
    system: str = typer.Argument(..., help="Whose weights: ediffsr."),
    weights: Path = typer.Argument(..., help="A .pth or .safetensors file; nothing in it is run."),
    out: Path = typer.Argument(..., metavar="OUT", help="The model folder to write."),
    variant: str = typer.Option("", help="rcab, msgroup_a or msgroup_b. Default: told by the keys."),
    bands: str = typer.Option("", help="Names of the bands in the weights' order. Default: red,green,blue."),
    unit: str = typer.Option("display", help="Unit of the pictures that it was trained on: display (0 to 1), reflectance, ..."),
    scale: int = typer.Option(4, min=2, help="Upscaling that it was trained for."),
    sampler: str = typer.Option("dpmpp_2m", help="dpmpp_2m, posterior, ode, or em: as published, with noise on the last step."),
    half: bool = typer.Option(False, "--half", help="Store half precision."),
) -> None:
    """Turn published weights into a model folder; strict, and without running code from the file.

    Example: `earthgen convert ediffsr 180000_G.pth my-model`
    """
    from ..gen.errors import InputError

    if system != "ediffsr":
        raise InputError(f"there is no converter for {system!r}; there is one for ediffsr; name it first")
    from ..gen.convert.ediffsr import convert_ediffsr
    from ..gen.zoo.folder import write_model_folder

    names = [name.strip() for name in bands.split(",") if name.strip()]
    converted = convert_ediffsr(weights, variant=variant or None, bands=names, unit=unit, scale=scale, sampler=sampler)
    components = {"model": converted.model, "scheduler": converted.scheduler}
    write_model_folder(
        out, pipeline="SuperResolutionPipeline", components=components, settings=converted.settings, card=converted.card, half=half
    )
    typer.echo(f"{out}: EDiffSR, variant {converted.model.config['variant']}, {converted.card['parameters'] / 1e6:.2f} M parameters")
