"""Ablation of the parts of BLADE, by number of training clips per class.

    python benchmarks/blade_ablation.py STORE [STORE ...] [--clips 1 2 5 16] [--draws 5] [--split test]

All classes at once. Prints a Markdown table for each store: accuracy in %, means over draws of the training clips.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from few_clips import Store

from avcil.closed_form import block_ridge
from avcil.closed_form.block_ridge import prior_penalties, select_penalties
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.discriminant import Discriminant
from avcil.closed_form.discriminant_sum import DiscriminantSum, prediction_weight
from avcil.closed_form.mean_variance import mean_variance, variance_share
from avcil.closed_form.prediction_discriminant import PredictionDiscriminant
from avcil.methods._prior_psi import PRIOR_PSI

LARGE = 1e9
"""psi with which class means are averages."""


class Block(NamedTuple):
    """A block of features."""

    kind: str
    """"audio", "mean" or "deviation"."""
    columns: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the discriminant of some blocks of features is computed; the default is that of BLADE."""

    shrink: bool = True
    """Whether class means are shrunk."""
    search: bool = True
    """Whether penalties are chosen by GCV; otherwise, they are those of the prior."""
    dimensions: bool = True
    """Whether prior penalties depend on the effective dimensions of the blocks; otherwise, they are N."""
    typical: bool = True
    """Whether the prior of psi depends on how much the features vary."""
    scale_free: bool = True
    """Whether penalties minimize mostly the error with the best scale of the predictions; otherwise, GCV alone."""
    predictions: bool = True
    """Whether the discriminant of leave-one-out predictions is part of the scores."""


def accuracy(
    store: Store, rows: torch.Tensor, asked: torch.Tensor, groups: list[list[Block]], rules: Rules
) -> float:
    """Accuracy of the sum of the discriminants of `groups` of blocks."""
    features = torch.from_numpy(store.pooled)
    moments = ClassMoments(features.shape[1])
    moments.add_classes(store.classes)
    moments.add(features[rows], store.labels[rows])
    shares = variance_shares(store, moments)
    fitted = [group_discriminant(moments, shares, group, rules) for group in groups]
    parts = [discriminant for discriminant, _ in fitted]
    predictions = [
        PredictionDiscriminant(part) if rules.predictions and prediction_weight(part.counts) > 0 else None
        for part in parts
    ]
    result = DiscriminantSum(parts, predictions)
    asked_features = features[asked].double()
    z = torch.cat([scale(asked_features) for _, scale in fitted], dim=1)
    predicted = (z @ result.weight + result.bias).argmax(dim=1)
    return 100 * float((predicted == store.labels[asked]).double().mean())


def group_discriminant(
    moments: ClassMoments, shares: torch.Tensor, group: list[Block], rules: Rules
) -> tuple[Discriminant, Callable[[torch.Tensor], torch.Tensor]]:
    """The discriminant of class means of some blocks, and the function that selects and scales their features."""
    sizes = [len(block.columns) for block in group]
    columns = torch.cat([block.columns for block in group])
    own = moments.part(columns)
    standard = own.standardized(sizes=sizes)
    centers = prior_penalties(standard.moments, sizes) if rules.dimensions else [own.total] * len(sizes)
    share = block_ridge.GCV_WEIGHT if rules.scale_free else 1.0
    with (
        patch.object(block_ridge, "prior_penalties", lambda *_: centers),
        patch.object(block_ridge, "GCV_WEIGHT", share),
    ):
        penalties = select_penalties(standard.moments, sizes) if rules.search else centers
    reduced = rules.typical and own.total == own.classes
    prior = [
        PRIOR_PSI[block.kind] * (float(shares[block.columns].mean()) if reduced else 1.0) for block in group
    ]
    psi = mean_variance(standard.moments, sizes, prior) if rules.shrink else [LARGE] * len(sizes)
    widths = torch.tensor(sizes)
    result = Discriminant(
        standard.moments,
        *(torch.tensor(values, dtype=torch.float64).repeat_interleave(widths) for values in (penalties, psi)),
    )
    return result, lambda features: (features[:, columns] - standard.mean) * standard.inverse_deviation


def variance_shares(store: Store, moments: ClassMoments) -> torch.Tensor:
    """The share (M,) of each feature; the deviation of tokens has that of their mean."""
    scale = {name: torch.from_numpy(result.scale).double() for name, result in store.constants.items()}
    audio, mean, _ = moments.variances().split([store.audio.shape[-1], *[store.visual.shape[-1]] * 2])
    shares = [variance_share(audio, scale.get("audio")), variance_share(mean, scale.get("visual"))]
    return torch.cat([*shares, shares[1]])


def variants(store: Store) -> dict[str, tuple[list[list[Block]], Rules]]:
    """Groups of blocks and rules by the name of the variant."""
    method = store.blade("audio-visual")
    method._widths = [part.shape[1] for part in method.pooled(store.audio[:1], store.visual[:1])]
    state = method.make_head_states()[0]
    columns = torch.arange(sum(state.sizes))
    encoders = [Block(kind, own) for kind, own in zip(state.kinds, columns.split(state.sizes), strict=True)]
    vectors = [
        Block(kind, own) for kind, own in zip(method._kinds(), columns.split(method._widths), strict=True)
    ]

    def modalities(blocks: list[Block]) -> list[list[Block]]:
        return [[block for block in blocks if (block.kind == "audio") == audio] for audio in (True, False)]

    one_block = [
        Block(kind, torch.cat([block.columns for block in own]))
        for kind, own in zip(("audio", "mean"), modalities(vectors), strict=True)
    ]
    full = modalities(encoders)
    return {
        "BLADE": (full, Rules()),
        "one discriminant of both modalities": ([encoders], Rules()),
        "a block for each vector, not for each encoder": (modalities(vectors), Rules()),
        "one block for each modality": (modalities(one_block), Rules()),
        "without leave-one-out predictions": (full, Rules(predictions=False)),
        "penalties by GCV": (full, Rules(scale_free=False)),
        "prior penalty N": (full, Rules(dimensions=False)),
        "prior of psi not reduced": (full, Rules(typical=False)),
        "class means not shrunk": (full, Rules(shrink=False)),
        "prior penalties, no search": (full, Rules(search=False)),
        "no standard deviation of the tokens": (
            modalities([block for block in encoders if block.kind != "deviation"]),
            Rules(),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--clips", nargs="+", type=int, default=[1, 2, 5, 16])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--split", choices=["val", "test"], default="val")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for path in options.stores:
        store = Store(path)
        asked = torch.from_numpy(np.flatnonzero(store.splits == options.split))
        print(f"| {path.name} | {' | '.join(map(str, options.clips))} |\n|---|{'---:|' * len(options.clips)}")
        for name, (groups, rules) in variants(store).items():
            means = [
                np.mean(
                    [
                        accuracy(store, store.draw(count, seed), asked, groups, rules)
                        for seed in range(options.draws)
                    ]
                )
                for count in options.clips
            ]
            print(f"| {name} | {' | '.join(f'{mean:.1f}' for mean in means)} |", flush=True)


if __name__ == "__main__":
    main()
