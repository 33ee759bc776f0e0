"""The tab Classes: rename or forget a class, merge another model, download the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from avcil.data.renaming import renaming
from avcil.errors import AvcilError, InputError
from avcil.serve import render_learning as render
from avcil.serve.examples import Examples
from avcil.serve.incoming import Upload
from avcil.serve.page_predict import QUIET
from avcil.serve.page_teach import header
from avcil.serve.render import problem_html
from avcil.serve.service import Service
from avcil.serve.state_entries import ChangeEntry

_DOWNLOAD = (
    '<p class="model-link"><a href="api/model" download="model.zip">Download the model</a> '
    "<span>Unpack the zip file for <code>avcil predict</code> or <code>avcil serve</code>. The HTTP API is described "
    'at <a class="plain" href="api/docs">api/docs</a>.</span></p>'
)
_MERGE = (
    '<p class="soft limits">The zip file of another model with the same encoders, downloaded from this tab. The result '
    "equals one model that learned the clips of both.</p>"
)


def classes_tab(service: Service, examples: Examples, tab: gr.Tab, top: gr.HTML) -> None:
    """Fill the tab; `top` is the header with the number of classes."""
    gr.HTML(_DOWNLOAD, padding=False)
    message = gr.HTML("", elem_id="classes-message", padding=False)
    gallery = gr.HTML("", elem_id="gallery", padding=False)

    def gallery_html() -> str:
        return render.gallery_html(service.classes(), examples.pictures())

    if service.read_only:
        tab.select(gallery_html, None, gallery, **QUIET | {"show_progress": "minimal"})
        return
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=300):
            label, form = _change_form()
        with gr.Column(scale=5, min_width=300):
            merge_button, merge_inputs = _merge_form()

    def choices() -> Any:
        return gr.update(choices=list(service.recognizer.classes_), value=None)

    def handler(change: Callable[..., ChangeEntry]) -> Callable[..., tuple[Any, ...]]:
        def run(*values: Any) -> tuple[Any, ...]:
            try:
                entry = change(*values)
            except AvcilError as error:
                return (problem_html(str(error)), *(gr.skip(),) * 3)
            return render.change_html(entry), gallery_html(), choices(), header(service)

        return run

    outputs = [message, gallery, label, top]
    tab.select(lambda: (gallery_html(), choices()), None, [gallery, label], **QUIET)
    _bind_change(service, label, form, handler, outputs)
    merge_button.click(handler(lambda *values: _merge(service, *values)), merge_inputs, outputs, **QUIET)


def _change_form() -> tuple[gr.Dropdown, dict[str, Any]]:
    """The form to rename or forget a class: the dropdown of classes, and the other components by name."""
    label = gr.Dropdown(
        [],
        label="Change a class",
        value=None,
        allow_custom_value=True,
        elem_id="change-class",
        elem_classes="field",
    )
    name = gr.Textbox(
        label="New name", max_lines=1, max_length=100, elem_id="change-name", elem_classes="field"
    )
    with gr.Row():
        rename = gr.Button("Rename", elem_id="change-rename", min_width=110)
        forget = gr.Button("Forget", elem_id="change-forget", min_width=110)
    with gr.Column(visible=False, elem_id="change-confirm") as confirm:
        question = gr.HTML("", padding=False)
        with gr.Row():
            yes = gr.Button("Yes, forget it", variant="stop", elem_id="change-yes", min_width=110)
            no = gr.Button("Cancel", elem_id="change-no", min_width=110)
    parts = {"name": name, "rename": rename, "forget": forget, "confirm": confirm}
    return label, parts | {"question": question, "yes": yes, "no": no}


def _merge_form() -> tuple[gr.Button, list[Any]]:
    """The form to merge a model: its button and its inputs."""
    file = gr.File(label="Merge a model (zip file)", elem_id="merge-file", height=120)
    gr.HTML(_MERGE, padding=False)
    same = gr.Checkbox(label="Classes of the same name are the same class", elem_id="merge-same")
    pairs = gr.Textbox(
        label="Rename classes of that model: OLD=NEW, one per line",
        lines=2,
        elem_id="merge-rename",
        elem_classes="field",
    )
    return gr.Button("Merge", elem_id="merge-start", min_width=110), [file, same, pairs]


def _bind_change(
    service: Service,
    label: gr.Dropdown,
    form: dict[str, Any],
    handler: Callable[..., Any],
    outputs: list[gr.components.Component],
) -> None:
    confirm, question = form["confirm"], form["question"]

    def hidden() -> Any:
        return gr.update(visible=False)

    def show_confirmation(chosen: str | None) -> tuple[Any, Any, str]:
        if chosen not in service.recognizer.classes_:
            return hidden(), "", problem_html("choose a class to forget")
        return gr.update(visible=True), render.confirm_html(chosen), ""

    rename = handler(lambda chosen, name: service.rename(chosen or "", name or ""))
    forget = handler(lambda chosen: service.forget(chosen or ""))
    form["rename"].click(rename, [label, form["name"]], outputs, **QUIET)
    form["forget"].click(show_confirmation, label, [confirm, question, outputs[0]], **QUIET)
    form["yes"].click(forget, label, outputs, **QUIET).then(hidden, None, confirm, **QUIET)
    form["no"].click(hidden, None, confirm, **QUIET)
    label.input(hidden, None, confirm, **QUIET)


def _merge(service: Service, file: str | None, same: bool, pairs: str | None) -> ChangeEntry:
    if file is None:
        raise InputError("choose the zip file of a model")
    renamed = renaming([line.strip() for line in (pairs or "").splitlines() if line.strip()], where="Rename")
    return service.merge(Upload(Path(file), Path(file).name), same_classes=bool(same), renamed=renamed)
