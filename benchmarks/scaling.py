"""Time of an AV-CIL iteration by number of steps, classes, clips per batch and tokens.

A table for each, of avcil's iteration (data in memory, float32): cases run in turns, so that changes of the machine
affect all of them. Printed are medians, and the median of ratios to the first case. Steps have VS100-CI's shape: 10
classes each, the teacher knows all earlier ones, and there is a distillation term for each earlier step.

    OMP_NUM_THREADS=2 python benchmarks/scaling.py [--rounds 7 --only steps|clips|tokens --width 768 ...]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from iterations import CLASSES, Clips, add_shape, avcil

STEPS = (1, 3, 5, 7, 9)
CLIPS = ((4, 2), (8, 4), (16, 8), (32, 16))
TOKENS = ((8, 49), (8, 98), (8, 196), (16, 196))


def measure(title: str, cases: Sequence[tuple[str, Callable[[], object]]], rounds: int) -> None:
    """Print a table of cases that run in turns; the first turn fills caches and is not used."""
    for _, iterate in cases:
        iterate()
    times: dict[str, list[float]] = {name: [] for name, _ in cases}
    for turn in range(rounds):
        for name, iterate in cases if turn % 2 == 0 else reversed(cases):
            start = time.perf_counter()
            float(iterate())
            times[name].append(time.perf_counter() - start)
    first = times[cases[0][0]]
    print(f"\n| {title} | ms, median | ms, least | over the first |\n| --- | ---: | ---: | ---: |")
    for name, result in times.items():
        over = median(x / y for x, y in zip(result, first, strict=True))
        print(f"| {name} | {1e3 * median(result):.1f} | {1e3 * min(result):.1f} | {over:.3f} |")


def case(a: argparse.Namespace, index: int = 1, **changes: int) -> Callable[[], object]:
    """An iteration of step `index` with other sizes."""
    shape = argparse.Namespace(**vars(a) | changes)
    return avcil(shape, Clips(shape, index=index), index=index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_shape(parser, new=16, exemplars=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["steps", "clips", "tokens"])
    a = parser.parse_args()
    print(
        f"{a.new} + {a.exemplars} clips of {a.slices} x {a.spatial} x {a.width}, {torch.get_num_threads()} threads"
    )
    if a.only in (None, "steps"):
        names = [f"{s} ({CLASSES * (s + 1)} classes)" for s in STEPS]
        measure("step", [(n, case(a, s)) for n, s in zip(names, STEPS, strict=True)], a.rounds)
    if a.only in (None, "clips"):
        pairs = [(f"{n} + {e}", case(a, new=n, exemplars=e)) for n, e in CLIPS]
        measure("clips", pairs, a.rounds)
    if a.only in (None, "tokens"):
        grids = [(f"{t} x {s}", case(a, slices=t, spatial=s)) for t, s in TOKENS]
        measure("tokens", grids, a.rounds)


if __name__ == "__main__":
    main()
