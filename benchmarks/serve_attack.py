"""Run all attacks in docs/how-to/serving.md against a real `avcil serve` process, and print a table of results.

    python benchmarks/serve_attack.py MODEL CLIP [--only files,origins]

The server runs in a separate process with a copy of the run, and logs each connection that it opens. The exit code is 1
if an attack has another result than expected. An attack is a function with the decorator `attack`; it yields rows
(attack, expected result, actual result).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from PIL import Image

SERVER = """
import sys
log = open(sys.argv[1], "a", buffering=1)
def note(event, words):
    if event == "socket.connect" or (event == "socket.getaddrinfo" and words[0] != "127.0.0.1"):
        log.write(f"{event} {words[-1] if event == 'socket.connect' else words}\\n")
sys.addaudithook(note)
from avcil.cli.main import main
sys.exit(main(["serve", *sys.argv[2:]]))
"""
META = {"_type": "gradio.FileData"}
Row = tuple[str, str, str]
"""The attack, the expected result, the actual result."""


@dataclass
class Target:
    """A server under attack."""

    url: str
    process: subprocess.Popen[str]
    connections: Path
    """Connections that the server opened, one per line."""
    folder: Path
    clip: Path

    def send(self, method: str, path: str, **more) -> httpx.Response:
        """One request; a connection that the server closed counts as status 0."""
        try:
            return httpx.request(method, self.url + path, timeout=120, **more)
        except httpx.TransportError:
            return httpx.Response(0)

    def predict(self, **more) -> httpx.Response:
        """Predict the clip."""
        return self.send("POST", "/api/predict", files={"file": ("a.mp4", self.clip.read_bytes())}, **more)

    def memory(self) -> int:
        """Resident memory of the server in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


ATTACKS: dict[str, tuple[Callable[[Target], Iterator[Row]], tuple[str, ...], dict[str, str]]] = {}


def attack(*words: str, **environment: str) -> Callable:
    """Register an attack on a server with these additional options and environment variables."""

    def register(function: Callable[[Target], Iterator[Row]]) -> Callable:
        ATTACKS[function.__name__] = (function, words, environment)
        return function

    return register


@contextlib.contextmanager
def served(run: Path, clip: Path, words: tuple[str, ...], environment: dict[str, str]) -> Iterator[Target]:
    """Serve a copy of the run in a separate process."""
    with tempfile.TemporaryDirectory(prefix="serve-attack-") as name:
        folder = Path(name)
        shutil.copytree(run, folder / "run")
        log = folder / "connections"
        log.touch()
        command = [sys.executable, "-c", SERVER, str(log), str(folder / "run"), "--port", "0", *words]
        with open(folder / "errors", "w") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | environment
            )
        try:
            url = process.stdout.readline().split()[-1]
            yield Target(url, process, log, folder, clip)
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()


@attack()
def files(target: Target) -> Iterator[Row]:
    """Paths outside the upload folder, for every event that takes a file."""
    config = target.send("GET", "/config").json()
    takes = {c["id"] for c in config["components"] if "FileData" in json.dumps(c.get("api_info", {}))}
    uploaded = target.send("POST", "/gradio_api/upload", files={"files": ("a.mp4", b"x")}).json()[0]
    link = Path(uploaded).with_name("link")
    link.symlink_to("/etc/passwd")
    paths = {
        "absolute path": "/etc/passwd",
        "relative path": "run/config.json",
        "path with ..": f"{uploaded}/../../../etc/passwd",
        "symbolic link": str(link),
        "device": "/dev/zero",
        "directory": "/etc",
        "http URL": "http://127.0.0.1:9/a.mp4",
        "URL of a name": "https://nowhere.example/a.mp4",
        "data URI": "data:video/mp4;base64,AAAA",
        "number": 7,
    }
    for kind, path in paths.items():
        got = set()
        for event in config["dependencies"]:
            for position, component in enumerate(event["inputs"]):
                if component in takes and event["backend_fn"]:
                    data: list[object] = [None] * len(event["inputs"])
                    for form in ({"path": path, "meta": META}, [{"path": path}], {"video": {"path": path}}):
                        data[position] = form
                        body = {"data": data, "fn_index": event["id"], "session_hash": "x"}
                        response = target.send("POST", "/gradio_api/queue/join", content=json.dumps(body))
                        got.add(response.status_code)
        yield f"file named by {kind}", "403", ", ".join(map(str, sorted(got)))
    for path in ("/etc/passwd", "http://nowhere.example/a", str(link)):
        yield f"GET file={path[:25]}", "403", str(target.send("GET", f"/gradio_api/file={path}").status_code)
    for path in ("run/predict", "call/predict", "component_server", "proxy=http://127.0.0.1:9/", "vibe-edit"):
        method = "GET" if "proxy" in path else "POST"
        yield f"Gradio's {path}", "404", str(target.send(method, f"/gradio_api/{path}", json={}).status_code)
    yield "connections opened by the server", "none", target.connections.read_text().strip() or "none"
    link.unlink()


@attack()
def origins(target: Target) -> Iterator[Row]:
    """Requests that a page of another site can send."""
    host = urlsplit(target.url).netloc
    for name, headers, status in (
        ("Origin of another site", {"origin": "http://evil.example"}, 403),
        ("Origin of another port", {"origin": "http://127.0.0.1:1"}, 403),
        ("Origin: null", {"origin": "null"}, 403),
        ("Origin: http://[x", {"origin": "http://[x"}, 403),
        ("Sec-Fetch-Site: cross-site", {"sec-fetch-site": "cross-site"}, 403),
        ("Host of another name", {"host": "evil.example"}, 403),
        ("Host: [", {"host": "["}, 400),
        ("the page's own origin", {"origin": f"http://{host}"}, 409),  # nothing to undo
    ):
        yield (
            f"undo with {name}",
            str(status),
            str(target.send("POST", "/api/undo", headers=headers).status_code),
        )
    page = target.send("GET", "/")
    yield "X-Frame-Options of the page", "DENY", page.headers.get("x-frame-options", "none")
    framing = "frame-ancestors 'none'" in page.headers.get("content-security-policy", "")
    yield "CSP of the page forbids framing", "True", str(framing)


@attack("--max-upload", "20MB")
def bodies(target: Target) -> Iterator[Row]:
    """Large and malformed bodies."""
    before = target.memory()
    big = b'{"data": "' + b"x" * 19_000_000 + b'"}'
    for path in ("/gradio_api/queue/join", "/api/predict", "/api/undo"):
        response = target.send("POST", path, content=big, headers={"content-type": "application/json"})
        yield f"JSON of 19 MB to {path}", "413", str(response.status_code or "closed")
    chunks = iter([big[at : at + 65536] for at in range(0, len(big), 65536)])
    response = target.send("POST", "/gradio_api/queue/join", content=chunks)
    yield (
        "the same, length not stated",
        "413 or closed",
        "413 or closed" if response.status_code in (0, 413) else "no",
    )
    grown = (target.memory() - before) / 1e6
    yield "memory grown", "below 100 MB", "below 100 MB" if grown < 100 else f"{grown:.0f} MB"
    deep = target.send("POST", "/gradio_api/queue/join", content=b"[" * 200_000)
    yield "JSON of 200,000 brackets", "400", str(deep.status_code)
    clip = ("a.mp4", target.clip.read_bytes())
    two = target.send("POST", "/api/predict", files=[("file", clip), ("file", clip)])
    yield "two files in one question", "422", str(two.status_code)
    other = target.send("POST", "/api/predict", files=[("file", clip), ("other", clip)])
    yield "an unknown field", "422", str(other.status_code)
    taken = [target.send("POST", "/gradio_api/upload", files={"files": bytes(15_000_000)}) for _ in range(8)]
    yield "8 uploads of 15 MB of one client", "429 at the end", f"{taken[-1].status_code} at the end"
    many = target.send("POST", "/gradio_api/upload", files=[("files", ("a", b"x"))] * 100)
    yield "100 files in one upload", "400", str(many.status_code)
    yield "a clip afterwards", "200", str(target.predict().status_code)


@attack()
def slow_sockets(target: Target) -> Iterator[Row]:
    """Uploads that stop halfway, and a queue that is full of one client's clips."""
    where = urlsplit(target.url)
    head = f"POST /api/predict HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 100000\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    lines = [socket.create_connection((where.hostname, where.port), timeout=60) for _ in range(100)]
    for line in lines:
        line.sendall(head.encode())
    start = time.monotonic()
    answers = [target.predict().status_code for _ in range(5)]
    yield "5 clips beside 100 slow uploads", "200", ", ".join(map(str, sorted(set(answers))))
    ends = {line.recv(65536)[9:12].decode() for line in lines}
    yield "the slow uploads", "408", ", ".join(sorted(ends))
    seconds = time.monotonic() - start
    yield "they end within", "30 s", "30 s" if seconds < 30 else f"{seconds:.0f} s"
    for line in lines:
        line.close()


@attack("--max-queue", "4", "--workers", "1")
def full_queue(target: Target) -> Iterator[Row]:
    """More clips than the queue allows."""
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: target.predict(), range(40)))
    yield (
        "statuses of 40 clips at once",
        "200, 503",
        ", ".join(map(str, sorted({a.status_code for a in answers}))),
    )
    waits = {a.headers.get("retry-after") for a in answers if a.status_code == 503}
    yield (
        "Retry-After of the 503s",
        "1 to 120",
        "1 to 120" if all(w and 1 <= int(w) <= 120 for w in waits) else "no",
    )


@attack(AVCIL_PASSWORD="correct horse")
def passwords(target: Target) -> Iterator[Row]:
    """Requests without the password, and guesses."""
    for path in ("/", "/api/model", "/metrics", "/config", "/gradio_api/file=/etc/passwd"):
        yield f"GET {path} without the password", "401", str(target.send("GET", path).status_code)
    yield "a clip without the password", "401", str(target.predict().status_code)
    right = {"authorization": "Bearer correct horse"}
    yield "a clip with the password", "200", str(target.predict(headers=right).status_code)
    guesses = [target.send("POST", "/login", data={"password": f"guess {n}"}).status_code for n in range(8)]
    yield (
        "8 guesses",
        "401 five times, 429 three times",
        ("401 five times, 429 three times" if guesses == [401] * 5 + [429] * 3 else str(guesses)),
    )
    yield "the password after them", "429", str(target.send("GET", "/api/health", headers=right).status_code)


def _learn(target: Target, label: str) -> httpx.Response:
    files = [("files", (f"{take}.mp4", target.clip.read_bytes())) for take in range(4)]
    return target.send("POST", "/api/teach", data={"label": label}, files=files)


@attack()
def decoding(target: Target) -> Iterator[Row]:
    """Clips that are expensive to read, and worker processes that fail."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    count = 14_000_000 // len(file.getvalue())
    bomb = file.getvalue() * count
    with ThreadPoolExecutor(2) as pool:
        start = time.monotonic()
        sent = [
            pool.submit(target.send, "POST", "/api/predict", files={"file": ("a.mjpeg", bomb)})
            for _ in range(2)
        ]
        good = target.predict().status_code
        codes = {response.result().status_code for response in sent}
    rejected = codes <= {415, 422}
    yield f"two 14 MB clips of {count} pictures", "415 or 422", "415 or 422" if rejected else str(codes)
    yield "a good clip meanwhile", "200", str(good)
    yield "all of it in less than 60 s", "True", str(time.monotonic() - start < 60)
    for task in Path(f"/proc/{target.process.pid}/task").iterdir():
        for pid in (task / "children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    yield "a clip after all worker processes were killed", "200", str(target.predict().status_code)


@attack()
def stopping(target: Target) -> Iterator[Row]:
    """SIGTERM just after a learning job was accepted."""
    yield "a teaching", "202", str(_learn(target, "accepted").status_code)
    target.process.terminate()
    yield "another one after SIGTERM", "503", str(_learn(target, "late").status_code)
    yield "exit code", "0", str(target.process.wait(120))
    state = json.loads((target.folder / "run.taught" / "state.json").read_text())
    yield "what was learned", "accepted", ", ".join(update["label"] for update in state["updates"])


def main() -> int:
    """Run the attacks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="a finished run directory, or a model folder")
    parser.add_argument("clip", type=Path, help="a clip that it answers")
    parser.add_argument("--only", help=f"names of attacks, with commas: {','.join(ATTACKS)}")
    given = parser.parse_args()
    failed = 0
    print(f"{'attack':50} {'expected':32} {'got':32} ok")
    for name in given.only.split(",") if given.only else ATTACKS:
        function, options, environment = ATTACKS[name]
        with served(given.model, given.clip, options, environment) as target:
            for what, expected, got in function(target):
                failed += expected != got
                print(f"{what:50} {expected:32} {got:32} {'yes' if expected == got else 'NO'}", flush=True)
    print(f"{failed} attacks got something else" if failed else "all as expected")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
