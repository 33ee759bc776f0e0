"""Time to teach classes to a served model over the HTTP API, as the page does.

    python benchmarks/teaching_time.py MODEL CLASSES [--classes 5] [--clips 5]

CLASSES is a folder with one folder of clips for each new class. Starts `avcil serve`, teaches the classes one after
another and waits for each. The seconds include upload, decoding, encoding and learning. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import httpx
from serve_process import ServerProcess


def teach(client: httpx.Client, label: str, clips: list[Path]) -> tuple[float, dict[str, float]]:
    """Seconds until the class is learned, and seconds of each phase that the server reports."""
    start, phases = time.monotonic(), {}
    files = [("files", (clip.name, clip.read_bytes())) for clip in clips]
    response = client.post("/api/teach", files=files, data={"label": label})
    response.raise_for_status()
    last = start
    while True:
        job = client.get("/api/teach").raise_for_status().json()
        now = time.monotonic()
        phases[job["doing"]] = phases.get(job["doing"], 0.0) + now - last
        last = now
        if job["state"] != "learning":
            break
        time.sleep(0.02)
    if job["state"] != "done":
        sys.exit(f"{label} was not learned: {job['error']}")
    return now - start, phases


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--clips", type=int, default=5)
    arguments = parser.parse_args()
    folders = sorted(path for path in arguments.folder.iterdir() if path.is_dir())[: arguments.classes]
    total = 0.0
    with tempfile.TemporaryDirectory(prefix="teaching-time-") as name:
        temporary = Path(name) / "tmp"
        temporary.mkdir()
        server = ServerProcess(arguments.model, "--state-dir", str(Path(name) / "work"), temporary=temporary)
        try:
            with httpx.Client(base_url=server.url, timeout=600) as client:
                for folder in folders:
                    clips = sorted(path for path in folder.iterdir() if path.is_file())[: arguments.clips]
                    seconds, phases = teach(client, folder.name, clips)
                    total += seconds
                    message = ", ".join(f"{phase}: {spent:.2f}" for phase, spent in phases.items())
                    print(f"{folder.name}, {len(clips)} clips: {seconds:.2f} s ({message})", flush=True)
        finally:
            server.stop()
    print(f"{len(folders)} classes: {total:.2f} s")


if __name__ == "__main__":
    main()
