"""The tab where a clip is uploaded, recorded or selected, and predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.concurrency import run_in_threadpool

from avcil.errors import AvcilError
from avcil.serve import render
from avcil.serve.examples import Examples
from avcil.serve.guard import client_of
from avcil.serve.limits import ServeLimits
from avcil.serve.messages import public_message
from avcil.serve.service import Service

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_HINT = '<div class="hint">The prediction appears here: the class, its probability and an explanation.</div>'
_CAMERA = {
    "video": {
        "width": {"ideal": 640},
        "height": {"ideal": 480},
        "frameRate": {"ideal": 25},
        "facingMode": {"ideal": "environment"},
    }
}
"""Small enough for slow machines; on phones, the camera at the back is used."""
_BUSY = f"() => {json.dumps(render.busy_html('Predicting …'))}"
"""Shown before the clip is uploaded."""
SHOW = """() => {
  const part = document.getElementById('PART');
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  if (part.getBoundingClientRect().top > 0.6 * innerHeight) part.scrollIntoView({behavior: still ? 'auto' : 'smooth'});
}"""
"""On a phone, the element PART with the prediction is below the visible part of the page."""


def limits_text(limits: ServeLimits) -> str:
    """The limits of an upload."""
    return (
        f"up to {limits.upload_bytes / 10**6:g}\N{NO-BREAK SPACE}MB and {limits.seconds:g}\N{NO-BREAK SPACE}s"
    )


def _kinds(service: Service) -> str:
    input_modalities = service.recognizer.model.input_modalities
    if {"audio", "visual"} <= set(input_modalities):
        return "Video with audio, or audio alone"
    return f"A clip with {' or '.join(render.PARTS[part] for part in input_modalities)}"


def predict_tab(page: gr.Blocks, service: Service, examples: Examples) -> None:
    """Fill the tab."""
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=4, min_width=300):
            file, camera = _sources(service)
            heading = gr.HTML(
                '<h2 class="gallery-heading">Or select a test clip</h2>', visible=False, padding=False
            )
            gallery = _test_clip_gallery()
        with gr.Column(scale=6, min_width=300):
            prediction = gr.HTML(_HINT, elem_id="prediction", padding=False)
    test_clips = gr.State([])

    def load() -> tuple[Any, Any, list[Any]]:
        clips = examples.test_clips()
        pictures = [(frame, clip.label) for frame, clip in clips]
        is_visible = bool(pictures)
        return (
            gr.update(visible=is_visible),
            gr.update(value=pictures, visible=is_visible),
            [clip for _, clip in clips],
        )

    async def predict_test_clip(clips: list[Any], event: gr.SelectData, request: gr.Request) -> str:
        if type(event.index) is not int or not 0 <= event.index < len(clips):
            return _HINT
        clip = clips[event.index]
        path = Path(clip.path)
        name = f"{path.name}, a test clip of “{clip.label}”"
        return await _prediction_html(service, path, name, request)

    async def predict_upload(path: str | None, request: gr.Request) -> str:
        return (
            _HINT if path is None else await _prediction_html(service, Path(path), Path(path).name, request)
        )

    async def predict_recording(path: str | None, request: gr.Request) -> str:
        return (
            _HINT if path is None else await _prediction_html(service, Path(path), "Your recording", request)
        )

    show = SHOW.replace("PART", "prediction")
    for event, predict, source in (
        (file.upload, predict_upload, file),
        (camera.stop_recording, predict_recording, camera),
        (gallery.select, predict_test_clip, test_clips),
    ):
        event(None, None, prediction, js=_BUSY, **QUIET)
        event(predict, source, prediction, **QUIET).then(None, None, None, js=show, **QUIET)
    for source in (file, camera):
        source.clear(lambda: _HINT, None, prediction, **QUIET)
    page.load(load, None, [heading, gallery, test_clips], **QUIET)


def _sources(service: Service) -> tuple[gr.File, gr.Video]:
    with gr.Tabs(elem_classes="sources"):
        with gr.Tab("Upload a clip"):
            file = gr.File(label="Clip", show_label=False, elem_id="predict-file", height=150)
        with gr.Tab("Record a clip"):
            camera = gr.Video(
                sources=["webcam"],
                include_audio=True,
                webcam_options=gr.WebcamOptions(
                    mirror=False, constraints=_CAMERA
                ),  # mirroring needs an ffmpeg
                label="Camera and microphone",
                show_label=False,
                height=280,
                elem_id="predict-camera",
            )
    gr.HTML(f'<p class="soft limits">{_kinds(service)}; {limits_text(service.limits)}.</p>', padding=False)
    return file, camera


def _test_clip_gallery() -> gr.Gallery:
    return gr.Gallery(
        label="Test clips",
        show_label=False,
        container=False,
        columns=3,
        height="auto",
        allow_preview=False,
        object_fit="cover",
        interactive=False,
        elem_id="test-clips",
        visible=False,
        buttons=[],
    )


async def _prediction_html(service: Service, path: Path, name: str, request: gr.Request) -> str:
    """The prediction of a clip as HTML, or the error; waits for a slot like requests of the API."""

    def predict() -> str:
        return render.prediction_html(service.view(path), name)

    scope = {} if request.request is None else request.request.scope
    try:
        async with service.queue.async_slot(client_of(scope), _never):
            return await run_in_threadpool(predict)
    except AvcilError as error:
        return render.problem_html(public_message(error, path, name))


async def _never() -> bool:
    """The request of a Gradio event ends at once, so it is not known whether the page is still open."""
    return False
