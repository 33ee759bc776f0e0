"""A local server that disconnects, stalls, sends wrong bytes and fails on request."""

from __future__ import annotations

import hashlib
import http.server
import time
from dataclasses import dataclass, field
from pathlib import Path

from avcil.utils.download import RetryPolicy

CONTENT = bytes(range(256)) * 2000  # 512 000 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = RetryPolicy(stall=0.4, attempts=3, first_wait=0.01)


@dataclass
class Behavior:
    """How the server treats the requests to come."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    cut_after: list[int] = field(default_factory=list)
    """For each next response: number of bytes after which the connection is closed."""
    stall_after: list[int] = field(default_factory=list)
    """For each next response: number of bytes after which nothing is sent until another request arrives."""
    stalled: bool = False
    slow: bool = False
    """For the next response: send one byte at a time, slowly."""
    statuses: list[int] = field(default_factory=list)
    """For each next response: an error status instead."""
    ignores_range: bool = False
    wrong_range: bool = False
    linked: str | None = None
    """X-Linked-ETag of a redirect, as Hugging Face sends it."""
    kind: str = "application/octet-stream"
    sends_length: bool = True
    requests: list[dict] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    behavior: Behavior

    def log_message(self, *_):
        pass

    def do_GET(self):
        b = self.behavior
        headers = {k.lower(): v for k, v in self.headers.items()}
        b.requests.append({"path": self.path, "while_stalled": b.stalled, **headers})
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
        self.send_content(b)

    def send_content(self, b: Behavior):
        start = 0
        byte_range = self.headers.get("Range")
        unchanged = self.headers.get("If-Range") in (None, b.etag)
        if byte_range and unchanged and not b.ignores_range:
            start = int(byte_range.removeprefix("bytes=").removesuffix("-"))
            if start >= len(b.content):
                self.send_error(416)
                return
        body = b.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start + (7 if b.wrong_range else 0)
            self.send_header("Content-Range", f"bytes {first}-{len(b.content) - 1}/{len(b.content)}")
        if b.etag:
            self.send_header("ETag", b.etag)
        self.send_header("Content-Type", b.kind)
        if b.sends_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if b.cut_after:
            body = body[: b.cut_after.pop(0)]
        if b.stall_after:
            self.wfile.write(body[: b.stall_after.pop(0)])
            self.wfile.flush()
            self.wait_for_next_request(b)
            return
        while b.slow and b.requests[-1] is b.requests[0]:
            self.wfile.write(body[:1])
            body = body[1:]
            time.sleep(0.05)
        self.wfile.write(body)

    def wait_for_next_request(self, b: Behavior):
        count, end = len(b.requests), time.monotonic() + 30
        b.stalled = True
        while len(b.requests) == count and time.monotonic() < end:
            time.sleep(0.02)
        b.stalled = False


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # clients that disconnect are part of the tests


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")
