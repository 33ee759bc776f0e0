"""Rejected clips of known classes if the speaker (or another group) of the test clips is not in the training clips.

    python benchmarks/new_speaker.py STORE --group '[0-9]_([a-z]+)_' [--alpha 0.05]

The first group of the regular expression in the name of a clip's file is its speaker. Each speaker is left out once:
`blade` learns the training clips of the others, and predicts the test clips of the others and of the left-out speaker.
Prints the share of rejected clips, the accuracy, and the rejected shares of wrong and of correct predictions, as mean ±
standard deviation over speakers, and the extremes.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import torch

from avcil.data.modality import Modality
from avcil.encoders.parts import part_widths
from avcil.features import FeatureStore
from avcil.methods.registry import load_method, parse_options


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--group", required=True, help="regular expression with a group, for names of files")
    parser.add_argument("--alpha", type=float, default=0.05)
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = FeatureStore(options.store)
    groups = np.array([re.search(options.group, Path(clip.path).name)[1] for clip in store.clips])
    results = np.array([measure(store, groups, group, options.alpha) for group in sorted(set(groups))])
    names = [
        f"{value}, {speakers} speakers"
        for speakers in ("the same", "new")
        for value in ("rejected", "accuracy", "rejected of the wrong", "rejected of the correct")
    ]
    for name, values in zip(names, 100 * results.T, strict=True):
        print(
            f"{name:<40} {values.mean():5.1f} ± {values.std(ddof=1):.1f} % ({values.min():.1f} to {values.max():.1f})"
        )


def measure(store: FeatureStore, groups: np.ndarray, left_out: str, alpha: float) -> list[float]:
    """Four values for the test clips of the other groups, then for those of the excluded group.

    They are the rejected share, the accuracy, and the rejected shares of wrong and of correct predictions.
    """
    kind = load_method("blade")
    names = [name for name in ("audio", "visual") if name in store.manifest.arrays()]
    modality = Modality.AUDIO_VISUAL if len(names) == 2 else Modality(names[0])
    method = kind(parse_options(kind, (), name="blade"), modality=modality)
    method.part_widths = part_widths(store)
    method.constants = {name: result for name in names if (result := store.constants(name)) is not None}
    method.add_classes(len(store.labels))
    splits = np.array([clip.split for clip in store.clips])
    labels = torch.tensor([store.labels.index(clip.label) for clip in store.clips])

    def features(rows: np.ndarray) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        return tuple(
            torch.from_numpy(getattr(store, name)(rows).astype(np.float32)) if name in names else None
            for name in ("audio", "visual")
        )

    rows = np.flatnonzero((splits == "train") & (groups != left_out))
    method.observe(*features(rows), labels[rows])
    model = method.solve()
    results = []
    for chosen in (groups != left_out, groups == left_out):
        rows = np.flatnonzero((splits == "test") & chosen)
        parts = features(rows)
        rejected = (model.p_values(*parts) <= alpha).double()
        correct = model.scores(*parts).argmax(dim=1) == labels[rows]
        results += [float(rejected.mean()), float(correct.double().mean())]
        results += [float(rejected[~correct].mean()), float(rejected[correct].mean())]
    return results


if __name__ == "__main__":
    main()
