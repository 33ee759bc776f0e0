"""Comparison of detectors of unknown classes on the same BLADE models: AUROC for each feature store.

    python benchmarks/detectors.py STORE [STORE ...] [--classes-per-step 3] [--orders 3] [--split test] [--out FILE]

After every step but the last, each detector computes a value for clips of learned and of later classes; AUROC is the
probability that a clip of a later class has the larger one. No detector has a parameter that is tuned: all follow from
the model and its training clips. Detectors were chosen with `--split val`; `--split test` is for the table.

With z the scaled features, K and mean_c of the discriminant of class means, score_c those of the model
(docs/concepts/blade-equations.md), s the inverse temperature, d_c = N (z - mean_c)^T K (z - mean_c) and
d_0 = N z^T K z:

    ratio          min_c d_c / d_0
    mahalanobis    min_c d_c (Lee et al., NeurIPS 2018)
    relative       min_c d_c - N z^T K_0 z, K_0 of the scatter of all clips (Ren et al., 2021)
    probability    1 - largest probability (Hendrycks & Gimpel, ICLR 2017)
    energy         -log sum_c exp(s score_c) (Liu et al., NeurIPS 2020)
    score          -max_c score_c (Vaze et al., ICLR 2022: largest logit)
    margin         -(largest score less the second)
    entropy        of the probabilities
    ratio+probability   sum of the log p-values of both (Fisher), each by leave-one-out values of the training clips
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avcil.closed_form.discriminant import nonconformity
from avcil.closed_form.discriminant_sum import DiscriminantSum
from avcil.datasets import Benchmark
from avcil.encoders.parts import part_widths
from avcil.features import FeatureStore
from avcil.methods.registry import load_method, parse_options


def auroc(known: Tensor, unknown: Tensor) -> float:
    """Probability that an unknown clip has the larger value; ties count half."""
    return float((known[:, None] < unknown).double().mean() + (known[:, None] == unknown).double().mean() / 2)


def p_value(seen: Tensor, values: Tensor) -> Tensor:
    """Fraction of the observed values that are at least as large, including the value itself."""
    ordered = seen.sort().values
    above = len(ordered) - torch.searchsorted(ordered, values, right=False)
    return (1 + above).double() / (1 + len(ordered))


def detectors(
    found: DiscriminantSum, inverse_temperature: float, sample: tuple[Tensor, Tensor, Tensor], z: Tensor
) -> dict[str, Tensor]:
    """The value of each detector for clips z (n, m); larger is more likely unknown.

    Args:
        found: The discriminant.
        inverse_temperature: s.
        sample: Leave-one-out scores (k, C), scores of class means (k, C) and d_0 (k,) of training clips.
        z: (n, m)
    """
    scores = z @ found.weight + found.bias
    inverse, background_inverse = (
        torch.block_diag(*matrices)
        for matrices in zip(
            *((part.inverse(), part.background_inverse()) for part in found.parts), strict=True
        )
    )
    length, background = (((z @ k) * z).sum(dim=1) for k in (inverse, background_inverse))
    of_class_means = z @ torch.cat([part.weight for part in found.parts]) + sum(
        part.bias for part in found.parts
    )
    nearest = length - 2 * of_class_means.max(dim=1).values
    logs = (inverse_temperature * scores).log_softmax(dim=1)
    uncertain = 1 - logs.max(dim=1).values.exp()
    top = scores.topk(2, dim=1).values
    ratio = nonconformity(of_class_means, length)
    seen_ratio = nonconformity(*sample[1:])
    seen_uncertain = 1 - (inverse_temperature * sample[0]).softmax(dim=1).max(dim=1).values
    p_ratio, p_probability = p_value(seen_ratio, ratio), p_value(seen_uncertain, uncertain)
    return {
        "ratio": ratio,
        "mahalanobis": nearest,
        "relative": nearest - background,
        "probability": uncertain,
        "energy": -(inverse_temperature * scores).logsumexp(dim=1),
        "score": -scores.max(dim=1).values,
        "margin": top[:, 1] - top[:, 0],
        "entropy": -(logs.exp() * logs).sum(dim=1),
        "ratio+probability": -(p_ratio.log() + p_probability.log()),
    }


def measure(
    store: FeatureStore, per_step: int, order: int, split: str, found: dict[str, list[float]]
) -> None:
    """Learn one order of classes, and predict after each step except the last."""
    rows = np.arange(len(store))
    audio, visual = (torch.from_numpy(part(rows).astype(np.float32)) for part in (store.audio, store.visual))
    labels = [clip.label for clip in store.clips]
    benchmark = Benchmark.from_classes(set(labels), per_step, class_order_seed=order)
    number = {label: place for place, label in enumerate(benchmark.classes)}
    truth = torch.tensor([number[label] for label in labels])
    splits = np.array([clip.split for clip in store.clips])
    asked, train = (torch.from_numpy(np.flatnonzero(splits == name)) for name in (split, "train"))
    kind = load_method("blade")
    method = kind(parse_options(kind, (), name="blade"), modality="audio-visual")
    method.part_widths = part_widths(store)
    features = torch.cat(method.pooled(audio, visual), dim=1)
    for step, names in enumerate(benchmark.steps[:-1]):
        known = len([name for group in benchmark.steps[: step + 1] for name in group])
        own = train[(truth[train] >= known - len(names)) & (truth[train] < known)]
        method.add_classes(len(names))
        method.observe(audio[own], visual[own], truth[own])
        head = method.solve().heads["audio-visual"]
        blocks, sample = method._discriminant(method.head_states[0]), method.statistics.sample
        left_out = blocks.discriminant.leave_one_out(blocks.scaled(sample.vectors), sample.labels)
        is_known = truth[asked] < known
        for name, values in detectors(
            blocks.discriminant, head.inverse_temperature, left_out, blocks.scaled(features[asked])
        ).items():
            found[name].append(auroc(values[is_known], values[~is_known]))


def main() -> None:
    """Print AUROC in percent for each store and detector, mean and standard deviation over orders and steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--classes-per-step", type=int, default=3)
    parser.add_argument("--orders", type=int, default=3)
    parser.add_argument("--split", default="val", choices=("val", "test"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table: dict[str, dict[str, list[float]]] = {}
    for path in options.stores:
        store, result = FeatureStore(path), defaultdict(list)
        for order in range(options.orders):
            measure(store, options.classes_per_step, order, options.split, result)
        table[path.name] = {
            name: [round(100 * float(np.mean(values)), 1), round(100 * float(np.std(values)), 1)]
            for name, values in result.items()
        }
        print(path.name, {name: mean for name, (mean, _) in table[path.name].items()}, flush=True)
    for name in next(iter(table.values())):
        print(f"{name:<20} mean over stores {np.mean([own[name][0] for own in table.values()]):.1f}")
    if options.out:
        options.out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
