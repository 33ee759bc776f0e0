"""Requests of other sites, and malformed, large and slow requests."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from avcil.serve.body import MinimumRate
from avcil.serve.origin import OriginCheck, parse_host
from avcil.serve.refusal import RefusedError
from avcil.serve.response_headers import HEADERS

API = (
    ("POST", "predict"),
    ("POST", "teach"),
    ("GET", "teach"),
    ("POST", "rename"),
    ("POST", "forget"),
    ("POST", "merge"),
    ("POST", "undo"),
    ("GET", "classes"),
    ("GET", "model"),
    ("GET", "health"),
    ("GET", "openapi.json"),
)


def check(
    names: tuple[str, ...] | None, method: str = "POST", path: str = "/api/undo", **headers: str
) -> int:
    """The status with which a request is rejected; 200 if it passes."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    try:
        OriginCheck(names).check(method, path, Headers(raw=raw))
    except RefusedError as refusal:
        return refusal.status
    return 200


def test_hosts():
    """Names of this machine and given names; any IP address on a network, but no other name (DNS rebinding)."""
    for host in ("localhost", "127.0.0.1:80", "[::1]:80", "LOCALHOST:1", "localhost."):
        assert check((), host=host) == 200, host
    for host in ("evil.example", "127.0.0.1.evil.example", "192.168.1.5"):
        assert check((), host=host) == 403, host
    for host in (
        "[",
        "]",
        "[::1",
        "a b",
        "a/b",
        "a@b",
        "localhost:x",
        "localhost:999999",
        "",
        "a\tb",
        "[x]:1",
    ):
        assert check((), host=host) == 400, host
    assert check(("clips.example.org",), host="clips.example.org:443") == 200
    assert check(None, host="192.168.1.5:7860") == check(None, host="[fe80::1]") == 200
    assert check(None, host=f"{socket.gethostname()}:7860") == 200
    assert check(None, host="evil.example") == 403


def test_origins():
    """A page of another origin cannot change anything, with or without an Origin header."""
    host = "localhost:7860"
    for origin in ("http://localhost:7860", "https://localhost:7860"):
        assert check((), host=host, origin=origin) == 200
    for origin in (
        "null",
        "http://localhost:1",
        "http://[x",
        "x",
        "",
        "file://",
        "http://evil.example",
        "http://",
    ):
        assert check((), host=host, origin=origin) == 403, origin
    assert check((), host=host) == check((), host=host, sec_fetch_site="same-origin") == 200
    for site in ("cross-site", "same-site", "x"):
        assert check((), host=host, sec_fetch_site=site) == 403
        assert check((), "GET", "/api/model", host=host, sec_fetch_site=site) == 403
    opened = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert check((), "GET", "/", host=host, **opened) == 200
    assert check((), "GET", "/api/model", host=host, **opened) == 403
    assert check((), "GET", "/", host=host, **(opened | {"sec_fetch_dest": "iframe"})) == 403
    assert check((), "POST", "/", host=host, **opened) == 403
    assert check(("example.org",), host="example.org", origin="https://example.org:443") == 200


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_header_is_checked(host, origin):
    """Any text is accepted or rejected; an accepted host has no character that ends a host name."""
    assert check((), host=host, origin=origin) in (200, 400, 403)
    if parsed := parse_host(host):
        assert not set("/@\\?# ") & set(parsed[0])


def raw(url: str, lines: str, body: bytes = b"") -> bytes:
    """Send raw bytes, and read the response until the server closes the connection."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as line:
        line.sendall(lines.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        response = b""
        while block := line.recv(65536):
            response += block
    return response


def problem_of(answer: bytes) -> tuple[int, str]:
    """Status and code of an error in the documented format."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def test_malformed_headers(shared_server):
    """Malformed HTTP and requests without a host receive an error in the format of the API."""
    end = "Connection: close"
    for lines, status in (
        (f"GET /api/health HTTP/1.1\nHost: [\n{end}", 400),
        (f"GET /api/health HTTP/1.1\nHost: localhost:x\n{end}", 400),
        (f"GET /api/health HTTP/1.1\n{end}", 400),
        ("GET /api/health HTTP/1.0", 400),
        (f"GET /api/health HTTP/1.1\nHost: localhost\nHost: localhost\n{end}", 400),
        (f"POST /api/undo HTTP/1.1\nHost: localhost\nOrigin: http://[x\nContent-Length: 0\n{end}", 403),
        (f"POST /api/undo HTTP/1.1\nHost: localhost\nOrigin: null\nContent-Length: 0\n{end}", 403),
        (f"POST /api/undo HTTP/1.1\nHost: localhost\nContent-Length: x\n{end}", 400),
        (f"POST /api/undo HTTP/1.1\nHost: localhost\nContent-Length: 5\nContent-Length: 6\n{end}", 400),
        ("nonsense", 400),
        (f"GET /api/%00%ff HTTP/1.1\nHost: localhost\n{end}", 404),
        (f"BREW /api/health HTTP/1.1\nHost: localhost\n{end}", 404),
    ):
        assert problem_of(raw(shared_server.url, lines))[0] == status, lines[:60]


def test_malformed_bodies(shared_server, trained):
    """Responses to invalid forms, unknown and repeated fields have the documented format and are never 500."""
    clip = next((trained / "clips").glob("test-*.mp4")).read_bytes()
    file = ("file", ("a.mp4", clip))
    form = {"content-type": "multipart/form-data; boundary=x"}
    part = b'--x\r\nContent-Disposition: form-data; name="file"'
    many = b"".join(part + b'; filename="a"\r\n\r\na\r\n' for _ in range(300))
    bodies: list[dict] = [
        {"content": b""},
        {"content": b"\xff\xfe{", "headers": {"content-type": "application/json"}},
        {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}},
        {"content": b"", "headers": form},
        {"content": b"--x--", "headers": form},
        {"content": b"no form", "headers": form},
        {"content": part, "headers": form},
        {"content": part + b"\r\n" + b"A: b\r\n" * 5000 + b"\r\na\r\n--x--", "headers": form},
        {"content": part + b"\r\n" + b"A" * 50_000, "headers": form},
        {"content": part + b"\r\n\r\n" + b"a" * 50_000 + b"\r\n--x--", "headers": form},
        {"content": many + b"--x--", "headers": form},
        {"content": b"--x--", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"--x--", "headers": {"content-type": "multipart/form-data; boundary=" + "y" * 500}},
        {"data": {"file": "text", "files": "text", "label": "x"}},
        {"files": [file, ("other", ("b.mp4", clip))]},
        {"files": [file, ("label", ("b.mp4", clip))]},
    ]
    with httpx.Client(base_url=shared_server.url, timeout=60) as client:
        for (method, name), body in ((route, body) for route in API for body in bodies):
            response = client.request(method, f"/api/{name}", **body)
            if method == "GET" or (name == "undo" and response.status_code == 409):
                continue
            assert 400 <= response.status_code < 500, (name, body, response.text)
            assert set(response.json()["error"]) == {"code", "message"}, name
        for name in ("predict", "teach", "undo"):
            for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
                response = client.request(method, f"/api/{name}")
                assert (response.status_code, response.json()["error"]["code"]) == (405, "not_allowed")
                assert "POST" in response.headers["allow"]
        two = client.post("/api/predict", files=[file, ("file", ("b.mp4", clip))])
        assert two.status_code == 422
        assert "it is allowed once" in two.json()["error"]["message"]
        for query in ("?timeline=x", "?timeline=1&timeline=0", "?time=1", "?timeline=%ff"):
            assert client.post(f"/api/predict{query}", files=[file]).status_code == 422, query
        assert (
            client.post("/api/teach", data={"label": ["a", "b"]}, files=[("files", file[1])]).status_code
            == 422
        )
        assert client.get("/api/health").json()["status"] == "ok"


def test_headers_of_every_response(shared_server):
    """The security headers are on the page, on responses of the API and on errors."""
    for path in ("/", "/api/health", "/api/nothing", "/gradio_api/none", "/api/docs", "/theme.css"):
        response = httpx.get(shared_server.url + path)
        assert HEADERS.items() <= dict(response.headers).items(), path
    assert "frame-ancestors 'none'" in HEADERS["content-security-policy"]


def test_large_bodies(shared_server):
    """Only forms with files can be large, on routes that accept files; others are limited to 1 MB."""
    big = b'{"data": "' + b"x" * 1_100_000 + b'"}'
    typed = {"content-type": "application/json"}
    form = {"content-type": "multipart/form-data; boundary=x"}
    for path in ("/gradio_api/queue/join", "/gradio_api/upload", "/api/predict", "/api/teach", "/api/undo"):
        response = httpx.post(shared_server.url + path, content=big, headers=typed)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large"), path
    unstated = iter([big[:500_000], big[500_000:]])
    response = httpx.post(f"{shared_server.url}/gradio_api/queue/join", content=unstated, headers=typed)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert (
        httpx.post(f"{shared_server.url}/gradio_api/queue/join", content=big, headers=form).status_code == 413
    )


def test_uploads_of_the_page(run, serve_run, upload_folder):
    """The files and bytes of a client are limited; old files are removed if it needs space."""
    with serve_run(run, limits={"clips": 2}) as served:
        address = f"{served.url}/gradio_api/upload"
        three = [("files", ("a.mp4", b"x"))] * 3
        assert httpx.post(address, files=three).status_code == 400
        assert httpx.post(address, content=b"x").status_code in (400, 422)
        assert httpx.post(address, files={"files": bytes(600_000)}).status_code == 413
        for _ in range(4):
            assert httpx.post(address, files=three[:2]).status_code == 200
        full = httpx.post(address, files=three[:1])
        assert (full.status_code, full.json()["error"]["code"]) == (429, "too_many_uploads")
        assert int(full.headers["retry-after"]) > 0
        assert len(list(upload_folder.glob("upload-*/*"))) == 8


def test_slow_senders(run, serve_run, trained):
    """34 connections that stop sending block no worker: others are answered, and they are closed with 408."""
    clip = next((trained / "clips").glob("test-*.mp4")).read_bytes()
    rate = MinimumRate(grace=1.5, bytes_per_second=1e6)
    with serve_run(run, limits={"workers": 2, "waiting": 2}, app={"rate": rate}) as served:
        where = urlsplit(served.url)
        head = f"POST /api/predict HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 100000\r\n"
        head += 'Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-Disposition: form-data; name="f'
        slow = [socket.create_connection((where.hostname, where.port), timeout=30) for _ in range(34)]
        try:
            for line in slow:
                line.sendall(head.encode())
            response = httpx.post(f"{served.url}/api/predict", files={"file": clip}, timeout=60)
            assert response.status_code == 200
            assert (served.service.queue.running, served.service.queue.waiting) == (0, 0)
            for line in slow:
                assert b" 408 " in line.recv(65536)[:20]
        finally:
            for line in slow:
                line.close()


def test_connection_without_a_request(shared_server, monkeypatch):
    """It is closed after the timeout, also if header lines arrive slowly."""
    from avcil.serve.connection import Connection

    monkeypatch.setattr(Connection, "header_seconds", 0.3)
    where = urlsplit(shared_server.url)
    for text in (b"", b"GET / HTTP/1.1\r\nA: b\r\n"):
        with socket.create_connection((where.hostname, where.port), timeout=30) as line:
            line.sendall(text)
            assert line.recv(1) == b""


def test_number_of_open_requests_is_limited(run, serve_run):
    """More open requests than the limit are rejected in the format of the API."""
    with serve_run(run, limits={"open_requests": 6}) as served:
        lines = []
        for number in range(3):
            where = urlsplit(served.url)
            line = socket.create_connection((where.hostname, where.port), timeout=30)
            head = f"GET /gradio_api/heartbeat/s{number} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n"
            line.sendall(head.encode())
            assert b" 200 " in line.recv(100)
            lines.append(line)
        busy = httpx.get(f"{served.url}/api/health")
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
        for line in lines:
            line.close()
        for _ in range(100):
            if httpx.get(f"{served.url}/api/health").status_code == 200:
                return
            time.sleep(0.1)
        pytest.fail("requests that have ended are still counted")


def test_no_websocket(shared_server):
    """Neither the page nor the API has one."""
    where = urlsplit(shared_server.url)
    lines = f"GET / HTTP/1.1\nHost: {where.netloc}\nConnection: close, Upgrade\nUpgrade: websocket\n"
    lines += "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    assert b" 101 " not in raw(shared_server.url, lines)[:20]


@pytest.mark.filterwarnings(
    "ignore:Unclosed file:ResourceWarning"
)  # the error of starlette for an incomplete form
def test_rejected_requests_leave_no_files(served, upload_folder, tmp_path, monkeypatch):
    """Neither in the upload folder nor in the folder of temporary files."""
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    form = {"content-type": "multipart/form-data; boundary=x"}
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    for path in ("/gradio_api/upload", "/api/predict", "/api/teach"):
        for body in (part + bytes(300_000), part + bytes(700_000), iter([part, *[bytes(60_000)] * 12])):
            response = httpx.post(served.url + path, content=body, headers=form, timeout=60)
            assert response.status_code in (400, 413, 422), response.text
    assert not [p for folder in (upload_folder, tmp_path / "temporary") for p in Path(folder).glob("*")]
