"""Options of avcil predict and avcil serve for rejecting clips of unknown classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from avcil.errors import InputError

if TYPE_CHECKING:
    from avcil.inference.rejection import Rejection


@dataclass(frozen=True, kw_only=True)
class RejectionOptions:
    """Base class of the options."""

    # The help lists aliases before the name, and --alpha is to come first.
    alpha: Annotated[float, tyro.conf.arg(name="error-rate", aliases=["--alpha"])] = 0.05
    """Significance level of the test for unknown classes, which models of blade have. A clip is reported as possibly
    of an unknown class if its p-value is at most this level. About this fraction of clips of known classes is
    rejected by mistake if they are recorded like the training clips, and more with another speaker, camera or room.
    --error-rate is the former name."""
    threshold: tuple[str, ...] = ()
    """CLASS=PROBABILITY, such as doorbell=0.8: report a clip as possibly of an unknown class if CLASS is its most
    probable class with a smaller probability. Repeatable."""
    precision: float | None = None
    """Choose one threshold for all other classes such that this fraction of the accepted predictions, such as 0.95, is
    expected to be correct. It is estimated from leave-one-out probabilities of the calibration sample (blade only)."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise InputError(f"--alpha must be at least 0 and below 1, such as 0.05; not {self.alpha}")
        if self.precision is not None and not 0 < self.precision <= 1:
            raise InputError(f"--precision must be above 0 and at most 1, such as 0.95; not {self.precision}")
        _parse_thresholds(self.threshold)

    def rejection(self) -> Rejection:
        """The rules of the options."""
        from avcil.inference.rejection import Rejection

        return Rejection(
            alpha=self.alpha, thresholds=_parse_thresholds(self.threshold), precision=self.precision
        )


def _parse_thresholds(values: Sequence[str]) -> dict[str, float]:
    """Parse CLASS=PROBABILITY.

    >>> _parse_thresholds(["doorbell=0.8", "a=b=0.5"])
    {'doorbell': 0.8, 'a=b': 0.5}
    """
    thresholds: dict[str, float] = {}
    for text in values:
        label, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not (label and equals and 0 <= value <= 1):
            raise InputError(
                "--threshold needs CLASS=PROBABILITY, such as doorbell=0.8, with a probability from 0 to 1; not "
                f"{text!r}"
            )
        if label in thresholds:
            raise InputError(f"--threshold has the class {label!r} twice")
        thresholds[label] = value
    return thresholds
