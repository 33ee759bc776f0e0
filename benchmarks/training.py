"""Time and peak memory of training by AV-CIL on a CPU: an iteration, an epoch and a run, against the release's way.

The iteration: three things take turns in one process, so that they share the machine's mood: avcil's, the plain one,
and the floor (iterations.py). Memory is measured in a process of its own for each, first iteration included.

Epoch and run: data in a feature store. avcil trains a step by its own loop from opening the store; the release's way
is a DataLoader on a dict of arrays or on HDF5, the teacher asked for every batch. Both validate after each epoch, and
take turns. The epoch is the median of those after the first, which fills avcil's teacher cache; the run is all of it.
Prints Markdown tables of medians and minima, and ratios of what ran side by side.

    OMP_NUM_THREADS=2 python benchmarks/training.py [--rounds 7 --new 16 --exemplars 8 --slices 8 --spatial 196
        --width 768 --batches 4 --epochs 4 --data dict|hdf5 --only iteration|epoch]
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from iterations import (
    CLASSES,
    WAYS,
    Clips,
    adam,
    add_shape,
    descend,
    make_step,
    plain_forward,
    plain_loss,
    plain_pair,
)
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avcil.clips import Clip
from avcil.features import FeatureStore, FeatureWriter
from avcil.features.manifest import Manifest, Modality
from avcil.methods.av_cil import AvCil, AvCilOptions
from avcil.training.budget import Budget
from avcil.training.config import TrainConfig
from avcil.training.data import Table
from avcil.training.evaluate import accuracy
from avcil.training.gradient import StepTrainer
from avcil.training.placement import Placement

# ---- an iteration -----------------------------------------------------------------------------------------------


def iteration_table(a: argparse.Namespace) -> None:
    clips = Clips(a)
    work = {name: make(a, clips) for name, make in WAYS.items()}
    first = {name: float(iterate()) for name, iterate in work.items()}
    assert abs(first["avcil"] / first["plain"] - 1) < 1e-4, f"the two losses differ: {first}"
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(a.rounds):
        for name, iterate in work.items():
            began = time.perf_counter()
            float(iterate())
            seconds[name].append(time.perf_counter() - began)
    memory = {name: _peak_of_a_process(a, name) for name in WAYS}
    shape = f"{a.new} + {a.exemplars} clips of {a.slices} x {a.spatial} x {a.width}"
    print(f"Iteration: {shape}, float32, {torch.get_num_threads()} threads, {a.rounds} rounds\n")
    print("| | ms, median | ms, least | over the floor, median | of least | MiB above the input |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, times in seconds.items():
        over = ratio(times, seconds["floor"])
        print(
            f"| {name} | {1e3 * median(times):.0f} | {1e3 * min(times):.0f} | {over} | {memory[name]:.0f} |"
        )
    share = memory["avcil"] / memory["plain"]
    print(
        f"\nplain / avcil: {ratio(seconds['plain'], seconds['avcil'])} (median | of least); memory {share:.2f}\n"
    )


def ratio(times: list[float], others: list[float]) -> str:
    """Of what ran side by side, and of the least."""
    beside = median(x / y for x, y in zip(times, others, strict=True))
    return f"{beside:.2f} | {min(times) / min(others):.2f}"


def _peak_of_a_process(a: argparse.Namespace, name: str) -> float:
    shape = (
        w for n in ("new", "exemplars", "slices", "spatial", "width") for w in (f"--{n}", str(getattr(a, n)))
    )
    return float(subprocess.check_output([sys.executable, __file__, *shape, "--peak", name]))


def peak_above_input(a: argparse.Namespace) -> float:
    clips = Clips(a)
    iterate = WAYS[a.peak](a, clips)
    before = _status("VmRSS")
    for _ in range(3):
        iterate()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    """MiB of a line of this process's status; a child's ru_maxrss would start from its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


# ---- an epoch and a run -----------------------------------------------------------------------------------------

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]
"""Of each clip id: sound (D,) and tokens (T, S, D)."""


def make_data(a: argparse.Namespace, folder: Path) -> tuple[Arrays, np.ndarray]:
    """Clips in a store, in a dict and in HDF5; ids in order: new ones, exemplars, validation. Gives labels too."""
    draw = np.random.default_rng(0)
    counts = a.batches * a.new, a.batches * a.exemplars, a.validation
    labels = np.concatenate(
        [draw.integers(low, low + CLASSES, n) for low, n in zip((CLASSES, 0, 0), counts, strict=True)]
    )
    manifest = Manifest(
        dtype="float32",
        visual=Modality(shape=(a.slices, a.spatial, a.width), encoder={"name": "made-up"}),
        audio=Modality(shape=(a.width,), encoder={"name": "made-up"}),
    )
    arrays: Arrays = {}
    with FeatureWriter(folder / "store", manifest, shard_size=8) as writer:
        for i, label in enumerate(labels):
            sound = draw.standard_normal(a.width, dtype=np.float32)
            tokens = draw.standard_normal((a.slices, a.spatial, a.width), dtype=np.float32)
            clip = Clip(clip_id=f"{i:06}", path=Path(f"{i}.mp4"), label=str(label), split="train")
            writer.add(clip, visual=tokens, audio=sound)
            arrays[clip.clip_id] = sound, tokens
    if a.data == "hdf5":
        import h5py

        with h5py.File(folder / "tokens.h5", "w") as file:
            for name, (_, tokens) in arrays.items():
                file[name] = tokens
    return arrays, labels


def train_avcil(a: argparse.Namespace, folder: Path, labels: np.ndarray, tick: Callable[[], None]) -> None:
    store, new, train = FeatureStore(folder / "store"), a.batches * a.new, a.batches * (a.new + a.exemplars)

    def table(rows: range) -> Table:
        chosen = [int(labels[row]) for row in rows]
        place, room = Placement.on_cpu(torch.float32), Budget.of_host(2**40)
        return Table(store, list(rows), chosen, modality="audio-visual", placement=place, budget=room)

    pool, held_out = table(range(train)), table(range(train, len(labels)))
    step = make_step(pool, new=new, width=a.width)

    config = TrainConfig(
        features=folder / "store", out=folder / "run", classes_per_step=CLASSES, epochs=a.epochs, batch_size=a.new,
        exemplar_batch_size=a.exemplars,
    )  # fmt: skip
    method = AvCil(AvCilOptions(), modality="audio-visual")
    trainer = StepTrainer(
        method,
        step,
        config,
        validate=lambda: accuracy(step.network, held_out),
        log=lambda line: None,
        save=lambda progress: None,
        tick=tick,
    )
    trainer.run()


class ReleaseClips(Dataset):
    """Clips one by one, from a dict of arrays or from an HDF5 file."""

    def __init__(self, arrays: Arrays, labels: np.ndarray, rows: range, tokens: Path | None) -> None:
        import h5py

        self.ids, self.labels, self.arrays = (
            sorted(arrays)[rows.start : rows.stop],
            labels[rows.start : rows.stop],
            arrays,
        )
        self.tokens = h5py.File(tokens) if tokens else None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, int]:
        sound, tokens = self.arrays[self.ids[i]]
        tokens = tokens if self.tokens is None else self.tokens[self.ids[i]][()]
        return torch.from_numpy(sound), torch.from_numpy(tokens), int(self.labels[i])


def train_plain(
    a: argparse.Namespace, folder: Path, arrays: Arrays, labels: np.ndarray, tick: Callable[[], None]
) -> None:
    new, train = a.batches * a.new, a.batches * (a.new + a.exemplars)
    tokens = folder / "tokens.h5" if a.data == "hdf5" else None
    parts = (
        (range(new), a.new, True),
        (range(new, train), a.exemplars, True),
        (range(train, len(labels)), a.new, False),
    )
    news, olds, held_out = (
        DataLoader(ReleaseClips(arrays, labels, rows, tokens), batch_size=size, shuffle=shuffle)
        for rows, size, shuffle in parts
    )
    one = Clips(argparse.Namespace(new=1, exemplars=1, slices=1, spatial=1, width=a.width))
    network, teacher = plain_pair(make_step(one, new=1, width=a.width))
    optimizer = adam(network)
    for _ in range(a.epochs):
        for pair in zip(news, olds, strict=True):
            sound, picture, target = (torch.cat(both) for both in zip(*pair, strict=True))
            with torch.no_grad():
                old = plain_forward(teacher, sound, picture)
            float(
                descend(
                    optimizer,
                    plain_loss(plain_forward(network, sound, picture), old, target, len(pair[0][2])),
                )
            )
        with torch.no_grad():
            float(sum((plain_forward(network, s, v).logits.argmax(dim=1) == y).sum() for s, v, y in held_out))
        tick()


def laps(train: Callable[[Callable[[], None]], None]) -> list[float]:
    """Seconds of each epoch, the first from the beginning on."""
    marks = [time.perf_counter()]
    train(lambda: marks.append(time.perf_counter()))
    return [end - start for start, end in itertools.pairwise(marks)]


def epoch_table(a: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays, labels = make_data(a, folder)
        ways = {
            "avcil": lambda tick: train_avcil(a, folder, labels, tick),
            "release's way": lambda tick: train_plain(a, folder, arrays, labels, tick),
        }
        runs: dict[str, list[list[float]]] = {way: [] for way in ways}
        for _ in range(a.runs):
            for way, train in ways.items():
                runs[way].append(laps(train))
    new, old = a.batches * a.new, a.batches * a.exemplars
    print(
        f"A step of {new} new clips, {old} exemplars, {a.validation} to validate with; {a.epochs} epochs, {a.data}\n"
    )
    print("| | epoch, s, median | epoch, s, least | run, s, median |\n| --- | ---: | ---: | ---: |")
    epochs = {way: [lap for run in found for lap in run[1:]] for way, found in runs.items()}
    for way, found in runs.items():
        whole = median(sum(run) for run in found)
        print(f"| {way} | {median(epochs[way]):.2f} | {min(epochs[way]):.2f} | {whole:.2f} |")
    whole = ratio(*([sum(run) for run in runs[way]] for way in ("release's way", "avcil")))
    epoch = ratio(epochs["release's way"], epochs["avcil"])
    print(f"\nrelease's way / avcil: epoch {epoch}, run {whole} (median | of least)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_shape(parser, new=16, exemplars=8)
    for name, default in (("rounds", 7), ("batches", 4), ("epochs", 4), ("validation", 16), ("runs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--data", choices=["dict", "hdf5"], default="dict")
    parser.add_argument("--only", choices=["iteration", "epoch"])
    parser.add_argument("--peak", choices=WAYS, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.peak:
        print(peak_above_input(a))
        return
    if a.only != "epoch":
        iteration_table(a)
    if a.only != "iteration":
        epoch_table(a)


if __name__ == "__main__":
    main()
