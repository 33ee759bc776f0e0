"""Contributions to a prediction as HTML, the same in the report and on the page.

The style is assets/attention.css.
"""

from __future__ import annotations

from avcil.inference.contribution_table import SIGNS, ContributionRow, ContributionTable
from avcil.reporting.svg import escape

NO_BREAK = "\N{NO-BREAK SPACE}"


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
    remark = (
        f'<span class="remark">{escape(row.remark.replace(" %", NO_BREAK + "%"))}</span>'
        if row.remark
        else ""
    )
    return (
        f'<li{css}><span class="name" title="{escape(row.name)}">{escape(row.name)}</span>'
        f'<span class="plot" style="--zero:{100 * zero:.1f}%"><i class="{side}" style="{style}"></i></span>'
        f"<b>{row.value:+z.2f}</b>{remark}</li>"
    )
