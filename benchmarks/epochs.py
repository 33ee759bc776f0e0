"""Epochs of a step of AV-CIL with avcil's loop and with the loop of the release; used by training.py.

The release uses a DataLoader on a dict of arrays or on HDF5, and runs the teacher for every batch. Both validate after
each epoch. The epoch is the median of those after the first, which fills avcil's teacher cache; the run is all of it.

T time slices, S spatial tokens, D width.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from iterations import CLASSES, Clips, adam, descend, make_step, plain_forward, plain_loss, plain_pair, ratio
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avcil.data.clips import Clip
from avcil.data.modality import Modality
from avcil.features import FeatureStore, FeatureWriter
from avcil.features.feature_spec import FeatureSpec
from avcil.features.manifest import Manifest
from avcil.methods.av_cil import AvCil, AvCilOptions
from avcil.training.config import TrainConfig
from avcil.training.data import Table
from avcil.training.device_config import DeviceConfig
from avcil.training.evaluate import accuracy
from avcil.training.gradient import StepTrainer
from avcil.training.memory_pool import Budget
from avcil.training.trainer import Hooks

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]
"""For each clip id: audio (D,) and tokens (T, S, D)."""


def labels_of(a: argparse.Namespace) -> np.ndarray:
    """Class numbers of new clips, exemplars and validation clips, in the order of their ids."""
    draw = np.random.default_rng(1)
    counts = a.batches * a.new, a.batches * a.exemplars, a.validation
    parts = zip((CLASSES, 0, 0), counts, strict=True)
    return np.concatenate([draw.integers(low, low + CLASSES, n) for low, n in parts])


def make_data(a: argparse.Namespace, folder: Path) -> None:
    """Clips in a store, and in HDF5 if requested."""
    draw = np.random.default_rng(0)
    manifest = Manifest(
        dtype="float32",
        visual=FeatureSpec(shape=(a.slices, a.spatial, a.width), encoder={"name": "synthetic"}),
        audio=FeatureSpec(shape=(a.width,), encoder={"name": "synthetic"}),
    )
    with FeatureWriter(folder / "store", manifest, shard_size=8) as writer:
        for i, label in enumerate(labels_of(a)):
            waveform = draw.standard_normal(a.width, dtype=np.float32)
            tokens = draw.standard_normal((a.slices, a.spatial, a.width), dtype=np.float32)
            clip = Clip(clip_id=f"{i:06}", path=Path(f"{i}.mp4"), label=str(label), split="train")
            writer.add(clip, visual=tokens, audio=waveform)
    if a.data == "hdf5":
        import h5py

        store = FeatureStore(folder / "store")
        with h5py.File(folder / "tokens.h5", "w") as file:
            for row, clip in enumerate(store.clips):
                file[clip.clip_id] = store.visual([row])[0]


def arrays_of(folder: Path) -> Arrays:
    """The clips of the store in a dict, as in the release."""
    store = FeatureStore(folder / "store")
    ids = enumerate(clip.clip_id for clip in store.clips)
    return {name: (store.audio([row])[0], store.visual([row])[0]) for row, name in ids}


def train_avcil(a: argparse.Namespace, folder: Path, labels: np.ndarray, tick: Callable[[], None]) -> None:
    store, new, train = FeatureStore(folder / "store"), a.batches * a.new, a.batches * (a.new + a.exemplars)

    def table(rows: range) -> Table:
        chosen = [int(labels[row]) for row in rows]
        place, room = DeviceConfig.on_cpu(torch.float32), Budget.host_only(2**40)
        return Table(
            store, list(rows), chosen, modality=Modality.AUDIO_VISUAL, device_config=place, budget=room
        )

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
        Hooks(validate=lambda model: accuracy(model, held_out), tick=tick),
    )
    trainer.run()


class ReleaseClips(Dataset):
    """Single clips from a dict of arrays or from an HDF5 file."""

    def __init__(self, arrays: Arrays, labels: np.ndarray, rows: range, tokens: Path | None) -> None:
        self.ids, self.labels, self.arrays = (
            sorted(arrays)[rows.start : rows.stop],
            labels[rows.start : rows.stop],
            arrays,
        )
        self.tokens = None
        if tokens is not None:
            import h5py

            self.tokens = h5py.File(tokens)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, int]:
        waveform, tokens = self.arrays[self.ids[i]]
        tokens = tokens if self.tokens is None else self.tokens[self.ids[i]][()]
        return torch.from_numpy(waveform), torch.from_numpy(tokens), int(self.labels[i])


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
            audio, visual, target = (torch.cat(both) for both in zip(*pair, strict=True))
            with torch.no_grad():
                old = plain_forward(teacher, audio, visual)
            float(
                descend(
                    optimizer,
                    plain_loss(plain_forward(network, audio, visual), old, target, len(pair[0][2])),
                )
            )
        with torch.no_grad():
            float(sum((plain_forward(network, s, v).logits.argmax(dim=1) == y).sum() for s, v, y in held_out))
        tick()


def laps(a: argparse.Namespace) -> list[float]:
    """Seconds of each epoch of one implementation, the first including the start; in this process."""
    labels, folder = labels_of(a), a.folder
    arrays = arrays_of(folder) if a.laps == "release" else {}
    marks = [time.perf_counter()]

    def tick() -> None:
        marks.append(time.perf_counter())

    if a.laps == "avcil":
        train_avcil(a, folder, labels, tick)
    else:
        train_plain(a, folder, arrays, labels, tick)
    return [end - start for start, end in itertools.pairwise(marks)]


def laps_elsewhere(way: str, folder: Path) -> list[float]:
    """The same in a separate process with the same options."""
    pages = {"THP_MEM_ALLOC_ENABLE": "0"} if way == "release" else {}
    command = [sys.executable, *sys.argv, "--laps", way, "--folder", str(folder)]
    return json.loads(subprocess.check_output(command, env=os.environ | pages, text=True))


def epoch_table(a: argparse.Namespace) -> None:
    runs: dict[str, list[list[float]]] = {"avcil": [], "release": []}
    with tempfile.TemporaryDirectory() as name:
        make_data(a, Path(name))
        for turn in range(a.runs):
            for way in runs if turn % 2 == 0 else reversed(runs):
                runs[way].append(laps_elsewhere(way, Path(name)))
    new, old = a.batches * a.new, a.batches * a.exemplars
    print(
        f"A step of {new} new clips, {old} exemplars, {a.validation} to validate with; {a.epochs} epochs, {a.data}\n"
    )
    print("| | epoch, s, median | epoch, s, least | run, s, median |\n| --- | ---: | ---: | ---: |")
    epochs = {way: [lap for run in result for lap in run[1:]] for way, result in runs.items()}
    for way, result in runs.items():
        whole = median(sum(run) for run in result)
        print(f"| {way} | {median(epochs[way]):.2f} | {min(epochs[way]):.2f} | {whole:.2f} |")
    whole = ratio(*([sum(run) for run in runs[way]] for way in ("release", "avcil")))
    epoch = ratio(epochs["release"], epochs["avcil"])
    print(f"\nrelease / avcil: epoch {epoch}, run {whole} (median | of least)")
