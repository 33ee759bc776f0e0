"""Probability thresholds with a given precision, from leave-one-out probabilities."""

from __future__ import annotations

import math

from torch import Tensor


def thresholds_for_precision(probabilities: Tensor, labels: Tensor, precision: float) -> list[float | None]:
    """The smallest threshold of each class at which its predictions have the given precision.

    Among clips predicted as class c with at least this probability, the fraction `precision` belongs to class c. It is
    estimated from the clips that were predicted as the class.

    Args:
        probabilities: (n, C), of each clip by a model that was not trained on it.
        labels: (n,), class numbers.
        precision: From 0 to 1.

    Returns:
        (C,) thresholds: 0 if no prediction must be rejected, above the highest probability if no threshold has the
        precision, None if no clip was predicted as the class.

    >>> import torch
    >>> probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
    >>> first, second = thresholds_for_precision(probabilities, torch.tensor([0, 0, 1, 0]), 0.9)
    >>> round(first, 3), second
    (0.6, None)
    """
    highest, predicted = probabilities.max(dim=1)
    return [
        _threshold(highest[predicted == number], labels[predicted == number] == number, precision)
        for number in range(probabilities.shape[1])
    ]


def _threshold(probabilities: Tensor, is_correct: Tensor, precision: float) -> float | None:
    if not len(probabilities):
        return None
    order = probabilities.argsort(descending=True, stable=True)
    values, correct = probabilities[order].tolist(), is_correct[order].cumsum(dim=0).tolist()
    accepted = 0
    for count in range(1, len(values) + 1):
        ends_a_tie = count == len(values) or values[count] < values[count - 1]
        if ends_a_tie and correct[count - 1] >= precision * count:
            accepted = count
    return 0.0 if accepted == len(values) else math.nextafter(values[accepted], math.inf)
