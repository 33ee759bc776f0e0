"""Many requests at once, most of them invalid: valid ones are predicted, the others are errors."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from avcil.inference import Recognizer

REQUESTS = 200


def resident() -> int:
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cut_off(url: str, clip: bytes) -> None:
    """Declare a length, send half of it, disconnect."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as line:
        head = f"POST /api/predict HTTP/1.1\r\nHost: {where.netloc}\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\n"
        part = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        line.sendall(
            f"{head}Content-Length: {len(clip) + 200}\r\n\r\n{part}".encode() + clip[: len(clip) // 2]
        )


def left_over() -> set[str]:
    """Uploads in the folder of temporary files."""
    return {path.name for path in Path(tempfile.gettempdir()).glob("avcil-upload-*")}


def test_many_parallel_requests(served, trained, run, tmp_path, monkeypatch):
    """200 in parallel: 80 valid clips, 40 each truncated and too large, 20 each corrupt and with invalid names."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clips = sorted((trained / "clips").glob("test-*.mp4"))
    own = Recognizer.load(run)
    expected = {clip.name: own.predict_clip(clip).probabilities for clip in clips}
    contents = {clip.name: clip.read_bytes() for clip in clips}
    names = list(contents)
    address = f"{served.url}/api/predict"
    together = threading.Barrier(40)

    def one(number: int) -> tuple[str, int, bool]:
        if number < 40:
            together.wait(30)
        name = names[number % len(names)]
        kind = ("good", "good", "cut", "large", "corrupt", "tricks", "good", "good", "cut", "large")[
            number % 10
        ]
        content = {"large": bytes(600_000), "corrupt": contents[name][: len(contents[name]) // 3]}
        if kind == "cut":
            cut_off(served.url, contents[name])
            return kind, 0, True
        shown = f"../../{number}/%2e%2e/{name}" if kind == "tricks" else name
        try:
            response = client.post(address, files={"file": (shown, content.get(kind, contents[name]))})
        except httpx.TransportError:  # rejected before the request was complete
            return kind, 413 if kind == "large" else -1, True
        right = True
        if response.status_code == 200 and kind != "corrupt":
            right = {p["label"]: p["probability"] for p in response.json()["predictions"]} == expected[name]
            right = right and response.json()["filename"] == name
        return kind, response.status_code, right

    before = resident()
    with (
        httpx.Client(timeout=120, limits=httpx.Limits(max_connections=60)) as client,
        ThreadPoolExecutor(40) as pool,
    ):
        results = list(pool.map(one, range(REQUESTS)))
    allowed = {"good": {200}, "tricks": {200}, "cut": {0}, "large": {413}, "corrupt": {200, 415, 422}}
    assert [result for result in results if result[1] not in allowed[result[0]] or not result[2]] == []
    assert resident() - before < 300 * 2**20
    for _ in range(100):  # files of disconnected senders are removed with a delay
        if not left_over():
            break
        time.sleep(0.1)
    assert left_over() == set()
    assert (served.service.queue.running, served.service.queue.waiting) == (0, 0)
    assert httpx.get(f"{served.url}/api/health").json()["status"] == "ok"


def test_requests_during_a_full_queue(run, serve_run, trained):
    """A client receives 503 with Retry-After, and is served later."""
    clip = next((trained / "clips").glob("test-*.mp4"))
    with serve_run(run, limits={"workers": 1, "waiting": 2}) as served:

        def ask() -> httpx.Response:
            return httpx.post(f"{served.url}/api/predict", files={"file": clip.read_bytes()}, timeout=60)

        tickets = [served.service.queue.enter("127.0.0.1") for _ in range(3)]
        response = ask()
        assert (response.status_code, response.json()["error"]["code"]) == (503, "busy")
        assert 1 <= int(response.headers["retry-after"]) <= 120
        for ticket in tickets:
            served.service.queue.leave(ticket)
        assert ask().status_code == 200
