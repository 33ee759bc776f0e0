"""Adding classes to a model: time, and accuracy of the old classes before and after.

    python benchmarks/teach.py STORE --new 5 --method blade --out FOLDER [--set NAME=VALUE ...]

Trains a run of all classes but the last `--new` ones, adds these in one update from the store's training clips, and
trains all classes jointly in one step. Prints seconds, and accuracy on the test clips of the old and of the new
classes. Finished runs in FOLDER are reused.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from avcil.features import FeatureStore
from avcil.inference import ClipFeatures, Recognizer
from avcil.training.config import TrainConfig
from avcil.training.run import train


def clips(store: FeatureStore, split: str, labels: list[str]) -> tuple[list[ClipFeatures], list[str]]:
    """Features of the clips of these classes, and their classes."""
    rows = [r for r, clip in enumerate(store.clips) if clip.split == split and clip.label in labels]
    audio, visual = torch.from_numpy(store.audio(rows)).float(), torch.from_numpy(store.visual(rows)).float()
    result = [
        ClipFeatures(audio=audio[i : i + 1], visual=visual[i : i + 1], clip_id=store.clips[row].clip_id)
        for i, row in enumerate(rows)
    ]
    return result, [store.clips[row].label for row in rows]


def accuracy(recognizer: Recognizer, asked: tuple[list[ClipFeatures], list[str]]) -> str:
    """Accuracy in percent."""
    right = sum(a == b for a, b in zip(recognizer.predict(asked[0]), asked[1], strict=True))
    return f"{100 * right / len(asked[1]):.1f} %"


def recognizer(arguments: argparse.Namespace, name: str, steps: list[list[str]]) -> Recognizer:
    """A run of these steps."""
    file = arguments.out / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(steps))
    out = arguments.out / name
    options = {"method": arguments.method, "set": tuple(arguments.set), "epochs": arguments.epochs}
    train(TrainConfig(features=arguments.store, steps=file, out=out, selection="last", **options))
    return Recognizer.load(out)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--new", type=int, default=5)
    parser.add_argument("--method", default="blade")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[])
    arguments = parser.parse_args()
    store = FeatureStore(arguments.store)
    labels = sorted(store.labels)[: 45 + arguments.new]
    old, new = labels[: -arguments.new], labels[-arguments.new :]
    taught = recognizer(arguments, "old", [old])
    joint = recognizer(arguments, "joint", [[*old, *new]])
    asked_old, asked_new = clips(store, "test", old), clips(store, "test", new)
    before = accuracy(taught, asked_old)
    material = clips(store, "train", new)
    start = time.perf_counter()
    taught.learn(*material)
    seconds = time.perf_counter() - start
    print(
        f"{arguments.method}: {len(material[0])} clips of {len(new)} classes more for {len(old)}: {seconds:.2f} s"
    )
    print(f"threads: {torch.get_num_threads()}")
    print(
        f"old classes before {before}, after {accuracy(taught, asked_old)}, joint {accuracy(joint, asked_old)}"
    )
    print(f"new classes after {accuracy(taught, asked_new)}, joint {accuracy(joint, asked_new)}")


if __name__ == "__main__":
    main()
