"""Parsing of OLD=NEW class names, for the command line and the HTTP API."""

from __future__ import annotations

from collections.abc import Sequence

from avcil.errors import InputError


def renaming(words: Sequence[str], *, where: str) -> dict[str, str]:
    """New class names by old ones, from words OLD=NEW.

    Args:
        words: The words.
        where: Name of the option or field in error messages.

    Raises:
        InputError: A word is invalid, or a class occurs twice.
    """
    names: dict[str, str] = {}
    for word in words:
        old, equals, new = word.partition("=")
        if not (old and equals and new):
            raise InputError(f"{where} takes OLD=NEW; not {word!r}")
        if old in names:
            raise InputError(f"{where} names the class {old!r} twice")
        names[old] = new
    return names
