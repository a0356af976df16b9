"""The Upscale tab: a scene in, a sharper one out, with a slider between the two.

The layout and the wiring are here; what the buttons do is in `upscale_actions`, which knows nothing of gradio.
"""

# Gradio looks at the annotations of handlers, so they are not postponed in this file.

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..gen.errors import InputError
from . import upscale_actions as actions
from .display import named_composites
from .previews import open_scene
from .sessions import Cancelled, Session
from .upscale_job import MAX_SAMPLES, MAX_STEPS, Settings, model_names, run
from .upscale_updates import OWN, described, emptied, finished, modelled, redrawn, usual_steps

UPLOADS = [".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".zip"]
QUIET: dict[str, Any] = {"show_progress": "hidden"}
CONSISTENCIES = [("agrees with the input", "ibp"), ("as the network gives it", "none")]
STRETCHES = [("percentiles 2 to 98", "percentile"), ("fixed range", "fixed"), ("smallest to largest", "minmax")]


def build() -> None:
    """Lay the tab out inside the current `gradio.Blocks` and wire it."""
    import gradio as gr

    ui = SimpleNamespace(session=gr.State(Session, delete_callback=Session.close))
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            _inputs(ui)
        with gr.Column(scale=3, min_width=300):
            _pictures(ui)
    _wire_look(ui)
    _wire_scene(ui)
    _wire_run(ui)


def _inputs(ui: SimpleNamespace) -> None:
    """Left column: what to upscale, and how."""
    import gradio as gr

    names = model_names()
    ui.file = gr.File(label="Scene: GeoTIFF, Sentinel-2 zip, PNG or JPEG", file_types=UPLOADS, height=130, elem_id="up-file")
    ui.facts = gr.HTML(visible=False, elem_id="up-facts", elem_classes="eg-flat")
    with gr.Row():
        ui.radiometry = gr.Dropdown(
            actions.radiometry_choices(), value="", label="Meaning of the numbers", visible=False, min_width=300, elem_id="up-radiometry"
        )
        ui.product = gr.Dropdown([], label="Names of the bands", visible=False, min_width=300, elem_id="up-product")
    ui.model = gr.Dropdown(
        names,
        value=names[0] if names else None,
        label="Model",
        info="of the zoo, or the path of a model folder",
        allow_custom_value=True,
        elem_id="up-model",
    )
    ui.bands = gr.Dropdown(
        [], multiselect=True, label="Bands to sharpen", info="in the order that the model names", visible=False, elem_id="up-bands"
    )
    with gr.Row():
        ui.steps = gr.Slider(1, MAX_STEPS, value=20, step=1, label="Steps", min_width=140, elem_id="up-steps")
        ui.samples = gr.Slider(1, MAX_SAMPLES, value=1, step=1, label="Samples", min_width=140, elem_id="up-samples")
    with gr.Accordion("Seed and consistency", open=False, elem_id="up-more"), gr.Row():
        ui.seed = gr.Number(0, precision=0, minimum=0, label="Seed", min_width=140, elem_id="up-seed")
        ui.consistency = gr.Dropdown(CONSISTENCIES, value="ibp", label="Consistency", min_width=140, elem_id="up-consistency")
    ui.time = gr.HTML("", elem_id="up-time", elem_classes="eg-flat")
    with gr.Row():
        ui.run = gr.Button("Upscale", variant="primary", min_width=140, elem_id="up-run")
        ui.cancel = gr.Button("Cancel", interactive=False, min_width=140, elem_id="up-cancel")
    ui.status = gr.HTML(actions.status("Upload a scene to begin."), elem_id="up-status", elem_classes="eg-flat")
    with gr.Column(visible=False, elem_id="up-downloads") as ui.downloads:
        ui.get_image = gr.DownloadButton("Download the sharper scene", variant="primary", elem_id="up-get-image")
        with gr.Row():
            ui.get_uncertainty = gr.DownloadButton("Uncertainty", min_width=140, elem_id="up-get-uncertainty")
            ui.get_invented = gr.DownloadButton("Invented", min_width=140, elem_id="up-get-invented")


def _pictures(ui: SimpleNamespace) -> None:
    """Right column: how it is shown, and the pictures."""
    import gradio as gr

    with gr.Row():
        ui.composite = gr.Dropdown([], label="Composite", min_width=150, elem_id="up-composite")
        ui.stretch = gr.Dropdown(STRETCHES, value="percentile", label="Stretch", min_width=150, elem_id="up-stretch")
        ui.joint = gr.Dropdown(
            [("all bands together", "joint"), ("each band", "each")], value="joint", label="Limits for", min_width=150, elem_id="up-joint"
        )
    with gr.Row(visible=False) as ui.rgb_row:
        ui.rgb = [gr.Dropdown([], label=colour, min_width=90, elem_id=f"up-{colour.lower()}") for colour in ("Red", "Green", "Blue")]
    with gr.Row(visible=False) as ui.range_row:
        ui.low = gr.Number(0.0, label="Black at", min_width=120, elem_id="up-low")
        ui.high = gr.Number(0.3, label="White at", min_width=120, elem_id="up-high")
    with gr.Tabs(selected="input") as ui.views:
        with gr.Tab("Input", id="input"):
            ui.overview = gr.Image(
                type="numpy", format="png", interactive=False, label="Input", height=520, buttons=["fullscreen"], elem_id="up-overview"
            )
            ui.overview_note = gr.Markdown("", elem_id="up-overview-note")
        with gr.Tab("Before and after", id="result"):
            with gr.Row():
                ui.left = gr.Radio(
                    [("input pixels", "pixels"), ("bicubic", "bicubic")], value="pixels", label="Left", min_width=150, elem_id="up-left"
                )
                ui.right = gr.Radio(
                    [("sharper", "image"), ("uncertainty", "uncertainty"), ("invented", "invented")],
                    value="image",
                    label="Right",
                    min_width=220,
                    elem_id="up-right",
                )
            ui.slider = gr.ImageSlider(
                type="numpy", format="png", interactive=False, label="Before and after", max_height=760, elem_id="up-slider"
            )
            ui.legend = gr.HTML("", elem_id="up-legend", elem_classes="eg-flat")


def _wire_scene(ui: SimpleNamespace) -> None:
    """What happens when a scene arrives, or is understood in another way."""
    import gradio as gr

    scene = [ui.facts, ui.radiometry, ui.product, ui.bands, ui.composite, *ui.rgb, ui.rgb_row, ui.status, ui.downloads, ui.views]

    def opened(session: Session, path: str | None, model: str) -> dict[Any, Any]:
        session.cancel()
        session.keep(None)
        session.scene, session.centre = None, (0.5, 0.5)
        if path is None:
            return emptied(ui, actions.status("Upload a scene to begin."))
        try:
            session.scene = open_scene(Path(path))
            return described(ui, session, model, fresh=True)
        except Exception as error:  # a file from anywhere: whatever a reader makes of it, the page stays usable
            session.scene = None
            return emptied(ui, actions.trouble(error, Path(path)))

    def reopened(session: Session, radiometry: str, product: str, model: str) -> dict[Any, Any]:
        if session.scene is None:
            return {ui.status: gr.skip()}
        try:
            session.scene = open_scene(session.scene.path, chosen=radiometry or "", product=product or "")
        except InputError as error:
            return {ui.status: actions.trouble(error, session.scene.path)}
        session.keep(None)
        return described(ui, session, model, fresh=False)

    def remodelled(session: Session, model: str) -> dict[Any, Any]:
        known = modelled(ui, session, model) if session.scene is not None else {ui.status: gr.skip()}
        return {**known, **usual_steps(ui, model)}

    def timed(session: Session, model: str, steps: float, samples: float) -> str:
        try:
            settings = Settings(model or "", (), int(steps or 0), 0, int(samples or 0))
        except InputError:
            return ""
        return actions.expected_time(session.scene, settings)

    costs = [ui.session, ui.model, ui.steps, ui.samples]
    arrived = gr.on([ui.file.upload, ui.file.clear], opened, [ui.session, ui.file, ui.model], scene, show_progress="minimal")
    arrived.then(ui.painted, ui.looks, ui.shown, **QUIET).then(timed, costs, ui.time, **QUIET)
    understood = gr.on([ui.radiometry.input, ui.product.input], reopened, [ui.session, ui.radiometry, ui.product, ui.model], scene, **QUIET)
    understood.then(ui.painted, ui.looks, ui.shown, **QUIET)
    known = ui.model.change(remodelled, [ui.session, ui.model], [ui.facts, ui.bands, ui.status, ui.steps], **QUIET)
    known.then(timed, costs, ui.time, **QUIET)
    gr.on([ui.steps.change, ui.samples.change], timed, costs, ui.time, trigger_mode="always_last", **QUIET)


def _wire_look(ui: SimpleNamespace) -> None:
    """What happens when the pictures shall look different."""
    import gradio as gr

    ui.looks = [ui.session, ui.left, ui.right, ui.composite, *ui.rgb, ui.stretch, ui.joint, ui.low, ui.high]
    ui.shown = [ui.overview, ui.overview_note, ui.slider, ui.legend, ui.status]

    def painted(session: Session, left: str, right: str, *look: Any) -> dict[Any, Any]:
        return redrawn(ui, session, left, right, look)

    def chosen(session: Session, left: str, right: str, *look: Any) -> dict[Any, Any]:
        own = look[0] == OWN
        if not own and session.scene is not None and look[0]:
            look = (look[0], *named_composites(session.scene.names)[look[0]], *look[4:])
        rows = {ui.rgb_row: gr.update(visible=own), ui.range_row: gr.update(visible=look[4] == "fixed")}
        bands = {part: gr.update(value=name) for part, name in zip(ui.rgb, look[1:4], strict=True)}
        return {**rows, **bands, **redrawn(ui, session, left, right, look)}

    def moved(event: gr.SelectData, session: Session, left: str, right: str, *look: Any) -> dict[Any, Any]:
        session.look_at(event.index[1], event.index[0])
        return redrawn(ui, session, left, right, look)

    ui.painted = painted
    rows = [*ui.shown, ui.rgb_row, ui.range_row, *ui.rgb]
    simple = [ui.left.input, ui.right.input, *(part.input for part in ui.rgb), ui.low.change, ui.high.change]
    gr.on([ui.composite.input, ui.stretch.input, ui.joint.input], chosen, ui.looks, rows, **QUIET)
    gr.on(simple, painted, ui.looks, ui.shown, **QUIET)
    ui.overview.select(moved, ui.looks, ui.shown, **QUIET)


def _wire_run(ui: SimpleNamespace) -> None:
    """What the buttons do."""
    import gradio as gr

    outputs = [ui.status, ui.run, ui.cancel, ui.downloads, ui.get_image, ui.get_uncertainty, ui.get_invented, ui.views, ui.right]

    def upscale(
        session: Session, model: str, bands: list[str], steps: float, seed: float, samples: float, consistency: Any
    ) -> Iterator[dict[Any, Any]]:
        idle = {ui.run: gr.update(interactive=True), ui.cancel: gr.update(interactive=False)}
        try:
            settings = Settings(model or "", tuple(bands or ()), int(steps or 0), int(seed or 0), int(samples or 0), consistency)
            yield {
                ui.status: actions.status("Loading the model.", waiting=True),
                ui.run: gr.update(interactive=False),
                ui.cancel: gr.update(interactive=True),
            }
            for progress in run(session, settings):
                yield {ui.status: actions.progress_status(progress)}
        except Cancelled:
            yield {ui.status: actions.status("Cancelled; nothing was written.", "hint"), **idle}
        except Exception as error:  # also our own mistakes: the user gets a sentence, the terminal the details
            yield {ui.status: actions.trouble(error, session.scene.path if session.scene else None), **idle}
        else:
            yield {**idle, **finished(ui, session)}

    inputs = [ui.session, ui.model, ui.bands, ui.steps, ui.seed, ui.samples, ui.consistency]
    done = ui.run.click(upscale, inputs, outputs, show_progress="hidden", concurrency_limit=2, concurrency_id="upscale")
    done.then(ui.painted, ui.looks, ui.shown, show_progress="hidden")
    ui.cancel.click(lambda session: session.cancel(), [ui.session], None, queue=False, show_progress="hidden")
