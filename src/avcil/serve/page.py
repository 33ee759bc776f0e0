"""The page: predict, teach, classes. Built with Gradio; the service does the work."""

from __future__ import annotations

import gradio as gr

from avcil.serve.examples import Examples
from avcil.serve.page_ask import ask_tab
from avcil.serve.page_classes import classes_tab
from avcil.serve.page_teach import header, teach_tab
from avcil.serve.service import Service

HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'
WORDS = gr.I18n(
    en={
        "upload_text.drop_file": "Drop a file here",
        "upload_text.click_to_upload": "choose a file",
        "common.or": "or",
    }
)
"""Gradio's own words, where they do not fit; as flat keys, since its own nested ones come after."""


def make_theme() -> gr.themes.Base:
    """Fonts of the reader's own system: nothing is fetched."""
    return gr.themes.Base(
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
    )


LOGOUT = '<form class="logout" method="post" action="logout"><button type="submit">Log out</button></form>'
OWN_EVENTS = 64
"""Events of pages at one time, apart from clips that wait for a worker."""


def make_page(service: Service, *, logout: bool = False) -> gr.Blocks:
    """The page of one service; with a button to log out where it asks for a password."""
    examples = Examples(service)
    with gr.Blocks(title="avcil", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        if logout:
            gr.HTML(LOGOUT, padding=False)
        top = gr.HTML(header(service), padding=False)
        with gr.Tabs():
            with gr.Tab("Predict"):
                ask_tab(page, service, examples)
            if not service.read_only:
                with gr.Tab("Teach"):
                    teach_tab(page, service, top)
            with gr.Tab("Classes") as tab:
                classes_tab(service, examples, tab, top)
    # Clips wait in the service's own queue, which is fair; Gradio's lets all events through to it.
    page.state_session_capacity = service.limits.open_requests  # Gradio keeps the state of 10,000 by default
    page.max_threads = service.limits.workers + service.limits.waiting + OWN_EVENTS
    page.queue(max_size=page.max_threads, default_concurrency_limit=None)
    return page
