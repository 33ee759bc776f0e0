"""Metrics of single predictions: class means, confusion, calibration.

Shapes: N clips, C classes. Labels are strings.

>>> macro_accuracy(["dog", "dog", "dog", "rain"], ["dog", "dog", "rain", "rain"])
0.8333333333333333
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """Predictions of the clips of one class."""

    label: str
    step: int
    """The step of the class."""
    clips: int
    correct: int
    accuracy: float | None
    """None if the class has no clip."""
    most_confused_with: str | None
    """The most frequent wrong prediction (the first class in case of a tie); None if there is none."""
    confusions: int
    """Number of clips with that prediction."""


def macro_accuracy(labels: Sequence[str], predicted: Sequence[str]) -> float:
    """Unweighted mean of the accuracies of the classes (balanced accuracy)."""
    _check(labels, predicted)
    clips = Counter(labels)
    correct = Counter(label for label, other in zip(labels, predicted, strict=True) if label == other)
    return float(np.mean([correct[label] / clips[label] for label in sorted(clips)]))


def harmonic_mean_accuracy(old: float, new: float) -> float:
    """Harmonic mean of the accuracies on old and on new classes, 2 old new / (old + new); 0 if both are 0.

    >>> round(harmonic_mean_accuracy(0.4, 0.8), 4)
    0.5333
    """
    if min(old, new) < 0:
        raise InputError(f"accuracies are 0 or more; got {old} and {new}")
    return 2 * old * new / (old + new) if old + new else 0.0


def confusion_matrix(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Counts (C, C) int64: rows are true classes, columns predicted classes, both in the order of `classes`.

    >>> confusion_matrix(["dog", "rain", "rain"], ["dog", "dog", "rain"], ["dog", "rain"]).tolist()
    [[1, 0], [1, 1]]
    """
    _check(labels, predicted, empty=True)
    position = {label: i for i, label in enumerate(classes)}
    if len(position) != len(classes):
        raise InputError(f"classes are named twice: {[c for c, k in Counter(classes).items() if k > 1]}")
    unknown = sorted({*labels, *predicted} - position.keys())
    if unknown:
        raise InputError(f"predictions have classes that are not in the benchmark: {unknown[:5]}")
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, ([position[x] for x in labels], [position[x] for x in predicted]), 1)
    return counts


def per_class_table(
    labels: Sequence[str], predicted: Sequence[str], step_of_class: Mapping[str, int]
) -> list[ClassRow]:
    """One row per class, in the order of `step_of_class`, which maps class names to steps."""
    classes = list(step_of_class)
    counts = confusion_matrix(labels, predicted, classes)
    rows = []
    for i, label in enumerate(classes):
        clips, correct = int(counts[i].sum()), int(counts[i, i])
        wrong = counts[i].copy()
        wrong[i] = 0
        j = int(wrong.argmax())
        rows.append(
            ClassRow(
                label=label,
                step=step_of_class[label],
                clips=clips,
                correct=correct,
                accuracy=correct / clips if clips else None,
                most_confused_with=classes[j] if wrong[j] else None,
                confusions=int(wrong[j]),
            )
        )
    return rows


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """The clips whose confidence is in (lower, upper]."""

    lower: float
    upper: float
    clips: int
    confidence: float | None
    """Mean; None without clips."""
    accuracy: float | None


def calibration_bins(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> list[CalibrationBin]:
    """Accuracy by confidence in equal-width bins of [0, 1] (reliability diagram).

    Args:
        confidence: (N,) probability of the predicted class.
        correct: (N,) whether the prediction is correct.
        bins: Number of bins.
    """
    confidence = np.asarray(confidence, dtype=np.float64)
    correct = np.asarray(correct, dtype=np.float64)
    if confidence.ndim != 1 or confidence.shape != correct.shape or not len(confidence):
        raise InputError(
            f"confidence and correct need the same shape (N,), N >= 1; got {confidence.shape} and {correct.shape}"
        )
    if not ((confidence >= 0) & (confidence <= 1 + 1e-6)).all():
        raise InputError("confidences must be probabilities from 0 to 1")
    if bins < 1:
        raise InputError(f"bins must be 1 or more, not {bins}")
    edges = np.linspace(0, 1, bins + 1)
    member = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    table = []
    for b in range(bins):
        inside = member == b
        clips = int(inside.sum())
        table.append(
            CalibrationBin(
                lower=float(edges[b]),
                upper=float(edges[b + 1]),
                clips=clips,
                confidence=float(confidence[inside].mean()) if clips else None,
                accuracy=float(correct[inside].mean()) if clips else None,
            )
        )
    return table


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """sum_b (n_b / N) |accuracy_b - mean confidence_b| over equal-width bins (Guo et al. 2017), a fraction.

    >>> round(expected_calibration_error([0.9, 0.9, 0.6, 0.6], [1, 0, 1, 0]), 3)
    0.25
    """
    table = calibration_bins(confidence, correct, bins)
    total = sum(b.clips for b in table)
    return float(
        sum(
            b.clips / total * abs(b.accuracy - b.confidence)
            for b in table
            if b.accuracy is not None and b.confidence is not None
        )
    )


def _check(labels: Sequence[str], predicted: Sequence[str], empty: bool = False) -> None:
    if len(labels) != len(predicted) or not (labels or empty):
        raise InputError(
            f"each clip needs a label and a prediction, at least one clip: got {len(labels)} labels and "
            f"{len(predicted)} predictions"
        )
