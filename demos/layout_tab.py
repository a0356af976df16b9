"""The Layout tab: boxes drawn on a canvas, imported or drawn from a prior; labelled pictures out.

The layout is here, the wiring in `layout_wiring`; what the buttons do is in `layout_actions`, `layout_job` and `layout_set`, which know
nothing of gradio.
"""

from __future__ import annotations

from types import SimpleNamespace

from . import layout_actions as actions
from .layout_canvas import MAX_SIDE, build_canvas
from .layout_job import MAX_PICTURES, MAX_STEPS
from .layout_model import about_model, layout_models, missing_model
from .layout_priors import prior_choices
from .layout_session import LayoutSession
from .layout_set import format_choices
from .layout_wiring import wire_canvas, wire_frame, wire_results, wire_runs
from .upscale_actions import status

UPLOADS = [".json", ".jsonl", ".txt", ".xml", ".yaml", ".yml", ".zip", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"]
BACKGROUNDS = [".png", ".jpg", ".jpeg", ".tif", ".tiff"]
_TABLE = """
.eg-scores > div { overflow: auto; max-height: 320px; margin-top: 6px; }
.eg-scores table { border-collapse: collapse; width: 100%; font-size: var(--text-sm); }
.eg-scores th { position: sticky; top: 0; background: var(--block-background-fill); text-align: right; font-weight: 600; cursor: help; }
.eg-scores th, .eg-scores td { padding: 3px 10px; border-bottom: 1px solid var(--border-color-primary); white-space: nowrap; }
.eg-scores td { text-align: right; font-variant-numeric: tabular-nums; }
.eg-scores th:nth-child(2), .eg-scores td:nth-child(2) { text-align: left; }
.eg-scores td span { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px; }
.eg-scores td:first-child { color: var(--body-text-color-subdued); }
.eg-scores td.far { color: #c2410c; font-weight: 600; }
"""


def build() -> None:
    """Lay the tab out inside the current `gradio.Blocks` and wire it."""
    import gradio as gr

    ui = SimpleNamespace(session=gr.State(LayoutSession, delete_callback=LayoutSession.close), chosen=gr.State(0))
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            _sources(ui)
            _wishes(ui)
        with gr.Column(scale=3, min_width=300):
            _views(ui)
    wire_canvas(ui)
    wire_frame(ui)
    wire_runs(ui)
    wire_results(ui)


def _sources(ui: SimpleNamespace) -> None:
    """Left column, above: where boxes come from."""
    import gradio as gr

    names = layout_models()
    ui.facts = actions.known_facts(names[0] if names else None)
    priors = prior_choices(ui.facts, None)
    ui.model = gr.Dropdown(
        names, value=names[0] if names else None, label="Model", info="of the zoo, or the path of a model folder",
        allow_custom_value=True, elem_id="lay-model",
    )  # fmt: skip
    ui.about = gr.Markdown(about_model(ui.facts) if ui.facts else missing_model(), elem_id="lay-about")
    with gr.Accordion("Import boxes: COCO, DOTA, YOLO, VOC, DIOR, HRSC", open=False, elem_id="lay-import"):
        ui.files = gr.File(
            label="Labels (with their pictures where the format needs them), or a zip", file_count="multiple", file_types=UPLOADS,
            height=130, elem_id="lay-files",
        )  # fmt: skip
        ui.number = gr.Slider(1, 2, value=1, step=1, label="Picture", visible=False, elem_id="lay-number")
    with gr.Accordion("Picture underneath: objects are painted into it", open=False, elem_id="lay-under"):
        ui.background = gr.File(label="PNG, JPEG or GeoTIFF", file_types=BACKGROUNDS, height=130, elem_id="lay-background")
    with gr.Group(elem_id="lay-priors"):
        ui.prior = gr.Dropdown(
            priors,
            value=priors[0][1] if priors else None,
            label="Layouts from a prior",
            info="one on the canvas, or one for each picture of a batch",
            interactive=bool(priors),
            elem_id="lay-prior",
        )
        with gr.Row():
            ui.draw = gr.Button("Draw a layout", interactive=bool(priors), min_width=120, elem_id="lay-draw")
            ui.batch = gr.Button("Paint a batch", interactive=bool(priors), min_width=120, elem_id="lay-batch")


def _wishes(ui: SimpleNamespace) -> None:
    """Left column, below: what is made of the boxes."""
    import gradio as gr

    ui.prompt = gr.Textbox(
        label="What else is to be seen",
        placeholder="an airport beside farmland",
        visible=bool(ui.facts and ui.facts.text),
        elem_id="lay-prompt",
    )
    with gr.Row():
        ui.count = gr.Slider(1, MAX_PICTURES, value=4, step=1, label="Pictures", min_width=140, elem_id="lay-count")
        ui.seed = gr.Number(0, precision=0, minimum=0, label="First seed", min_width=110, elem_id="lay-seed")
    with gr.Accordion("Steps, guidance and size", open=False, elem_id="lay-more"):
        with gr.Row():
            ui.steps = gr.Slider(
                1, MAX_STEPS, value=ui.facts.steps if ui.facts else 20, step=1, label="Steps", min_width=130, elem_id="lay-steps"
            )
            ui.guidance = gr.Slider(
                0,
                10,
                value=ui.facts.guidance if ui.facts else 2,
                step=0.5,
                label="Guidance by the layout",
                min_width=130,
                elem_id="lay-guidance",
            )
        height, width = ui.facts.size if ui.facts else actions.FREE_SIZE
        with gr.Row():
            ui.width = gr.Number(width, precision=0, maximum=MAX_SIDE, label="Width, pixels", min_width=110, elem_id="lay-width")
            ui.height = gr.Number(height, precision=0, maximum=MAX_SIDE, label="Height, pixels", min_width=110, elem_id="lay-height")
    with gr.Row():
        ui.run = gr.Button("Paint this layout", variant="primary", min_width=140, elem_id="lay-run")
        ui.cancel = gr.Button("Cancel", interactive=False, min_width=140, elem_id="lay-cancel")
    ui.status = gr.HTML(
        status("Draw boxes on the canvas, import some, or draw a layout from a prior."), elem_id="lay-status", elem_classes="eg-flat"
    )


def _views(ui: SimpleNamespace) -> None:
    """Right column: the canvas, and the pictures."""
    import gradio as gr

    with gr.Tabs(selected="canvas") as ui.views:
        with gr.Tab("Canvas", id="canvas"):
            ui.canvas = build_canvas(actions.first_value(ui.facts), "lay-canvas")
        with gr.Tab("Pictures", id="pictures"):
            ui.gallery = gr.Gallery(
                label="Labelled pictures", columns=4, height=480, format="png", object_fit="contain", interactive=False,
                buttons=["fullscreen"], elem_id="lay-gallery",
            )  # fmt: skip
            with gr.Column(visible=False) as ui.after:
                ui.boxes = gr.Checkbox(True, label="Draw the boxes over the pictures", elem_id="lay-boxes")
                ui.scores = gr.HTML("", css_template=_TABLE, apply_default_css=False, elem_id="lay-scores", elem_classes="eg-flat")
                with gr.Row():
                    ui.kind = gr.Dropdown(format_choices(), value="coco", label="Labels as", min_width=150, elem_id="lay-kind")
                    ui.flatten = gr.Checkbox(
                        False, label="Axis-aligned hulls", info="for formats without turned boxes", min_width=150, elem_id="lay-flatten"
                    )
                ui.download = gr.DownloadButton("Download pictures and labels", variant="primary", elem_id="lay-download")
                ui.packed = gr.HTML("", elem_id="lay-packed", elem_classes="eg-flat")
