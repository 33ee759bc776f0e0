"""Time and peak memory of training by AV-CIL on a CPU: an iteration, an epoch and a run, compared with the release.

Each variant runs in its own process, in turns, so that changes of the machine affect all of them. Printed are medians,
minima and ratios. avcil requests huge pages when it is imported; the release does not. The plain equations are measured
with and without them.

Iteration: avcil, plain, plain with torch.compile, and the lower bound (iterations.py). Epoch and run: with data in a
feature store (epochs.py). Prints Markdown tables.

    OMP_NUM_THREADS=2 python benchmarks/training.py [--rounds 7 --new 16 --exemplars 8 --slices 8 --spatial 196
        --width 768 --batches 4 --epochs 4 --data dict|hdf5 --only iteration|epoch]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
from epochs import epoch_table, laps
from iterations import WAYS, Clips, add_shape, ratio

SETTINGS = {
    "avcil": ("avcil", {}),
    "avcil, no C compiler": ("avcil", {"PATH": "", "CC": ""}),
    "plain": ("plain", {"THP_MEM_ALLOC_ENABLE": "0"}),
    "plain, huge pages": ("plain", {}),
    "plain, compiled": ("compiled", {}),
    "floor": ("floor", {}),
}
"""By name: implementation, and variables of its process. avcil requests huge pages; the release does not."""


class Worker:
    """A process for one variant, which runs iterations on request."""

    def __init__(self, a: argparse.Namespace, name: str) -> None:
        way, variables = SETTINGS[name]
        names = ("new", "exemplars", "slices", "spatial", "width")
        shape = (word for n in names for word in (f"--{n}", str(getattr(a, n))))
        self.process = subprocess.Popen(
            [sys.executable, __file__, *shape, "--worker", way],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.seconds: list[float] = []
        self.loss, self.peak = self.ask()[1:]

    def ask(self) -> tuple[float, float, float]:
        """Seconds of an iteration, its loss, and peak memory above the input in MiB."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        seconds, loss, peak = map(float, self.process.stdout.readline().split())
        return seconds, loss, peak

    def iterate(self) -> None:
        """One counted iteration."""
        seconds, _, self.peak = self.ask()
        self.seconds.append(seconds)


def work(a: argparse.Namespace) -> None:
    """Main loop of a worker: an iteration for each input line."""
    small = argparse.Namespace(new=2, exemplars=2, slices=1, spatial=2, width=16)
    # Libraries are loaded before the measurement.
    float(WAYS[a.worker](small, Clips(small))())
    if a.worker == "compiled":
        torch.compiler.reset()  # otherwise the next shape is compiled with dynamic shapes
    clips = Clips(a)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak memory
    iterate = WAYS[a.worker](a, clips)
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = float(iterate())
        print(time.perf_counter() - start, loss, _status("VmHWM") - before, flush=True)


def iteration_table(a: argparse.Namespace) -> None:
    workers = {name: Worker(a, name) for name in SETTINGS}
    losses = {name: worker.loss for name, worker in workers.items() if name != "floor"}
    assert max(losses.values()) / min(losses.values()) - 1 < 1e-4, f"the losses differ: {losses}"
    for turn in range(a.rounds):
        for worker in workers.values() if turn % 2 == 0 else reversed(workers.values()):
            worker.iterate()
    floor, avcil = workers["floor"], workers["avcil"]
    shape = f"{a.new} + {a.exemplars} clips of {a.slices} x {a.spatial} x {a.width}"
    print(f"Iteration: {shape}, float32, {torch.get_num_threads()} threads, {a.rounds} rounds in turns\n")
    print(
        "| | ms, median | ms, least | over the floor, median | of least | over avcil | MiB above the input |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, worker in workers.items():
        times = f"{1e3 * median(worker.seconds):.0f} | {1e3 * min(worker.seconds):.0f}"
        over, slower = ratio(worker.seconds, floor.seconds), ratio(worker.seconds, avcil.seconds)
        print(f"| {name} | {times} | {over} | {slower.split(' | ')[0]} | {worker.peak:.0f} |")
    print(f"\nmemory of avcil / plain: {avcil.peak / workers['plain'].peak:.2f}\n")


def _status(name: str) -> float:
    """MiB of a line of /proc/self/status; a child's ru_maxrss would include that of its parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_shape(parser, new=16, exemplars=8)
    for name, default in (("rounds", 7), ("batches", 4), ("epochs", 4), ("validation", 16), ("runs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--data", choices=["dict", "hdf5"], default="dict")
    parser.add_argument("--only", choices=["iteration", "epoch"])
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--laps", choices=["avcil", "release"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.worker:
        work(a)
        return
    if a.laps:
        print(json.dumps(laps(a)))
        return
    if a.only != "epoch":
        iteration_table(a)
    if a.only != "iteration":
        epoch_table(a)


if __name__ == "__main__":
    main()
