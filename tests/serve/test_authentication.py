"""The password: sources, access, wrong attempts; and the metrics."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from avcil.errors import InputError
from avcil.serve import authentication
from avcil.serve.authentication import VARIABLE, Authentication, read_password
from avcil.serve.refusal import RefusedError

PASSWORD = "correct hörse"
BEARER = {"authorization": b"Bearer " + PASSWORD.encode()}


def test_sources_of_the_password(tmp_path, monkeypatch, capsys):
    """A file with one line, or the environment variable, which is removed; both, an empty or a short one are errors."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_password(None) is None
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    assert read_password(file) == PASSWORD
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    assert read_password(file) == PASSWORD
    assert "chmod 600" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, PASSWORD)
    with pytest.raises(InputError, match="not both"):
        read_password(file)
    monkeypatch.setenv(VARIABLE, PASSWORD)
    assert read_password(None) == PASSWORD
    assert read_password(None) is None
    for content in ("", "\n", "short", "two lines\nof text", " spaces around ", "\0" * 10):
        file.write_text(content)
        with pytest.raises(InputError, match="password"):
            read_password(file)
    file.write_bytes(b"\xff" * 20)
    for path in (file, tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="password-file"):
            read_password(path)


def test_wrong_attempts_are_limited():
    """After five wrong passwords in a minute, a client has to wait, also with the right password."""
    known = Authentication(PASSWORD)
    right = PASSWORD.encode()
    assert known.is_password(right, "trusted")
    for _ in range(authentication.CLIENT_ATTEMPTS):
        assert not known.is_password(b"wrong", "a")
    with pytest.raises(RefusedError) as refused:
        known.is_password(right, "a")
    assert (refused.value.status, refused.value.code) == (429, "too_many_attempts")
    assert 0 < refused.value.retry_after <= 60
    assert known.is_password(right, "b")
    for number in range(authentication.ALL_ATTEMPTS):
        with contextlib.suppress(RefusedError):
            known.is_password(b"wrong", f"many {number}")
    with pytest.raises(RefusedError):
        known.is_password(right, "new")
    assert known.is_password(right, "trusted")  # other clients cannot block this one


def test_api_needs_the_password(run, serve_run, trained):
    """Only the login page is available without the password, which programs send as a bearer token."""
    clip = next((trained / "clips").glob("test-*.mp4"))
    with serve_run(run, app={"password": PASSWORD}) as served, httpx.Client(base_url=served.url) as client:
        for path in (
            "/api/health",
            "/api/model",
            "/metrics",
            "/config",
            "/gradio_api/queue/data",
            "/api/nothing",
        ):
            response = client.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized"), path
            assert response.headers["www-authenticate"].startswith("Bearer")
        for value in (b"Bearer wrong", b"Basic eDp5", b"Bearer", b"", BEARER["authorization"][:-1]):
            assert client.get("/api/health", headers={"authorization": value}).status_code == 401
        files = {"file": clip.read_bytes()}
        assert client.post("/api/predict", files=files).status_code == 401
        assert client.post("/api/predict", files=files, headers=BEARER, timeout=60).status_code == 200
        for _ in range(9):
            client.get("/api/health", headers={"authorization": "Bearer wrong"})
        waits = client.get("/api/health", headers=BEARER)
        assert (waits.status_code, waits.json()["error"]["code"]) == (429, "too_many_attempts")
        assert 0 < int(waits.headers["retry-after"]) <= 60


def test_login_and_logout(run, serve_run):
    """The page requests the password once; the cookie is valid for this server only, until the logout."""
    with serve_run(run, app={"password": PASSWORD}) as served, httpx.Client(base_url=served.url) as client:
        sent = client.get("/", headers={"accept": "text/html"})
        assert (sent.status_code, sent.headers["location"]) == (303, "login")
        assert 'type="password"' in client.get("/login").text
        wrong = client.post("/login", data={"password": "<b>wrong"})
        assert wrong.status_code == 401
        assert "The password is wrong" in wrong.text
        assert "<b>wrong" not in wrong.text
        for data in ({}, {"password": ["a", "b"]}, {"other": "x"}):
            assert client.post("/login", data=data).status_code in (400, 401)
        foreign = {"origin": "http://evil.example"}
        assert client.post("/login", data={"password": PASSWORD}, headers=foreign).status_code == 403
        right = client.post("/login", data={"password": PASSWORD})
        assert right.status_code == 303
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/api/health").json()["status"] == "ok"
        assert "gradio" in client.get("/", headers={"accept": "text/html"}).text
        token = dict(client.cookies)
        assert client.post("/logout").status_code == 303
        assert client.get("/api/health").status_code == 401
        assert httpx.get(f"{served.url}/api/health", cookies=token).status_code == 401


def test_client_address_of_a_proxy(run, serve_run):
    """Wrong passwords count for the client in the proxy's header, and the cookie is for HTTPS only; without a
    proxy, clients cannot set this header."""
    wrong = {"password": "wrong horse"}
    with (
        serve_run(run, app={"password": PASSWORD, "names": ("clips.example.org",)}) as served,
        httpx.Client(base_url=served.url, headers={"host": "clips.example.org"}) as client,
    ):
        one, other = ({"x-forwarded-for": f"192.0.2.{n}", "x-forwarded-proto": "https"} for n in (1, 2))
        given = [client.post("/login", data=wrong, headers=one).status_code for _ in range(6)]
        assert given == [401] * 5 + [429]
        right = client.post("/login", data={"password": PASSWORD}, headers=other)
        assert right.status_code == 303
        assert "secure" in right.headers["set-cookie"].lower()
    with serve_run(run, app={"password": PASSWORD}) as served, httpx.Client(base_url=served.url) as client:
        stated = ({"x-forwarded-for": f"192.0.2.{n}"} for n in range(6))
        given = [client.post("/login", data=wrong, headers=headers).status_code for headers in stated]
        assert given == [401] * 5 + [429]


def test_metrics(served, trained):
    """Requests by route and status, durations, rejections, the queue, jobs and memory, in the format of Prometheus."""
    clip = next((trained / "clips").glob("test-*.mp4")).read_bytes()
    httpx.post(f"{served.url}/api/predict", files={"file": clip}, timeout=60)
    httpx.get(f"{served.url}/api/nothing/at/all")
    httpx.get(f"{served.url}/nothing")
    httpx.post(f"{served.url}/api/undo", headers={"origin": "null"})
    served.service.jobs["failed"] += 2
    text = httpx.get(f"{served.url}/metrics").text
    for line in (
        'avcil_http_requests_total{method="POST",route="/api/predict",status="200"} 1.0',
        'avcil_http_requests_total{method="GET",route="/api/{path:path}",status="404"} 1.0',
        'avcil_http_requests_total{method="GET",route="other",status="404"} 1.0',
        'avcil_http_request_seconds_count{route="/api/predict"} 1.0',
        'avcil_rejections_total{reason="forbidden"} 1.0',
        'avcil_rejections_total{reason="not_found"} 1.0',
        "avcil_queue_waiting 0.0",
        'avcil_teachings_total{result="failed"} 2.0',
    ):
        assert line in text, line
    assert "process_resident_memory_bytes" in text


def test_warning_without_a_password(run, monkeypatch, capsys):
    """A warning if others can reach a server without a password; none with a password or on a loopback address."""
    from avcil.serve import server
    from avcil.serve.limits import ServeLimits

    monkeypatch.setattr(server.uvicorn.Server, "run", lambda self, sockets: None)
    given = {"port": 0, "state_dir": None, "limits": ServeLimits(), "read_only": False}
    for host, names, password, lines in (
        ("127.0.0.1", (), None, 0),
        ("0.0.0.0", (), None, 1),
        ("127.0.0.1", ("clips.example.org",), None, 1),
        ("0.0.0.0", (), PASSWORD, 0),
    ):
        server.serve(run, host=host, names=names, password=password, **given)
        assert capsys.readouterr().err.count("warning") == lines, (host, names)
