"""Contributions to a prediction: how much each modality, and each encoder of a combined one, adds to a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_MEANINGS = {
    "additive": "The contributions, with the bias term, add up to the score difference.",
    "ablation": (
        "Each value is the change of the score difference when a modality is left out, or when the features of an "
        "encoder are replaced by typical ones. The values do not add up to the score difference."
    ),
}
"""Explanation of the contributions, by kind."""
SIGNS = "Positive contributions favor the predicted class, negative ones the second most probable class."


@dataclass(frozen=True, kw_only=True)
class ContributionRow:
    """The contribution of one input."""

    name: str
    value: float
    is_encoder: bool = False
    """Whether it is an encoder of the modality above it."""
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class ContributionTable:
    """The contributions to one prediction, against the second most probable class."""

    label: str
    second: str
    difference: float
    """The score of `label` minus that of `second`."""
    kind: Literal["additive", "ablation"] | None
    rows: Sequence[ContributionRow]

    @property
    def missing(self) -> str:
        """Why there are no contributions; empty if there are."""
        if self.label == self.second:
            return "The model has one class, so there is no second class to compare with."
        if not self.rows:
            return (
                "There are no contributions to compare: the prediction uses one modality from one encoder, a joint "
                "encoder, or features that mix several encoders."
            )
        return ""

    @property
    def meaning(self) -> str:
        """A sentence that explains the values."""
        return _MEANINGS[self.kind] if self.kind else ""
