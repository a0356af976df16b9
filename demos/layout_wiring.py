"""What happens on the Layout tab when something is pressed, chosen or uploaded."""

# Gradio looks at the annotations of handlers, so they are not postponed in this file.

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..gen.errors import InputError
from . import layout_actions as actions
from .layout_import import import_annotations
from .layout_job import run
from .layout_model import about_model, layout_facts, missing_model
from .layout_priors import prior_choices
from .layout_scores import score_table
from .layout_session import LayoutSession
from .layout_set import FORMATS, write_set
from .sessions import Cancelled
from .upscale_actions import progress_status, status, trouble

QUIET: dict[str, Any] = {"show_progress": "hidden"}


def wire_canvas(ui: SimpleNamespace) -> None:
    """Where boxes come from: the model's classes, an import, a prior."""
    import gradio as gr

    shown = [ui.canvas, ui.width, ui.height, ui.status, ui.views]

    def modelled(session: LayoutSession, value: Any, model: str | None) -> dict[Any, Any]:
        facts, said = None, missing_model()
        if model:
            try:
                facts = layout_facts(model)
                said = about_model(facts)
            except InputError as error:
                said = ""
                return {**_canvas(ui, actions.with_model(value, None, session.imported)), ui.about: said, ui.status: trouble(error)}
        numbers = {ui.steps: facts.steps, ui.guidance: facts.guidance, ui.prompt: gr.update(visible=facts.text)} if facts else {}
        ready = {ui.status: status("Ready.")} if facts else {}
        return {
            **_canvas(ui, actions.with_model(value, facts, session.imported)),
            **_priors(ui, session, model),
            **numbers,
            **ready,
            ui.about: said,
        }

    def imported(session: LayoutSession, value: Any, model: str, files: list[str] | None) -> dict[Any, Any]:
        emptied = {ui.files: None}  # what was brought is read; the next files are another import, not more of this one
        try:
            found = import_annotations(session, [Path(file) for file in files or []])
        except Exception as error:  # a file from anywhere: whatever a reader makes of it, the page stays usable
            return {ui.status: trouble(error), **emptied}
        several = len(found.layouts)
        pick = gr.update(visible=several > 1, maximum=max(several, 2), value=1, label=f"Picture, of {several}")
        new = actions.with_layout(value, found.layouts[0], actions.known_facts(model), found)
        done = {ui.status: status(actions.said_of_import(found), "good"), ui.number: pick}
        return {**_canvas(ui, new), **_priors(ui, session, model), **done, **emptied}

    def picked(session: LayoutSession, value: Any, model: str, number: float) -> dict[Any, Any]:
        if session.imported is None:
            return {ui.status: gr.skip()}
        layout = actions.imported_layout(session.imported, number)
        return _canvas(ui, actions.with_layout(value, layout, actions.known_facts(model), session.imported))

    def drawn(session: LayoutSession, value: Any, model: str, prior: str | None, seed: float) -> dict[Any, Any]:
        try:
            facts = actions.known_facts(model)
            layout = actions.drawn_layout(session, prior, facts, seed)
        except Exception as error:
            return {ui.status: trouble(error)}
        said = status(f"Drew a layout of {len(layout.boxes)} objects; press again for another one.", "good")
        return {**_canvas(ui, actions.with_layout(value, layout, facts, session.imported)), ui.status: said}

    held = [ui.session, ui.canvas, ui.model]
    priors = [ui.prior, ui.draw, ui.batch]
    ui.model.change(modelled, held, [*shown, *priors, ui.about, ui.steps, ui.guidance, ui.prompt], **QUIET)
    ui.files.upload(imported, [*held, ui.files], [*shown, *priors, ui.number, ui.files], show_progress="minimal")
    ui.number.release(picked, [*held, ui.number], shown, **QUIET)
    ui.draw.click(drawn, [*held, ui.prior, ui.seed], shown, **QUIET)


def wire_frame(ui: SimpleNamespace) -> None:
    """What lies under the boxes, and how large the canvas is."""
    import gradio as gr

    def covered(session: LayoutSession, value: Any, model: str, file: str | None) -> dict[Any, Any]:
        path = Path(file) if file else None
        try:
            new = actions.with_background(value, session, path, actions.known_facts(model))
        except Exception as error:
            return {ui.canvas: {**value, "picture": ""}, ui.status: trouble(error, path)}
        said = (
            "Draw boxes where objects shall be painted into the picture."
            if path
            else "The picture is away; pictures will be new as a whole."
        )
        return {**_canvas(ui, new), ui.status: status(said)}

    def sized(session: LayoutSession, value: Any, model: str, width: float, height: float) -> dict[Any, Any]:
        if (width, height) == (value["width"], value["height"]):
            return {ui.status: gr.skip()}
        try:
            return _canvas(ui, actions.with_size(value, width, height, actions.known_facts(model), session.imported))
        except InputError as error:
            return {ui.status: trouble(error)}

    held, shown = [ui.session, ui.canvas, ui.model], [ui.canvas, ui.width, ui.height, ui.status, ui.views]
    gr.on([ui.background.upload, ui.background.clear], covered, [*held, ui.background], shown, **QUIET)
    sizes = [ui.width.submit, ui.height.submit, ui.width.blur, ui.height.blur]
    gr.on(sizes, sized, [*held, ui.width, ui.height], shown, **QUIET)


def _canvas(ui: SimpleNamespace, value: dict[str, Any]) -> dict[Any, Any]:
    """The canvas at the front, with a value, and the fields that say its size."""
    import gradio as gr

    return {ui.canvas: value, ui.width: value["width"], ui.height: value["height"], ui.views: gr.Tabs(selected="canvas")}


def _priors(ui: SimpleNamespace, session: LayoutSession, model: str | None) -> dict[Any, Any]:
    """What can be drawn from now."""
    import gradio as gr

    choices = prior_choices(actions.known_facts(model), session.imported)
    able = {part: gr.update(interactive=bool(choices)) for part in (ui.draw, ui.batch)}
    return {ui.prior: gr.update(choices=choices, value=choices[0][1] if choices else None, interactive=bool(choices)), **able}


def wire_runs(ui: SimpleNamespace) -> None:
    """Painting, and stopping it."""
    outputs = [
        ui.status, ui.run, ui.batch, ui.cancel, ui.gallery, ui.after, ui.views, ui.chosen, ui.scores, ui.download, ui.packed
    ]  # fmt: skip
    form = [ui.model, ui.count, ui.seed, ui.steps, ui.guidance, ui.prompt]
    results = [ui.boxes, ui.kind, ui.flatten]

    def painted(session: LayoutSession, value: Any, boxes: bool, kind: str, flatten: bool, *form: Any) -> Iterator[Any]:
        yield from _running(ui, session, lambda: actions.canvas_wishes(session, value, actions.Form.read(*form)), boxes, kind, flatten)

    def batched(session: LayoutSession, prior: str | None, boxes: bool, kind: str, flatten: bool, *form: Any) -> Iterator[Any]:
        yield from _running(ui, session, lambda: actions.batch_wishes(session, prior, actions.Form.read(*form)), boxes, kind, flatten)

    runs: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 2, "concurrency_id": "layout"}
    ui.run.click(painted, [ui.session, ui.canvas, *results, *form], outputs, **runs)
    ui.batch.click(batched, [ui.session, ui.prior, *results, *form], outputs, **runs)
    ui.cancel.click(lambda session: session.cancel(), [ui.session], None, queue=False, **QUIET)


def _running(ui: SimpleNamespace, session: LayoutSession, wishes: Any, boxes: bool, kind: str, flatten: bool) -> Iterator[dict[Any, Any]]:
    """A run with its progress, from wishes that are read when it begins."""
    import gradio as gr

    def ready(idle: bool) -> dict[Any, Any]:
        return {**{part: gr.update(interactive=idle) for part in (ui.run, ui.batch)}, ui.cancel: gr.update(interactive=not idle)}

    try:
        yield {ui.status: status("Loading the model.", waiting=True), **ready(False)}
        for progress in run(session, wishes()):
            yield {ui.status: progress_status(progress)}
    except Cancelled:
        yield {ui.status: status("Cancelled; nothing was written.", "hint"), **ready(True)}
    except Exception as error:  # also our own mistakes: the user gets a sentence, the terminal the details
        yield {ui.status: trouble(error), **ready(True)}
    else:
        assert session.labelled is not None
        after = {ui.after: gr.update(visible=True), ui.views: gr.Tabs(selected="pictures"), ui.chosen: 0}
        gallery = gr.update(value=actions.gallery_items(session.labelled, boxes), selected_index=None)
        said = status(actions.said_of_run(session.labelled), "good")
        yield {
            ui.status: said,
            ui.gallery: gallery,
            **after,
            **_scored(ui, session, 0),
            **_packed(ui, session, kind, flatten),
            **ready(True),
        }


def wire_results(ui: SimpleNamespace) -> None:
    """How the pictures are looked at, and taken away."""
    import gradio as gr

    def looked(session: LayoutSession, boxes: bool) -> Any:
        made = session.labelled
        return gr.update() if made is None else gr.update(value=actions.gallery_items(made, boxes))

    def select(event: gr.SelectData, session: LayoutSession) -> dict[Any, Any]:
        return {ui.chosen: int(event.index), **_scored(ui, session, int(event.index))}

    def packed(session: LayoutSession, kind: str, flatten: bool) -> dict[Any, Any]:
        return _packed(ui, session, kind, flatten)

    ui.boxes.change(looked, [ui.session, ui.boxes], ui.gallery, **QUIET)
    ui.gallery.select(select, ui.session, [ui.chosen, ui.scores], **QUIET)
    gr.on([ui.kind.change, ui.flatten.change], packed, [ui.session, ui.kind, ui.flatten], [ui.download, ui.packed], **QUIET)


def _scored(ui: SimpleNamespace, session: LayoutSession, number: int) -> dict[Any, Any]:
    """The table of one picture's objects."""
    made = session.labelled
    if made is None or not 0 <= number < len(made.layouts):
        return {ui.scores: ""}
    return {ui.scores: score_table(made.layouts[number], made.scores[number], made.names, f"Objects of seed {made.seeds[number]}")}


def _packed(ui: SimpleNamespace, session: LayoutSession, kind: str, flatten: bool) -> dict[Any, Any]:
    """The zip in a format, or why that format cannot hold these boxes."""
    import gradio as gr

    if session.labelled is None:
        return {ui.packed: ""}
    try:
        archive, changes = write_set(session.labelled, kind, flatten=flatten)
    except InputError as error:
        return {ui.packed: trouble(error), ui.download: gr.update(interactive=False)}
    said = actions.said_of_changes(changes, FORMATS[kind])
    return {ui.packed: status(said, "hint") if said else "", ui.download: gr.update(value=str(archive), interactive=True)}
