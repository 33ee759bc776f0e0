"""New names of classes, as the command line and the HTTP API take them."""

from __future__ import annotations

from collections.abc import Sequence

from avcil.errors import InputError


def renaming(words: Sequence[str], *, where: str) -> dict[str, str]:
    """New class names by the old ones, of words OLD=NEW; InputError naming `where` if a word is something else."""
    names: dict[str, str] = {}
    for word in words:
        old, equals, new = word.partition("=")
        if not (old and equals and new):
            raise InputError(f"{where} takes OLD=NEW; not {word!r}")
        if old in names:
            raise InputError(f"{where} names the class {old!r} twice")
        names[old] = new
    return names
