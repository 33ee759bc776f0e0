"""What predictions say, clip by clip: class means, confusion, calibration.

Shapes: N clips, C classes. Labels are strings, as everywhere at a boundary.

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
    """How one class fared."""

    label: str
    step: int
    """The step that brought the class."""
    clips: int
    correct: int
    accuracy: float | None
    """None where the class has no clip."""
    most_confused_with: str | None
    """The wrong answer given most often to its clips (of equals, the first class); None without one."""
    confusions: int
    """How many of its clips got that answer."""


def macro_accuracy(labels: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean over the classes of their accuracies: every class weighs the same (balanced accuracy)."""
    _check(labels, predicted)
    clips = Counter(labels)
    correct = Counter(label for label, answer in zip(labels, predicted, strict=True) if label == answer)
    return float(np.mean([correct[label] / clips[label] for label in sorted(clips)]))


def harmonic_mean_accuracy(old: float, new: float) -> float:
    """Harmonic mean of the accuracies on old and on new classes, 2 old new / (old + new); 0 where both are 0.

    >>> round(harmonic_mean_accuracy(0.4, 0.8), 4)
    0.5333
    """
    if min(old, new) < 0:
        raise InputError(f"accuracies are 0 or more; got {old} and {new}")
    return 2 * old * new / (old + new) if old + new else 0.0


def confusion_matrix(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Counts (C, C) int64: rows are the true class, columns the answer, both in the order of `classes`.

    >>> confusion_matrix(["dog", "rain", "rain"], ["dog", "dog", "rain"], ["dog", "rain"]).tolist()
    [[1, 0], [1, 1]]
    """
    _check(labels, predicted, empty=True)
    position = {label: i for i, label in enumerate(classes)}
    if len(position) != len(classes):
        raise InputError(f"classes are named twice: {[c for c, k in Counter(classes).items() if k > 1]}")
    unknown = sorted({*labels, *predicted} - position.keys())
    if unknown:
        raise InputError(f"predictions name classes that the benchmark does not hold: {unknown[:5]}")
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, ([position[x] for x in labels], [position[x] for x in predicted]), 1)
    return counts


def per_class_table(
    labels: Sequence[str], predicted: Sequence[str], step_of_class: Mapping[str, int]
) -> list[ClassRow]:
    """One row a class, in the order of `step_of_class` (class name to the step that brought it)."""
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
    """The clips whose confidence fell into (lower, upper]."""

    lower: float
    upper: float
    clips: int
    confidence: float | None
    """Their mean confidence; None without clips."""
    accuracy: float | None


def calibration_bins(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> list[CalibrationBin]:
    """Confidence against accuracy in `bins` equal stretches of [0, 1] (the reliability diagram).

    `confidence` (N,) is the probability of the answer given, `correct` (N,) whether it was right.
    """
    confidence = np.asarray(confidence, dtype=np.float64)
    correct = np.asarray(correct, dtype=np.float64)
    if confidence.ndim != 1 or confidence.shape != correct.shape or not len(confidence):
        raise InputError(f"one confidence a clip, at least one clip: {confidence.shape} and {correct.shape}")
    if not ((confidence >= 0) & (confidence <= 1 + 1e-6)).all():
        raise InputError("confidences are probabilities, from 0 to 1")
    if bins < 1:
        raise InputError(f"bins must be 1 or more, not {bins}")
    edges = np.linspace(0, 1, bins + 1)
    member = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    table = []
    for b in range(bins):
        inside = member == b
        held = bool(inside.any())
        table.append(
            CalibrationBin(
                lower=float(edges[b]),
                upper=float(edges[b + 1]),
                clips=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if held else None,
                accuracy=float(correct[inside].mean()) if held else None,
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
            f"one answer a clip, at least one clip: {len(labels)} labels, {len(predicted)} answers"
        )
