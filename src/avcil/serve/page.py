"""The web page with the tabs Predict, Teach and Classes, built with Gradio."""

from __future__ import annotations

import gradio as gr

from avcil.serve.examples import Examples
from avcil.serve.page_classes import classes_tab
from avcil.serve.page_predict import predict_tab
from avcil.serve.page_teach import header, teach_tab
from avcil.serve.service import Service

HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'
I18N = gr.I18n(
    en={
        "upload_text.drop_file": "Drop a file here",
        "upload_text.click_to_upload": "choose a file",
        "common.or": "or",
    }
)
"""Replacements for texts of Gradio, as flat keys because nested keys are overwritten by Gradio's."""


def make_theme() -> gr.themes.Base:
    """System fonts, so that no fonts are downloaded."""
    return gr.themes.Base(
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
    )


_LOGOUT = '<form class="logout" method="post" action="logout"><button type="submit">Log out</button></form>'
_OTHER_EVENTS = 64
"""Number of parallel page events, without clips that wait for a worker."""


def make_page(service: Service, *, logout: bool = False) -> gr.Blocks:
    """The page of a service; `logout` adds a button to log out."""
    examples = Examples(service)
    with gr.Blocks(title="avcil", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        if logout:
            gr.HTML(_LOGOUT, padding=False)
        top = gr.HTML(header(service), padding=False)
        with gr.Tabs():
            with gr.Tab("Predict"):
                predict_tab(page, service, examples)
            if not service.read_only:
                with gr.Tab("Teach"):
                    teach_tab(page, service, top)
            with gr.Tab("Classes") as tab:
                classes_tab(service, examples, tab, top)
    # Clips wait in the fair queue of the service; Gradio's queue passes all events to it.
    page.state_session_capacity = service.limits.open_requests  # the default is 10,000
    page.max_threads = service.limits.workers + service.limits.waiting + _OTHER_EVENTS
    page.queue(max_size=page.max_threads, default_concurrency_limit=None)
    return page
