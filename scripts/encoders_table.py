"""Comparison of encoders, single, combined and with projection, over several data sets and methods.

    python scripts/encoders_table.py WORK NAME=FOLDER:CLASSES_PER_STEP ... [--pairs ...] [--methods ...]
        [--orders 0 1 2] [--epochs 60]

FOLDER has the files SPLIT/CLASS/CLIP.mp4; instead of a folder, `demo` renders those of `avcil demo`. Stores and runs
are in WORK, and the same command continues an interrupted measurement. It uses one thread. It prints a Markdown table:
accuracy after the last step in %, mean and standard deviation over orders of the classes, for blade also with audio or
visual features alone; kB per stored clip; and seconds per clip for reading and encoding.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from data_sets import DataSet, clip_list

from avcil.data.clips import read_clips
from avcil.data.modality import Modality
from avcil.extraction.extract import extract
from avcil.features import FeatureStore
from avcil.training.config import TrainConfig
from avcil.training.run import train
from avcil.utils.files import read_json, write_json
from avcil.utils.text_table import markdown_table

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


def store_of(work: Path, data: DataSet, pair: str) -> Path:
    """The features of a data set by a pair of encoders. A file beside the store has the seconds per clip."""
    path = work / "stores" / f"{data.name}-{pair.replace(', ', '-').replace(' ', '-')}"
    visual, audio = PAIRS[pair]
    report = extract(
        read_clips(clip_list(work, data.name, data.path)), path, visual=visual, audio=audio, workers=1
    )
    if report.new:
        write_json(seconds_file(path), report.seconds / report.new)
    return path


def seconds_file(store: Path) -> Path:
    """The file with the seconds per clip of a store."""
    return store.with_suffix(".json")


def accuracies(
    work: Path, store: Path, data: DataSet, method: str, modality: str, options: Any
) -> Iterator[dict[str, Any]]:
    """The results of a run for each order of the classes."""
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


def mean_std(values: list[float]) -> str:
    """Mean and standard deviation in %."""
    more = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{more}"


def row(work: Path, data: DataSet, pair: str, options: Any) -> list[str]:
    """A row of the table."""
    path = store_of(work, data, pair)
    store = FeatureStore(path)
    cells = []
    for method in options.methods:
        for modality in Modality if method == "blade" else (Modality.AUDIO_VISUAL,):
            results = list(accuracies(work, path, data, method, modality, options))
            cells.append(mean_std([result["last_accuracy"] for result in results]))
    numbers = sum(int(torch.tensor(shape).prod()) for shape in store.manifest.arrays().values())
    size = 2 if store.manifest.dtype == "float16" else 4
    seconds = read_json(seconds_file(path))
    cells += [f"{numbers * size / 1000:.1f}", f"{seconds:.3f}"]
    return [data.name, pair, *cells]


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
    columns = ["data set", "encoders"]
    for method in options.methods:
        columns += [method, "audio alone", "visual alone"] if method == "blade" else [method]
    columns += ["kB per clip", "s per clip"]
    print(markdown_table(columns, [], names=2))
    for data in options.data:
        for pair in options.pairs:
            print(f"| {' | '.join(row(options.work, data, pair, options))} |", flush=True)


if __name__ == "__main__":
    main()
