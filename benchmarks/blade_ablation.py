"""Ablation of the parts of BLADE, by number of training clips per class.

    python benchmarks/blade_ablation.py STORE [STORE ...] [--clips 1 2 5 16] [--draws 5] [--split test]

All classes at once. Prints a Markdown table for each store: accuracy in %, means over draws of the training clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from few_clips import Store

from avcil.closed_form.block_ridge import select_penalties
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.discriminant import Discriminant
from avcil.closed_form.mean_variance import mean_variance, variance_share
from avcil.methods._prior_psi import PRIOR_PSI

LARGE = 1e9
"""psi with which class means are averages."""


def accuracy(
    store: Store,
    rows: torch.Tensor,
    asked: torch.Tensor,
    columns: torch.Tensor,
    blocks: list[tuple[str, int]],
    *,
    shrink: bool = True,
    search: bool = True,
    typical: bool = True,
) -> float:
    """Accuracy of the discriminant with these columns and blocks (kind, width).

    Without `typical`, the prior psi does not depend on how much the features vary.
    """
    features = torch.from_numpy(store.pooled)
    moments = ClassMoments(features.shape[1])
    moments.add_classes(store.classes)
    moments.add(features[rows], store.labels[rows])
    sizes = [width for _, width in blocks]
    standard = moments.standardized(columns, sizes=sizes)
    penalties = select_penalties(standard.moments, sizes) if search else [float(len(rows))] * len(sizes)
    shares = variance_shares(store, moments)[columns].split(sizes)
    prior = [
        PRIOR_PSI[kind] * (float(share.mean()) if typical and len(rows) == store.classes else 1.0)
        for (kind, _), share in zip(blocks, shares, strict=True)
    ]
    psi = mean_variance(standard.moments, sizes, prior)
    psi = psi if shrink else [LARGE] * len(sizes)
    widths = torch.tensor(sizes)
    found = Discriminant(
        standard.moments,
        *(torch.tensor(values, dtype=torch.float64).repeat_interleave(widths) for values in (penalties, psi)),
    )
    z = (features[asked][:, columns].double() - standard.mean) * standard.inverse_deviation
    scores = z @ found.weight + found.bias
    return 100 * float((scores.argmax(dim=1) == store.labels[asked]).double().mean())


def variance_shares(store: Store, moments: ClassMoments) -> torch.Tensor:
    """The share (M,) of each feature; the deviation of tokens has that of their mean."""
    scale = {name: torch.from_numpy(found.scale).double() for name, found in store.constants.items()}
    audio, mean, _ = moments.variances().split([store.audio.shape[-1], *[store.visual.shape[-1]] * 2])
    shares = [variance_share(audio, scale.get("audio")), variance_share(mean, scale.get("visual"))]
    return torch.cat([*shares, shares[1]])


def variants(store: Store) -> dict[str, dict]:
    """Arguments of `accuracy` by the name of the variant."""
    method = store.blade("audio-visual")
    method.pooled(store.audio[:1], store.visual[:1])
    method._widths = tuple(part.shape[1] for part in method.pooled(store.audio[:1], store.visual[:1]))
    view = method.make_head_states()[0]
    parts = list(zip(view.kinds, view.sizes, strict=True))
    vectors = list(zip(method._kinds(), method._widths, strict=True))
    width = sum(view.sizes)
    without = sum(size for kind, size in parts if kind != "deviation")
    full = {"columns": torch.arange(width), "blocks": parts}
    return {
        "BLADE": full,
        "a block for each vector, not for each encoder": full | {"blocks": vectors},
        "one block": full | {"blocks": [("mean", width)]},
        "prior of psi not reduced": full | {"typical": False},
        "class means not shrunk": full | {"shrink": False},
        "penalty N for each block, no search": full | {"search": False},
        "no deviation of the tokens": {
            "columns": torch.arange(without),
            "blocks": [part for part in parts if part[0] != "deviation"],
        },
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
        for name, arguments in variants(store).items():
            means = [
                np.mean(
                    [
                        accuracy(store, store.draw(count, seed), asked, **arguments)
                        for seed in range(options.draws)
                    ]
                )
                for count in options.clips
            ]
            print(f"| {name} | {' | '.join(f'{mean:.1f}' for mean in means)} |", flush=True)


if __name__ == "__main__":
    main()
