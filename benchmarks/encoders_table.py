"""Comparison of encoders, single, combined and with projection, over several data sets and methods.

    python benchmarks/encoders_table.py WORK NAME=FOLDER:CLASSES_PER_STEP ... [--pairs ...] [--methods ...]
        [--orders 0 1 2] [--epochs 60]

FOLDER holds split/class/clip.mp4; `demo` in place of a folder renders the clips of `avcil demo`. Everything is kept in
WORK, and the same command goes on where it stopped. One thread. Prints a Markdown table: the accuracy after the last
step in %, mean and standard deviation over orders of the classes; for blade also from audio and visual alone; the
size of a stored clip and of what blade keeps; and seconds a clip for reading and encoding.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from avcil.data.clips import read_clips, write_clips
from avcil.data.modality import Modality
from avcil.data.scan import scan
from avcil.datasets.synthetic.clips import render_demo_clips
from avcil.extraction.extract import extract
from avcil.features import FeatureStore
from avcil.training.config import TrainConfig
from avcil.training.run import train
from avcil.utils.files import read_json, write_json

PAIRS = {
    "built-in": ("patch-motion", "log-mel"),
    "pretrained": ("efficientnet-lite0", "yamnet"),
    "combined": ("patch-motion+efficientnet-lite0", "log-mel+yamnet"),
    "combined, not projected": (
        "patch-motion+efficientnet-lite0,width=1280",
        "log-mel+yamnet,width=1024",
    ),
}
BATCHES = {"batch_size": 32, "exemplar_batch_size": 32, "exemplars_per_class": 4}
METHODS: dict[str, dict[str, Any]] = {
    "blade": {},
    "av-cil": {"set": ("lambda_instance=0.1",), **BATCHES},
    "joint": BATCHES,
}


@dataclass(frozen=True)
class DataSet:
    """Clips, and how many classes come at a step."""

    name: str
    folder: str
    classes_per_step: int

    @classmethod
    def parse(cls, text: str) -> DataSet:
        """NAME=FOLDER:CLASSES_PER_STEP."""
        name, _, rest = text.partition("=")
        folder, _, classes = rest.rpartition(":")
        return cls(name, folder, int(classes))

    def clip_list(self, work: Path) -> Path:
        """A clip list in `work`, made if it is not there."""
        path = work / f"{self.name}.csv"
        if not path.exists():
            folder = Path(self.folder)
            if self.folder == "demo":
                folder = work / "demo-clips"
                render_demo_clips(folder)
            write_clips(path, scan(folder).clips)
        return path


def store_of(work: Path, data: DataSet, pair: str) -> Path:
    """The store of a data set by a pair of encoders; notes the seconds a clip beside it when it is made."""
    path = work / "stores" / f"{data.name}-{pair.replace(', ', '-').replace(' ', '-')}"
    visual, audio = PAIRS[pair]
    report = extract(read_clips(data.clip_list(work)), path, visual=visual, audio=audio, workers=1)
    if report.new:
        write_json(seconds_file(path), report.seconds / report.new)
    return path


def seconds_file(store: Path) -> Path:
    """Where the seconds a clip that the store took are noted."""
    return store.with_suffix(".json")


def accuracies(
    work: Path, store: Path, data: DataSet, method: str, modality: str, options: Any
) -> Iterator[dict[str, Any]]:
    """Results of one run for each order of the classes."""
    for order in options.orders:
        out = work / "runs" / store.name / f"{method}-{modality}-{order}"
        config = TrainConfig(
            features=store,
            out=out,
            method=method,
            modality=modality,  # type: ignore[arg-type]
            classes_per_step=data.classes_per_step,
            class_order_seed=order,
            epochs=options.epochs,
            **METHODS[method],
        )
        yield train(config, quiet=True)


def spread(values: list[float]) -> str:
    """Mean and standard deviation in %."""
    more = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{more}"


def row(work: Path, data: DataSet, pair: str, options: Any) -> str:
    """A line of the table."""
    path = store_of(work, data, pair)
    store = FeatureStore(path)
    cells = []
    for method in options.methods:
        for modality in Modality if method == "blade" else (Modality.AUDIO_VISUAL,):
            results = list(accuracies(work, path, data, method, modality, options))
            cells.append(spread([result["last_accuracy"] for result in results]))
    numbers = sum(int(torch.tensor(shape).prod()) for shape in store.manifest.arrays().values())
    size = 2 if store.manifest.dtype == "float16" else 4
    seconds = read_json(seconds_file(path))
    cells += [f"{numbers * size / 1000:.1f}", f"{seconds:.3f}"]
    return f"| {data.name} | {pair} | {' | '.join(cells)} |"


def header(methods: list[str]) -> str:
    """The first two lines of the table."""
    names = [
        name
        for method in methods
        for name in ([method, "audio alone", "visual alone"] if method == "blade" else [method])
    ]
    columns = ["data set", "encoders", *names, "kB a clip", "s a clip"]
    return f"| {' | '.join(columns)} |\n| --- | --- |{' ---: |' * (len(columns) - 2)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("data", nargs="+", type=DataSet.parse)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--orders", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    (options.work / "stores").mkdir(parents=True, exist_ok=True)
    print(header(options.methods))
    for data in options.data:
        for pair in options.pairs:
            print(row(options.work, data, pair, options), flush=True)


if __name__ == "__main__":
    main()
