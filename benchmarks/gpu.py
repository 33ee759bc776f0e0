"""All GPU measurements as a Markdown table; each part runs in a process with a time limit. Started by gpu.sh.

    benchmarks/gpu.sh [--out TABLE.md] [--limit SECONDS] [--only PART...] [--device cpu --tiny]

The parts are in gpu_parts.py. Exit code 0 if all parts gave their rows, 1 if one failed or ran out of time, 2 without
a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PARTS = {
    "kernel": 60,
    "iteration": 60,
    "extraction": 130,
    "epoch": 60,
    "ave-ci": 80,
    "ks-ci": 80,
    "vs100-ci": 100,
}
"""Time limit of each part in seconds, in the order of execution."""
LIMIT = 520
"""Time limit of all parts in seconds."""
GRACE = 5
"""Seconds between the request to end and the kill of a part that is out of time."""
ROW = "row: "
"""Prefix of an output line with a row as a JSON list [what, value]."""


def run_part(part: str, seconds: float, options: list[str]) -> tuple[list[list[str]], str]:
    """Run a part.

    Returns:
        Its rows so far, each [what, value], and what went wrong; "" if nothing.
    """
    script = Path(__file__).with_name("gpu_parts.py")
    process = subprocess.Popen(
        [sys.executable, str(script), part, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
        failure = "" if process.returncode == 0 else _last_line(err) or f"exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        out, err = _end(process)
        failure = f"out of time after {seconds:.0f} s"
    rows = [json.loads(line.removeprefix(ROW)) for line in out.splitlines() if line.startswith(ROW)]
    if failure:
        print(err, file=sys.stderr)
    return rows, failure


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """End a process and its child processes, and return its output."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def environment(device: str) -> str:
    """One line with GPU, PyTorch, Python, and whether Triton and PyAV are available."""
    import platform
    from importlib.util import find_spec

    import torch

    card = torch.cuda.get_device_name() if device == "cuda" else "CPU, to try the script"
    there = {name: "with" if find_spec(name) else "without" for name in ("triton", "av", "transformers")}
    packages = ", ".join(f"{word} {name}" for name, word in there.items())
    return f"{card}; PyTorch {torch.__version__}, Python {platform.python_version()}, {packages}"


def table(about: str, rows: list[tuple[str, str, str]], seconds: float) -> str:
    """The Markdown table of (part, what, value)."""
    lines = [about, "", "| part | what | value |", "| --- | --- | ---: |"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join([*lines, "", f"All of it took {seconds:.0f} s.", ""])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.md"))
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for all parts")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the script")
    a = parser.parse_args()
    import torch

    if a.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that PyTorch can use; --device cpu --tiny tries the script", file=sys.stderr)
        return 2
    options = ["--device", a.device, *(["--tiny"] if a.tiny else [])]
    about, start = environment(a.device), time.monotonic()
    rows: list[tuple[str, str, str]] = []
    failed = False
    for part in a.only:
        left = a.limit - (time.monotonic() - start) - GRACE
        result, failure = (
            run_part(part, min(PARTS[part], left), options) if left > 0 else ([], "no time left for it")
        )
        rows += [(part, what, value) for what, value in result]
        if failure:
            failed = True
            rows.append((part, "FAILED", failure))
        a.out.write_text(table(about, rows, time.monotonic() - start), encoding="utf-8")
        print(f"{part}: {failure or 'done'}", flush=True)
    print(a.out.read_text(encoding="utf-8"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
