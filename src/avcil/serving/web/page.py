"""The page for people: ask, teach, gallery. Gradio carries it; the service does the work.

Teaching is watched by a timer, not by the request that began it: a page that is closed and opened again goes on
watching, and so does everybody else's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from avcil.errors import AvcilError
from avcil.serving.web import render
from avcil.serving.web.examples import Examples
from avcil.serving.web.service import Service, words
from avcil.serving.web.teaching import Upload

HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
HINT = '<div class="hint">The answer appears here: the class, how sure it is, and what it looked at and heard.</div>'

TEACH_HINT = (
    '<div class="hint">Name a class and give some clips of it. It learns in seconds; how well it then knows the old '
    "classes and the new one appears here. One clip in four is kept aside to measure by.</div>"
)


def make_theme() -> gr.themes.Base:
    """Fonts of the reader's own system: nothing is fetched."""
    return gr.themes.Base(
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
    )


def make_page(service: Service) -> gr.Blocks:
    """The page of one service."""
    examples = Examples(service)
    with gr.Blocks(title="avcil", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        header = gr.HTML(_header(service), padding=False)
        with gr.Tabs():
            with gr.Tab("Ask"):
                _ask(page, service, examples)
            if not service.read_only:
                with gr.Tab("Teach"):
                    _teach(page, service, header)
            with gr.Tab("Gallery") as tab:
                _gallery(page, service, examples, tab)
    page.queue(max_size=64, default_concurrency_limit=service.limits.workers + 2)
    return page


def _header(service: Service) -> str:
    return render.header_html(len(service.recognizer.classes_), service.recognizer.modality)


# -- ask -----------------------------------------------------------------------------------------------------------


def _ask(page: gr.Blocks, service: Service, examples: Examples) -> None:
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=4, min_width=300):
            with gr.Tabs():
                with gr.Tab("Choose a clip"):
                    file = gr.File(label="A clip with picture and sound", elem_id="ask-file", height=170)
                with gr.Tab("Record one"):
                    camera = gr.Video(
                        sources=["webcam"], include_audio=True, label="Camera and microphone", height=280
                    )
            invite = gr.HTML('<p class="soft trylabel">Or try one of these</p>', visible=False, padding=False)
            tries = gr.Gallery(
                label="Clips to try",
                show_label=False,
                container=False,
                columns=3,
                height="auto",
                allow_preview=False,
                object_fit="cover",
                interactive=False,
                elem_id="tries",
                visible=False,
                buttons=[],
            )
        with gr.Column(scale=6, min_width=300):
            answer = gr.HTML(HINT, elem_id="answer", padding=False)
    shown = gr.State([])

    def load() -> tuple[Any, Any, list[Any]]:
        found = examples.to_try()
        pictures = [(frame, clip.label) for frame, clip in found]
        there = bool(pictures)
        return gr.update(visible=there), gr.update(value=pictures, visible=there), [clip for _, clip in found]

    def tried(clips: list[Any], event: gr.SelectData) -> str:
        clip = clips[event.index]
        return asked(service, Path(clip.path), Path(clip.path).name)

    file.upload(lambda path: _asked_upload(service, path), file, answer, **PRIVATE)
    file.clear(lambda: HINT, None, answer, **QUIET)
    camera.stop_recording(lambda path: _asked_upload(service, path), camera, answer, **PRIVATE)
    page.load(load, None, [invite, tries, shown], **QUIET)
    tries.select(tried, shown, answer, **PRIVATE)


def _asked_upload(service: Service, path: str | None) -> str:
    return HINT if path is None else asked(service, Path(path), Path(path).name)


def asked(service: Service, path: Path, name: str) -> str:
    """The answer for a clip as HTML, or what is wrong with it."""
    try:
        with service.place():
            return render.answer_html(service.look(path), name)
    except AvcilError as error:
        return render.problem_html(words(error, path, name))


# -- teach -----------------------------------------------------------------------------------------------------------


def _teach(page: gr.Blocks, service: Service, header: gr.HTML) -> None:
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=4, min_width=300):
            label = gr.Textbox(
                label="Name of the class",
                placeholder="door bell",
                max_lines=1,
                max_length=100,
                elem_id="teach-label",
            )
            files = gr.File(
                label="Clips of it; eight or more are good",
                file_count="multiple",
                elem_id="teach-files",
                height=190,
            )
            with gr.Row():
                start = gr.Button("Teach it", variant="primary", elem_id="teach-start", min_width=110)
                undo = gr.Button("Undo the last", elem_id="teach-undo", min_width=110)
        with gr.Column(scale=6, min_width=300):
            said = gr.HTML("", elem_id="teach-said", padding=False)
            status = gr.HTML(TEACH_HINT, elem_id="teach-status", padding=False)
    seen = gr.State(None)
    watch = gr.Timer(1.0)

    def begin(name: str, paths: list[str] | None) -> tuple[str, Any]:
        try:
            service.start_teaching(name or "", [Upload(Path(p), Path(p).name) for p in paths or []])
        except AvcilError as error:
            return render.problem_html(str(error)), gr.skip()
        return "", None

    def take_back() -> str:
        try:
            undone = service.undo()
        except AvcilError as error:
            return render.problem_html(str(error))
        return render.undone_html(undone["label"])

    def look(before: Any) -> tuple[Any, Any, Any, Any]:
        teaching, sittings = service.teaching, service.work.sittings
        now = (
            teaching and (teaching.number, teaching.doing, teaching.done, teaching.ended.is_set()),
            len(sittings),
        )
        if now == before:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        can_undo = bool(sittings) and not service.learning
        html = render.teaching_html(teaching, sittings) or TEACH_HINT
        return html, _header(service), gr.update(interactive=can_undo), now

    shown = [status, header, undo, seen]
    start.click(begin, [label, files], [said, files], **PRIVATE).then(look, seen, shown, **QUIET)
    undo.click(take_back, None, said, **PRIVATE).then(look, seen, shown, **QUIET)
    watch.tick(look, seen, shown, **QUIET)
    page.load(look, seen, shown, **QUIET)


# -- gallery -----------------------------------------------------------------------------------------------------------


def _gallery(page: gr.Blocks, service: Service, examples: Examples, tab: gr.Tab) -> None:
    gr.HTML(
        '<p class="download"><a href="api/model" download="model.zip">Download the model</a> '
        "<span>a zip file for <code>avcil predict</code> and <code>avcil serve</code></span></p>",
        padding=False,
    )
    classes = gr.HTML("", elem_id="gallery", padding=False)

    def show() -> str:
        return render.gallery_html(service.classes(), examples.pictures())

    tab.select(show, None, classes, **PRIVATE)
