"""Metrics of predictions compared with explicit loops, and for permuted clips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.errors import InputError
from avcil.runs import predictions as p

CLASSES = ("rain, heavy", 'so-called "horn"', "-dash", "🐕/dog", "never heard")
STEPS = dict(zip(CLASSES, (0, 0, 1, 1, 2), strict=True))
answers = st.lists(
    st.tuples(st.sampled_from(CLASSES[:4]), st.sampled_from(CLASSES), st.floats(0, 1)),
    min_size=1,
    max_size=40,
)


@given(answers, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_independent_of_the_order_of_clips(clips, random):
    """Metrics do not depend on the order of clips."""
    shuffled = random.sample(clips, len(clips))
    results = []
    for rows in (clips, shuffled):
        truth, message, confidence = zip(*rows, strict=True)
        right = [a == b for a, b in zip(truth, message, strict=True)]
        ece = p.expected_calibration_error(confidence, right)
        table = p.per_class_table(truth, message, STEPS)
        results.append((p.macro_accuracy(truth, message), table, round(ece, 12)))
    assert results[0] == results[1]


@given(answers)
@settings(deadline=None, max_examples=30)
def test_equals_explicit_loops(clips):
    """Counts, class accuracies and calibration as plain sums."""
    truth, message, confidence = zip(*clips, strict=True)
    counts = p.confusion_matrix(truth, message, CLASSES)
    for i, a in enumerate(CLASSES):
        for j, b in enumerate(CLASSES):
            assert counts[i, j] == sum(t == a and s == b for t, s in zip(truth, message, strict=True))
    shares = []
    for row in p.per_class_table(truth, message, STEPS):
        mine = [s for t, s in zip(truth, message, strict=True) if t == row.label]
        assert (row.clips, row.correct) == (len(mine), mine.count(row.label))
        assert row.confusions == max((mine.count(c) for c in CLASSES if c != row.label), default=0)
        if mine:
            shares.append(mine.count(row.label) / len(mine))
            assert row.accuracy == shares[-1]
    assert p.macro_accuracy(truth, message) == pytest.approx(sum(shares) / len(shares))
    ece = 0.0
    for b in range(15):
        inside = [
            (c, t == s)
            for t, s, c in clips
            if (c > np.linspace(0, 1, 16)[b] or b == 0) and c <= np.linspace(0, 1, 16)[b + 1]
        ]
        ece += abs(sum(c for c, _ in inside) - sum(r for _, r in inside)) / len(clips)
    right = [a == b for a, b in zip(truth, message, strict=True)]
    assert p.expected_calibration_error(confidence, right) == pytest.approx(ece)


def test_class_without_test_clips():
    """It is listed without an accuracy, and not part of the class mean."""
    row = p.per_class_table(["-dash"], ["-dash"], STEPS)[-1]
    assert (row.label, row.step, row.clips) == ("never heard", 2, 0)
    assert row.accuracy is None
    assert row.most_confused_with is None
    assert p.macro_accuracy(["-dash"], ["-dash"]) == 1


def test_calibration_of_extreme_probabilities():
    """Probabilities 0 and 1 have a bin; a correct model with probability 1 has no error."""
    assert p.expected_calibration_error([1.0, 1.0], [True, True]) == 0
    bins = p.calibration_bins([0.0, 1.0, 0.5], [0, 1, 1], bins=2)
    assert [b.clips for b in bins] == [2, 1]


def test_harmonic_mean():
    """Zero if one value is zero; equal values give this value."""
    assert p.harmonic_mean_accuracy(0, 0) == p.harmonic_mean_accuracy(0, 1) == 0
    assert p.harmonic_mean_accuracy(0.6, 0.6) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: p.macro_accuracy([], []), "at least one clip"),
        (lambda: p.macro_accuracy(["a"], []), "1 labels and 0 predictions"),
        (lambda: p.confusion_matrix(["a"], ["b"], ["a"]), "not in the benchmark"),
        (lambda: p.confusion_matrix([], [], ["a", "a"]), "twice"),
        (lambda: p.expected_calibration_error([1.5], [1]), "from 0 to 1"),
        (lambda: p.expected_calibration_error([0.5], [1], bins=0), "1 or more"),
        (lambda: p.harmonic_mean_accuracy(-0.1, 1), "0 or more"),
    ],
)
def test_invalid_input(call, words):
    """Invalid input raises an InputError that names the problem."""
    with pytest.raises(InputError, match=words):
        call()
