"""The options of commands that say when a prediction counts as unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avcil.errors import InputError

if TYPE_CHECKING:
    from avcil.inference.rejection import Rejection


def check_rejection(error_rate: float, thresholds: Sequence[str], precision: float | None) -> None:
    """Refuse values outside their range, before anything is loaded."""
    if not 0 <= error_rate < 1:
        raise InputError(f"--error-rate must be a share from 0 up to 1, as in 0.05; not {error_rate}")
    if precision is not None and not 0 < precision <= 1:
        raise InputError(f"--precision must be above 0 and at most 1, as in 0.95; not {precision}")
    threshold_values(thresholds)


def threshold_values(words: Sequence[str]) -> dict[str, float]:
    """Probability by class name, of words CLASS=PROBABILITY.

    >>> threshold_values(["doorbell=0.8", "a=b=0.5"])
    {'doorbell': 0.8, 'a=b': 0.5}
    """
    values: dict[str, float] = {}
    for word in words:
        label, equals, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not (label and equals and 0 <= value <= 1):
            raise InputError(
                f"--threshold takes CLASS=PROBABILITY, as in doorbell=0.8, with a probability from 0 to 1; not {word!r}"
            )
        if label in values:
            raise InputError(f"--threshold names the class {label!r} twice")
        values[label] = value
    return values


def rejection_of(error_rate: float, thresholds: Sequence[str], precision: float | None) -> Rejection:
    """The rules that the options state."""
    from avcil.inference.rejection import Rejection

    return Rejection(error_rate=error_rate, thresholds=threshold_values(thresholds), precision=precision)
