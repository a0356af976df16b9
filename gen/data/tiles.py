"""Any step over a scene of any size, tile by tile.

`stream` cuts the scene as `tile_plan` says, lets the step work on each window, blends what comes back (`blend`) and keeps finished pieces
on disk (`mosaic`, `spool`). When all tiles are done, the sinks get the picture in whole blocks, always in the same order: a run that was
interrupted and resumed writes the same bytes as one that was not. Memory depends on the tile alone: what tiles leave for the next row is on
disk too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import InputError
from .mosaic import Mosaic, packing
from .radiometry import Radiometry
from .scene_types import Array, SceneStep, Sink, Source, TilePixels
from .spool import Spool, remove_spool
from .tile_plan import Cell, ScenePlan, plan_scene

__all__ = ["SceneStep", "Sink", "Source", "StreamReport", "TilePixels", "plan_scene", "remove_spool", "stream"]


@dataclass(frozen=True)
class StreamReport:
    """What `stream` did.

    Attributes:
        tiles: Number of tiles of the scene.
        skipped: How many of them were without data.
        resumed: How many were finished by an earlier run.
    """

    tiles: int
    skipped: int
    resumed: int


def stream(
    step: SceneStep,
    source: Source,
    sinks: Mapping[str, Sink],
    *,
    tile: int = 512,
    batch: int = 1,
    spool: Path | None = None,
    resume: bool = False,
    fingerprint: str | Mapping[str, Any] = "",
    progress: Callable[[int, int], None] | None = None,
    blend: float = 0.5,
) -> StreamReport:
    """Run a step over a whole scene.

    Args:
        step: What is done.
        source: The scene.
        sinks: For each wanted layer, where it goes. All of it is written at the end, in blocks, row by row; close the sinks afterwards.
        tile: Side of a tile's core in output pixels.
        batch: How many windows of equal shape are given to the step at once; the result is the same.
        spool: Folder for finished work, with room for the whole output. It stays, also when all went well: call `remove_spool` once the
            sinks are closed. None: a temporary folder, and no resuming.
        resume: Whether to go on with the work in `spool`. Otherwise what is there is thrown away, with a warning.
        fingerprint: Of all that the output depends on: input, model, seed, settings. A mapping is best: resuming with another one
            is refused, and the error names what differs.
        progress: Called with the numbers of finished and of all tiles, once at the start and after each.
        blend: Share of the halo that is blended, see `plan_scene`.

    Returns:
        What was done.

    Raises:
        InputError: If a size is out of range, the work in `spool` belongs to another run or is another process's, or the disk is full. What
            was finished stays in `spool`, here and after any other exception.
        ValueError: If the step does not make a layer that is asked for, or makes one of the wrong shape.
    """
    missing = sorted(set(sinks) - set(step.layers))
    if missing:
        raise ValueError(f"the step makes no layer {missing[0]!r}; it makes {', '.join(step.layers)}")
    if batch < 1:
        raise InputError(f"a batch of {batch} is too small; give 1 or more")
    plan = plan_scene(source.height, source.width, scale=step.scale, halo=step.halo, multiple=step.multiple, tile=tile, blend=blend)
    packings = {layer: packing(sink) for layer, sink in sinks.items()}
    identity = _identity(plan, step, source, packings, fingerprint)
    with ExitStack() as stack:
        folder = spool or Path(stack.enter_context(TemporaryDirectory(prefix="earthgen-")))
        store = stack.enter_context(Spool(folder, identity, resume=resume and spool is not None, reach=len(plan.cols)))
        mosaic = Mosaic(plan, {layer: len(step.layers[layer]) for layer in sinks}, packings, store)
        resumed = store.done
        if progress:
            progress(resumed, len(plan))
        for number, used in _outputs(plan, step, source, sinks, batch, resumed):
            mosaic.add(number, used)
            if progress:
                progress(number + 1, len(plan))
        for layer, sink in sinks.items():
            mosaic.write_to(sink, layer)
        return StreamReport(len(plan), store.skipped, resumed)


def _identity(
    plan: ScenePlan, step: SceneStep, source: Source, packings: Mapping[str, Radiometry | None], fingerprint: str | Mapping[str, Any]
) -> dict[str, Any]:
    given = dict(fingerprint) if isinstance(fingerprint, Mapping) else {"fingerprint": fingerprint}
    return {
        **given,
        "scene": f"{source.width} x {source.height} pixels",
        "bands read": ", ".join(source.bands),
        "scale factor": plan.scale,
        "tiles": f"{len(plan.rows)} x {len(plan.cols)} of {plan.cols[0].core[1]} pixels",
        "halo": f"{step.halo} pixels on multiples of {step.multiple}, {plan.blend} blended",
        "layers": {layer: [", ".join(step.layers[layer]), str(packings[layer])] for layer in packings},
    }


def _outputs(
    plan: ScenePlan, step: SceneStep, source: Source, layers: Mapping[str, Any], batch: int, first: int
) -> Iterator[tuple[int, dict[str, Array] | None]]:
    """The used part of each layer of each tile, in order; None for a tile without data."""
    group: list[tuple[int, TilePixels | None]] = []
    for number in range(first, len(plan)):
        window = _read(plan, number, source)
        waiting = [tile for _, tile in group if tile]
        fits = len(waiting) < batch and all(tile.pixels.shape == window.pixels.shape for tile in waiting) if window else True
        if fits:
            group.append((number, window))
        else:
            yield from _run(plan, step, layers, group)
            group = [(number, window)]
    yield from _run(plan, step, layers, group)


def _read(plan: ScenePlan, number: int, source: Source) -> TilePixels | None:
    rows, cols = plan.cells(number)
    (top, bottom), (left, right) = rows.window, cols.window
    pixels = np.asarray(source.read(top, left, bottom - top, right - left), dtype=np.float32)
    used = pixels[(slice(None), *_input_span(rows, cols, plan.scale))]
    if not np.isfinite(used).all(0).any():
        return None
    return TilePixels(pixels, top, left)


def _input_span(rows: Cell, cols: Cell, scale: int) -> tuple[slice, slice]:
    """The input pixels below the used output pixels, within the window."""
    down, across = (slice(cell.used[0] // scale - cell.window[0], -(-cell.used[1] // scale) - cell.window[0]) for cell in (rows, cols))
    return down, across


def _run(
    plan: ScenePlan, step: SceneStep, layers: Mapping[str, Any], group: Sequence[tuple[int, TilePixels | None]]
) -> Iterator[tuple[int, dict[str, Array] | None]]:
    tiles = [tile for _, tile in group if tile]
    made = step.run(tiles) if tiles else []
    if len(made) != len(tiles):
        raise ValueError(f"the step made {len(made)} results for {len(tiles)} windows")
    results = iter(made)
    for number, tile in group:
        yield number, _used(plan, number, tile, next(results), step.layers, layers) if tile else None


def _used(
    plan: ScenePlan,
    number: int,
    tile: TilePixels,
    result: Mapping[str, Array],
    made: Mapping[str, tuple[str, ...]],
    wanted: Mapping[str, Any],
) -> dict[str, Array]:
    """The used part of what the step returned. Whether a pixel has data is settled by the input, so that all tiles agree on it."""
    rows, cols = plan.cells(number)
    height, width = (side * plan.scale for side in tile.pixels.shape[1:])
    valid = np.isfinite(tile.pixels).all(0)
    holes = None if valid.all() else (~valid).repeat(plan.scale, 0).repeat(plan.scale, 1)
    span = tuple(slice(a - cell.window[0] * plan.scale, b - cell.window[0] * plan.scale) for cell in (rows, cols) for a, b in [cell.used])
    used = {}
    for layer in wanted:
        array = np.asarray(result[layer])
        if array.shape != (len(made[layer]), height, width):
            raise ValueError(f"the step made {layer!r} of shape {array.shape}; it must be {(len(made[layer]), height, width)}")
        used[layer] = array[(slice(None), *span)].astype(np.float32, order="C", copy=True)
        if holes is not None:
            used[layer][:, holes[span]] = np.nan
    return used
