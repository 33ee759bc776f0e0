"""Names in messages: the first few, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence

MAX_NAMES = 5


def quoted(names: Sequence[str], noun: str = "") -> str:
    """The first names in quotes, and the number of the others.

    Args:
        names: The names.
        noun: What the others are, such as "classes".

    >>> quoted(["a", "b"]), quoted(["a"] * 7, "classes")
    ("'a', 'b'", "'a', 'a', 'a', 'a', 'a' and 2 more classes")
    """
    shown = ", ".join(map(repr, names[:MAX_NAMES]))
    more = f" and {len(names) - MAX_NAMES} more {noun}".rstrip() if len(names) > MAX_NAMES else ""
    return shown + more
