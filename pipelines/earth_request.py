"""A call's arguments, checked and brought to one entry for each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..gen.conditioning.metadata import Metadata
from ..gen.errors import InputError
from .earth_content import CONTENT, content_adapter, embed_content
from .earth_hints import per_picture, read_hint, read_image, read_mask
from .earth_prepare import Request, leveled

if TYPE_CHECKING:
    from .earth import EarthPipeline

LARGEST_SIDE = 100_000
CONTINUED = 0.8
"""Share of the steps by which a picture is continued: from the noised mirror image of the picture, whose colours and coarse forms then go
on beyond the border, not from noise alone. Published inpainting models, which see a grey picture there, begin from noise."""


def count_pictures(given: Mapping[str, Any], seed: Any, num_images: int | None) -> int:
    """How many pictures a call asks for: what its lists say, else `num_images`, else 1.

    Raises:
        InputError: If two lists have different lengths.
    """
    lengths = {name: len(value) for name, value in given.items() if isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 4}
    if not isinstance(seed, Integral | None) and isinstance(seed, Sequence):
        lengths["seed"] = len(seed)
    if num_images is not None:
        lengths["num_images"] = num_images
    counts = set(lengths.values())
    if len(counts) > 1:
        said = " and ".join(f"{length} by {name}" for name, length in lengths.items())
        raise InputError(f"the number of pictures is said twice: {said}; give lists of one length")
    count = counts.pop() if counts else 1
    if count < 1:
        raise InputError(f"{count} pictures were asked for; ask for one or more")
    return count


def check_size(height: int, width: int, factor: int) -> None:
    """Refuse sizes that cannot be made."""
    for name, side in (("height", height), ("width", width)):
        if not isinstance(side, Integral) or not factor <= side <= LARGEST_SIDE:
            raise InputError(f"the {name} is {side!r}; it is a whole number of pixels from {factor} to {LARGEST_SIDE}")


def merged_metadata(given: Any, facts: Mapping[str, Any], count: int) -> list[Metadata]:
    """Metadata of each picture: the given ones with the single facts put in.

    Raises:
        InputError: If a fact is none, or contradicts another.
    """
    facts = {name: value for name, value in facts.items() if value is not None}
    entries = []
    for entry in per_picture(given, count, "metadata"):
        if entry is not None and not isinstance(entry, Metadata | Mapping):
            raise InputError(f"the metadata is a {type(entry).__name__}; give Metadata or a mapping such as {{'gsd': 10}}")
        known = {} if entry is None else entry.model_dump(exclude_none=True) if isinstance(entry, Metadata) else dict(entry)
        twice = [name for name in facts if known.get(name) is not None and known[name] != facts[name]]
        if twice:
            raise InputError(f"{twice[0]} is given as {known[twice[0]]!r} in the metadata and as {facts[twice[0]]!r} beside it; give one")
        entries.append(Metadata(**{**known, **facts}))
    return entries


def read_hints(pipeline: EarthPipeline, hints: Mapping[str, Any], count: int, height: int, width: int) -> list[dict[str, Tensor]]:
    """Hints of each picture.

    Raises:
        InputError: If the model has no such hint, or it does not fit.
    """
    for name in hints:
        if name not in pipeline.hint_names:
            known = ", ".join(pipeline.hint_names) or "none"
            raise InputError(f"the model {pipeline.name} takes no hint {name!r}; it takes {known}")
    rows: list[dict[str, Tensor]] = [{} for _ in range(count)]
    for name, given in hints.items():
        for row, entry in zip(rows, per_picture(given, count, f"the hint {name!r}"), strict=True):
            if entry is not None:
                row[name] = read_hint(entry, name, pipeline.hint_channels(name), height, width)
    return rows


def check_weights(weights: Mapping[str, float], names: Sequence[str]) -> None:
    """Refuse weights of unknown hints, and weights that are none."""
    for name, weight in weights.items():
        if name not in (*names, "place", "frames", CONTENT):
            raise InputError(
                f"a weight is given for the hint {name!r}, which the model does not take; it takes {', '.join(names) or 'none'}"
            )
        if not 0.0 <= float(weight) <= 2.0:
            raise InputError(f"the weight of the hint {name!r} is {weight:g}; it is from 0 (not used) over 1 (as trained) to 2")


def read_pictures_to_change(
    pipeline: EarthPipeline, image: Any, mask: Any, count: int, size: tuple[int, int]
) -> tuple[Tensor | None, Tensor | None]:
    """Pictures to begin from and what of them is painted anew, ``[B, C, H, W]`` and ``[B, 1, H, W]``.

    Raises:
        InputError: If they do not fit the model or each other.
    """
    if image is None:
        if mask is not None:
            raise InputError("a mask was given without a picture; give the picture that it belongs to")
        return None, None
    pictures = [read_image(entry, "the picture") for entry in per_picture(image, count, "pictures")]
    bands = len(pipeline.bands)
    for picture in pictures:
        if picture.shape[0] != bands:
            raise InputError(
                f"the picture has {picture.shape[0]} bands; the model takes {bands}: {', '.join(pipeline.bands)}, in this order"
            )
        if tuple(picture.shape[1:]) != size:
            raise InputError(
                f"the picture has {picture.shape[2]} x {picture.shape[1]} pixels, and {size[1]} x {size[0]} were asked for; resize it, "
                "leave the size out, or extend the picture"
            )
        if float(picture.min()) < -0.5 or float(picture.max()) > 1.5:
            raise InputError(f"the picture has values from {picture.min():g} to {picture.max():g}; {pipeline.unit} is about 0 to 1")
    masks = None
    if mask is not None:
        masks = torch.stack([read_mask(entry, *size) for entry in per_picture(mask, count, "masks")])
    return torch.stack(pictures), masks


def extended(image: Tensor, mask: Tensor | None, borders: Sequence[int]) -> tuple[Tensor, Tensor]:
    """A larger canvas with a picture in it, and the mask of what is still unseen.

    Args:
        image: ``[B, C, H, W]``.
        mask: ``[B, 1, H, W]``; None where nothing of the picture is painted anew.
        borders: Pixels to add at the left, top, right and bottom.

    Returns:
        Both ``[B, ..., top + H + bottom, left + W + right]``; the unseen part holds the picture mirrored at its edges, so that an encoder
        finds the same textures and the same statistics beyond them as within.

    Raises:
        InputError: If a border is negative, or there are not four.
    """
    if len(borders) != 4 or not all(isinstance(border, Integral) and border >= 0 for border in borders):
        raise InputError(f"the picture is to be extended by {borders!r}; give pixels for the left, top, right and bottom, each 0 or more")
    left, top, right, bottom = borders
    old = torch.zeros(len(image), 1, *image.shape[-2:]) if mask is None else mask
    rows, cols = _mirrored(top, image.shape[-2], bottom), _mirrored(left, image.shape[-1], right)
    return image[..., rows, :][..., cols], torch.nn.functional.pad(old, (left, right, top, bottom), value=1.0)


def _mirrored(before: int, length: int, after: int) -> Tensor:
    """Positions along an axis that is mirrored at both ends, as often as needed."""
    at = torch.arange(-before, length + after) % (2 * length)
    return torch.where(at < length, at, 2 * length - 1 - at)


def size_of(image: Any, height: int | None, width: int | None, default: tuple[int, int], borders: Sequence[int] | None) -> tuple[int, int]:
    """Height and width of the pictures before any border is added: as asked for, of the given picture, or the model's own."""
    if image is not None and (height is None or width is None or borders is not None):
        first = image[0] if isinstance(image, list | tuple) or getattr(image, "ndim", 0) == 4 else image
        shape = read_image(first, "the picture").shape
        return int(shape[1]), int(shape[2])
    return default[0] if height is None else height, default[1] if width is None else width


def read_request(pipeline: EarthPipeline, given: Mapping[str, Any], count: int) -> Request:
    """All arguments of a call that say what is wanted, as one `Request`."""
    image, borders = given["image"], given["extend"]
    if borders is not None and image is None:
        raise InputError("there is no picture to extend; give one, or ask for a size")
    height, width = size_of(image, given["height"], given["width"], pipeline.size, borders)
    check_size(height, width, pipeline.factor)
    images, masks = read_pictures_to_change(pipeline, image, given["mask"], count, (height, width))
    if borders is not None and images is not None:
        images, masks = extended(images, masks, borders)
        height, width = images.shape[-2:]
    strength = given["strength"]
    if not 0.0 < strength <= 1.0:
        raise InputError(f"the strength is {strength:g}; it is above 0 (the picture as it is) and at most 1 (made anew)")
    if borders is not None and strength == 1.0 and not (pipeline.config["inpainting"] and pipeline.config["masked"] == "image"):
        strength = CONTINUED
    prompts, metadata = leveled(_texts(given["prompt"], count), merged_metadata(given["metadata"], given["facts"], count))
    hints: dict[str, Any] = dict(given["hints"] or {})
    contents: list[Tensor | None] = [None] * count
    if CONTENT in hints and content_adapter(pipeline) is not None:
        entries = per_picture(hints.pop(CONTENT), count, "contents")
        contents = [None if entry is None else embed_content(pipeline, entry) for entry in entries]
    drawn = read_hints(pipeline, hints, count, height, width)
    weights = dict(given["hint_weights"] or {})
    check_weights(weights, pipeline.hint_names)
    frames, facts = _frames(pipeline, given["frames"], given["frame_metadata"], count, (height, width))
    return Request(
        prompts, _texts(given["negative_prompt"], count), metadata, drawn, weights, height, width, images, masks, strength,
        frames, facts, contents,
    )  # fmt: skip


def _texts(given: Any, count: int) -> list[str]:
    texts = per_picture(given, count, "prompts")
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise InputError(f"a prompt is a {type(wrong[0]).__name__}; give text, or an empty text for none")
    return texts


def _frames(
    pipeline: EarthPipeline, frames: Any, metadata: Any, count: int, size: tuple[int, int]
) -> tuple[Tensor | None, list[list[Metadata]]]:
    """Frames ``[B, T, C, H, W]`` of a time series, the same for all pictures of the batch."""
    if frames is None:
        return None, []
    if not any(slots == ["frames"] for slots in pipeline.control_slots.values()):
        raise InputError(f"the model {pipeline.name} takes no frames; take one with a temporal control network")
    name = next(name for name, slots in pipeline.control_slots.items() if slots == ["frames"])
    channels = int(pipeline.controls[name].config["hint_channels"])
    read = torch.stack([read_hint(frame, f"frame {number}", channels, *size) for number, frame in enumerate(frames)])
    if metadata is not None and len(metadata) != len(read):
        raise InputError(f"there are {len(read)} frames and metadata for {len(metadata)}; give one entry for each frame")
    facts = merged_metadata(list(metadata), {}, len(read)) if metadata is not None else []
    return read[None].repeat(count, 1, 1, 1, 1), [facts] * count if facts else []
