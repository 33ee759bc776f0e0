"""A run of AV-CIL on a real store: `avcil train` compared with the plain equations and the loop of the release.

The plain loop stores all attention maps, runs the teacher for every batch, collates batches on the host, and uses the
same equations for validation and test. Both draw the same batches, weights and exemplars. In float64 their accuracy
matrices are compared cell by cell; in float32 they are timed in turns, each in a separate process.

    OMP_NUM_THREADS=2 python benchmarks/whole_run.py STORE [--classes-per-step 3 --epochs 20 --runs 2]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np
import torch
from iterations import adam, descend, plain_forward, plain_loss
from torch.nn import functional as F

from avcil.datasets import Benchmark
from avcil.features import FeatureStore
from avcil.methods.av_cil import AvCil
from avcil.methods.exemplars import choose_random
from avcil.nn.head import LinearHead
from avcil.nn.network import Network
from avcil.runs.run_files import read_run
from avcil.training.config import TrainConfig
from avcil.training.gradient import _rows
from avcil.training.run import train
from avcil.utils.rng import generator, seeded

LAMBDA_INSTANCE, PER_CLASS = 0.1, 4


def config_of(a: argparse.Namespace, out: Path) -> TrainConfig:
    """Settings of docs/results.md."""
    return TrainConfig(
        features=a.store,
        out=out,
        method="av-cil",
        classes_per_step=a.classes_per_step,
        exemplars_per_class=PER_CLASS,
        epochs=a.epochs,
        batch_size=24,
        exemplar_batch_size=32,
        set=(f"lambda_instance={LAMBDA_INSTANCE}",),
        precision=a.precision,
        device="cpu",
    )


def by_avcil(a: argparse.Namespace) -> list[list[float]]:
    """The accuracy matrix of `avcil train`."""
    with tempfile.TemporaryDirectory() as folder:
        train(config_of(a, Path(folder) / "run"), quiet=True)
        matrix = read_run(Path(folder) / "run").R
    return [[float(cell) for cell in row if cell == cell] for row in np.asarray(matrix).tolist()]


class PlainRun:
    """The plain equations with the loop of the release."""

    def __init__(self, a: argparse.Namespace) -> None:
        self.config, self.dtype = config_of(a, Path("unused")), getattr(torch, a.precision)
        store = FeatureStore(a.store)
        self.steps = Benchmark.from_classes({c.label for c in store.clips}, a.classes_per_step).steps
        number = {label: i for i, label in enumerate(label for step in self.steps for label in step)}
        self.labels = np.array([number[clip.label] for clip in store.clips])
        self.splits = np.array([clip.split for clip in store.clips])
        rows = np.arange(len(store.clips))
        self.waveforms, self.tokens = (
            store.audio(rows),
            store.visual(rows),
        )  # a dict in memory, as in the release
        self.widths = {"audio_width": store.audio_width, "visual_width": store.visual_shape[2]}

    def run(self) -> list[list[float]]:
        """The accuracy matrix."""
        with seeded(0, "network", 0):
            net = Network("audio-visual", head=LinearHead(self.widths["visual_width"]), **self.widths)
        net.to(self.dtype)
        exemplars: dict[int, list[int]] = {}
        matrix = []
        for index in range(len(self.steps)):
            sizes = [len(step) for step in self.steps[: index + 1]]
            self.learn(net, index, sizes, [row for rows in exemplars.values() for row in rows])
            bounds = np.cumsum([0, *sizes]).tolist()
            for label in range(bounds[index], bounds[index + 1]):
                own = np.flatnonzero((self.labels == label) & (self.splits == "train"))
                name = self.steps[index][label - bounds[index]]
                chosen = choose_random(len(own), PER_CLASS, generator=generator(0, "exemplars", name))
                exemplars[label] = own[chosen].tolist()
            matrix.append([self.right(net, "test", bounds[t], bounds[t + 1]) for t in range(index + 1)])
        return matrix

    def learn(self, net: Network, index: int, sizes: list[int], old: list[int]) -> None:
        """All epochs of a step, and the weights of the best one."""
        known, total = sum(sizes[:-1]), sum(sizes)
        new = np.flatnonzero((self.labels >= known) & (self.labels < total) & (self.splits == "train"))
        pool, teacher = np.concatenate([new, np.array(old, dtype=new.dtype)]), copy.deepcopy(net)
        with seeded(0, "head", index):
            net.head.add_classes(sizes[-1])
        step = SimpleNamespace(seed=0, index=index, new_count=len(new), pool=pool)
        optimizer, best, weights = adam(net), -1.0, {}
        for epoch in range(self.config.epochs):
            for rows, count in _rows(AvCil, step, self.config, epoch):
                taken = pool[rows.numpy()]
                waveform, tokens = self.batch(taken)
                labels = torch.from_numpy(self.labels[taken])
                out = plain_forward(net, waveform, tokens)
                if known:
                    with torch.no_grad():
                        was = plain_forward(teacher, waveform, tokens)
                    loss = plain_loss(out, was, labels, count, sizes=sizes, lambda_instance=LAMBDA_INSTANCE)
                else:
                    loss = F.cross_entropy(out.logits, labels)
                descend(optimizer, loss)
            accuracy = self.right(net, "val", 0, total)
            if accuracy > best:
                best, weights = accuracy, copy.deepcopy(net.state_dict())
        net.load_state_dict(weights)

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Single clips stacked as by a DataLoader."""
        waveforms = torch.stack([torch.from_numpy(self.waveforms[row]) for row in rows])
        tokens = torch.stack([torch.from_numpy(self.tokens[row]) for row in rows])
        return waveforms.to(self.dtype), tokens.to(self.dtype)

    def right(self, net: Network, split: str, low: int, high: int) -> float:
        """Accuracy on the clips of classes `low` to `high` of a split."""
        rows = np.flatnonzero((self.labels >= low) & (self.labels < high) & (self.splits == split))
        with torch.no_grad():
            parts = np.array_split(rows, -(-len(rows) // 256))
            predicted = [plain_forward(net, *self.batch(part)).logits.argmax(dim=1) for part in parts]
        return float(np.mean(torch.cat(predicted).numpy() == self.labels[rows]))


def elsewhere(a: argparse.Namespace, way: str, precision: str) -> tuple[float, list[list[float]]]:
    """Seconds and matrix of an implementation, in a separate process."""
    pages = {"THP_MEM_ALLOC_ENABLE": "0"} if way == "plain" else {}
    command = [sys.executable, *sys.argv, "--way", way, "--precision", precision]
    result = json.loads(subprocess.check_output(command, env=os.environ | pages, text=True))
    return result["seconds"], result["matrix"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    for name, default in (("classes-per-step", 3), ("epochs", 20), ("runs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--way", choices=["avcil", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="float64", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.way:
        start = time.perf_counter()
        matrix = by_avcil(a) if a.way == "avcil" else PlainRun(a).run()
        print(json.dumps({"seconds": time.perf_counter() - start, "matrix": matrix}))
        return
    one, other = (elsewhere(a, way, "float64")[1] for way in ("avcil", "plain"))
    cells = sum(map(len, one))
    different = sum(
        x != y for row, pair in zip(one, other, strict=True) for x, y in zip(row, pair, strict=True)
    )
    print(f"float64: {different} of {cells} cells of the accuracy matrices differ")
    seconds: dict[str, list[float]] = {"avcil": [], "plain": []}
    for turn in range(a.runs):
        for way in seconds if turn % 2 == 0 else reversed(seconds):
            seconds[way].append(elsewhere(a, way, "float32")[0])
    print("\n| float32 | s, median | s, least |\n| --- | ---: | ---: |")
    for way, result in seconds.items():
        print(f"| {way} | {median(result):.1f} | {min(result):.1f} |")
    print(f"\nplain / avcil: {median(seconds['plain']) / median(seconds['avcil']):.2f}")


if __name__ == "__main__":
    main()
