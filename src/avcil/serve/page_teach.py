"""The tab Teach: learn clips of a class, and undo the last change.

Progress is polled with a timer, so that all open pages show it, also a page that was closed and opened again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from avcil.errors import AvcilError
from avcil.serve import render_learning as render
from avcil.serve.incoming import Upload
from avcil.serve.names import class_name
from avcil.serve.page_predict import QUIET, SHOW, limits_text
from avcil.serve.render import PARTS, problem_html
from avcil.serve.service import Service

_HINT = (
    '<div class="hint">Enter a class name and upload clips of it. One clip in five is held out of the training. '
    "The accuracy on these clips, and on those of the old classes, then appears here.</div>"
)


def header(service: Service) -> str:
    """The top of the page, with the number of classes."""
    recognizer = service.recognizer
    return render.header_html(len(recognizer.classes_), recognizer.modality, read_only=service.read_only)


def teach_tab(page: gr.Blocks, service: Service, top: gr.HTML) -> None:
    """Fill the tab; `top` is the header with the number of classes."""
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=4, min_width=300):
            label, known_class, background, files, start = _form(service)
        with gr.Column(scale=6, min_width=300, elem_id="teach-results"):
            message = gr.HTML("", elem_id="teach-message", padding=False)
            status = gr.HTML(_HINT, elem_id="teach-status", padding=False)
            undo = gr.Button("Undo", elem_id="teach-undo", visible=False, size="sm")
    displayed = gr.State(None)  # the state of job and model that the page shows

    def check_label(name: str | None) -> str:
        name = class_name(name or "")
        return render.known_class_html(name, name in service.recognizer.classes_)

    def start_learning(name: str, is_background: bool, paths: list[str] | None) -> tuple[Any, ...]:
        uploads = [Upload(Path(p), Path(p).name) for p in paths or []]
        try:
            if is_background:
                service.start_background(uploads)
            else:
                service.start_learning(name or "", uploads)
        except AvcilError as error:
            return (problem_html(str(error)), *(gr.skip(),) * 3)
        return "", "", False, None

    def undo_change() -> str:
        try:
            undone = service.undo()
        except AvcilError as error:
            return problem_html(str(error))
        return render.undone_html(undone)

    refresh = _refresh(service)
    outputs = [status, top, start, undo, displayed]
    label.change(check_label, label, known_class, **QUIET)
    background.change(lambda on: gr.update(interactive=not on), background, label, **QUIET)
    form = [label, background, files]
    started = start.click(start_learning, form, [message, *form], **QUIET)
    started.then(refresh, displayed, outputs, **QUIET).then(
        None, None, None, js=SHOW.replace("PART", "teach-results"), **QUIET
    )
    undo.click(undo_change, None, message, **QUIET).then(refresh, displayed, outputs, **QUIET)
    gr.Timer(1.0).tick(refresh, displayed, outputs, **QUIET)
    page.load(refresh, displayed, outputs, **QUIET)


def _form(service: Service) -> tuple[gr.Textbox, gr.HTML, gr.Checkbox, gr.File, gr.Button]:
    label = gr.Textbox(
        label="Class name",
        placeholder="for example: doorbell",
        max_lines=1,
        max_length=100,
        elem_id="teach-label",
        elem_classes="field",
    )
    known_class = gr.HTML("", elem_id="teach-known", padding=False)
    background = gr.Checkbox(
        label="Background clips: they belong to no class; similar clips will be reported as possibly unknown",
        elem_id="teach-background",
    )
    files = gr.File(
        label="Clips of the class", show_label=False, file_count="multiple", elem_id="teach-files", height=190
    )
    parts = PARTS[service.recognizer.modality]
    count = f"1 to {service.limits.clips} clips at a time, with {parts}, each "
    gr.HTML(
        f'<p class="soft limits">{count}{limits_text(service.limits)}. Eight or more are recommended.</p>',
        padding=False,
    )
    start = gr.Button("Teach", variant="primary", elem_id="teach-start", min_width=110)
    return label, known_class, background, files, start


def _refresh(service: Service) -> Callable[[Any], tuple[Any, ...]]:
    """The function that a page calls every second; it updates components only after changes."""

    def refresh(displayed: Any) -> tuple[Any, ...]:
        job, updates = service.job, service.state_directory.updates
        current = (
            job and (job.number, job.doing, job.done, job.ended.is_set()),
            updates and updates[-1]["number"],
        )
        if current == displayed:
            return (gr.skip(),) * 5
        learning = service.learning
        return (
            render.learning_html(job, updates) or _HINT,
            header(service),
            gr.update(value="Training …" if learning else "Teach", interactive=not learning),
            gr.update(
                value=render.undo_label(updates),
                visible=bool(updates),
                interactive=not learning,
            ),
            current,
        )

    return refresh
