"""Time of training by AV-CIL on a GPU: an iteration over the bfloat16 floor and the plain float32 way, and whole runs.

The iteration has its data on the GPU and takes turns with the two others. A run is `steps` of `epochs` over made-up
clips of a benchmark's shape, resident on the GPU in bfloat16, with a teacher, exemplars and validation each epoch.
Without a GPU it says so and ends with exit code 2. Prints Markdown tables.

    python benchmarks/training_gpu.py [--new 256 --exemplars 128 --rounds 20 --only iteration|ave-ci|vs100-ci]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from iterations import CLASSES, WAYS, Clips, adam, add_shape, descend, make_step
from torch import Tensor

from avcil.methods.av_cil import AvCil, AvCilOptions
from avcil.methods.base import Batch

RUNS = {"ave-ci": (4, 200, 3294, 402, 340), "vs100-ci": (10, 200, 49500, 5000, 1500)}
"""Steps, epochs, training clips, validation clips, exemplars."""


def seconds_of(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def iteration_table(a: argparse.Namespace) -> None:
    coarse = Clips(a, device="cuda", dtype=torch.bfloat16)
    work = {name: WAYS[name](a, coarse) for name in ("avcil", "floor")}
    work["plain"] = WAYS["plain"](a, Clips(a, device="cuda"))
    for iterate in [*work.values()] * 3:
        seconds_of(iterate)
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(a.rounds):
        for name, iterate in work.items():
            times[name].append(seconds_of(iterate))
    peaks = {}
    for name, iterate in work.items():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        seconds_of(iterate)
        peaks[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    print(
        f"{torch.cuda.get_device_name()}: {a.new} + {a.exemplars} clips of {a.slices} x {a.spatial} x {a.width}\n"
    )
    print(
        "| | dtype | ms, median | over the floor | MiB above what is held |\n| --- | --- | ---: | ---: | ---: |"
    )
    for name, dtype in (("avcil", "bfloat16"), ("plain", "float32"), ("floor", "bfloat16")):
        over = median(x / y for x, y in zip(times[name], times["floor"], strict=True))
        print(f"| {name} | {dtype} | {1e3 * median(times[name]):.2f} | {over:.2f} | {peaks[name]:.0f} |")
    gain = median(x / y for x, y in zip(times["plain"], times["avcil"], strict=True))
    print(f"\nplain / avcil: {gain:.1f}\n")


def run_seconds(a: argparse.Namespace, name: str) -> float:
    steps, epochs, training, validation, exemplars = RUNS[name]
    shape = {n: getattr(a, n) for n in ("slices", "spatial", "width")}
    pool = Clips(
        argparse.Namespace(new=training // steps, exemplars=exemplars, **shape),
        device="cuda",
        dtype=torch.bfloat16,
    )
    held_out = Clips(
        argparse.Namespace(new=validation, exemplars=0, **shape), device="cuda", dtype=torch.bfloat16
    )

    def whole() -> None:
        for _ in range(steps):
            train_step(a, pool, held_out, epochs)

    return seconds_of(whole)


def train_step(a: argparse.Namespace, pool: Clips, held_out: Clips, epochs: int) -> None:
    step, method = (
        make_step(pool, new=pool.new, width=a.width),
        AvCil(AvCilOptions(), modality="audio-visual"),
    )
    optimizer = adam(step.network)
    for _ in range(epochs):
        new = torch.randperm(pool.new, device="cuda").split(a.new)
        for rows in new:
            old = pool.new + torch.randperm(len(pool) - pool.new, device="cuda")[: a.exemplars]
            batch = take(pool, torch.cat([rows, old]), len(rows))
            descend(
                optimizer,
                torch.stack(list(method.loss(method.forward(batch, step), batch, step).values())).sum(),
            )
        with torch.no_grad():
            for rows in torch.arange(len(held_out), device="cuda").split(a.new):
                step.network.scores(*held_out.take(rows))


def take(pool: Clips, rows: Tensor, new: int) -> Batch:
    sound, tokens = pool.take(rows)
    return Batch(audio=sound, visual=tokens, labels=pool.labels[rows], rows=rows, new_count=new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_shape(parser, new=256, exemplars=128)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=["iteration", *RUNS])
    a = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU that PyTorch can use; benchmarks/training.py measures a CPU", file=sys.stderr)
        sys.exit(2)
    if a.only in (None, "iteration"):
        iteration_table(a)
    for name in RUNS if a.only is None else [n for n in RUNS if n == a.only]:
        print(
            f"{name}-shaped run, of {CLASSES} old classes beside {CLASSES} new ones: {run_seconds(a, name):.1f} s"
        )


if __name__ == "__main__":
    main()
