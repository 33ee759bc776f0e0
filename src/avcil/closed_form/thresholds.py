"""Thresholds of probability that reach a stated precision on clips that were scored leave-one-out."""

from __future__ import annotations

import math

from torch import Tensor


def thresholds_for_precision(probabilities: Tensor, labels: Tensor, precision: float) -> list[float | None]:
    """The smallest threshold of each class at which its predictions have the precision.

    Of the clips that are predicted as class c with a probability of at least threshold c, the share `precision` is of
    class c. It is an estimate from as many clips as were predicted as the class.

    Args:
        probabilities: (n, C), each clip's by a model that did not learn the clip.
        labels: (n,), class numbers.
        precision: From 0 to 1.

    Returns:
        (C,) thresholds: 0 where all predictions may stay, above the highest probability of the clips where no
        threshold reaches the precision, None where no clip was predicted as the class.

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


def _threshold(probabilities: Tensor, right: Tensor, precision: float) -> float | None:
    if not len(probabilities):
        return None
    order = probabilities.argsort(descending=True, stable=True)
    values, correct = probabilities[order].tolist(), right[order].cumsum(dim=0).tolist()
    kept = 0
    for count in range(1, len(values) + 1):
        ends_a_tie = count == len(values) or values[count] < values[count - 1]
        if ends_a_tie and correct[count - 1] >= precision * count:
            kept = count
    return 0.0 if kept == len(values) else math.nextafter(values[kept], math.inf)
