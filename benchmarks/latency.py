"""Latency of the first prediction of `avcil predict` from a cold start, and of a loaded Recognizer.

    OMP_NUM_THREADS=2 python benchmarks/latency.py MODEL CLIP [--rounds 7]

CLIP should last about 3 s. It also prints CPU time, which depends less on other processes, and the part of `import
torch` in a cold start.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median


def children_seconds() -> float:
    """CPU time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cold_start(words: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a Python process."""
    start, used = time.perf_counter(), children_seconds()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, children_seconds() - used


def report(what: str, measure: Callable[[], tuple[float, float]], rounds: int) -> None:
    """A line with medians and minima."""
    clock, processor = zip(*(measure() for _ in range(rounds)), strict=True)
    print(
        f"{what}: {median(clock):.3f} s, least {min(clock):.3f} s; processor time {median(processor):.3f} s, "
        f"least {min(processor):.3f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    a = parser.parse_args()
    predict = ["-m", "avcil", "predict", str(a.model), str(a.clip)]
    cold_start(predict)  # files are in the page cache from here on
    report("import torch", lambda: cold_start(["-c", "import torch"]), a.rounds)
    report("first answer of avcil predict", lambda: cold_start(predict), a.rounds)

    from avcil.inference import Recognizer

    recognizer = Recognizer.load(a.model)
    recognizer.predict_clip(a.clip)

    def answer() -> tuple[float, float]:
        start, used = time.perf_counter(), time.process_time()
        recognizer.predict_clip(a.clip)
        return time.perf_counter() - start, time.process_time() - used

    report("later answer of a loaded Recognizer", answer, 3 * a.rounds)


if __name__ == "__main__":
    main()
