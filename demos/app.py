"""The web app: one tab a system, each in a file of its own with a function `build`.

Everything is served from this machine: no fonts, scripts or statistics of others are loaded, and the app works with the network unplugged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from ..gen.errors import InputError
from . import generate_tab, layout_tab, upscale_tab

TABS: tuple[tuple[str, Callable[[], None]], ...] = (
    ("Upscale", upscale_tab.build),
    ("Generate", generate_tab.build),
    ("Layout", layout_tab.build),
)
"""Title and builder of each tab, in their order."""

_CSS = """
.gradio-container { max-width: 1440px !important; margin: 0 auto !important; }
.eg-flat, .eg-flat > div:not(.eg-card):not(.eg-status) { padding: 0 !important; }
#eg-head h1 { font-size: 1.45rem; margin: 0; letter-spacing: -0.01em; }
#eg-head p { margin: 2px 0 0; color: var(--body-text-color-subdued); }
.eg-card { border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: 10px 14px;
  background: var(--block-background-fill); overflow-wrap: anywhere; }
.eg-card dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 0; font-size: var(--text-sm); }
.eg-card dt { color: var(--body-text-color-subdued); }
.eg-card dd { margin: 0; }
.eg-status { border-radius: var(--radius-lg); padding: 10px 14px; border: 1px solid var(--border-color-primary); overflow-wrap: anywhere; }
.eg-status.error { border-color: #c2410c; background: #fff1e8; color: #7c2d12; }
.eg-status.hint { border-color: #b7791f; background: #fff9e5; color: #6b4a0a; }
.eg-status.good { border-color: #2f7d4f; background: #eefaf1; color: #1d5233; }
.dark .eg-status.error { background: #3b1a0c; color: #ffd8c2; }
.dark .eg-status.hint { background: #33280b; color: #fbe6b0; }
.dark .eg-status.good { background: #10291a; color: #c5efd3; }
.eg-bar { height: 8px; border-radius: 4px; background: var(--border-color-primary); overflow: hidden; margin-top: 8px; }
.eg-bar > div { height: 100%; background: var(--color-accent); transition: width 0.3s linear; }
.eg-bar.waiting > div { width: 25%; animation: eg-wait 1.6s ease-in-out infinite alternate; }
@keyframes eg-wait { from { margin-left: 0; } to { margin-left: 75%; } }
.eg-legend { display: flex; align-items: center; gap: 10px; font-size: var(--text-sm); flex-wrap: wrap; }
.eg-legend > div { height: 12px; flex: 1 1 140px; max-width: 320px; border-radius: 3px; }
@media (max-width: 640px) { .gradio-container { padding: 6px !important; } }
"""


def build_app() -> Any:
    """The app with all tabs, not yet started.

    Returns:
        A `gradio.Blocks`.

    Raises:
        InputError: If gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio as gr
    except ImportError as error:
        raise InputError("the web app needs gradio, which is not installed; run pip install 'earthgen[demo]'") from error
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with gr.Blocks(title="EarthGen", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as app:
        gr.HTML("<h1>EarthGen</h1><p>Generative models for remote sensing, on this machine</p>", elem_id="eg-head", elem_classes="eg-flat")
        with gr.Tabs():
            for title, build in TABS:
                with gr.Tab(title):
                    build()
    app.queue(default_concurrency_limit=8, api_open=False)
    return app


def launch(host: str = "127.0.0.1", port: int | None = None, *, open_browser: bool = False, block: bool = True) -> str:
    """Serve the app.

    Args:
        host: Address to listen on; the default can be reached from this machine only.
        port: Port; None takes the first free one from 7860.
        open_browser: Whether to open the system's browser at it.
        block: Whether to stay until the app is stopped.

    Returns:
        The app's address.

    Raises:
        InputError: If gradio is missing or the port is taken.
    """
    app = build_app()
    try:
        _, address, _ = app.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            prevent_thread_lock=not block,
            theme=_theme(),
            css=_CSS,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            quiet=not block,
        )
    except OSError as error:
        raise InputError(f"the app cannot listen on {host}:{port or '7860 to 7959'} ({error}); choose another port") from error
    return str(address)


def _theme() -> Any:
    """Quiet colours, and names of fonts that systems have: gradio's own ones would be fetched."""
    import gradio as gr

    theme = gr.themes.Soft(
        primary_hue="teal",
        neutral_hue="slate",
        spacing_size="sm",
        font=["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
    plain = {"background_fill": "transparent", "background_fill_dark": "transparent", "padding": "0"}
    titles = {f"block_title_{name}": value for name, value in plain.items()}
    return theme.set(
        **titles,
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_label_text_color="*body_text_color",
        block_label_text_color_dark="*body_text_color",
        block_label_background_fill="*block_background_fill",
        block_label_background_fill_dark="*block_background_fill",
        block_shadow="none",
        block_border_width="1px",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
    )
