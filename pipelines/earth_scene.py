"""Scenes of any size from one noise field: windows of latents blended at every step, decoded in tiles into a file or an array."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.transform import IDENTITY
from torch import Tensor

from ..gen.conditioning.guidance import plan_guidance
from ..gen.data.atomic import check_output_path
from ..gen.data.noise import noise_field
from ..gen.data.raster_writer import RasterWriter
from ..gen.data.scene_types import Array, TilePixels
from ..gen.data.tiles import remove_spool, stream
from ..gen.errors import InputError
from ..gen.models.autoencoder import decode
from .earth import EarthPipeline
from .earth_border import led_up
from .earth_output import placement, radiometry_of
from .earth_prepare import Request, beginning_of, conditions_of
from .earth_request import read_request
from .earth_resume import identity_of, scene_work, work_folder
from .earth_sampling import evaluations, solve
from .earth_windows import Windows
from .progress import Progress, after_steps

DECODE_HALO = 8  # latents around a tile that the decoder sees too

_LEFT_OUT: dict[str, Any] = {
    "negative_prompt": "", "metadata": None, "hints": None, "hint_weights": None, "image": None, "mask": None, "strength": 1.0,
    "extend": None, "frames": None, "frame_metadata": None, "facts": {},
}  # fmt: skip


@dataclass(frozen=True)
class GeneratedScene:
    """What `generate_scene` made.

    Attributes:
        path: The file, if one was asked for.
        image: ``[C, H, W]`` float32 in the model's unit, if no file was.
        height: Rows.
        width: Columns.
        windows: How many there were at each step, on average.
        notes: What was decided on the way.
        tags: How it was made.
        seconds: Time taken.
        resumed: Groups of windows, over all steps, that an interrupted run had finished.
    """

    path: Path | None
    image: NDArray[np.float32] | None
    height: int
    width: int
    windows: float
    notes: list[str]
    tags: Mapping[str, str]
    seconds: float
    resumed: int = 0


@torch.no_grad()
def generate_scene(
    pipeline: EarthPipeline,
    target: str | Path | None = None,
    *,
    prompt: str = "",
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | Mapping[str, float] | None = None,
    seed: int = 0,
    window: int | None = None,
    overlap: int | None = None,
    batch: int = 4,
    tile: int = 512,
    cog: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    **conditions: Any,
) -> GeneratedScene:
    """Make a scene of any size.

    The latents of the whole scene are held in memory (at eight pixels a side, 16 bytes for 64 pixels); pictures are decoded tile by tile.

    Args:
        pipeline: The model.
        target: ``.tif``, at its place where latitude, longitude and pixel size are given; ``.png``; None for an array.
        prompt: What is to be seen.
        height: Rows; those of ``image`` with its ``extend``, or the model's own, if left out.
        width: Columns.
        steps: Sampling steps; the model's own if left out.
        guidance: As in the pipeline.
        seed: Of the scene's noise field.
        window: Side of a window in pixels; what the model was trained on if left out.
        overlap: Pixels that neighbours share at least; a quarter of the window if left out.
        batch: Windows per network call.
        tile: Side of a tile of decoding, pixels.
        cog: Write a Cloud Optimized GeoTIFF.
        resume: Go on with an interrupted run's work, which lies beside `target`; the file is the same as of a run in one go.
        progress: Called with (steps done, total).
        **conditions: ``metadata``, ``gsd``, ``lat``, ``lon``, ``date``, ``cloud_cover``, ``hints``, ``hint_weights``, ``image``, ``mask``,
            ``strength``, ``extend``, ``negative_prompt`` as in the pipeline; hints and pictures have the scene's size.

    Returns:
        What was made.

    Raises:
        InputError: If an argument is wrong, values become infinite or NaN, the disk is full, or the work to go on with is another scene's;
            no half-written file is left.
    """
    started = time.monotonic()
    if target is not None:
        check_output_path(target)
    request = scene_request(pipeline, prompt, height, width, conditions)
    count, scales = pipeline.steps_of(steps), pipeline.scales_of(guidance)
    prepared, notes = conditions_of(pipeline, request)
    notes = [*pipeline.unread(request), *notes]
    windows = cut(pipeline, request, window, overlap, batch)
    plan = plan_guidance(scales, prepared.groups)
    run = evaluations(count, request.strength if request.images is not None else 1.0)
    tags = pipeline.provenance(request, 0, seed, count, scales)
    report = after_steps(pipeline, run, progress, None)
    with ExitStack() as stack:
        work = None
        if target is not None:
            identity = identity_of(pipeline, request, windows, tags)
            work = stack.enter_context(scene_work(work_folder(Path(target)), windows, run, identity, resume))
        latents = solve(
            pipeline.scheduler, count, _noise(pipeline, windows, seed), windows.predictor(pipeline.unet, prepared, plan, work=work),
            beginning=beginning_of(pipeline, request), seeds=[seed], on_step=report,
        )  # fmt: skip
        image = _decode(pipeline, latents, request, None if target is None else Path(target), tags, tile, cog)
    if target is not None:
        remove_spool(work_folder(Path(target)))
    number = sum(len(windows.spans(step)) for step in range(run)) / run
    return GeneratedScene(
        None if target is None else Path(target), image, request.height, request.width, number, notes, tags, time.monotonic() - started,
        0 if work is None else work.resumed,
    )  # fmt: skip


def _noise(pipeline: EarthPipeline, windows: Windows, seed: int) -> Tensor:
    channels = int(pipeline.unet.config["out_channels"])
    return noise_field(seed, channels, 0, 0, windows.height, windows.width)[None].to(pipeline.unet.device)


def scene_request(pipeline: EarthPipeline, prompt: str, height: int | None, width: int | None, conditions: Mapping[str, Any]) -> Request:
    """The arguments of a scene, checked.

    Raises:
        InputError: If one does not exist or is wrong.
    """
    facts = {name: conditions[name] for name in ("gsd", "lat", "lon", "date", "cloud_cover") if name in conditions}
    rest = {name: value for name, value in conditions.items() if name not in facts}
    strange = sorted(set(rest) - set(_LEFT_OUT))
    if strange:
        raise InputError(f"a scene has no condition {strange[0]!r}; it has {', '.join(sorted(_LEFT_OUT))}")
    return read_request(pipeline, {**_LEFT_OUT, **rest, "facts": facts, "prompt": prompt, "height": height, "width": width}, 1)


def cut(pipeline: EarthPipeline, request: Request, window: int | None, overlap: int | None, batch: int) -> Windows:
    """The windows of a scene.

    Raises:
        InputError: If window, overlap or batch are out of range.
    """
    factor = pipeline.factor
    sides = pipeline.size if window is None else (window, window)
    shared = min(sides) // 4 if overlap is None else overlap
    if min(sides) < 2 * factor or not 0 <= shared < min(sides) or batch < 1:
        raise InputError(
            f"windows of {min(sides)} pixels that share {shared}, {batch} at once; windows have at least {2 * factor} pixels and share "
            "less than they have, at least 1 at once"
        )
    height, width = (-(-side // factor) for side in (request.height, request.width))
    return Windows(height, width, (sides[0] // factor, sides[1] // factor), -(-shared // factor), batch)


class _Latents:
    """A scene's latents as `tiles.stream` reads them."""

    def __init__(self, latents: Tensor) -> None:
        self._latents = latents[0].float().cpu().numpy()
        self.height, self.width = self._latents.shape[1:]
        self.bands = [f"z{number}" for number in range(len(self._latents))]

    def read(self, row: int, col: int, height: int, width: int) -> Array:
        """A window."""
        return self._latents[:, row : row + height, col : col + width]


class _Decoder:
    """Latents to pictures, as `tiles.stream` wants it; painted pixels lead up to those that `_Kept` puts back."""

    def __init__(self, pipeline: EarthPipeline, request: Request) -> None:
        self._vae, self._request = pipeline.vae, request
        self.scale, self.halo, self.multiple = pipeline.factor, DECODE_HALO, 1
        self.layers = {"image": pipeline.bands}

    def run(self, tiles: Sequence[TilePixels]) -> list[dict[str, Array]]:
        """Decode windows of equal shape."""
        stacked = torch.from_numpy(np.stack([tile.pixels for tile in tiles])).to(self._vae.device, self._vae.dtype)
        pictures = decode(self._vae, stacked).float().cpu()
        return [{"image": self._led_up(picture, tile).numpy()} for picture, tile in zip(pictures, tiles, strict=True)]

    def _led_up(self, picture: Tensor, tile: TilePixels) -> Tensor:
        if self._request.images is None or self._request.masks is None:
            return picture
        height, width = picture.shape[-2:]
        rows, cols = (slice(at * self.scale, at * self.scale + side) for at, side in ((tile.row, height), (tile.col, width)))
        given, mask = (part[:1, :, rows, cols] for part in (self._request.images, self._request.masks))
        inner = picture[:, : mask.shape[-2], : mask.shape[-1]]  # the last latents may reach beyond the picture
        led = picture.clone()
        led[:, : mask.shape[-2], : mask.shape[-1]] = led_up(inner[None], given, mask)[0]
        return led


class _Kept:
    """Hands blocks on to a sink, cut to the picture, with the pixels that were to be kept put back."""

    def __init__(self, request: Request, sink: Any) -> None:
        self._request, self._sink = request, sink
        if hasattr(sink, "radiometry"):
            self.radiometry = sink.radiometry

    def write(self, row: int, col: int, array: Array) -> None:
        """Take a block."""
        height, width = (min(array.shape[1], self._request.height - row), min(array.shape[2], self._request.width - col))
        if height <= 0 or width <= 0:
            return
        block = array[:, :height, :width]
        if self._request.images is not None and self._request.masks is not None:
            there = (slice(row, row + height), slice(col, col + width))
            given, mask = (part[0][:, there[0], there[1]].numpy() for part in (self._request.images, self._request.masks))
            block = (given + mask * (block - given)).astype(np.float32)
        self._sink.write(row, col, block)


class _Memory:
    """A sink that is an array."""

    def __init__(self, bands: int, height: int, width: int) -> None:
        self.image = np.empty((bands, height, width), np.float32)

    def write(self, row: int, col: int, array: Array) -> None:
        """Take a block."""
        self.image[:, row : row + array.shape[1], col : col + array.shape[2]] = array


def _decode(
    pipeline: EarthPipeline, latents: Tensor, request: Request, target: Path | None, tags: Mapping[str, str], tile: int, cog: bool
) -> NDArray[np.float32] | None:
    source, decoder = _Latents(latents), _Decoder(pipeline, request)
    if target is None:
        memory = _Memory(len(pipeline.bands), request.height, request.width)
        stream(decoder, source, {"image": _Kept(request, memory)}, tile=tile)
        return memory.image
    place = placement(request.metadata[0], request.height, request.width) if target.suffix.lower() in (".tif", ".tiff") else None
    writer = RasterWriter(
        target, bands=pipeline.bands, height=request.height, width=request.width, crs=place[0] if place else None,
        transform=place[1] if place else IDENTITY, radiometry=radiometry_of(pipeline.unit), tags=tags, cog=cog,
    )  # fmt: skip
    with writer:
        stream(decoder, source, {"image": _Kept(request, writer)}, tile=tile)
    return None
