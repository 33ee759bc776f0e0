"""Downloads from a server that disconnects, stalls, sends wrong bytes and fails: verified files or clear errors."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from avcil.errors import AvcilError, InputError
from avcil.utils.download import RetryPolicy, download

CONTENT = bytes(range(256)) * 2000  # 512 000 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = RetryPolicy(stall=0.4, attempts=3, first_wait=0.01)


@dataclass
class Behaviour:
    """How the server treats the requests to come."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    cut_after: list[int] = field(default_factory=list)
    """For each next response: number of bytes after which the connection is closed."""
    stall_after: list[int] = field(default_factory=list)
    drips: bool = False
    """For the next response: send one byte at a time, slowly."""
    statuses: list[int] = field(default_factory=list)
    """For each next response: an error status instead."""
    ignores_range: bool = False
    wrong_range: bool = False
    linked: str | None = None
    """X-Linked-ETag of a redirect, as Hugging Face sends it."""
    kind: str = "application/octet-stream"
    tells_length: bool = True
    requests: list[dict] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    behavior: Behaviour

    def log_message(self, *_):
        pass

    def do_GET(self):
        b = self.behavior
        b.requests.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("X-Linked-ETag", f'"{b.linked}"')
            self.end_headers()
            return
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/file")
            self.end_headers()
            return
        if b.statuses:
            self.send_error(b.statuses.pop(0))
            return
        self.answer(b)

    def answer(self, b: Behaviour):
        start = 0
        asked = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, b.etag)
        if asked and fresh and not b.ignores_range:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(b.content):
                self.send_error(416)
                return
        body = b.content[start:]
        self.send_response(206 if start else 200)
        if start:
            shown = start + (7 if b.wrong_range else 0)
            self.send_header("Content-Range", f"bytes {shown}-{len(b.content) - 1}/{len(b.content)}")
        if b.etag:
            self.send_header("ETag", b.etag)
        self.send_header("Content-Type", b.kind)
        if b.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if b.cut_after:
            body = body[: b.cut_after.pop(0)]
        if b.stall_after:
            self.wfile.write(body[: b.stall_after.pop(0)])
            self.wfile.flush()
            time.sleep(2.0)
            return
        while b.drips and b.requests[-1] is b.requests[0]:
            self.wfile.write(body[:1])
            body = body[1:]
            time.sleep(0.05)
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that hangs up is what is tested


@pytest.fixture
def server() -> Iterator[tuple[str, Behaviour]]:
    behavior = Behaviour()
    handler = type("H", (Handler,), {"behavior": behavior})
    with Server(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_port}", behavior
        http_server.shutdown()
        thread.join()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_file_arrives_whole_and_is_not_fetched_again(server, tmp_path):
    """The plain case: right bytes, nothing left beside them, no second request."""
    base, behavior = server
    path = download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert path.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["file"]
    download(f"{base}/file", path, sha256=SHA256, retry=QUICK)
    assert len(behavior.requests) == 1


def test_a_connection_that_breaks_off_goes_on_where_it_ended(server, tmp_path):
    """More breaks than attempts allow in a row are fine as long as each attempt brings something."""
    base, behavior = server
    behavior.cut_after = [90_000] * 5
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    ranges = [request.get("range") for request in behavior.requests]
    assert ranges == [None, *(f"bytes={90_000 * i}-" for i in range(1, 6))]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_stalled_connection_is_given_up_and_made_anew(server, tmp_path):
    """A server that stops sending costs the stall time, not for ever."""
    base, behavior = server
    behavior.stall_after = [100_000]
    begin = time.monotonic()
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert time.monotonic() - begin < 5
    assert behavior.requests[1]["range"] == "bytes=100000-"


def test_a_connection_that_only_drips_is_made_anew(server, tmp_path):
    """A byte now and then is a stall too."""
    base, behavior = server
    behavior.drips = True
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert len(behavior.requests) == 2


def test_a_stopped_download_goes_on_in_the_next_run(server, tmp_path):
    """After an error the received bytes are kept, and the next call requests only the remaining ones."""
    base, behavior = server
    behavior.cut_after, behavior.statuses = [200_000], []
    with pytest.raises(AvcilError, match="200000 bytes are kept"):
        download(f"{base}/file", tmp_path / "file", retry=RetryPolicy(attempts=1, stall=0.4))
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert behavior.requests[-1]["range"] == "bytes=200000-"
    assert leftovers(tmp_path) == ["file"]


def test_a_killed_download_goes_on_in_the_next_run(server, tmp_path):
    """A process that dies without a word leaves a part that counts."""
    base, behavior = server
    behavior.stall_after = [100_000]
    code = "import sys; from avcil.utils.download import download; download(sys.argv[1], sys.argv[2])"
    process = subprocess.Popen([sys.executable, "-c", code, f"{base}/file", str(tmp_path / "file")])
    part, end = tmp_path / "file.part", time.monotonic() + 10
    while not (part.exists() and part.stat().st_size == 100_000) and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.wait()
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert behavior.requests[-1]["range"] == "bytes=100000-"


def test_a_server_that_ignores_ranges_is_taken_from_the_start(server, tmp_path):
    """A 200 to a range request is the whole file: it replaces the part instead of being put behind it."""
    base, behavior = server
    behavior.cut_after, behavior.ignores_range = [200_000], True
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_range_is_not_stitched_in(server, tmp_path):
    """If a response starts at another byte than requested, the partial file is discarded."""
    base, behavior = server
    behavior.cut_after, behavior.wrong_range = [200_000], True
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_is_fetched_anew(server, tmp_path):
    """A part of the old file is never joined to the rest of the new one, checksum known or not."""
    base, behavior = server
    behavior.cut_after = [200_000]
    with pytest.raises(AvcilError):
        download(f"{base}/file", tmp_path / "file", retry=RetryPolicy(attempts=1, stall=0.4))
    behavior.content, behavior.etag = CONTENT[::-1], '"two"'
    download(f"{base}/file", tmp_path / "file", retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT[::-1]


def test_wrong_bytes_are_discarded_and_reported(server, tmp_path):
    """Other bytes than published, twice: an error, and nothing that could be mistaken for the file."""
    base, behavior = server
    behavior.content = b"x" + CONTENT[1:]
    with pytest.raises(AvcilError, match="other bytes than published"):
        download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert not (tmp_path / "file").exists()
    assert not (tmp_path / "file.part").exists()
    assert len(behavior.requests) == 2


def test_a_damaged_part_heals(server, tmp_path):
    """A part whose bytes went bad on the disk is found by the checksum and fetched again."""
    base, behavior = server
    behavior.cut_after = [200_000]
    with pytest.raises(AvcilError):
        download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=RetryPolicy(attempts=1, stall=0.4))
    (tmp_path / "file.part").write_bytes(b"z" * 200_000)
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_of_another_size_is_refused(server, tmp_path):
    """A known size is compared before anything is fetched."""
    base, _ = server
    with pytest.raises(AvcilError, match="512000 bytes long where 5 were expected"):
        download(f"{base}/file", tmp_path / "file", size=5, retry=QUICK)


def test_hugging_faces_checksum_is_taken_from_the_redirect(server, tmp_path):
    """The SHA-256 that Hugging Face states on its redirect guards a file nobody gave a checksum for."""
    base, behavior = server
    behavior.linked = SHA256
    download(f"{base}/redirect", tmp_path / "good", retry=QUICK)
    behavior.linked = "0" * 64
    with pytest.raises(AvcilError, match="other bytes than published"):
        download(f"{base}/redirect", tmp_path / "bad", retry=QUICK)


@pytest.mark.parametrize(
    ("statuses", "kind"), [([404], InputError), ([403], InputError), ([410], InputError)]
)
def test_permanent_errors_are_reported_at_once(server, tmp_path, statuses, kind):
    """No such file and no permission are not tried again."""
    base, behavior = server
    behavior.statuses = list(statuses)
    with pytest.raises(kind, match=str(statuses[0])):
        download(f"{base}/file", tmp_path / "file", retry=QUICK)
    assert len(behavior.requests) == 1


def test_retries_of_a_busy_server_end(server, tmp_path):
    """500s and 429s pass, until the attempts are spent."""
    base, behavior = server
    behavior.statuses = [500, 429]
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    behavior.statuses = [503] * 9
    with pytest.raises(AvcilError, match=r"503.*HTTPS_PROXY.*Do this"):
        download(f"{base}/file", tmp_path / "other", retry=QUICK, offline_advice="Do this instead")
    assert len(behavior.requests) == 3 + QUICK.attempts


def test_a_download_behind_a_redirect_goes_on_too(server, tmp_path):
    """The tag on Hugging Face's redirect is not that of the store behind it: going on must not need it."""
    base, behavior = server
    behavior.linked, behavior.cut_after = SHA256, [200_000, 200_000]
    download(f"{base}/redirect", tmp_path / "file", retry=QUICK)
    asked = [request.get("range") for request in behavior.requests if request["path"] == "/file"]
    assert asked == [None, "bytes=200000-", "bytes=400000-"]


def test_a_web_page_instead_of_a_file_is_refused(server, tmp_path):
    """A log-in page of a proxy is not taken for an archive."""
    base, behavior = server
    behavior.kind = "text/html; charset=utf-8"
    with pytest.raises(AvcilError, match="a web page instead"):
        download(f"{base}/file", tmp_path / "file", retry=QUICK)


def test_a_file_of_unknown_length_needs_a_checksum(server, tmp_path):
    """Without length and checksum a cut-off file would pass for whole."""
    base, behavior = server
    behavior.tells_length = False
    with pytest.raises(AvcilError, match="does not say how long"):
        download(f"{base}/file", tmp_path / "file", retry=QUICK)
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)


def test_no_connection_says_what_to_do(tmp_path):
    """Nobody listening: the message names the address, the proxies and the other way."""
    with pytest.raises(AvcilError, match="Without a connection: copy it"):
        download(
            "http://127.0.0.1:9/f",
            tmp_path / "f",
            retry=QUICK,
            offline_advice="Without a connection: copy it",
        )


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "x"])
def test_only_web_addresses_are_fetched(address, tmp_path):
    """No local files, no other protocols."""
    with pytest.raises(InputError, match="http"):
        download(address, tmp_path / "f", retry=QUICK)


def test_a_redirect_elsewhere_is_not_followed(server, tmp_path):
    """A server cannot send the download to another protocol."""
    with pytest.raises(AvcilError, match="not followed"):
        download(f"{server[0]}/away", tmp_path / "f", retry=QUICK)


def test_the_standard_proxy_variables_are_respected(server, tmp_path, monkeypatch):
    """With HTTP_PROXY set, the request for another host goes to the proxy."""
    base, behavior = server
    monkeypatch.setenv("http_proxy", base)
    monkeypatch.setenv("no_proxy", "")
    download("http://example.invalid/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert behavior.requests[0]["path"] == "http://example.invalid/file"


def test_a_broken_note_beside_a_part_only_costs_the_part(server, tmp_path):
    """Notes that cannot be read, or are of another address, make the download start afresh."""
    base, _ = server
    for note in ("{", "[]", json.dumps({"url": "http://elsewhere/file", "size": 512_000})):
        (tmp_path / "file.part").write_bytes(b"q" * 1000)
        (tmp_path / "file.part.json").write_text(note)
        download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
        assert (tmp_path / "file").read_bytes() == CONTENT
        (tmp_path / "file").unlink()
