"""Contributions to a prediction as HTML, for the report and the web page. The style is in assets/attention.css."""

from __future__ import annotations

from markupsafe import Markup

from avcil.inference.contribution_table import SIGNS, ContributionTable
from avcil.utils.templates import render

_NO_BREAK = "\N{NO-BREAK SPACE}"


def contribution_figure(table: ContributionTable, *, with_meaning: bool = True) -> Markup:
    """Draw a bar for each contribution: to the right in favor of `label`, to the left in favor of `second`.

    Args:
        table: The contributions.
        with_meaning: Whether to explain what contributions are.

    Returns:
        HTML: a paragraph, and a list with the class "contributions" if there are any.
    """
    values = [row.value for row in table.rows]
    low, high = min([0.0, *values]), max([0.0, *values])
    span = high - low or 1.0
    bars = [
        (
            row,
            f"{100 * (min(0.0, row.value) - low) / span:.1f}",
            f"{100 * abs(row.value) / span:.1f}",
            f"{row.value:+z.2f}",
            row.remark.replace(" %", _NO_BREAK + "%"),
        )
        for row in table.rows
    ]
    zero = f"{-100 * low / span:.1f}"
    options = {"with_meaning": with_meaning, "signs": SIGNS}
    return render("avcil.reporting", "contributions", table=table, bars=bars, zero=zero, **options)
