"""Details of HTTP: HEAD, long paths, cookies of other servers, client addresses."""

from __future__ import annotations

import json

import httpx
import pytest
from starlette.datastructures import Headers

from avcil.serve import guard
from avcil.serve.authentication import Authentication
from avcil.serve.payload import MAX_DEPTH
from avcil.serve.routes import MAX_PATH, MAX_SEGMENT


def text_event(url: str) -> dict:
    """The event of the page that takes one text, the name of a class."""
    events = httpx.get(f"{url}/config").json()["dependencies"]
    return next(event for event in events if any(kind == "change" for _, kind in event["targets"]))


def test_head_equals_get(shared_server):
    """The same status and headers without a body. Streams have no HEAD."""
    for path in (
        "/",
        "/config",
        "/theme.css",
        "/metrics",
        "/api/health",
        "/api/classes",
        "/api/model",
        "/api/docs",
    ):
        head, get = (httpx.request(method, shared_server.url + path) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == get.headers["content-type"], path
    for path in ("queue/data?session_hash=a", "heartbeat/a", "upload_progress?upload_id=a"):
        assert httpx.head(f"{shared_server.url}/gradio_api/{path}").status_code == 404, path


def test_long_paths(shared_server):
    """A path longer than any file name gives 404 in the documented format."""
    for path in ("a" * (MAX_SEGMENT + 1), "a/" * (MAX_PATH // 2)):
        for folder in ("static", "assets", "api", "gradio_api/file="):
            response = httpx.get(f"{shared_server.url}/{folder}/{path}")
            assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found"), folder


def test_no_login_without_a_password(shared_server):
    """Gradio's own routes /login and /logout cannot be used."""
    for method, path in (("GET", "login"), ("POST", "login"), ("POST", "logout")):
        response = httpx.request(
            method, f"{shared_server.url}/{path}", data={"username": "a", "password": "b"}
        )
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found"), path


def test_cookies_of_other_servers():
    """Browsers send all cookies of a host; a malformed one of another server must not hide those of this server."""
    for other in ('a={"x":1}', "a b=c", "é=1", "a", "x=[1]", ""):
        assert guard.cookies_of(Headers({"cookie": f"{other}; mine=1"}))["mine"] == "1", other
    lines = [(b"cookie", b"a=1"), (b"cookie", b"mine=1")]
    assert guard.cookies_of(Headers(raw=lines)) == {"a": "1", "mine": "1"}


def test_clients_of_a_dual_stack_socket():
    """With --host ::, IPv4 clients have separate limits."""
    one, other = (guard.client_of({"client": (f"::ffff:192.0.2.{n}", 80)}) for n in (1, 2))
    assert (one, other) == ("192.0.2.1", "192.0.2.2")
    assert guard.client_of({"client": ("fe80::1%eth0", 80)}) == "fe80::/64"
    assert guard.client_of({"client": None}) == "unknown"


@pytest.mark.parametrize("password", ["déjà vu là", "geheim\N{NO-BREAK SPACE}Å", "passwordŅ"])
def test_passwords_with_space_like_bytes(password):
    """Headers are read as Latin-1, where the last byte of "à" in UTF-8 is a space; it is part of the
    password."""
    headers = Headers(raw=[(b"authorization", b"Bearer " + password.encode())])
    Authentication(password).check(headers, None, "client")


def test_deeply_nested_events(shared_server):
    """They are rejected with 400 at any depth."""
    event = text_event(shared_server.url)
    for depth in (MAX_DEPTH + 2, 300, 480, 900, 5000):
        nested = "[" * depth + "]" * depth
        for data, more in ((nested, "null"), ("null", nested)):
            body = (
                f'{{"data": [{data}], "fn_index": {event["id"]}, "session_hash": "a", "event_data": {more}}}'
            )
            response = httpx.post(f"{shared_server.url}/gradio_api/queue/join", content=body)
            assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_request"), depth


def test_gradio_session_values_are_limited(shared_server):
    """By default, Gradio keeps the last values of 10,000 sessions: 10 GB with events of 1 MB."""
    page = shared_server.app.payloads.page
    assert page.state_holder.capacity == shared_server.service.limits.open_requests
    largest = guard.EVENT_BYTES + guard.EVENT_BYTES_PER_CLIP * shared_server.service.limits.clips
    assert largest * page.state_holder.capacity < 10**9
    event = text_event(shared_server.url)
    for size, status in ((largest // 2, 200), (largest, 413)):
        body = {"data": ["x" * size], "fn_index": event["id"], "session_hash": "a"}
        given = httpx.post(f"{shared_server.url}/gradio_api/queue/join", content=json.dumps(body))
        assert given.status_code == status, size
