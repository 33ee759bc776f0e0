"""Detection of unknown classes by `blade`, and its accuracy for clips that lack a modality.

    python benchmarks/unknown_and_missing.py STORE --classes-per-step 3 [--steps STEPS.json] [--orders 5]

After each step, at most the given fraction of test clips of learned classes should be rejected, and as many test clips
of later classes as possible (AUROC: the probability that a clip of a later class has a smaller p-value than one of a
learned class). Later classes are used for the measurement only; nothing is tuned on them. The calibration of the
probabilities is measured after each step, on test clips of learned classes. After the last step, the test
clips are predicted with both modalities, with audio alone and with visual alone, by the same model; and with thresholds
of each class that were chosen for a precision from leave-one-out scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from avcil.closed_form.thresholds import threshold_for_precision
from avcil.datasets import Benchmark
from avcil.encoders.parts import part_widths
from avcil.features import FeatureStore
from avcil.methods.registry import load_method, parse_options
from avcil.runs.predictions import expected_calibration_error

RATES = (0.01, 0.05, 0.1)
PRECISIONS = (0.9, 0.95, 0.99)


def auroc(known: torch.Tensor, unknown: torch.Tensor) -> float:
    """Probability that a clip of a later class has the smaller p-value; ties count half."""
    return float((known[:, None] > unknown).double().mean() + (known[:, None] == unknown).double().mean() / 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--classes-per-step", type=int, default=3)
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = FeatureStore(options.store)
    rows = range(len(store))
    audio = torch.from_numpy(store.audio(rows).astype(np.float32))
    visual = torch.from_numpy(store.visual(rows).astype(np.float32))
    labels = [clip.label for clip in store.clips]
    result: dict[str, list[float]] = {}
    for order in range(options.orders):
        benchmark = Benchmark.from_classes(set(labels), options.classes_per_step, class_order_seed=order)
        measure(benchmark, store, audio, visual, labels, options.split, result)
    print(
        f"{options.store}, {options.split} clips, {options.orders} class orders, mean ± std over orders and steps"
    )
    for name, values in result.items():
        print(f"{name:<44} {100 * np.mean(values):6.1f} ± {100 * np.std(values, ddof=1):.1f}")


def measure(benchmark, store, audio, visual, labels, split, found) -> None:
    """Learn one order of classes, and predict after each step."""
    kind = load_method("blade")
    method = kind(parse_options(kind, (), name="blade"), modality="audio-visual")
    method.part_widths = part_widths(store)
    method.constants = {name: value for name in ("audio", "visual") if (value := store.constants(name))}
    number = {label: place for place, label in enumerate(benchmark.classes)}
    truth = torch.tensor([number[label] for label in labels])
    splits = np.array([clip.split for clip in store.clips])
    asked = torch.from_numpy(np.flatnonzero(splits == split))
    for step_number, step in enumerate(benchmark.steps, start=1):
        new = torch.tensor(
            [r for r, label in enumerate(labels) if label in step and splits[r] == "train"], dtype=torch.int64
        )
        method.add_classes(len(step))
        method.observe(audio[new], visual[new], truth[new])
        model = method.solve()
        is_known = truth[asked] < model.classes
        known = asked[is_known]
        measure_calibration(model, model.scores(audio[known], visual[known]), truth[known], found)
        both, *single = accuracies(model, audio[known], visual[known], truth[known]).values()
        name = f"step {step_number}, accuracy of both minus the better modality"
        found.setdefault(name, []).append(both - max(single))
        if is_known.all():
            break
        p = model.p_values(audio[asked], visual[asked])
        found.setdefault("AUROC", []).append(auroc(p[is_known], p[~is_known]))
        for rate in RATES:
            for name, which in (("taught", is_known), ("to come", ~is_known)):
                refused = float((p[which] <= rate).double().mean())
                found.setdefault(f"refused at a stated {rate:.0%}, clips of classes {name}", []).append(
                    refused
                )
    measure_precision(method, model.scores(audio[asked], visual[asked]).softmax(dim=1), truth[asked], found)
    for name, accuracy in accuracies(model, audio[asked], visual[asked], truth[asked]).items():
        found.setdefault(f"last accuracy, {name}", []).append(accuracy)


def accuracies(model, audio, visual, truth) -> dict[str, float]:
    """Accuracy with both modalities, and with each one."""
    given = {"both": (audio, visual), "audio alone": (audio, None), "visual alone": (None, visual)}
    return {
        name: float((model.scores(*parts).argmax(dim=1) == truth).double().mean())
        for name, parts in given.items()
    }


def measure_calibration(model, scores, truth, found) -> None:
    """Cross-entropy and calibration error with the fitted inverse temperature s and with s = 1."""
    s = model.heads[model.modality].inverse_temperature
    for name, factor in {"fitted": 1.0, "1": 1 / s}.items():
        highest, predicted = (factor * scores).softmax(dim=1).max(dim=1)
        error = expected_calibration_error(highest.numpy(), (predicted == truth).numpy())
        found.setdefault(f"calibration error, s {name}", []).append(error)
        entropy = float(cross_entropy(factor * scores, truth))
        found.setdefault(f"100 x cross-entropy in nats, s {name}", []).append(entropy)


def measure_precision(method, probabilities, truth, found) -> None:
    """Precision with the thresholds, and the fraction of clips above them."""
    highest, predicted = probabilities.max(dim=1)
    right = predicted == truth
    found.setdefault("precision without thresholds", []).append(float(right.double().mean()))
    for precision in PRECISIONS:
        left_out, _ = method.leave_one_out("audio-visual")
        kept = highest >= threshold_for_precision(left_out.max(dim=1).values, precision)
        reached = float(right[kept].double().mean())
        found.setdefault(f"precision reached, {precision:.0%} stated", []).append(reached)
        found.setdefault(f"clips kept, {precision:.0%} stated", []).append(float(kept.double().mean()))


if __name__ == "__main__":
    main()
