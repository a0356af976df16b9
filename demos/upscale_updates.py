"""What the Upscale tab's controls become: the actions' values, addressed to gradio's components."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ..gen.errors import InputError
from . import upscale_actions as actions
from .display import named_composites
from .previews import detail_window, fitting_products, paint_overview
from .sessions import Session
from .upscale_job import model_facts

OWN = "own choice"


def modelled(ui: SimpleNamespace, session: Session, model: str) -> dict[Any, Any]:
    """What the session's scene and the chosen model say together."""
    import gradio as gr

    scene = session.scene
    assert scene is not None
    known, wrong = None, ""
    try:
        known = model_facts(model)
    except InputError as error:
        wrong = actions.trouble(error)
    bands = scene.suggested(known.bands) if known else ()
    return {
        ui.facts: gr.update(value=actions.facts(scene, known), visible=True),
        ui.bands: gr.update(visible=True, choices=list(scene.names), value=list(bands)),
        ui.status: wrong or actions.next_step(scene, known, bands),
    }


def usual_steps(ui: SimpleNamespace, model: str) -> dict[Any, Any]:
    """The slider at the number of steps that the model is made for; left as it is for a model that cannot be read."""
    try:
        return {ui.steps: model_facts(model).steps}
    except InputError:
        return {}


def emptied(ui: SimpleNamespace, status: str) -> dict[Any, Any]:
    """The controls without a scene."""
    import gradio as gr

    hidden = (ui.facts, ui.radiometry, ui.product, ui.bands, ui.rgb_row, ui.downloads)
    return {
        **{part: gr.update(visible=False) for part in hidden},
        ui.composite: gr.update(choices=[], value=None),
        ui.status: status,
        ui.views: gr.Tabs(selected="input"),
    }


def described(ui: SimpleNamespace, session: Session, model: str, *, fresh: bool) -> dict[Any, Any]:
    """The controls for a scene that was just opened; a fresh one also gets the default look."""
    import gradio as gr

    scene = session.scene
    assert scene is not None
    composites = named_composites(scene.names)
    products = [("as in the file", ""), *((row.title, row.name) for row in fitting_products(scene.info))]
    updates = {
        **modelled(ui, session, model),
        ui.radiometry: gr.update(visible=scene.radiometry is None or bool(scene.chosen), value=scene.chosen),
        ui.downloads: gr.update(visible=False),
        ui.views: gr.Tabs(selected="input"),
    }
    if fresh:
        updates[ui.product] = gr.update(visible=len(products) > 1, choices=products, value="")
    if fresh or scene.product:
        title, bands = next(iter(composites.items()))
        updates[ui.composite] = gr.update(choices=[*composites, OWN], value=title)
        updates[ui.rgb_row] = gr.update(visible=False)
        updates |= {part: gr.update(choices=list(scene.names), value=name) for part, name in zip(ui.rgb, bands, strict=True)}
    return updates


def redrawn(ui: SimpleNamespace, session: Session, left: str, right: str, look: tuple[Any, ...]) -> dict[Any, Any]:
    """The pictures of the session's scene and result in a look."""
    import gradio as gr

    scene, result = session.scene, session.result
    if scene is None:
        return {ui.overview: None, ui.overview_note: "", ui.slider: None, ui.legend: ""}
    try:
        composite, red, green, blue, kind, joint, low, high = look
        shown = actions.make_look("" if composite == OWN else composite or "", (red, green, blue), kind, joint == "joint", low, high)
        large = result is not None and actions.is_large(scene.info, result.scale)
        frame = detail_window(scene.info.height, scene.info.width, result.scale, session.centre) if result is not None and large else None
        note = "Click where the slider shall look; the frame is what it shows." if large else ""
        updates = {ui.overview: paint_overview(scene, shown, frame=frame), ui.overview_note: note, ui.slider: None, ui.legend: ""}
        if result is not None:
            before, after, legend = actions.compare(result, shown, left, right, session.centre)
            updates |= {ui.slider: (before, after), ui.legend: legend}
        return updates
    except InputError as error:
        return {ui.status: actions.trouble(error, scene.path), ui.overview: gr.skip()}


def finished(ui: SimpleNamespace, session: Session) -> dict[Any, Any]:
    """The controls after a run that ended well."""
    import gradio as gr

    result = session.result
    assert result is not None
    return {
        ui.status: actions.status(f"Done in {actions.duration(result.seconds)}.", "good"),
        ui.downloads: gr.update(visible=True),
        ui.get_image: gr.update(value=str(result.image)),
        ui.get_uncertainty: gr.update(
            value=str(result.uncertainty) if result.uncertainty else None, interactive=result.uncertainty is not None
        ),
        ui.get_invented: gr.update(value=str(result.invented)),
        ui.views: gr.Tabs(selected="result"),
        ui.right: "image",
    }
