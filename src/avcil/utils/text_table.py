"""Tables in plain text and in Markdown."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, names: int = 1) -> str:
    """A Markdown table, whose cells must be escaped, without a final newline.

    Args:
        header: Titles of the columns.
        rows: Cells; all rows have the same length.
        names: Number of left-aligned columns at the beginning; the others are right-aligned.

    >>> print(markdown_table(["class", "clips"], [["dog", "3"]]))
    | class | clips |
    | --- | ---: |
    | dog | 3 |
    """
    rule = ["---"] * names + ["---:"] * (len(header) - names)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def text_table(
    rows: Iterable[Sequence[object]],
    header: Sequence[str] | None = None,
    *,
    names: int = 1,
    rule: bool = False,
    indent: int = 0,
) -> str:
    """Format rows as aligned columns, without trailing spaces or a final newline.

    Args:
        rows: Cells; all rows have the same length.
        header: Titles of the columns.
        names: Number of left-aligned columns at the beginning; the others are right-aligned.
        rule: Whether to draw a line below the header.
        indent: Spaces before each line.

    >>> print(text_table([["dog", 3], ["hen", 12]], ["class", "clips"]))
    class  clips
    dog        3
    hen       12
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    body = [[Text(str(cell)) for cell in row] for row in rows]
    table = Table(
        box=SIMPLE_HEAD if rule else None,
        show_header=header is not None,
        header_style="",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1 if rule else 2, 0, 0),  # the box adds a space
    )
    for number in range(len(body[0]) if header is None else len(header)):
        title = "" if header is None else Text(header[number])
        table.add_column(title, justify="left" if number < names else "right", no_wrap=True)
    for row in body:
        table.add_row(*row)
    file = io.StringIO()
    Console(file=file, width=1_000_000, color_system=None, force_terminal=False).print(table)
    return "\n".join(" " * indent + line.rstrip() for line in file.getvalue().splitlines())
