"""A probability threshold with a given precision, from leave-one-out probabilities."""

from __future__ import annotations

import math

from torch import Tensor


def threshold_for_precision(probabilities: Tensor, precision: float) -> float:
    """The smallest threshold at which the accepted predictions have the given precision.

    The precision is estimated by the mean probability of the accepted predictions. It is one threshold for all classes:
    with about ten predictions of each class, thresholds chosen for each class overfit (docs/log.md).

    Args:
        probabilities: (n,), calibrated probability of each prediction of a model that did not learn the clip.
        precision: From 0 to 1.

    Returns:
        0 if all predictions can be accepted, and `precision` if no threshold reaches it on the sample.

    >>> import torch
    >>> round(threshold_for_precision(torch.tensor([0.9, 0.8, 0.6, 0.55]), 0.75), 3)
    0.55
    """
    values = probabilities.sort(descending=True).values.double()
    accepted, total = 0, 0.0
    for count, value in enumerate(values.tolist(), start=1):
        total += value
        ends_a_tie = count == len(values) or float(values[count]) < value
        if ends_a_tie and total >= precision * count:
            accepted = count
    if not accepted:
        return precision
    return 0.0 if accepted == len(values) else math.nextafter(float(values[accepted]), math.inf)
