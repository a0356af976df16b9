"""Labelled pictures that need no generator: real objects pasted elsewhere, and flat rectangles on blurred ground.

Copy-paste is the baseline that a generator has to reach; the flat rectangles show how much of a gain comes from new layouts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ...gen.annotations.box import Box, Layout
from ...gen.errors import InputError
from .placement import box_of, most_overlap, placed, random_layout, turned_quad, whole_boxes
from .samples import Sample, prepare, turned

Floats = NDArray[np.float64]
FEATHER, SUPERSAMPLE = 1.0, 4
COVERED, GONE = 0.3, 0.7
"""Shares of an object under pasted ones from which it is difficult, and from which it is no longer labelled."""


def copy_paste(real: Sequence[Sample], horizontal: Sequence[str], count: int, rng: np.random.Generator) -> list[Sample]:
    """Real pictures with real objects of the same set pasted on: their rotated rectangles, turned, scaled a little, edges feathered.

    A picture gets as many objects as some real one has; they overlap each other no more than nearly all real ones do. Objects underneath
    stay labelled while most of them shows.

    Args:
        real: Pictures and their boxes, all of one size.
        horizontal: Classes whose boxes lie along the axes; they are turned by quarter turns only.
        count: Pictures to make.
        rng: Where chance comes from.

    Raises:
        InputError: If there is no object to paste.
    """
    pool, overlap = whole_boxes(real), most_overlap(real)
    if not pool:
        raise InputError("there is no object to copy in the real pictures; label some")
    return [_pasted(real, pool, horizontal, overlap, rng) for _ in range(count)]


def flat_pictures(
    real: Sequence[Sample], horizontal: Sequence[str], count: int, rng: np.random.Generator, layouts: Sequence[Layout] = ()
) -> list[Sample]:
    """Rectangles in the mean colours of real objects on heavily blurred real pictures, in new layouts.

    Args:
        real: Pictures and their boxes, all of one size.
        horizontal: Classes whose boxes lie along the axes.
        count: Pictures to make.
        rng: Where chance comes from.
        layouts: What to draw, one for each picture; new ones by `random_layout` if left out.

    Raises:
        InputError: If there is no real object to take colours from.
    """
    colours: dict[str, list[Floats]] = {}
    for number, box in whole_boxes(real):
        picture, layout = real[number]
        inside = _coverage(np.array(box.corners), layout.width, layout.height, 0.0) > 0.5
        if inside.any():
            colours.setdefault(box.name, []).append(picture[inside].mean(0))
    if not colours:
        raise InputError("there is no object to take a colour from in the real pictures; label some")
    overlap = most_overlap(real)
    made = []
    for number in range(count):
        layout = layouts[number] if layouts else random_layout(real, horizontal, overlap, rng)
        ground, _ = _background(real, rng)
        canvas = np.asarray(Image.fromarray(ground).filter(ImageFilter.GaussianBlur(layout.width / 12))).astype(np.float64)
        for box in layout.boxes:
            shades = colours.get(box.name) or [colour for some in colours.values() for colour in some]
            colour = shades[int(rng.integers(len(shades)))] * rng.uniform(0.85, 1.15)
            alpha = _coverage(np.array(box.corners), layout.width, layout.height, 0.0)[..., None]
            canvas += alpha * (colour - canvas)
        made.append((np.clip(np.round(canvas), 0, 255).astype(np.uint8), layout))
    return made


def shuffled(samples: Sequence[Sample], rng: np.random.Generator) -> list[Sample]:
    """The same pictures, each with the boxes of another one: the control that must hurt.

    Args:
        samples: At least two, of one size.
        rng: Where chance comes from.

    Raises:
        InputError: If there are fewer than two.
    """
    if len(samples) < 2:
        raise InputError(f"labels of {len(samples)} pictures cannot be exchanged; give at least two")
    order = rng.permutation(len(samples))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)  # one cycle through all: nobody keeps their own
    return [(picture, samples[int(other)][1]) for (picture, _), other in zip(samples, partner, strict=True)]


def _pasted(
    real: Sequence[Sample], pool: Sequence[tuple[int, Box]], horizontal: Sequence[str], overlap: float, rng: np.random.Generator
) -> Sample:
    picture, layout = _background(real, rng)
    canvas = picture.astype(np.float64)
    many = max(1, len(real[int(rng.integers(len(real)))][1].boxes))
    taken: list[Floats] = []
    new = []
    for _ in range(many):
        number, box = pool[int(rng.integers(len(pool)))]
        quad = placed(turned_quad(box, box.name in horizontal, rng), layout.width, layout.height, taken, overlap, rng)
        if quad is None:
            continue
        taken.append(quad)
        source = _corners(box, box.name in horizontal)
        if rng.integers(2):
            source = source[[1, 0, 3, 2]]
        moved = _warped(real[number][0], source, quad, layout.width, layout.height)
        alpha = _coverage(quad, layout.width, layout.height, FEATHER)[..., None]
        canvas += alpha * (moved * rng.uniform(0.9, 1.1) - canvas)
        new.append(box_of(box.name, quad, box.name in horizontal))
    cover = shapely.union_all(shapely.polygons(np.stack(taken))) if taken else shapely.Polygon()
    kept = [box for box in (_underneath(box, cover) for box in layout.boxes) if box is not None]
    result = np.clip(np.round(canvas), 0, 255).astype(np.uint8)
    return result, Layout(layout.width, layout.height, (*kept, *new))


def _corners(box: Box, horizontal: bool) -> Floats:
    """Corners of the rectangle that `turned_quad` moves, in its order: along the longer side, or the hull."""
    if horizontal:
        left, top, right, bottom = box.xyxy
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    cx, cy, w, h, angle = box.le90
    return np.array(Box.rotated(box.name, cx, cy, w, h, angle).corners)


def _underneath(box: Box, cover: shapely.Geometry) -> Box | None:
    covered = float(shapely.area(shapely.intersection(shapely.polygons(np.array(box.corners)), cover))) / box.area
    return None if covered > GONE else replace(box, difficult=True) if covered > COVERED else box


def _background(real: Sequence[Sample], rng: np.random.Generator) -> Sample:
    """A real picture in one of its eight symmetries (four if it is not square), with its boxes."""
    picture, layout = real[int(rng.integers(len(real)))]
    names = sorted(set(layout.names))
    sample = prepare([(picture, layout)], names or ["object"])[0]
    square = layout.width == layout.height
    moved = turned(sample, int(rng.integers(8)) if square else int(rng.integers(4)) * 2)
    boxes = []
    for box, quad in zip(layout.boxes, moved.quads, strict=True):
        a, b, c, d = ((float(x), float(y)) for x, y in quad)
        boxes.append(replace(box, corners=(a, b, c, d)))
    return np.ascontiguousarray(moved.picture), replace(layout, boxes=tuple(boxes))


def _warped(picture: NDArray[np.uint8], source: Floats, target: Floats, width: int, height: int) -> Floats:
    """The picture moved so that three corners of `source` fall on those of `target`, bilinear, edges repeated."""
    pad = 16
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    ones = np.column_stack([target[:3], np.ones(3)])
    rows = np.linalg.solve(ones, source[:3] + pad).T
    image = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, tuple(rows.ravel()), resample=Image.Resampling.BILINEAR
    )
    return np.asarray(image).astype(np.float64)


def _coverage(quad: Floats, width: int, height: int, feather: float) -> Floats:
    """Share of each pixel ``[H, W]`` inside a quadrilateral, 0 to 1, blurred by so many pixels."""
    mask = Image.new("L", (width * SUPERSAMPLE, height * SUPERSAMPLE))
    ImageDraw.Draw(mask).polygon([(x * SUPERSAMPLE - 0.5, y * SUPERSAMPLE - 0.5) for x, y in quad.tolist()], fill=255)
    small = mask.resize((width, height), Image.Resampling.BOX)
    if feather:
        small = small.filter(ImageFilter.GaussianBlur(feather))
    return np.asarray(small).astype(np.float64) / 255
