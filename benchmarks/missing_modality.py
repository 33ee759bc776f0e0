"""Accuracy with a missing modality, compared with models that were trained on one modality.

    python benchmarks/missing_modality.py STORE --out FOLDER [--method av-cil] [--seeds 0 1 2]

Trains a method on both modalities, on audio and on visual, once per seed, with one order of the classes. After the last
step, the test clips of all classes are predicted: by the audio-visual model from both modalities, from audio and from
frames, and by the other two models from the modality that they were trained on. Finished runs in FOLDER are reused.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avcil.features import FeatureStore
from avcil.inference import ClipFeatures, Recognizer
from avcil.training.config import TrainConfig
from avcil.training.run import train

ASKED = {  # the modality of the training, and the modality of the prediction
    "trained on both, asked with both": ("audio-visual", ("audio", "visual")),
    "trained on both, asked with audio alone": ("audio-visual", ("audio",)),
    "trained on audio": ("audio", ("audio",)),
    "trained on both, asked with visual alone": ("audio-visual", ("visual",)),
    "trained on visual": ("visual", ("visual",)),
}


def recognizer(options: argparse.Namespace, modality: str, seed: int) -> Recognizer:
    """A recognizer trained on one modality, or on both."""
    out = options.out / f"{options.method}-{modality}-{seed}"
    train(
        TrainConfig(
            features=options.store,
            out=out,
            method=options.method,
            modality=modality,
            seed=seed,
            classes_per_step=options.classes_per_step,
            class_order_seed=options.class_order_seed,
            exemplars_per_class=options.exemplars_per_class if options.method != "blade" else None,
            epochs=options.epochs,
        ),
        quiet=True,
    )
    return Recognizer.load(out)


def test_clips(store: FeatureStore) -> tuple[list[ClipFeatures], list[str]]:
    """Features of the test clips, and their classes."""
    rows = [row for row, clip in enumerate(store.clips) if clip.split == "test"]
    audio, visual = (torch.from_numpy(part(rows).astype(np.float32)) for part in (store.audio, store.visual))
    clips = [ClipFeatures(audio=audio[i : i + 1], visual=visual[i : i + 1]) for i in range(len(rows))]
    return clips, [store.clips[row].label for row in rows]


def accuracy(
    recognizer: Recognizer, clips: list[ClipFeatures], labels: list[str], given: tuple[str, ...]
) -> float:
    """Accuracy with the modalities `given` only."""
    left_out = {name: None for name in ("audio", "visual") if name not in given}
    predicted = recognizer.predict([replace(clip, **left_out) for clip in clips])
    return float(np.mean([a == b for a, b in zip(predicted, labels, strict=True)]))


def main() -> None:
    """Parse, train, predict, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", default="av-cil")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--classes-per-step", type=int, default=3)
    parser.add_argument("--class-order-seed", type=int, default=0)
    parser.add_argument("--exemplars-per-class", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    clips, labels = test_clips(FeatureStore(options.store))
    result: dict[str, list[float]] = {name: [] for name in ASKED}
    for seed in options.seeds:
        made = {modality: recognizer(options, modality, seed) for modality, _ in ASKED.values()}
        for name, (modality, given) in ASKED.items():
            result[name].append(accuracy(made[modality], clips, labels, given))
        print(
            f"seed {seed}: " + ", ".join(f"{name} {100 * result[name][-1]:.1f} %" for name in ASKED),
            flush=True,
        )
    print(
        f"{options.method}, {len(labels)} test clips, {len(options.seeds)} seeds, last accuracy, mean ± std"
    )
    for name, values in result.items():
        spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        print(f"{name:<44} {100 * np.mean(values):6.1f}{spread}")


if __name__ == "__main__":
    main()
