"""Files in requests: only uploaded files are read, and no URL is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import gradio
import httpx
import pytest

from avcil.serve.payload import takes_files, uploaded_file

CLIENT = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
FILE = {"_type": "gradio.FileData"}
SERVER = """
import sys
log = open(sys.argv[1], "a", buffering=1)
def note(event, words):
    if event == "socket.connect" or (event == "socket.getaddrinfo" and words[0] != "127.0.0.1"):
        log.write(f"{event} {words[1:] if event == 'socket.connect' else words}\\n")
sys.addaudithook(note)
from avcil.cli.main import main
sys.exit(main(["serve", sys.argv[2], "--port", "0"]))
"""
"""A server that writes its outgoing connections and host name look-ups to a file."""


def upload(url: str, content: bytes = b"content", name: str = "a.mp4") -> str:
    """Upload a file as the page does; return its path on the server."""
    response = httpx.post(f"{url}/gradio_api/upload", files={"files": (name, content)}, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()[0]


def hostile_paths(uploaded: Path, folder: Path) -> list[object]:
    """Values that are not uploaded files."""
    secret = folder / "secret.txt"
    secret.write_text("secret")
    link = uploaded.parent / "link"
    if not link.is_symlink():
        link.symlink_to(secret)
    relative = os.path.relpath(secret)
    return [
        str(secret),
        "/etc/passwd",
        "/dev/zero",
        "/proc/self/environ",
        str(uploaded.parent),
        str(uploaded.parent.parent),
        relative,
        f"{uploaded.parent}/../../{secret.name}",
        f"{uploaded}/../{uploaded.name}",
        str(link),
        f"{uploaded}\0",
        f"file://{uploaded}",
        "http://127.0.0.1:9/a.mp4",
        "HTTPS://example.org/a.mp4",
        "//example.org/a.mp4",
        "data:video/mp4;base64,AAAA",
        "",
        None,
        7,
        True,
        [str(uploaded)],
        {"path": str(uploaded)},
    ]


def payloads(path: object) -> list[object]:
    """A file in the forms that Gradio's components take."""
    file = {"path": path, "meta": FILE}
    return [
        file,
        {"path": path},
        [file],
        {"video": file, "subtitles": None},
        [{"image": file, "caption": None}],
        {"value": {"nested": [file]}},
        {**file, "is_stream": True},
    ]


def join(url: str, event: dict, data: list[object], **more: object) -> httpx.Response:
    """Send an event as the page does; `more` replaces parts of it."""
    content = {"data": data, "fn_index": event["id"], "trigger_id": None, "session_hash": "attacker"}
    return CLIENT.post(f"{url}/gradio_api/queue/join", content=json.dumps(content | more))


def events_with_files(url: str) -> list[tuple[dict, int]]:
    """All events of the page with the position of each input that takes files, from the page's own description."""
    config = httpx.get(f"{url}/config").json()
    takes = {c["id"] for c in config["components"] if "FileData" in json.dumps(c.get("api_info", {}))}
    return [
        (event, position)
        for event in config["dependencies"]
        if event["backend_fn"]
        for position, component in enumerate(event["inputs"])
        if component in takes
    ]


def test_events_with_files(shared_server, tmp_path):
    """Each event rejects all paths except those of uploaded files, with the same message."""
    uploaded = Path(upload(shared_server.url))
    events = events_with_files(shared_server.url)
    blocks, described = (
        shared_server.app.payloads.page.blocks,
        httpx.get(f"{shared_server.url}/config").json(),
    )
    for event in described["dependencies"]:
        for position, component in enumerate(event["inputs"]):
            expected = event["backend_fn"] and takes_files(blocks[component])
            assert expected == any(e["id"] == event["id"] and i == position for e, i in events)
    assert len(events) >= 3  # a clip, a recording, clips of a class
    told = set()
    for event, position in events:
        data: list[object] = [None] * len(event["inputs"])
        forms = [{"path": path, "meta": FILE} for path in hostile_paths(uploaded, tmp_path)]
        for form in [*forms, *payloads("/etc/passwd"), str(uploaded), [str(uploaded)]]:
            data[position] = form
            response = join(shared_server.url, event, data)
            assert response.status_code == 403, (event["id"], form, response.text)
            told.add(response.text)
    assert len(told) == 1


def test_urls_with_a_path(shared_server):
    """A URL beside the path of an uploaded file is rejected, unless it is the URL of that file."""
    uploaded = upload(shared_server.url)
    event, position = events_with_files(shared_server.url)[0]
    data: list[object] = [None] * len(event["inputs"])
    for url, status in (
        ("http://127.0.0.1:9/a.mp4", 403),
        ("data:video/mp4;base64,AAAA", 403),
        ("http://[x", 403),
        (5, 403),
        (f"{shared_server.url}/gradio_api/file={uploaded}", 200),
        (None, 200),
    ):
        data[position] = {"path": uploaded, "url": url, "meta": FILE}
        assert join(shared_server.url, event, data).status_code == status, url


def test_invalid_events(shared_server):
    """Unknown events, other sessions, unknown components, additional keys and malformed JSON are rejected."""
    event = httpx.get(f"{shared_server.url}/config").json()["dependencies"][-1]
    data = [None] * len(event["inputs"])
    for more in (
        {"fn_index": 10**9},
        {"fn_index": -1},
        {"fn_index": "0"},
        {"fn_index": None},
        {"fn_index": True},
        {"trigger_id": 10**9},
        {"trigger_id": "x"},
        {"data": [*data, None]},
        {"data": None},
        {"session_hash": None},
        {"session_hash": "../x"},
        {"session_hash": "x" * 200},
        {"batched": True},
        {"event_id": "x"},
    ):
        assert join(shared_server.url, event, **({"data": data} | more)).status_code == 400, more
    named = {"event_data": {"value": {"path": "/etc/passwd", "meta": FILE}}}
    assert join(shared_server.url, event, data, **named).status_code == 403
    address = f"{shared_server.url}/gradio_api/queue/join"
    for body in (b"", b"{", b"[]", b"[" * 50_000, b'{"data": NaN}', b"\xff\xfe", b"1" * 10_000):
        assert httpx.post(address, content=body).status_code == 400
    ordinary = {"data": data, "fn_index": event["id"], "session_hash": "mine"}
    first, other = httpx.Client(base_url=shared_server.url), httpx.Client(base_url=shared_server.url)
    with first, other:
        for client in (first, other):
            assert client.get("/").cookies
        assert first.post("/gradio_api/queue/join", json=ordinary).status_code == 200
        assert other.post("/gradio_api/queue/join", json=ordinary).status_code == 403
        assert other.get("/gradio_api/queue/data?session_hash=mine").status_code == 403
        assert other.get("/gradio_api/heartbeat/mine").status_code == 403


def test_duplicate_keys(shared_server):
    """Gradio receives a new serialization of the checked content."""
    uploaded = upload(shared_server.url)
    event, position = events_with_files(shared_server.url)[0]
    values = ["null"] * len(event["inputs"])
    values[position] = (
        f'{{"path": "{uploaded}", "path": "/etc/passwd", "meta": {{"_type": "gradio.FileData"}}}}'
    )
    body = f'{{"data": [{",".join(values)}], "fn_index": {event["id"]}, "session_hash": "x"}}'
    assert httpx.post(f"{shared_server.url}/gradio_api/queue/join", content=body).status_code == 403


def test_unneeded_gradio_routes(shared_server):
    """Gradio's other routes do not exist, and its file route serves only uploaded files."""
    for method, path in (
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/api/predict"),
        ("POST", "/gradio_api/call/predict"),
        ("POST", "/gradio_api/call/v2/predict"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/stream/x"),
        ("POST", "/gradio_api/cancel"),
        ("POST", "/gradio_api/reset"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:9/"),
        ("GET", "/gradio_api/custom_component/x/client/component/index.js"),
        ("GET", "/gradio_api/startup-events"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/monitoring"),
        ("GET", "/openapi.json"),
    ):
        response = httpx.request(method, shared_server.url + path, json={})
        assert response.status_code == 404, path
        assert response.json()["error"]["code"] == "not_found"
    uploaded = upload(shared_server.url)
    assert httpx.get(f"{shared_server.url}/gradio_api/file={uploaded}").content == b"content"
    paths = [
        "/etc/passwd",
        str(shared_server.service.model / "config.json"),
        "../pyproject.toml",
        "http://127.0.0.1:9/",
    ]
    for path in [*paths, str(Path(uploaded).parent), "%2e%2e/%2e%2e/etc/passwd"]:
        assert httpx.get(f"{shared_server.url}/gradio_api/file={path}").status_code in (403, 404)


def test_check_of_uploaded_files(tmp_path):
    """The check itself, with pipes, links in the path, and a linked folder, which requests cannot contain."""
    folder = tmp_path / "folder"
    (folder / "one").mkdir(parents=True)
    (folder / "one" / "a").write_bytes(b"")
    os.mkfifo(folder / "one" / "pipe")
    (folder / "link").symlink_to(folder / "one")
    (tmp_path / "other").symlink_to(folder)
    assert uploaded_file(str(folder / "one" / "a"), folder)
    assert uploaded_file(str(tmp_path / "other" / "one" / "a"), tmp_path / "other")
    for path in (folder, folder / "one", folder / "one" / "pipe", folder / "link" / "a", folder / "no"):
        assert uploaded_file(str(path), folder) is None
    assert uploaded_file(f"{folder}x/a", folder) is None


@pytest.mark.slow
def test_no_outgoing_connections(run, tmp_path):
    """A server process opens no connection and looks up no host name."""
    log = tmp_path / "connections"
    log.touch()
    arguments = [sys.executable, "-c", SERVER, str(log), str(run)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[-1]
            for event, position in events_with_files(url):
                for path in ("http://192.168.77.1/a.mp4", "http://nowhere.example/a", "https://10.0.0.1/a"):
                    data: list[object] = [None] * len(event["inputs"])
                    data[position] = {"path": path, "url": path, "meta": FILE}
                    assert join(url, event, data).status_code == 403
            for path in ("file=http://nowhere.example/a", "proxy=http://nowhere.example/a"):
                assert httpx.get(f"{url}/gradio_api/{path}").status_code in (403, 404)
            uploaded = upload(url)
            event, position = events_with_files(url)[0]
            data = [None] * len(event["inputs"])
            data[position] = {"path": uploaded, "meta": FILE}
            assert join(url, event, data).status_code == 200
            with httpx.stream(
                "GET", f"{url}/gradio_api/queue/data?session_hash=attacker", timeout=60
            ) as response:
                assert any("process_completed" in line for line in response.iter_lines())
            time.sleep(0.2)
        finally:
            process.terminate()
            process.wait(30)
    assert log.read_text() == ""


def test_names_of_uploads(served):
    """A file name with folders or invalid characters is converted."""
    folder = Path(gradio.utils.get_upload_folder()).resolve()
    for name in (
        "../../x.mp4",
        "/etc/passwd",
        "..",
        ".",
        "x" * 3000 + ".mp4",
        "<b>.mp4",
        "%2e%2e%2fx",
        "ü.mp4",
    ):
        stored = Path(upload(served.url, name=name))
        assert stored.resolve().parent.parent == folder, name
        assert stored.is_file()
