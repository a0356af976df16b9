"""The Generate tab: text, sliders, a place on the map, hints and a painted mask in; pictures out.

The layout and the wiring are here; what the buttons do is in `generate_actions` and `generate_job`, which know nothing of gradio.
"""

# Gradio looks at the annotations of handlers, so they are not postponed in this file.

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..gen.errors import InputError
from . import generate_actions as actions
from .generate_hints import READY, SOURCES, MadeHints, can_be_made
from .generate_job import MAX_PICTURES, MAX_SIDE, MAX_STEPS, Wishes, generator_facts, generator_names, run
from .sessions import Cancelled, Session
from .upscale_actions import progress_status, status, trouble
from .world_map import paint_map, place_at

QUIET: dict[str, Any] = {"show_progress": "hidden"}
NO_MODEL = "There is no generator in the zoo; type the path of a model folder."
START = (48.2, 16.4)  # a place to begin with
_WORDS, _FACTS = ("model", "prompt", "negative"), ("known", "size", "month", "cloud", "place")
_HINT = ("hint_source", "hint_name", "hint_file")
FORM = (*_WORDS, *_FACTS, *_HINT, "count", "seed", "steps", "guidance")


def build() -> None:
    """Lay the tab out inside the current `gradio.Blocks` and wire it."""
    import gradio as gr

    ui = SimpleNamespace(session=gr.State(Session, delete_callback=Session.close), place=gr.State(START), chosen=gr.State(0))
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            _wishes(ui)
        with gr.Column(scale=3, min_width=300):
            _pictures(ui)
    _wire_wishes(ui)
    _wire_runs(ui)


def _wishes(ui: SimpleNamespace) -> None:
    """Left column: what the pictures shall show."""
    import gradio as gr

    names = generator_names()
    facts = generator_facts(names[0]) if names else None
    hints = list(facts.hints) if facts else []
    ui.prompt = gr.Textbox(label="What is to be seen", placeholder="a river through farmland", lines=2, elem_id="gen-prompt")
    ui.known = gr.CheckboxGroup(
        list(actions.KNOWN), value=["pixel size"], label="Also known", info="what is not ticked is left to the model", elem_id="gen-known"
    )
    with gr.Row():
        ui.size = gr.Slider(
            0, len(actions.SIZES) - 1, value=9, step=1, label="Pixel size", info=actions.pixel_size(9), min_width=140, elem_id="gen-size"
        )
        ui.month = gr.Slider(1, 12, value=6, step=1, label="Month", info=actions.month_name(6), min_width=140, elem_id="gen-month")
        ui.cloud = gr.Slider(0, 100, value=0, step=1, label="Cloud cover, %", info="of the picture", min_width=140, elem_id="gen-cloud")
    ui.map = gr.Image(
        paint_map(START), label=f"Place: {actions.place_name(START)}", interactive=False, format="png", buttons=[], elem_id="gen-map"
    )
    with gr.Accordion("Hint: a mask or map of what lies where", open=False, elem_id="gen-hints"):
        ui.hint_source = gr.Radio(list(SOURCES), value=READY, label="The file is", elem_id="gen-hint-source")
        ui.hint_made = gr.Markdown(can_be_made(hints), elem_id="gen-hint-made")
        ui.hint_name = gr.Dropdown(hints, value=hints[0] if hints else None, label="Hint", elem_id="gen-hint-name")
        kinds = [".png", ".tif", ".tiff", ".jpg", ".geojson", ".json"]
        ui.hint_file = gr.File(label="File", file_types=kinds, height=110, elem_id="gen-hint-file")
        ui.hint_view = gr.Image(
            label="As the model reads it", interactive=False, format="png", visible=False, buttons=[], elem_id="gen-hint-view"
        )
    with gr.Row():
        ui.count = gr.Slider(1, MAX_PICTURES, value=4, step=1, label="Pictures", min_width=120, elem_id="gen-count")
        ui.seed = gr.Number(0, precision=0, minimum=0, label="First seed", min_width=120, elem_id="gen-seed")
    with gr.Accordion("Model, steps and guidance", open=not names, elem_id="gen-more"):
        ui.model = gr.Dropdown(
            names, value=names[0] if names else None, label="Model", info="of the zoo, or the path of a model folder",
            allow_custom_value=True, elem_id="gen-model",
        )  # fmt: skip
        ui.about = gr.Markdown(actions.about(facts) if facts else NO_MODEL, elem_id="gen-about")
        with gr.Row():
            ui.steps = gr.Slider(
                1, MAX_STEPS, value=facts.steps if facts else 20, step=1, label="Steps", min_width=120, elem_id="gen-steps"
            )
            ui.guidance = gr.Slider(
                0, 15, value=facts.guidance if facts else 3, step=0.5, label="Guidance", min_width=120, elem_id="gen-guidance"
            )
        ui.negative = gr.Textbox(label="Away from", info="stands in for no text in guidance", elem_id="gen-negative")
        with gr.Row():
            ui.width = gr.Number(0, precision=0, minimum=0, maximum=MAX_SIDE, label="Width, 0 for the model's", elem_id="gen-width")
            ui.height = gr.Number(0, precision=0, minimum=0, maximum=MAX_SIDE, label="Height, 0 for the model's", elem_id="gen-height")
    with gr.Row():
        ui.run = gr.Button("Generate", variant="primary", min_width=140, elem_id="gen-run")
        ui.cancel = gr.Button("Cancel", interactive=False, min_width=140, elem_id="gen-cancel")
    ui.status = gr.HTML(status("Say what is to be seen, and generate."), elem_id="gen-status", elem_classes="eg-flat")


def _pictures(ui: SimpleNamespace) -> None:
    """Right column: what was made, and what can be done with it."""
    import gradio as gr

    ui.gallery = gr.Gallery(
        label="Pictures", columns=4, height=520, format="png", object_fit="contain", interactive=False, buttons=["fullscreen"],
        elem_id="gen-gallery",
    )  # fmt: skip
    with gr.Row(visible=False) as ui.after:
        ui.extend = gr.Button("Extend the chosen picture", min_width=150, elem_id="gen-extend")
        ui.edit = gr.Button("Paint over it", min_width=150, elem_id="gen-edit")
        ui.download = gr.DownloadButton("Download all", variant="primary", min_width=150, elem_id="gen-download")
    with gr.Accordion("Fill a part: paint over what shall be made anew", open=False, elem_id="gen-fill-box") as ui.fill_box:
        ui.canvas = gr.ImageEditor(
            label="Picture and mask", type="numpy", image_mode="RGBA", format="png", sources=["upload"], layers=False, transforms=[],
            brush=gr.Brush(default_size=12, colors=["#e11d48"], color_mode="fixed"), height=420, elem_id="gen-canvas",
        )  # fmt: skip
        ui.fill = gr.Button("Fill", variant="primary", elem_id="gen-fill")


def _wire_wishes(ui: SimpleNamespace) -> None:
    """What the controls say about themselves."""
    import gradio as gr

    def placed(event: gr.SelectData, known: list[str]) -> tuple[Any, ...]:
        place = place_at(event.index[0], event.index[1])
        # In one answer: whoever presses Generate at once has the place ticked.
        ticked = known if "place" in known else [*known, "place"]
        return place, gr.update(value=paint_map(place), label=f"Place: {actions.place_name(place)}"), ticked

    def modelled(model: str | None) -> dict[Any, Any]:
        if not model:
            return {ui.about: NO_MODEL}
        try:
            facts = generator_facts(model)
        except InputError as error:
            return {ui.about: "", ui.status: trouble(error), ui.hint_name: gr.update(choices=[], value=None), ui.hint_made: ""}
        hints = gr.update(choices=list(facts.hints), value=facts.hints[0] if facts.hints else None)
        told = {ui.about: actions.about(facts), ui.hint_made: can_be_made(facts.hints)}
        return {**told, ui.hint_name: hints, ui.steps: facts.steps, ui.guidance: facts.guidance}

    def hinted(session: Session, width: float, height: float, *values: Any) -> dict[Any, Any]:
        form = dict(zip((*_HINT, "model", *_FACTS), values, strict=True))
        try:
            made = _hints(session, form, {"width": width, "height": height})
        except InputError as error:
            return {ui.hint_view: gr.update(visible=False, value=None), ui.status: trouble(error, Path(form["hint_file"]))}
        if made is None:
            return {ui.hint_view: gr.update(visible=False, value=None)}
        shown = {ui.hint_view: gr.update(visible=True, value=made.shown)}
        return {**shown, ui.status: status(made.note, "hint")} if made.note else shown

    ui.size.change(lambda value: gr.update(info=actions.pixel_size(value)), ui.size, ui.size, **QUIET)
    ui.month.change(lambda value: gr.update(info=actions.month_name(value)), ui.month, ui.month, **QUIET)
    ui.map.select(placed, ui.known, [ui.place, ui.map, ui.known], **QUIET)
    facts = [ui.about, ui.status, ui.hint_name, ui.hint_made, ui.steps, ui.guidance]
    ui.model.change(modelled, ui.model, facts, **QUIET)
    read = [ui.session, ui.width, ui.height, *(getattr(ui, name) for name in (*_HINT, "model", *_FACTS))]
    changed = [ui.hint_file.change, ui.hint_name.change, ui.hint_source.change, ui.place.change, ui.known.change, ui.size.release]
    gr.on(changed, hinted, read, [ui.hint_view, ui.status], **QUIET)


def _wire_runs(ui: SimpleNamespace) -> None:
    """What the buttons do."""
    import gradio as gr

    outputs = [ui.status, ui.run, ui.cancel, ui.fill, ui.extend, ui.gallery, ui.after, ui.download, ui.chosen]
    form = [getattr(ui, name) for name in FORM]

    def generate(session: Session, width: float, height: float, *values: Any) -> Iterator[dict[Any, Any]]:
        yield from _running(ui, session, lambda: _read(session, values, width=int(width or 0), height=int(height or 0)))

    def fill(session: Session, canvas: dict[str, Any] | None, *values: Any) -> Iterator[dict[Any, Any]]:
        yield from _running(ui, session, lambda: _read(session, values, **_painted(session, canvas)))

    def extend(session: Session, chosen: int, *values: Any) -> Iterator[dict[Any, Any]]:
        yield from _running(ui, session, lambda: _read(session, values, **_extended(session, chosen, values[0])))

    def select(event: gr.SelectData) -> int:
        return int(event.index)

    def edit(session: Session, chosen: int) -> tuple[Any, ...]:
        made = session.generated
        return gr.update(value=None if made is None else str(made.shown[chosen])), gr.update(open=True)

    runs = {"show_progress": "hidden", "concurrency_limit": 2, "concurrency_id": "generate"}
    ui.run.click(generate, [ui.session, ui.width, ui.height, *form], outputs, **runs)
    ui.fill.click(fill, [ui.session, ui.canvas, *form], outputs, **runs)
    ui.extend.click(extend, [ui.session, ui.chosen, *form], outputs, **runs)
    ui.gallery.select(select, None, ui.chosen, **QUIET)
    ui.edit.click(edit, [ui.session, ui.chosen], [ui.canvas, ui.fill_box], **QUIET)
    ui.cancel.click(lambda session: session.cancel(), [ui.session], None, queue=False, **QUIET)


def _read(session: Session, values: tuple[Any, ...], **more: Any) -> Wishes:
    """The form as wishes."""
    form = dict(zip(FORM, values, strict=True))
    made = _hints(session, form, more)
    hints = dict(made.files) if made else {}
    metadata = actions.metadata_of(*(form[name] for name in _FACTS))
    numbers = {
        "count": int(form["count"]),
        "seed": int(form["seed"] or 0),
        "steps": int(form["steps"]),
        "guidance": float(form["guidance"]),
    }
    return Wishes(form["model"] or "", form["prompt"] or "", form["negative"] or "", metadata, hints, **{**numbers, **more})


def _hints(session: Session, form: dict[str, Any], more: dict[str, Any]) -> MadeHints | None:
    """What the hint box gives for the picture that is wanted."""
    if not form["hint_file"]:
        return None
    model, metadata = form["model"] or "", actions.metadata_of(*(form[name] for name in _FACTS))
    size = actions.canvas(model, more)
    source, name, file = (form[part] for part in _HINT)
    return actions.hints_of(model, source, name, file, size, metadata, session.folder / "hints")


def _painted(session: Session, canvas: dict[str, Any] | None) -> dict[str, Any]:
    """The picture on the canvas, as a file of the session's, and where it is painted over."""
    from PIL import Image

    background = (canvas or {}).get("background")
    if background is None:
        raise InputError("there is no picture to fill; upload one, or choose one and press 'Paint over it'")
    path = session.folder / "to-fill.png"
    Image.fromarray(background[..., :3]).save(path)
    return {"image": path, "mask": actions.painted_mask(canvas)}


def _extended(session: Session, chosen: int, model: str) -> dict[str, Any]:
    """The chosen picture, to be continued on all sides."""
    from .generate_job import load_generator

    if session.generated is None:
        raise InputError("there is no picture to extend yet; generate some first")
    picture = session.generated.shown[chosen]
    return {"image": picture, "extend": actions.borders(picture, load_generator(model).factor), "count": 1}


def _running(ui: SimpleNamespace, session: Session, wishes: Any) -> Iterator[dict[Any, Any]]:
    """A run with its progress, from wishes that are read when it begins."""
    import gradio as gr

    def ready(idle: bool) -> dict[Any, Any]:
        buttons = {part: gr.update(interactive=idle) for part in (ui.run, ui.fill, ui.extend)}
        return {**buttons, ui.cancel: gr.update(interactive=not idle)}

    try:
        wanted = wishes()
        yield {ui.status: status("Loading the model.", waiting=True), **ready(False)}
        for progress in run(session, wanted):
            yield {ui.status: progress_status(progress)}
    except Cancelled:
        yield {ui.status: status("Cancelled; nothing was written.", "hint"), **ready(True)}
    except Exception as error:  # also our own mistakes: the user gets a sentence, the terminal the details
        yield {ui.status: trouble(error), **ready(True)}
    else:
        made = session.generated
        assert made is not None
        shown = [(str(path), f"seed {seed}") for path, seed in zip(made.shown, made.seeds, strict=True)]
        after = {ui.after: gr.update(visible=True), ui.download: gr.update(value=str(made.archive)), ui.chosen: 0}
        yield {
            ui.status: status(actions.done(made), "good"),
            ui.gallery: gr.update(value=shown, selected_index=None),
            **after,
            **ready(True),
        }
