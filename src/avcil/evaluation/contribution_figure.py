"""Contributions to a prediction as HTML, the same in the report and on the page.

The style is assets/attention.css.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from avcil.evaluation.svg import escape

MEANINGS = {
    "additive": "The contributions, with the bias term, add up to the score difference.",
    "ablation": (
        "Each value is the change of the score difference when a modality is left out, or when the features of an "
        "encoder are replaced by typical ones. The values do not add up to the score difference."
    ),
}
"""What a contribution is, by the kind of the table."""
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
    """The score of `label` less that of `second`."""
    kind: Literal["additive", "ablation"] | None
    rows: Sequence[ContributionRow]

    @property
    def missing(self) -> str:
        """Why there is nothing to show; empty where there is."""
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
        """What the values are, in a sentence."""
        return MEANINGS[self.kind] if self.kind else ""


def contribution_figure(table: ContributionTable, *, with_meaning: bool = True) -> str:
    """Draw a bar for each contribution, to the right for `label` and to the left for `second`.

    Args:
        table: The contributions.
        with_meaning: Whether the text says what contributions are.

    Returns:
        HTML: a paragraph, and an element with the class "contributions" where there are contributions.
    """
    if table.missing:
        return f'<p class="scale-note">{escape(table.missing)}</p>'
    values = [row.value for row in table.rows]
    low, high = min(0.0, *values), max(0.0, *values)
    span = high - low or 1.0
    rows = "".join(_row(row, -low / span, span) for row in table.rows)
    label, second = escape(table.label), escape(table.second)
    meaning = f" {SIGNS} {table.meaning}" if with_meaning else ""
    return (
        f'<p class="scale-note">Score of “{label}” minus score of the second most probable class, “{second}”: '
        f'<b>{table.difference:+.2f}</b>.{meaning}</p><ul class="contributions">{rows}</ul>'
    )


def _row(row: ContributionRow, zero: float, span: float) -> str:
    """One bar; `zero` is the position of zero, from 0 to 1."""
    start = zero + min(0.0, row.value / span)
    style = f"left:{100 * start:.1f}%;width:{100 * abs(row.value) / span:.1f}%"
    side = "up" if row.value >= 0 else "down"
    css = ' class="encoder"' if row.is_encoder else ""
    remark = f'<span class="remark">{escape(row.remark)}</span>' if row.remark else ""
    return (
        f'<li{css}><span class="name" title="{escape(row.name)}">{escape(row.name)}</span>'
        f'<span class="plot" style="--zero:{100 * zero:.1f}%"><i class="{side}" style="{style}"></i></span>'
        f"<b>{row.value:+z.2f}</b>{remark}</li>"
    )
