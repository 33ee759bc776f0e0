"""Kill a server during updates over HTTP, and check that each accepted update is complete or reported as lost.

    python benchmarks/serve_kill.py MODEL CLIP... [--sigkill 40] [--sigterm 20] [--seed 0] [--minutes 25]

Each round teaches a new class, sends the signal at a random time, starts the server again and checks its state. The
exit code is 1 if an accepted learning job is neither complete nor reported as lost, a class exists twice, or files are
left behind.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
from serve_process import ServerProcess

Row = tuple[str, str, str, str]
"""Signal, status of the request, exit code, state after the restart."""
LONGEST = 2.5
"""Maximum seconds between the request and the signal."""


def teach(url: str, label: str, clips: list[Path]) -> int:
    """The status of the request; 0 if the server has ended."""
    files = [("files", (clip.name, clip.read_bytes())) for clip in clips]
    try:
        return httpx.post(f"{url}/api/teach", data={"label": label}, files=files, timeout=120).status_code
    except httpx.TransportError:
        return 0


def outcome(url: str, label: str) -> str:
    """State of the class on the restarted server after all jobs have ended."""
    while True:
        response = httpx.get(f"{url}/api/teach", timeout=60)
        told = response.json() if response.status_code == 200 else {"state": "none", "label": ""}
        if told["state"] != "learning":
            break
        time.sleep(0.1)
    known = [entry["label"] for entry in httpx.get(f"{url}/api/classes", timeout=60).json()]
    if known.count(label) > 1:
        return "TWICE"
    if label in known:
        return "complete"
    return told["state"] if told["label"] == label else "absent"


def interrupted(
    server: ServerProcess, label: str, clips: list[Path], how: signal.Signals, delay: float
) -> tuple[int, int]:
    """Learn, send the signal after `delay` seconds; returns the status of the request and the server's exit code."""
    status: list[int] = []
    request = threading.Thread(target=lambda: status.append(teach(server.url, label, clips)))
    request.start()
    time.sleep(delay)
    code = server.stop(how)
    request.join()
    return status[0], code


def report(counts: Counter[Row], left: list[str]) -> bool:
    """Print the table; returns whether there was an error."""
    print(
        "| signal | status of the request | exit code | after the restart | rounds | |\n|---|---|---|---|---|---|"
    )
    wrong = bool(left)
    for row, count in sorted(counts.items()):
        how, status, code, end = row
        good = end in ("complete", "lost") or (status != "202" and end in ("absent", "none", "failed"))
        good = good and (how != "SIGTERM" or code == "0")
        wrong |= not good
        print(f"| {how} | {status} | {code} | {end} | {count} | {'' if good else 'WRONG'} |")
    print(f"left behind: {', '.join(left) or 'nothing'}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--sigkill", type=int, default=40)
    parser.add_argument("--sigterm", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=25.0)
    args = parser.parse_args()
    rng, until = random.Random(args.seed), time.monotonic() + 60 * args.minutes
    signals = [signal.SIGKILL] * args.sigkill + [signal.SIGTERM] * args.sigterm
    rng.shuffle(signals)
    counts: Counter[Row] = Counter()
    with tempfile.TemporaryDirectory(prefix="serve-kill-") as name:
        folder = Path(name)
        shutil.copytree(args.model, folder / "run")
        (folder / "tmp").mkdir()
        server = ServerProcess(folder / "run", temporary=folder / "tmp")
        for number, how in enumerate(signals):
            if time.monotonic() > until:
                print(f"stopped after {number} rounds: the time is over")
                break
            label = f"class {number}"
            status, code = interrupted(server, label, args.clips, how, rng.uniform(0, LONGEST))
            server = ServerProcess(folder / "run", temporary=folder / "tmp")
            end = outcome(server.url, label)
            counts[how.name, str(status or "no answer"), str(code), end] += 1
            if end == "complete":
                httpx.post(f"{server.url}/api/undo", timeout=60)
        server.stop()
        left = [path.name for path in (folder / "run.taught" / "incoming").iterdir()]
        left += [path.name for path in (folder / "tmp").glob("avcil-*")]
    sys.exit(report(counts, left))


if __name__ == "__main__":
    main()
