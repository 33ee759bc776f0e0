"""Names and differences in messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MAX_NAMES = 5


def quoted(names: Sequence[str], noun: str = "") -> str:
    """The first names in quotes, and the number of the others.

    Args:
        names: The names.
        noun: What the others are, such as "classes".

    >>> quoted(["a", "b"]), quoted(["a"] * 7, "classes")
    ("'a', 'b'", "'a', 'a', 'a', 'a', 'a' and 2 more classes")
    """
    shown = ", ".join(map(repr, names[:_MAX_NAMES]))
    more = f" and {len(names) - _MAX_NAMES} more {noun}".rstrip() if len(names) > _MAX_NAMES else ""
    return shown + more


def difference(one: Any, other: Any) -> str:
    """The entries in which two JSON values differ, with their names.

    >>> difference({"name": "yamnet", "options": {"width": 64}}, {"name": "yamnet", "options": {"width": 32}})
    'options width 64 and 32'
    """
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return f"{one!r:.100} and {other!r:.100}"
    names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
    return "; ".join(f"{name} {difference(one.get(name), other.get(name))}" for name in names)
