"""Accuracy of BLADE with training clips of which some lack audio or frames.

    python benchmarks/incomplete_clips.py STORE [STORE ...] [--draws 3] [--split test]

For each store, pattern of missing modalities, and draw of the clips that lack one, the model learns

    all          the clips as they are: statistics of the available features
    complete     complete clips only
    imputed      all clips; missing features are replaced by the mean of the class
    none missing all clips with all features, for comparison

and predicts complete clips from both modalities, from audio and from frames. The table has means over draws in percent.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from few_clips import Store

PATTERNS = {
    "30 % without audio, 30 % without frames": (0.3, 0.3),
    "45 % without audio, 45 % without frames": (0.45, 0.45),
    "one complete clip of each class": (0.5, 0.5),
    "half of the clips without audio": (0.5, 0.0),
    "half of the clips without frames": (0.0, 0.5),
    "half of the classes without audio": (0.0, 0.0),
}


def presence(store: Store, pattern: str, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training rows (n,), and which of the clips have audio and frames, (n,) bool each."""
    rng = np.random.default_rng(seed)
    labels = store.labels.numpy()
    has = np.ones((2, len(labels)), bool)
    train = np.flatnonzero(store.splits == "train")
    for number in range(store.classes):
        rows = rng.permutation(train[labels[train] == number])
        audio, visual = (round(share * len(rows)) for share in PATTERNS[pattern])
        if pattern.startswith("one complete"):
            audio = (len(rows) - 1) // 2
            visual = len(rows) - 1 - audio
        if pattern.startswith("half of the classes"):
            audio = len(rows) * (number % 2)
        has[0, rows[:audio]] = False
        has[1, rows[audio : audio + visual]] = False
    result = torch.from_numpy(has[:, train])
    return torch.from_numpy(train), result[0], result[1]


def model_of(store: Store, rows: torch.Tensor, audio: torch.Tensor, visual: torch.Tensor):
    """BLADE that learned the clips `rows` with the modalities that they have."""
    method = store.blade("audio-visual")
    method.add_classes(store.classes)
    for own, has_audio, has_visual in (
        (audio & visual, True, True),
        (audio & ~visual, True, False),
        (~audio & visual, False, True),
    ):
        if own.any():
            at = rows[own]
            method.observe(
                store.audio[at] if has_audio else None,
                store.visual[at] if has_visual else None,
                store.labels[at],
            )
    return method.solve()


def imputed(store: Store, rows: torch.Tensor, audio: torch.Tensor, visual: torch.Tensor):
    """BLADE that learned all clips, with the mean of the class for missing features."""
    method = store.blade("audio-visual")
    method.add_classes(store.classes)
    labels = store.labels[rows]
    parts = []
    for number, part in enumerate(method.pooled(store.audio[rows], store.visual[rows])):
        has, filled = audio if number == 0 else visual, part.clone()
        for label in range(store.classes):
            own = labels == label
            known = part[own & has] if (own & has).any() else part[has]
            filled[own & ~has] = known.mean(dim=0)
        parts.append(filled)
    method._widths = [part.shape[1] for part in parts]
    method.partial_fit(tuple(parts), labels)
    return method.solve()


def accuracies(store: Store, model, test: torch.Tensor) -> tuple[float, ...]:
    """From both modalities, from audio and from frames, in percent."""
    audio, visual, labels = store.audio[test], store.visual[test], store.labels[test]
    given = ((audio, visual), (audio, None), (None, visual))
    return tuple(100 * float((model.scores(*one).argmax(dim=1) == labels).double().mean()) for one in given)


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    options = parser.parse_args()
    print("| store | missing | learned from | both | audio | frames |\n|---|---|---|---|---|---|")
    for path in options.stores:
        store = Store(path)
        test = torch.from_numpy(np.flatnonzero(store.splits == options.split))
        for pattern in PATTERNS:
            result = defaultdict(list)
            for seed in range(options.draws):
                rows, audio, visual = presence(store, pattern, seed)
                whole, every = audio & visual, torch.ones_like(audio)
                models = {
                    "all": model_of(store, rows, audio, visual),
                    "complete": model_of(store, rows[whole], audio[whole], visual[whole]),
                    "imputed": imputed(store, rows, audio, visual),
                    "none missing": model_of(store, rows, every, every),
                }
                for name, model in models.items():
                    result[name].append(accuracies(store, model, test))
            for name, values in result.items():
                figures = " | ".join(f"{value:.1f}" for value in np.mean(values, axis=0))
                print(f"| {path.name} | {pattern} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
