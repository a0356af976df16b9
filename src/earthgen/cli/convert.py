"""`earthgen convert`: published weights of other projects as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..gen.convert.parts import EarthModel

EARTH = ("text2earth", "crs-diff", "geosynth", "diffusionsat", "map-sat")
LAYOUT = ("aerogen", "gligen")


def convert(
    system: str = typer.Argument(..., help=f"Whose weights: ediffsr, {', '.join(EARTH)}, {' or '.join(LAYOUT)}."),
    weights: Path = typer.Argument(..., help="A file or folder, as published; nothing in it is run."),
    out: Path = typer.Argument(..., metavar="OUT", help="The model folder to write."),
    base: Path | None = typer.Option(None, help="Folder of the Stable Diffusion model that it was made from, for what it lacks itself."),
    hint: str = typer.Option("osm", help="What GeoSynth's layout is: osm, sam or canny."),
    place: Path | None = typer.Option(None, help="SatCLIP's checkpoint, for GeoSynth's weights with a place."),
    classes: str = typer.Option("", help="Names of objects: of AeroGen's class vectors in their order, or what GLIGEN is to paint."),
    variant: str = typer.Option("", help="rcab, msgroup_a or msgroup_b. Default: told by the keys."),
    bands: str = typer.Option("", help="Names of the bands in the weights' order. Default: red,green,blue."),
    unit: str = typer.Option("display", help="Unit of the pictures that it was trained on: display (0 to 1), reflectance, ..."),
    scale: int = typer.Option(4, min=2, help="Upscaling that it was trained for."),
    sampler: str = typer.Option("dpmpp_2m", help="dpmpp_2m, posterior, ode, or em: as published, with noise on the last step."),
    half: bool = typer.Option(False, "--half", help="Store half precision."),
) -> None:
    """Turn published weights into a model folder; strict, offline, and without running code from the file.

    Examples: `earthgen convert ediffsr 180000_G.pth my-model`, `earthgen convert crs-diff last.ckpt my-model --base sd15`
    """
    from ..gen.errors import InputError

    if system in (*EARTH, *LAYOUT):
        names = [name.strip() for name in classes.split(",") if name.strip()]
        _write(
            _read(system, weights, base, hint, place, names), out, half, "LayoutToImagePipeline" if system in LAYOUT else "EarthPipeline"
        )
        return
    if system != "ediffsr":
        known = ", ".join((*EARTH, *LAYOUT))
        raise InputError(f"there is no converter for {system!r}; there are ones for ediffsr, {known}; name one of them first")
    from ..gen.convert.ediffsr import convert_ediffsr
    from ..gen.zoo.folder import write_model_folder

    names = [name.strip() for name in bands.split(",") if name.strip()]
    converted = convert_ediffsr(weights, variant=variant or None, bands=names, unit=unit, scale=scale, sampler=sampler)
    components = {"model": converted.model, "scheduler": converted.scheduler}
    write_model_folder(
        out, pipeline="SuperResolutionPipeline", components=components, settings=converted.settings, card=converted.card, half=half
    )
    typer.echo(f"{out}: EDiffSR, variant {converted.model.config['variant']}, {converted.card['parameters'] / 1e6:.2f} M parameters")


def _write(model: EarthModel, out: Path, half: bool, pipeline: str) -> None:
    """One of the systems that generate pictures from conditions."""
    from ..gen.zoo.folder import write_model_folder

    model.card["converted"] = {"tensors": model.taken, **{f"dropped: {reason}": number for reason, number in model.dropped.items()}}
    write_model_folder(out, pipeline=pipeline, components=model.components, settings=model.settings, card=model.card, half=half)
    dropped = ", ".join(f"{number} dropped ({reason})" for reason, number in model.dropped.items())
    account = f"{model.taken} tensors taken{', ' + dropped if dropped else ''}, none missing, none unexpected"
    typer.echo(f"{out}: {model.card['name']}, {model.card['parameters'] / 1e6:.2f} M parameters; {account}")


def _read(system: str, source: Path, base: Path | None, hint: str, place: Path | None, classes: list[str]) -> EarthModel:
    from ..gen.errors import InputError

    if not source.exists():
        raise InputError(f"there is no {source}; give the file or folder of {system}'s weights")
    if base is not None and not base.is_dir():
        raise InputError(f"the base {base} is no folder; give the folder of a Stable Diffusion model in diffusers layout")
    if system == "crs-diff":
        from ..gen.convert.crs_diff import convert_crs_diff

        return convert_crs_diff(source, base)
    if system == "geosynth":
        from ..gen.convert.geosynth import convert_geosynth

        return convert_geosynth(source, base, hint, place)
    if system == "aerogen":
        from ..gen.convert.aerogen import convert_aerogen

        return convert_aerogen(source, base, classes)
    if system == "gligen":
        from ..gen.convert.gligen import convert_gligen

        return convert_gligen(source, base, classes)
    if not source.is_dir():
        raise InputError(f"{source} is no folder; the weights of {system} are a folder in diffusers layout, so give that")
    if system == "diffusionsat":
        from ..gen.convert.diffusionsat import convert_diffusionsat

        return convert_diffusionsat(source, base)
    from ..gen.convert.stock import convert_map_sat, convert_text2earth

    return convert_map_sat(source, base) if system == "map-sat" else convert_text2earth(source, base)
