"""What the Generate tab says and understands, as plain functions from the controls' values to wishes, text and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..gen.errors import InputError
from .generate_hints import READY, VECTORS, MadeHints, make_hints
from .generate_job import Generated, GeneratorFacts, generator_facts, load_generator
from .upscale_actions import duration

SIZES = (0.05, 0.1, 0.15, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 100.0, 300.0, 500.0)
"""Pixel sizes that the slider offers, metres."""
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"
)  # fmt: skip
KNOWN = ("pixel size", "month", "cloud cover", "place")
"""What can be told apart from the text; what is not ticked is unknown to the model."""


def pixel_size(index: float) -> str:
    """The slider's position in words."""
    return f"{SIZES[int(index)]:g} m a pixel"


def month_name(number: float) -> str:
    """The month in words."""
    return MONTHS[int(number) - 1]


def place_name(place: tuple[float, float]) -> str:
    """A place in words: 48.2° N, 16.4° E."""
    lat, lon = place
    return f"{abs(lat):g}° {'N' if lat >= 0 else 'S'}, {abs(lon):g}° {'E' if lon >= 0 else 'W'}"


def metadata_of(known: Sequence[str], size: float, month: float, cloud: float, place: tuple[float, float]) -> dict[str, Any]:
    """Fields of `Metadata` for what is ticked.

    Args:
        known: Some of `KNOWN`.
        size: Position of the slider of pixel sizes.
        month: 1 to 12, of any year.
        cloud: Percent.
        place: Latitude and longitude.
    """
    fields: dict[str, Any] = {}
    if "pixel size" in known:
        fields["gsd"] = SIZES[int(size)]
    if "month" in known:
        fields["date"] = f"--{int(month):02d}"
    if "cloud cover" in known:
        fields["cloud_cover"] = cloud / 100
    if "place" in known:
        fields["lat"], fields["lon"] = place
    return fields


def painted_mask(editor: Mapping[str, Any] | None) -> NDArray[np.bool_]:
    """Where something was painted over the picture.

    Args:
        editor: What gradio's image editor holds: ``layers`` as ``[H, W, 4]`` pictures.

    Returns:
        ``[H, W]``.

    Raises:
        InputError: If nothing is painted.
    """
    layers = [np.asarray(layer) for layer in (editor or {}).get("layers") or []]
    masks = [layer[..., 3] > 127 for layer in layers if layer.ndim == 3 and layer.shape[2] == 4]
    if not masks or not np.any(masks):
        raise InputError("nothing is painted over the picture; paint the part that shall be made anew")
    return np.any(masks, axis=0)


def borders(picture: Path, factor: int) -> tuple[int, int, int, int]:
    """Half a picture more on each side: left, top, right, bottom, in multiples of `factor` pixels."""
    with Image.open(picture) as opened:
        width, height = opened.size
    across, down = (max(factor, side // 2 // factor * factor) for side in (width, height))
    return across, down, across, down


def hint_preview(model: str, name: str, file: Path) -> NDArray[np.uint8]:
    """A hint as the model will read it, at the model's size.

    Raises:
        InputError: If it cannot be read or has other channels than the model takes.
    """
    from ..pipelines.earth_hints import read_hint, read_image

    pipeline = load_generator(model)
    height, width = read_image(file, f"the hint {name}").shape[1:]
    values = read_hint(file, name, pipeline.hint_channels(name), height, width)
    pixels = np.rint(values.numpy().clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(pixels[..., :1], (*pixels.shape[:2], 3)) if pixels.shape[2] != 3 else pixels)


def canvas(model: str, wishes: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of what is to be made: of the picture that is changed, with its borders, as asked for, or the model's own.

    Args:
        model: A folder or ``zoo:name``.
        wishes: ``image`` and ``extend``, or ``height`` and ``width``, as of `Wishes`.
    """
    if wishes.get("image") is not None:
        left, top, right, bottom = wishes.get("extend") or (0, 0, 0, 0)
        with Image.open(wishes["image"]) as opened:
            return opened.height + top + bottom, opened.width + left + right
    own = generator_facts(model).size
    return int(wishes.get("height") or own[0]), int(wishes.get("width") or own[1])


def hints_of(
    model: str, source: str, name: str | None, file: str | None, size: tuple[int, int], metadata: Mapping[str, Any], folder: Path
) -> MadeHints | None:
    """What the hint box gives: made from its file, or the file itself as the model will read it; None while the box is empty.

    Raises:
        InputError: If the file does not fit.
    """
    if not file or (not name and source != VECTORS):
        return None
    if source == READY:
        assert name is not None
        return MadeHints({name: Path(file)}, hint_preview(model, name, Path(file)), "")
    wanted = generator_facts(model).hints
    return make_hints(source, name or "", Path(file), wanted=wanted, size=size, metadata=metadata, folder=folder)


def about(facts: GeneratorFacts) -> str:
    """What can be asked of a model, in one sentence."""
    height, width = facts.size
    hints = f"reads the hints {', '.join(facts.hints)}" if facts.hints else "reads no hints"
    fills = "and was trained to fill masked parts" if facts.inpainting else "and was not trained to fill masked parts"
    return f"{facts.name} makes pictures of {width} x {height} pixels ({', '.join(facts.bands)}), {hints} {fills}."


def done(made: Generated) -> str:
    """What is said when a run has ended well."""
    count = len(made.files)
    seeds = f"seed {made.seeds[0]}" if count == 1 else f"seeds {made.seeds[0]} to {made.seeds[-1]}"
    return " ".join([f"{count} picture{'s' if count > 1 else ''} in {duration(made.seconds)}, {seeds}.", *made.notes])
