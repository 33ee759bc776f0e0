"""Names that people type, and the name of the work folder."""

from __future__ import annotations

from pathlib import Path

from avcil.errors import InputError


def class_name(text: str) -> str:
    """A name as people type it, without the blanks around it and with single ones in it.

    >>> class_name("  door   bell ")
    'door bell'
    """
    return " ".join(text.split())


def checked_name(text: str) -> str:
    """`class_name` of a new name; InputError if no class can be called so."""
    label = class_name(text)
    if not label or len(label) > 100 or not label.isprintable():
        raise InputError("name the class: 1 to 100 printable characters")
    return label


def default_work(run: Path) -> Path:
    """Beside the run: its name and `.taught`."""
    run = run.absolute()
    return run.with_name(f"{run.name}.taught")
