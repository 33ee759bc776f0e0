"""Uploads are decoded in worker processes: a kill, a hang or an exceeded limit only affects its request."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
import httpx
import numpy as np
import pytest

from avcil.media import write_video
from avcil.serve.examples import Examples
from avcil.serve.limits import ServeLimits
from avcil.serve.service import Service


def send(url: str, clip: Path, query: str = "") -> httpx.Response:
    return httpx.post(f"{url}/api/predict{query}", files={"file": (clip.name, clip.read_bytes())}, timeout=60)


@pytest.fixture(scope="module")
def clip(trained) -> Path:
    """A clip of a known class."""
    return next((trained / "clips").glob("test-*.mp4"))


def stop_workers(service: Service, clip: Path) -> list[int]:
    """Stop the worker processes after each has answered once."""
    for _ in service.uploads.pool.pids:
        service.predict(clip)
    pids = service.uploads.pool.pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def test_nothing_is_decoded_in_the_server(run, serve_run, new_clips, tmp_path, monkeypatch):
    """Predictions, timelines, explanations, learning and frames work without PyAV in the server process."""
    long = tmp_path / "long.mp4"
    rng = np.random.default_rng(0)
    frames = [np.full((48, 64, 3), 40 + 15 * second, np.uint8) for second in range(8) for _ in range(4)]
    waveform = (0.1 * rng.standard_normal(8 * 16000)).astype(np.float32)
    write_video(long, frames, 4.0, waveform=waveform, sample_rate=16000)
    clips = new_clips(0)

    def forbidden(*words, **options):
        raise AssertionError("a file was decoded in the server")

    monkeypatch.setattr(av, "open", forbidden)
    with serve_run(run, limits={"seconds": 20.0}) as served:
        response = send(served.url, long, "?timeline=true")
        assert response.status_code == 200, response.text
        assert response.json()["events"]
        assert served.service.view(long).events
        files = [("files", (path.name, path.read_bytes())) for path in clips]
        assert httpx.post(f"{served.url}/api/teach", data={"label": "new"}, files=files).status_code == 202
        served.service.wait_for_learning()
        assert served.service.job.response().model_dump()["state"] == "done", served.service.job.error
        pictures = Examples(served.service)
        assert set(pictures.pictures()) == set(served.service.recognizer.classes_)
        assert pictures.test_clips()


def test_killed_worker(served, clip):
    """Its request is an error with the reason; the next request is predicted."""
    pids = stop_workers(served.service, clip)
    timer = threading.Timer(0.5, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids])
    timer.start()
    response = send(served.url, clip)
    timer.join()
    assert (response.status_code, response.json()["error"]["code"]) == (415, "not_a_clip")
    assert (
        response.json()["error"]["message"]
        == f"{clip.name}: the process that reads the clip was ended by SIGKILL"
    )
    assert [send(served.url, clip).status_code for _ in pids] == [200] * len(pids)


def test_hanging_worker(run, clip):
    """The request fails after the time limit, and the worker is restarted."""
    service = Service(run, limits=replace(ServeLimits(), decode_seconds=2.0))
    try:
        pids = stop_workers(service, clip)
        with pytest.raises(Exception, match=r"reading was stopped after 2 s"):
            service.predict(clip)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        assert service.predict(clip).label
        assert len(set(service.uploads.pool.pids) & set(pids)) == len(pids) - 1
    finally:
        service.close()


def test_too_many_packets(run, clip):
    """The number of packets is limited."""
    service = Service(run, limits=replace(ServeLimits(), decode_packets=12))
    try:
        with pytest.raises(Exception, match="reading was stopped after 12 packets"):
            service.predict(clip)
    finally:
        service.close()


def test_gradio_converts_no_media(served):
    """No component of the page makes Gradio run ffmpeg: no other format, no mirroring, no removal of audio."""
    config = httpx.get(f"{served.url}/config").json()
    media = [part["props"] for part in config["components"] if part["type"] in ("video", "audio")]
    assert media
    for props in media:
        assert props.get("format") is None
        assert props.get("include_audio", True)
        assert not props.get("webcam_options", {}).get("mirror")
        assert not props.get("streaming")
