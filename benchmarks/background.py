"""Rejection of unknown classes with background clips: half of the classes are known, a quarter are background.

    python benchmarks/background.py STORE ... [--draws 3] [--clips 5 20 0]

Prints, for each store and number of background clips (0: all training clips of the background classes), the fraction of
test clips that are rejected, of known classes and of background classes, by the p-value alone (0.05) and with the
background. Nothing is tuned on these clips.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from avcil.encoders.parts import part_widths
from avcil.features import FeatureStore
from avcil.methods.model import Model
from avcil.methods.registry import load_method, parse_options

ALPHA = 0.05


def fitted(
    store: FeatureStore, parts: tuple[torch.Tensor, torch.Tensor], rows: torch.Tensor, labels: torch.Tensor
) -> Model:
    """BLADE on some rows of the store, labels (N,) of all its rows."""
    kind = load_method("blade")
    method = kind(parse_options(kind, (), name="blade"), modality="audio-visual")
    method.part_widths = part_widths(store)
    method.add_classes(int(labels[rows].max()) + 1)
    method.observe(*(part[rows] for part in parts), labels[rows])
    return method.solve()


def measure(path: Path, draw: int, counts: list[int], found: dict[str, list[float]]) -> None:
    """One draw of known and background classes."""
    store = FeatureStore(path)
    every = range(len(store))
    parts = tuple(torch.from_numpy(part(every).astype(np.float32)) for part in (store.audio, store.visual))
    classes = sorted({clip.label for clip in store.clips})
    generator = np.random.default_rng(draw)
    order = generator.permutation(len(classes))
    half, quarter = len(classes) // 2, len(classes) // 4
    number = {classes[at]: place for place, at in enumerate(order[:half])}
    number |= {classes[at]: half for at in order[half : half + quarter]}
    labels = torch.tensor([number.get(clip.label, -1) for clip in store.clips])

    def rows(is_background: bool, split: str) -> torch.Tensor:
        return torch.tensor(
            [
                row
                for row, clip in enumerate(store.clips)
                if clip.split == split and labels[row] >= 0 and bool(labels[row] == half) == is_background
            ]
        )

    train, background = rows(False, "train"), rows(True, "train")
    tests = {"known": rows(False, "test"), "background": rows(True, "test")}
    model = fitted(store, parts, train, labels)
    by_p_value = {name: model.p_values(*(part[at] for part in parts)) <= ALPHA for name, at in tests.items()}
    for name, rejected in by_p_value.items():
        found[f"p-value alone, {name}"].append(float(rejected.double().mean()))
    shuffled = background[torch.from_numpy(generator.permutation(len(background)))]
    for count in counts:
        more = fitted(store, parts, torch.cat([train, shuffled[: count or None]]), labels)
        for name, at in tests.items():
            given = [part[at] for part in parts]
            rejected = (more.scores(*given).argmax(dim=1) == half) | (more.p_values(*given) <= ALPHA)
            found[f"{count or 'all'} background clips, {name}"].append(float(rejected.double().mean()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--clips", nargs="+", type=int, default=[5, 20, 0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for path in options.stores:
        result: dict[str, list[float]] = defaultdict(list)
        for draw in range(options.draws):
            measure(path, draw, options.clips, result)
        print(path)
        for name, values in result.items():
            print(
                f"  {name:<36} {100 * np.mean(values):5.1f} ± {100 * np.std(values, ddof=1):.1f} % rejected"
            )


if __name__ == "__main__":
    main()
