"""Time and memory of training by AV-CIL on a GPU: an iteration over its floor and the plain way, and whole runs.

The iteration has its data on the GPU and takes turns with the plain float32 way and with the two matrix products in
bfloat16 that no implementation can avoid. A run is `avcil train` itself, on a made-up store of a benchmark's true shape
(made_up_store.py): every step, teacher, exemplars, validation each epoch, test after each step, checkpoints.
`--only accuracy --store FOLDER` compares the accuracy of bfloat16 with float32's, on real features.

    python benchmarks/training_gpu.py [--rounds 20 --only iteration|ave-ci|vs100-ci|accuracy]

Without a GPU it says so and ends with exit code 2; `--device cpu` with small sizes shows that the script is whole:

    python benchmarks/training_gpu.py --device cpu --new 8 --exemplars 4 --slices 2 --spatial 9 --width 32 \\
        --epochs 2 --shrink 40
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, pstdev, stdev

import torch
from iterations import WAYS, Clips, add_shape
from made_up_store import MadeUpStore

from avcil.training.config import TrainConfig
from avcil.training.run import Run, train

RUNS = {
    "ave-ci": {"steps": 4, "classes": 28, "memory": 340, "train": 3294, "val": 391, "test": 394},
    "vs100-ci": {"steps": 10, "classes": 100, "memory": 1500, "train": 51195, "val": 5000, "test": 5000},
}
"""True shapes of two benchmarks."""


def settle(a: argparse.Namespace) -> None:
    if a.device == "cuda":
        torch.cuda.synchronize()


def seconds_of(a: argparse.Namespace, work: Callable[[], object]) -> float:
    settle(a)
    began = time.perf_counter()
    work()
    settle(a)
    return time.perf_counter() - began


def iteration_table(a: argparse.Namespace) -> None:
    coarse = Clips(a, device=a.device, dtype=torch.bfloat16)
    work = {name: WAYS[name](a, coarse) for name in ("avcil", "floor")}
    work["plain"] = WAYS["plain"](a, Clips(a, device=a.device))
    for iterate in [*work.values()] * 3:
        seconds_of(a, iterate)
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(a.rounds):
        for name, iterate in work.items():
            times[name].append(seconds_of(a, iterate))
    peaks = {name: _peak(a, iterate) for name, iterate in work.items()}
    print(
        f"\n{a.new} + {a.exemplars} clips of {a.slices} x {a.spatial} x {a.width}, {a.rounds} rounds in turns\n"
    )
    print("| | dtype | ms, median | ms, least | over the floor | MiB above what is held |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, dtype in (("avcil", "bfloat16"), ("plain", "float32"), ("floor", "bfloat16")):
        over = median(x / y for x, y in zip(times[name], times["floor"], strict=True))
        low = 1e3 * min(times[name])
        print(
            f"| {name} | {dtype} | {1e3 * median(times[name]):.2f} | {low:.2f} | {over:.2f} | {peaks[name]:.0f} |"
        )
    gain = median(x / y for x, y in zip(times["plain"], times["avcil"], strict=True))
    print(f"\nplain / avcil: {gain:.1f}")


def _peak(a: argparse.Namespace, iterate: Callable[[], object]) -> float:
    """MiB on the GPU beside what stands there already; not a number on a processor."""
    if a.device != "cuda":
        return float("nan")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds_of(a, iterate)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def whole_run(a: argparse.Namespace, name: str) -> None:
    shape = RUNS[name]
    counts = {
        split: max(4 * shape["classes"], shape[split] // a.shrink) for split in ("train", "val", "test")
    }
    store = MadeUpStore(classes=shape["classes"], counts=counts, grid=(a.slices, a.spatial, a.width))
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            features=Path("made-up"),
            out=Path(folder) / "run",
            method="av-cil",
            classes_per_step=shape["classes"] // shape["steps"],
            memory=shape["memory"],
            epochs=a.epochs,
            device=a.device,
        )
        run = Run(config, store=store, quiet=True)  # type: ignore[arg-type]
        print(f"\n{run.plan.text()}" if run.plan else "")
        if a.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = seconds_of(a, run.finish)
    held = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most" if a.device == "cuda" else ""
    print(
        f"{name}-shaped run: {shape['steps']} steps x {a.epochs} epochs, {counts['train']} clips: {seconds:.1f} s{held}"
    )


def accuracy_table(a: argparse.Namespace) -> None:
    """Last and average accuracy of float32 and bfloat16, over seeds, on a real store."""
    print("\n| precision | average, % | last, % |\n| --- | ---: | ---: |")
    for precision in ("float32", "bfloat16"):
        found = []
        for seed in range(a.seeds):
            with tempfile.TemporaryDirectory() as folder:
                config = TrainConfig(
                    features=a.store,
                    out=Path(folder) / "run",
                    method="av-cil",
                    classes_per_step=3,
                    memory_per_class=4,
                    epochs=20,
                    batch_size=24,
                    exemplar_batch_size=32,
                    set=("lambda_instance=0.1",),
                    seed=seed,
                    device=a.device,
                    precision=precision,  # type: ignore[arg-type]
                )
                results = train(config, quiet=True)
                found.append((results["average_incremental_accuracy"], results["last_accuracy"]))
        columns = [
            f"{100 * mean(c):.1f} ± {100 * (stdev if len(c) > 1 else pstdev)(c):.1f}"
            for c in zip(*found, strict=True)
        ]
        print(f"| {precision} | {' | '.join(columns)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_shape(parser, new=256, exemplars=128)
    for name, default in (("rounds", 20), ("epochs", 200), ("seeds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--shrink", type=int, default=1, help="so many times fewer clips in whole runs")
    parser.add_argument("--store", type=Path, help="of real features, for the accuracy")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", choices=["iteration", *RUNS, "accuracy"])
    a = parser.parse_args()
    if a.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that PyTorch can use; benchmarks/training.py measures a CPU", file=sys.stderr)
        sys.exit(2)
    print(torch.cuda.get_device_name() if a.device == "cuda" else "cpu: for trying the script out")
    if a.only in (None, "iteration"):
        iteration_table(a)
    for name in RUNS if a.only is None else [n for n in RUNS if n == a.only]:
        whole_run(a, name)
    if a.only == "accuracy" or (a.only is None and a.store):
        accuracy_table(a)


if __name__ == "__main__":
    main()
