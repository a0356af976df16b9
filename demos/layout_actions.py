"""What the Layout tab says and understands, as plain functions from the controls' values to layouts, wishes and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..gen.annotations import Layout
from ..gen.errors import InputError
from .layout_canvas import MAX_SIDE, canvas_layout, canvas_names, canvas_value, data_uri
from .layout_import import keep_background
from .layout_job import MAX_PICTURES, LayoutWishes
from .layout_model import LayoutFacts, layout_facts
from .layout_priors import chosen_prior, draw_layouts, usual_limits
from .layout_session import Imported, Labelled, LayoutSession
from .upscale_actions import duration

if TYPE_CHECKING:
    from .layout_canvas import Value

UNTITLED = ("object",)
"""The palette before anything is known of the classes."""
FREE_SIZE = (256, 256)
_LEAST_VISIBLE = 0.3  # share of a box inside a smaller canvas below which it goes


@dataclass(frozen=True)
class Form:
    """The controls of a run, with empty fields as zeros: model, count, seed, steps, guidance and prompt as in `LayoutWishes`."""

    model: str
    count: int
    seed: int
    steps: int
    guidance: float
    prompt: str

    @classmethod
    def read(cls, model: str | None, count: Any, seed: Any, steps: Any, guidance: Any, prompt: str | None) -> Form:
        """From the values as gradio gives them.

        Raises:
            InputError: If no model is chosen, or fewer than no or too many pictures are wanted.
        """
        if not model:
            raise InputError("no layout model is chosen; choose one under 'Model', or type the path of a model folder")
        if not 1 <= int(count or 0) <= MAX_PICTURES:
            raise InputError(f"{int(count or 0)} pictures were asked for; ask for 1 to {MAX_PICTURES}")
        return cls(model, int(count), max(int(seed or 0), 0), int(steps or 0), float(guidance or 0), (prompt or "").strip())

    @property
    def rest(self) -> tuple[int, int, float, str]:
        """The last arguments of `LayoutWishes`."""
        return self.seed, self.steps, self.guidance, self.prompt


def known_facts(model: str | None) -> LayoutFacts | None:
    """What the chosen model says about itself, None if there is none that can be read."""
    try:
        return layout_facts(model)
    except InputError:
        return None


def palette(facts: LayoutFacts | None, imported: Imported | None, before: Sequence[str] = ()) -> list[str]:
    """Classes to draw with: the model's, then those imported, then those that the user has added."""
    names = [*(facts.classes if facts else ()), *(imported.names if imported else ()), *before]
    return list(dict.fromkeys(names)) or list(UNTITLED)


def first_value(facts: LayoutFacts | None) -> Value:
    """The canvas before anything was drawn."""
    height, width = facts.size if facts else FREE_SIZE
    return canvas_value(Layout(width, height), palette(facts, None), known=facts.classes if facts else None)


def with_layout(value: Value, layout: Layout, facts: LayoutFacts | None, imported: Imported | None) -> Value:
    """The canvas with other boxes; the picture underneath stays if its size is the same."""
    same = (value.get("width"), value.get("height")) == (layout.width, layout.height)
    picture = value.get("picture") or "" if same else ""
    return canvas_value(layout, palette(facts, imported, _used(value)), known=facts.classes if facts else None, picture=picture)


def with_model(value: Value, facts: LayoutFacts | None, imported: Imported | None) -> Value:
    """The canvas under another model: its classes, and its size as long as nothing is drawn."""
    layout = canvas_layout(value)
    if facts and not layout.boxes and not value.get("picture"):
        layout = Layout(facts.size[1], facts.size[0])
    return with_layout(value, layout, facts, imported)


def with_size(value: Value, width: float | None, height: float | None, facts: LayoutFacts | None, imported: Imported | None) -> Value:
    """The canvas at another size, its upper left corner kept; boxes that no longer show are dropped, and so is a picture underneath.

    Raises:
        InputError: If the size is out of range.
    """
    across, down = int(width or 0), int(height or 0)
    if not (8 <= across <= MAX_SIDE and 8 <= down <= MAX_SIDE):
        raise InputError(f"the canvas cannot be {across} x {down} pixels; give sides between 8 and {MAX_SIDE}")
    return with_layout(value, _cropped(value, across, down), facts, imported)


def with_background(value: Value, session: LayoutSession, file: Path | None, facts: LayoutFacts | None) -> Value:
    """The canvas over a picture, whose size it takes; without a file the picture goes and the boxes stay.

    Raises:
        InputError: If it is no picture, or too large.
    """
    picture = keep_background(session, file)
    if picture is None:
        return {**value, "picture": ""}
    height, width = picture.shape[:2]
    layout = _cropped(value, width, height)
    known = facts.classes if facts else None
    return canvas_value(layout, palette(facts, session.imported, _used(value)), known=known, picture=data_uri(picture))


def imported_layout(imported: Imported, number: float) -> Layout:
    """One of the imported layouts, counted from 1."""
    return imported.layouts[min(max(int(number or 1), 1), len(imported.layouts)) - 1]


def drawn_layout(session: LayoutSession, kind: str | None, facts: LayoutFacts | None, seed: float) -> Layout:
    """One layout from a prior, another one at each call.

    Raises:
        InputError: If there is no prior.
    """
    start = int(seed or 0) + session.drawn
    layout = draw_layouts(chosen_prior(kind, facts, session.imported), range(start, start + 1))[0]
    session.drawn += 1
    return layout


def canvas_wishes(session: LayoutSession, value: Value, form: Form) -> LayoutWishes:
    """Several pictures of what is drawn on the canvas.

    Raises:
        InputError: If a number is out of range or the canvas cannot be read.
    """
    limits = usual_limits(known_facts(form.model), session.imported)
    background = session.background if value.get("picture") else None
    return LayoutWishes(form.model, (canvas_layout(value),) * form.count, "canvas", background, limits, *form.rest)


def batch_wishes(session: LayoutSession, kind: str | None, form: Form) -> LayoutWishes:
    """Several pictures, each of a layout of its own from a prior.

    Raises:
        InputError: If there is no prior, or a number is out of range.
    """
    facts = known_facts(form.model)
    layouts = draw_layouts(chosen_prior(kind, facts, session.imported), range(form.seed, form.seed + form.count))
    return LayoutWishes(form.model, layouts, f"prior: {kind}", None, usual_limits(facts, session.imported), *form.rest)


def said_of_import(imported: Imported) -> str:
    """What an import has brought, in one sentence."""
    count, boxes = len(imported.layouts), sum(len(layout.boxes) for layout in imported.layouts)
    more = " (the first ones of the file)" if imported.more else ""
    pictures = f"{count} pictures" if count > 1 else "1 picture"
    return f"Imported {boxes} box{'es' if boxes != 1 else ''} on {pictures}{more}, read as {imported.kind}: {', '.join(imported.names)}."


def said_of_run(labelled: Labelled) -> str:
    """What is said when a run has ended well."""
    count, boxes = len(labelled.pictures), sum(len(layout.boxes) for layout in labelled.layouts)
    seeds = f"seed {labelled.seeds[0]}" if count == 1 else f"seeds {labelled.seeds[0]} to {labelled.seeds[-1]}"
    unusual = sum(bool(scores.unusual(n)) for scores in labelled.scores for n in range(len(scores.values)))
    odd = f" {unusual} of the objects have an unusual size or shape for their class." if unusual else ""
    text = f"{count} picture{'s' if count > 1 else ''} with {boxes} objects in {duration(labelled.seconds)}, {seeds}.{odd}"
    return " ".join([text, *labelled.notes])


def said_of_changes(changes: dict[str, int], title: str) -> str:
    """What a format made of the boxes, empty if it kept them all."""
    listed = ", ".join(f"{count} {what}" for what, count in changes.items() if count)
    return f"Boxes in {title}: {listed}." if listed else ""


def gallery_items(labelled: Labelled, boxes: bool) -> list[tuple[str, str]]:
    """Files and captions for the gallery.

    Args:
        labelled: The run.
        boxes: Whether the boxes are drawn over the pictures.
    """
    files: Sequence[Any] = labelled.boxed if boxes else labelled.pictures
    captions = (f"seed {seed}: {len(layout.boxes)} objects" for seed, layout in zip(labelled.seeds, labelled.layouts, strict=True))
    return [(str(file), caption) for file, caption in zip(files, captions, strict=True)]


def _cropped(value: Value, width: int, height: int) -> Layout:
    from ..gen.annotations.geometry import crop

    return crop(canvas_layout(value), 0, 0, width, height, _LEAST_VISIBLE)


def _used(value: Value) -> list[str]:
    """Classes of boxes, and those that the user has added while no model told which there are."""
    held = {box.get("name") for box in value["boxes"]}
    free = value.get("known") is None
    return [name for name in canvas_names(value) if name in held or (free and name not in UNTITLED)]
