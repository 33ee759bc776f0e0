"""Load test with many users: correctness of predictions, maximum latency, and memory growth of the server.

    python benchmarks/serve_load.py MODEL CLIP... [--users 200] [--predictions 2000] [--minutes 15]

Each user is a thread with a loopback address of its own that sends one clip after another and, at status 503, waits for
Retry-After and sends it again. Times are from the first request to the prediction. The exit code is 1 if a prediction
is wrong, p99 is 5 times the median or more, or memory grows by more than 20 %. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from serve_process import ServerProcess

from avcil.inference import Recognizer

MOST_RATIO, MOST_GROWTH = 5.0, 1.2


@dataclass
class Totals:
    """Outcomes of all requests."""

    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    failed: int = 0
    retries: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self, seconds: float, retries: int, answer: httpx.Response | None, expected: dict[str, float]
    ) -> None:
        """Count one request; None is a failed one."""
        with self.lock:
            self.retries += retries
            if answer is None or answer.status_code != 200:
                self.failed += 1
                return
            self.seconds.append(seconds)
            got = {p["label"]: p["probability"] for p in answer.json()["predictions"]}
            self.wrong += any(abs(got.get(label, -1) - p) > 1e-9 for label, p in expected.items())


def ask(client: httpx.Client, url: str, clip: Path, until: float) -> tuple[httpx.Response | None, int]:
    """The response, and how often the request was repeated."""
    files = {"file": (clip.name, clip.read_bytes())}
    retries = 0
    while time.monotonic() < until:
        response = client.post(f"{url}/api/predict", files=files)
        if response.status_code != 503:
            return response, retries
        retries += 1
        time.sleep(float(response.headers.get("retry-after", 1)))
    return None, retries


def load(server: ServerProcess, expected: dict[Path, dict[str, float]], args: argparse.Namespace) -> Totals:
    """Run all users."""
    totals, clips = Totals(), list(expected)
    until = time.monotonic() + 60 * args.minutes
    begin = threading.Barrier(args.users)

    def user(number: int) -> None:
        address = f"127.0.{1 + number // 250}.{1 + number % 250}"
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(transport=transport, timeout=600) as client:
            begin.wait(60)
            for turn in range(args.predictions // args.users):
                clip = clips[(number + turn) % len(clips)]
                start = time.monotonic()
                response, retries = ask(client, server.url, clip, until)
                totals.add(time.monotonic() - start, retries, response, expected[clip])

    with ThreadPoolExecutor(args.users) as pool:
        list(pool.map(user, range(args.users)))
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--predictions", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=15.0)
    args = parser.parse_args()
    recognizer = Recognizer.load(args.model)
    expected = {clip: recognizer.predict_clip(clip).probabilities for clip in args.clips}
    with tempfile.TemporaryDirectory(prefix="serve-load-") as name:
        temporary = Path(name) / "tmp"
        temporary.mkdir()
        server = ServerProcess(args.model, "--state-dir", str(Path(name) / "work"), temporary=temporary)
        try:
            with httpx.Client(timeout=120) as client:
                for clip in args.clips[
                    :8
                ]:  # modules loaded by the first predictions are not counted as growth
                    ask(client, server.url, clip, time.monotonic() + 120)
            before, start = server.memory(), time.monotonic()
            totals = load(server, expected, args)
            seconds, after = time.monotonic() - start, server.memory()
        finally:
            server.stop()
    middle = statistics.median(totals.seconds)
    last = statistics.quantiles(totals.seconds, n=100)[98]
    print(
        "| users | answers | wrong | failed | retries | answers/s | median s | p99 s | ratio | MB before | MB after |"
    )
    print(f"|{'---|' * 11}")
    print(
        f"| {args.users} | {len(totals.seconds)} | {totals.wrong} | {totals.failed} | {totals.retries} | "
        f"{len(totals.seconds) / seconds:.1f} | {middle:.2f} | {last:.2f} | {last / middle:.2f} | "
        f"{before:.0f} | {after:.0f} |"
    )
    good = (
        not totals.wrong and not totals.failed and last < MOST_RATIO * middle and after < MOST_GROWTH * before
    )
    sys.exit(not good)


if __name__ == "__main__":
    main()
