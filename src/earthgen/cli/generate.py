"""`earthgen generate`: pictures from text, metadata, place and hints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..pipelines.earth import EarthPipeline

DEFAULT_MODEL = "zoo:earth-small"


def generate(
    prompt: str = typer.Argument("", metavar="[TEXT]", help="What is to be seen; may be left out."),
    out: Path = typer.Option(..., "-o", "--out", help="A folder, or a file for one picture: .png, .jpg, .tif."),
    model: str = typer.Option(DEFAULT_MODEL, help="A folder, zoo:NAME, or a hub id."),
    download: bool = typer.Option(False, "--download", help="Allow fetching a model that is named by its hub id."),
    gsd: float | None = typer.Option(None, help="Metres per pixel."),
    lat: float | None = typer.Option(None, help="Latitude of the centre, degrees."),
    lon: float | None = typer.Option(None, help="Longitude of the centre, degrees."),
    date: str | None = typer.Option(None, help="2021, 2021-06, 2021-06-14, or --date=--06 for June of any year."),
    cloud: float | None = typer.Option(None, help="Share of clouds, 0 to 1."),
    zoom: float | None = typer.Option(None, help="Zoom level of a web map, instead of --gsd."),
    hint: list[str] = typer.Option([], help="NAME=FILE or NAME=FILE*WEIGHT, such as road=mask.png*0.8; may be repeated."),
    size: str = typer.Option("", help="Width x height in pixels, such as 512x768. Default: the model's."),
    num: int = typer.Option(1, min=1, help="How many; picture i has the seed SEED + i."),
    seed: int = typer.Option(0, help="The same seed gives the same picture."),
    init: Path | None = typer.Option(None, help="A picture to change, to fill or to continue."),
    mask: Path | None = typer.Option(None, help="Where --init is painted anew: white."),
    strength: float = typer.Option(1.0, help="How far --init is taken back towards noise, above 0 to 1; without --mask and --extend."),
    extend: str = typer.Option("", help="Width x height of a larger scene; --init, if given, is continued around its middle."),
    negative: str = typer.Option("", help="What stands in for no text in guidance."),
    steps: int | None = typer.Option(None, min=1, help="Sampling steps. Default: the model's."),
    guidance: str = typer.Option("", help="One number, or by group: text=5,metadata=2,hints=1. Default: the model's."),
    lora: Path | None = typer.Option(None, help="Folder of an adapter that was trained for this model."),
    batch: int = typer.Option(4, min=1, help="Pictures, or windows of a scene, per network call."),
    device: str = typer.Option("auto", help="auto, cpu, cuda."),
    dtype: str = typer.Option("auto", help="auto, float32, bfloat16, float16."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace files that exist."),
    resume: bool = typer.Option(False, "--resume", help="With --extend: go on with the work of an interrupted run."),
) -> None:
    """Make pictures from any conditions; with a place and a pixel size they are GeoTIFFs at that place.

    Example: `earthgen generate "a harbour" --gsd 10 --lat 43.3 --lon 5.4 --date 2021-06 --cloud 0 --num 4 -o out/`
    """
    import torch

    from ..gen.errors import InputError
    from ..pipelines.earth import EarthPipeline

    wide, high = read_size(size, "--size")
    larger = read_size(extend, "--extend")
    if size and extend:
        raise InputError("--size and --extend both say how large the picture is; give one of them")
    if strength != 1.0 and init is None:
        raise InputError("--strength is about a picture to change; give it with --init")
    if resume and (not extend or overwrite):
        raise InputError("--resume goes on with a scene of --extend and keeps what is finished; give it with --extend, without --overwrite")
    facts = {"gsd": gsd, "lat": lat, "lon": lon, "date": date, "cloud_cover": cloud, "zoom_level": zoom}
    metadata = {name: value for name, value in facts.items() if value is not None}
    files, weights = read_hint_options(hint)
    scales = read_guidance(guidance)
    georeferenced = lat is not None and lon is not None and (gsd is not None or zoom is not None)
    paths = output_paths(out, num, seed, ".tif" if georeferenced else ".png", overwrite or resume)
    pipeline = EarthPipeline.load(model, device, dtype, allow_download=download)
    if lora is not None:
        pipeline.load_lora(lora, check_base=pipeline.unet.dtype == torch.float32)
    place = next(pipeline.unet.parameters())
    _say(f"{model} ({pipeline.digest}) on {place.device.type} in {str(place.dtype).removeprefix('torch.')}")
    given: dict[str, Any] = {
        "prompt": prompt, "negative_prompt": negative, "metadata": metadata, "hints": files, "hint_weights": weights,
        "image": init, "mask": mask, "strength": strength,
    }  # fmt: skip
    if extend:
        _scenes(pipeline, given, larger, paths, seed, resume, steps=steps, guidance=scales, batch=batch)
    else:
        given |= {"height": high, "width": wide, "num_inference_steps": steps, "guidance_scale": scales, "batch_size": batch}
        _pictures(pipeline, given, paths, seed)


def read_size(text: str, option: str) -> tuple[int | None, int | None]:
    """Width and height of ``512x768``; both None for an empty text.

    Raises:
        InputError: If it is none.
    """
    from ..gen.errors import InputError

    if not text:
        return None, None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"{option} is {text!r}; give width x height in pixels, such as 512x768")
    return int(parts[0]), int(parts[1])


def read_hint_options(options: list[str]) -> tuple[dict[str, Path], dict[str, float]]:
    """Files and weights by name, of ``NAME=FILE`` or ``NAME=FILE*WEIGHT``.

    Raises:
        InputError: If an option is neither, or a name is given twice.
    """
    from ..gen.errors import InputError

    files: dict[str, Path] = {}
    weights: dict[str, float] = {}
    for option in options:
        name, mark, rest = option.partition("=")
        path, star, weight = rest.rpartition("*")
        if not star:
            path = rest
        if not mark or not name or not path:
            raise InputError(f"--hint is {option!r}; give NAME=FILE or NAME=FILE*WEIGHT, such as road=mask.png")
        if name in files:
            raise InputError(f"the hint {name!r} is given twice; give one file for it")
        files[name] = Path(path)
        if star:
            try:
                weights[name] = float(weight)
            except ValueError:
                raise InputError(f"the weight of --hint {option!r} is no number; give for example {name}={path}*0.8") from None
    return files, weights


def read_guidance(text: str) -> float | dict[str, float] | None:
    """One number, or numbers by group of conditions; None for an empty text.

    Raises:
        InputError: If it is neither.
    """
    from ..gen.errors import InputError

    try:
        if not text:
            return None
        if "=" not in text:
            return float(text)
        return {name.strip(): float(value) for name, value in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise InputError(f"--guidance is {text!r}; give a number such as 4, or numbers by group such as text=5,metadata=2") from None


def output_paths(out: Path, num: int, seed: int, suffix: str, overwrite: bool) -> list[Path]:
    """One file for each picture: `out` itself if it names a file, else ``SEED.tif`` or ``SEED.png`` in the folder.

    Raises:
        InputError: If a file exists already, or one file is to hold several pictures.
    """
    from ..gen.errors import InputError

    if out.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff"):
        if num > 1:
            raise InputError(f"{num} pictures do not go into one file {out}; give a folder, such as {out.parent}/")
        paths = [out]
    else:
        if out.is_file():
            raise InputError(f"{out} is a file; give a folder, or a name that ends in .png or .tif")
        paths = [out / f"{seed + number:06d}{suffix}" for number in range(num)]
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise InputError(f"{existing[0]} exists already; add --overwrite to replace it, or give another name")
    return paths


def _pictures(pipeline: EarthPipeline, given: dict[str, Any], paths: list[Path], seed: int) -> None:
    """One call for all; files are written when all are made."""
    from ..pipelines.earth_output import write_picture
    from .progress import progress_bar

    with progress_bar("Generating", "steps") as progress:
        result = pipeline(**given, num_images=len(paths), seed=seed, output_type="xarray", progress=progress)
    for note in result.notes:
        _say(note)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, image in zip(paths, result.images, strict=True):
        write_picture(path, image)
        _tell(path, image.sizes["x"], image.sizes["y"])


def _scenes(
    pipeline: EarthPipeline, given: dict[str, Any], larger: tuple[int | None, int | None], paths: list[Path], seed: int, resume: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """A scene at a time, each as large as `larger`; a given picture is continued around its middle."""
    from ..pipelines.earth_scene import generate_scene
    from .progress import progress_bar

    wide, high = larger
    size: dict[str, Any] = {"height": high, "width": wide}
    if given["image"] is not None and wide is not None and high is not None:
        size = {"extend": borders_around(given["image"], wide, high)}
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        if resume and path.exists():
            _say(f"{path} is finished already")
            continue
        try:
            with progress_bar(f"Generating {path.name}", "steps") as progress:
                scene = generate_scene(pipeline, path, **given, **size, **settings, seed=seed + number, resume=resume, progress=progress)
        except KeyboardInterrupt:
            _say(f"finished windows are kept beside {path}; the same command with --resume goes on from there")
            raise
        for note in scene.notes if number == 0 else ():
            _say(note)
        _tell(path, scene.width, scene.height)


def borders_around(image: Path, wide: int, high: int) -> tuple[int, int, int, int]:
    """Pixels to add at the left, top, right and bottom so that a picture lies in the middle of a larger one.

    Raises:
        InputError: If it is larger itself.
    """
    from ..gen.errors import InputError
    from ..pipelines.earth_hints import read_image

    height, width = read_image(image, "the picture").shape[1:]
    across, down = wide - width, high - height
    if across < 0 or down < 0:
        raise InputError(f"{image} has {width} x {height} pixels, more than --extend {wide}x{high}; give a larger size")
    return across // 2, down // 2, across - across // 2, down - down // 2


def _say(sentence: str) -> None:
    typer.echo(f"earthgen: {sentence}", err=True)


def _tell(path: Path, width: int, height: int) -> None:
    typer.echo(f"wrote {path}: {width} x {height} pixels, synthetic")
