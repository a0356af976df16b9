"""From what a user uploads to hints that a model reads: the hint itself, a picture to make it from, or OpenStreetMap vectors."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gen.errors import InputError

READY, PICTURE, VECTORS = "the hint itself", "a picture to make it from", "OpenStreetMap vectors (GeoJSON)"
SOURCES = (READY, PICTURE, VECTORS)
"""What a file can be."""
EXTRA = "earthgen[control]"
"""What brings the detectors of others."""


@dataclass(frozen=True)
class MadeHints:
    """Hints that were made.

    Attributes:
        files: By the model's names, as PNG.
        shown: What to show of them, ``[H, W, 3]``.
        note: What was decided, in a sentence.
    """

    files: Mapping[str, Path]
    shown: NDArray[np.uint8]
    note: str


def can_be_made(hints: Sequence[str]) -> str:
    """Which of a model's hints can be made here from which file, and what the others need, in a few sentences."""
    from ..gen.conditioning.hints import DETECTORS, EDGES
    from ..gen.data.described import COVER

    here = [name for name in hints if name in EDGES or name == "content"]
    others = [name for name in hints if name in DETECTORS]
    drawn = [name for name in hints if name in COVER or name == "osm"]
    sentences = []
    if here:
        sentences.append(f"From a picture: {', '.join(here)}.")
    if others:
        state = "has no weight files here" if importlib.util.find_spec("controlnet_aux") else f"is not installed ({EXTRA})"
        sentences.append(f"Not made here: {', '.join(others)}, since controlnet-aux {state}; upload the hint itself.")
    if drawn:
        sentences.append(f"From OpenStreetMap vectors: {', '.join(drawn)}, at the place and pixel size above.")
    return " ".join(sentences)


def make_hints(
    source: str, name: str, file: Path, *, wanted: Sequence[str], size: tuple[int, int], metadata: Mapping[str, Any], folder: Path
) -> MadeHints:
    """Make what is not a hint yet.

    Args:
        source: `PICTURE` or `VECTORS`.
        name: Of the hint that is chosen; vectors make all that they can.
        file: What was uploaded.
        wanted: Hints that the model reads.
        size: Height and width of the picture that is to be generated.
        metadata: What is known of it; vectors need ``gsd``, and lie around their own middle where no place is given.
        folder: Where the hints are written.

    Raises:
        InputError: If the hint cannot be made from such a file, or the file cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if source == PICTURE:
        return _from_picture(name, file, size, folder)
    return _from_vectors(file, wanted, size, metadata, folder)


def _from_picture(name: str, file: Path, size: tuple[int, int], folder: Path) -> MadeHints:
    """Edges of a picture, or the picture as content, cut and scaled to the size."""
    import torch
    from PIL import Image, ImageOps, UnidentifiedImageError

    from ..gen.conditioning.hints import DETECTORS, EDGES, make_hint

    if name not in (*EDGES, *DETECTORS, "content"):
        raise InputError(f"the hint {name!r} is drawn, not read off a picture; upload it ready, or as OpenStreetMap vectors")
    try:
        with Image.open(file) as opened:
            fitted = ImageOps.fit(opened.convert("RGB"), (size[1], size[0]), Image.Resampling.BICUBIC)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{file.name} cannot be read as a picture ({error}); upload a PNG or JPEG") from error
    pixels = torch.from_numpy(np.asarray(fitted, np.float32).transpose(2, 0, 1) / 255.0)
    made = make_hint(name, pixels[None])[0].numpy()
    shown = _shown(made)
    path = folder / f"{name}.png"
    Image.fromarray(shown if made.shape[0] == 3 else shown[..., 0]).save(path)
    return MadeHints({name: path}, shown, f"The hint {name} is made from {file.name}, cut to {size[1]} x {size[0]} pixels.")


def _from_vectors(file: Path, wanted: Sequence[str], size: tuple[int, int], metadata: Mapping[str, Any], folder: Path) -> MadeHints:
    """Every hint of land cover that the model reads, and the map, drawn at the place."""
    from PIL import Image

    from ..gen.conditioning.metadata import Metadata
    from ..gen.conditioning.osm import render_osm
    from ..gen.data.described import COVER
    from ..pipelines.earth_output import placement

    drawn = [name for name in wanted if name in COVER or name == "osm"]
    if not drawn:
        raise InputError(f"the model reads no hint that OpenStreetMap draws; it reads {', '.join(wanted) or 'none'}")
    if metadata.get("gsd") is None:
        raise InputError("the vectors have no scale yet; tick 'pixel size', so that it is known how large the picture is on the ground")
    lat, lon = (metadata["lat"], metadata["lon"]) if "lat" in metadata else middle_of(file)
    placed = placement(Metadata(lat=lat, lon=lon, gsd=metadata["gsd"]), *size)
    assert placed is not None
    raster = render_osm(file, crs=placed[0], transform=placed[1], height=size[0], width=size[1])
    files = {}
    layers: dict[str, NDArray[Any]] = {**cover_shares(raster.shares), "osm": raster.map}
    for name, share in layers.items():
        if name in drawn:
            pixels = share.transpose(1, 2, 0) if share.ndim == 3 else np.rint(share * 255).astype(np.uint8)
            if pixels.any():
                files[name] = folder / f"{name}.png"
                Image.fromarray(np.ascontiguousarray(pixels)).save(files[name])
    if not files:
        raise InputError(f"nothing in {file.name} at this place is of a kind that the model reads ({', '.join(drawn)}); choose its place")
    where = "at the chosen place" if "lat" in metadata else "around the middle of the vectors"
    note = f"{', '.join(files)} drawn from {file.name} {where}; (c) OpenStreetMap contributors."
    return MadeHints(files, np.ascontiguousarray(raster.map.transpose(1, 2, 0)), note)


def cover_shares(shares: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Shares of the map's classes ``[C, H, W]`` summed to those of land-cover hints, ``[H, W]`` by name of `COVER`."""
    from ..gen.conditioning.osm import NAMES
    from ..gen.data.described import COVER
    from ..gen.data.described_world import COVER_OF_WORLD

    roads = ("track", "street", "main road", "motorway")
    to = {**COVER_OF_WORLD, **dict.fromkeys(roads, "paved"), "wood": "trees"}
    found = {name: np.zeros(shares.shape[1:], np.float32) for name in COVER}
    for share, name in zip(shares, NAMES, strict=True):
        if name in to:
            found[to[name]] += share
    return {name: share.clip(0, 1) for name, share in found.items()}


def middle_of(file: Path) -> tuple[float, float]:
    """Latitude and longitude of the middle of a GeoJSON's coordinates.

    Raises:
        InputError: If it cannot be read or holds no coordinates in degrees.
    """
    import json

    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file.name} cannot be read as GeoJSON ({error}); upload what a map tool exported") from error
    found: list[tuple[float, float]] = []
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            waiting += [part[key] for key in ("features", "geometry", "geometries", "coordinates") if key in part]
        elif isinstance(part, list):
            if len(part) >= 2 and all(isinstance(value, int | float) for value in part[:2]):
                found.append((float(part[0]), float(part[1])))
            else:
                waiting += part
    if not found or not all(abs(lon) <= 180 and abs(lat) <= 90 for lon, lat in found):
        raise InputError(f"{file.name} has no coordinates in degrees; tick 'place' and choose it on the map, or save the vectors as WGS 84")
    lons, lats = zip(*found, strict=True)
    return (min(lats) + max(lats)) / 2, (min(lons) + max(lons)) / 2


def _shown(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    pixels = np.rint(values.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(pixels[..., :1], (*pixels.shape[:2], 3)) if pixels.shape[2] != 3 else pixels)
