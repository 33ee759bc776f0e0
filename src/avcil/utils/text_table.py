"""Tables for a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence


def text_table(
    rows: Iterable[Sequence[object]],
    header: Sequence[str] | None = None,
    *,
    names: int = 1,
    rule: bool = False,
    indent: int = 0,
) -> str:
    """Rows in columns that are aligned with blanks, without trailing blanks or a line feed at the end.

    Args:
        rows: Cells, as many in each row as in the others.
        header: A title for each column.
        names: How many first columns are aligned to the left; all others are aligned to the right.
        rule: Whether a line is drawn below the header.
        indent: Blanks before each line.

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
        padding=(0, 1 if rule else 2, 0, 0),  # the box adds a blank
    )
    for number in range(len(body[0]) if header is None else len(header)):
        title = "" if header is None else Text(header[number])
        table.add_column(title, justify="left" if number < names else "right", no_wrap=True)
    for row in body:
        table.add_row(*row)
    file = io.StringIO()
    Console(file=file, width=1_000_000, color_system=None, force_terminal=False).print(table)
    return "\n".join(" " * indent + line.rstrip() for line in file.getvalue().splitlines())
